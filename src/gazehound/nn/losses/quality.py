"""Classification that knows how good the box is: quality focal loss and varifocal loss.

The target of a positive's class is the IoU of its predicted box with the truth, instead of 1; so the
score ranks boxes by class and place at once. Both losses are called as the focal loss is, with the
quality beside, and take its place in any dense detector.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

ClassLoss = Callable[..., Tensor]
"""(logits, labels, positive, counted, quality) -> the loss of each image, not normalised."""


def quality_targets(
    logits: Float[Tensor, "B L K"],
    labels: Int[Tensor, "B L"],
    positive: Bool[Tensor, "B L"],
    quality: Float[Tensor, "B L"],
) -> Float[Tensor, "B L K"]:
    """Return the quality at each positive's class and 0 elsewhere."""
    classes = torch.arange(logits.shape[2], device=logits.device)
    one_hot = (labels[..., None] == classes) & positive[..., None]
    return one_hot * quality[..., None]


class QualityFocalLoss:
    """``|y - p|^beta`` times the cross-entropy with the quality y (Li et al. 2020, GFL, equation 2).

    Normaliser: none here; the caller divides by the number of positives.
    """

    def __init__(self, beta: float = 2.0) -> None:
        self.beta = beta

    def __call__(
        self,
        logits: Float[Tensor, "B L K"],
        labels: Int[Tensor, "B L"],
        positive: Bool[Tensor, "B L"],
        counted: Bool[Tensor, "B L"],
        quality: Float[Tensor, "B L"],
    ) -> Float[Tensor, " B"]:
        """Return the loss of each image, summed over its counted anchors and all classes.

        Args:
            logits: class logits.
            labels: the matched label; read only where ``positive``.
            positive: anchors that hold a class.
            counted: anchors that take part.
            quality: IoU of the predicted box with its truth, in 0..1, without gradient.
        """
        logits = logits.float()
        targets = quality_targets(logits, labels, positive, quality)
        entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        loss = (targets - torch.sigmoid(logits)).abs() ** self.beta * entropy
        return (loss.sum(dim=2) * counted).sum(dim=1)


class VarifocalLoss:
    """Positives weigh by their quality, only negatives are focused (Zhang et al. 2021, VFNet, eq. 2).

    ``q * BCE(p, q)`` for a positive of quality q, ``alpha * p^gamma * BCE(p, 0)`` for the rest.
    Normaliser: none here; the caller divides by the number of positives.
    """

    def __init__(self, alpha: float = 0.75, gamma: float = 2.0) -> None:
        self.alpha, self.gamma = alpha, gamma

    def __call__(
        self,
        logits: Float[Tensor, "B L K"],
        labels: Int[Tensor, "B L"],
        positive: Bool[Tensor, "B L"],
        counted: Bool[Tensor, "B L"],
        quality: Float[Tensor, "B L"],
    ) -> Float[Tensor, " B"]:
        """Return the loss of each image; see :meth:`QualityFocalLoss.__call__`."""
        logits = logits.float()
        targets = quality_targets(logits, labels, positive, quality)
        entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        focus = self.alpha * torch.sigmoid(logits) ** self.gamma
        loss = entropy * targets.where(targets > 0, focus)
        return (loss.sum(dim=2) * counted).sum(dim=1)
