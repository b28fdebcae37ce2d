"""The focal loss and the prior that it needs (Lin et al. 2017, equations 4 and 5, section 3.3)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor


def prior_bias(prior: float = 0.01) -> float:
    """Return the logit of ``prior``: the bias of a classifier that says ``prior`` everywhere at first."""
    return -math.log((1 - prior) / prior)


def focal_loss(
    logits: Float[Tensor, "*N"],
    targets: Float[Tensor, "*N"],
    alpha: float = 0.25,
    gamma: float = 2.0,
) -> Float[Tensor, "*N"]:
    """Sigmoid focal loss, element by element: ``-alpha_t (1 - p_t)^gamma log(p_t)``.

    ``targets`` are 0 or 1. ``alpha < 0`` leaves the balance out. Not reduced, not normalised.
    """
    # With s = +1 for a positive and -1 for a negative, p_t = sigmoid(s * logit).
    signed = logits * (2 * targets - 1)
    loss = torch.sigmoid(-signed) ** gamma * -F.logsigmoid(signed)
    if alpha >= 0:
        loss = loss * (alpha * targets + (1 - alpha) * (1 - targets))
    return loss


class FocalLoss:
    """Multi-label classification of every anchor by the focal loss.

    Normaliser: none here; the caller divides by the number of positive anchors (section 4.1).
    """

    def __init__(self, alpha: float = 0.25, gamma: float = 2.0) -> None:
        self.alpha, self.gamma = alpha, gamma

    def __call__(
        self,
        logits: Float[Tensor, "B L K"],
        labels: Int[Tensor, "B L"],
        positive: Bool[Tensor, "B L"],
        counted: Bool[Tensor, "B L"],
        quality: Float[Tensor, "B L"] | None = None,
    ) -> Float[Tensor, " B"]:
        """Return the loss of each image, summed over its counted anchors and all classes.

        Args:
            logits: class logits.
            labels: the matched label; read only where ``positive``.
            positive: anchors that hold a class.
            counted: anchors that take part (all but the ignored ones).
            quality: not looked at; the losses of :mod:`gazehound.nn.losses.quality` do.
        """
        classes = torch.arange(logits.shape[2], device=logits.device)
        one_hot = (labels[..., None] == classes) & positive[..., None]  # B x L x K
        loss = focal_loss(logits.float(), one_hot.float(), self.alpha, self.gamma)
        return (loss.sum(dim=2) * counted).sum(dim=1)
