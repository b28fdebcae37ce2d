"""Against imbalance: a hundred negatives per object, and classes that are rare.

Every class loss here is asked as :class:`~gazehound.nn.losses.focal.FocalLoss` is
(``loss(logits, labels, positive, counted)`` -> one number per image), so any one-stage detector takes
any of them as its ``class_loss``; the detector divides by its own normaliser.

    hard negatives     SSD: learn from the three worst negatives per positive (Liu et al. 2016, 2.2)
    focal loss         RetinaNet: easy ones are turned down (losses/focal.py)
    class weights      rare classes weigh more: inverse frequency
    objectness         YOLO: one number says whether there is anything, classes only where there is
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from gazehound.errors import ConfigError
from gazehound.nn.losses.focal import focal_loss


@dataclass(frozen=True)
class HardNegatives:
    """Keeps the positives of each image and its negatives of the largest loss.

    Attributes:
        ratio: negatives per positive.
        at_least: negatives kept in an image with fewer positives than would ask for so many; 0, as
            published, learns nothing from an image without objects.

    Raises:
        ConfigError: a number is negative.
    """

    ratio: float = 3.0
    at_least: int = 0

    def __post_init__(self) -> None:
        if self.ratio < 0 or self.at_least < 0:
            raise ConfigError(
                f"ratio and at_least must not be negative; got {self.ratio} and {self.at_least}"
            )

    @torch.no_grad()
    def __call__(
        self,
        loss: Float[Tensor, "B L"],
        positive: Bool[Tensor, "B L"],
        counted: Bool[Tensor, "B L"],
    ) -> Bool[Tensor, "B L"]:
        """Return what to learn from.

        Args:
            loss: of each prediction.
            positive: predictions that hold an object; all are kept.
            counted: predictions that take part; the others are never kept.
        """
        negative = counted & ~positive
        most = (positive.sum(dim=1) * self.ratio).clamp(min=self.at_least)  # B
        order = loss.masked_fill(~negative, -torch.inf).argsort(dim=1, descending=True, stable=True)
        places = torch.arange(loss.shape[1], device=loss.device).expand_as(order)
        rank = torch.empty_like(order).scatter_(1, order, places)
        return positive | (negative & (rank < most[:, None]))


def inverse_frequency(counts: Sequence[int], power: float = 1.0) -> tuple[float, ...]:
    """Return a weight per class, ``count ** -power``, whose mean over the objects is 1.

    Args:
        counts: objects of each class in the training set; a class without any gets weight 0.
        power: 1 lets every class weigh the same in all; 0.5 is half way; 0 is no weighting.

    Raises:
        ConfigError: there is no object at all, or a count is negative.
    """
    if min(counts, default=0) < 0 or sum(counts) == 0:
        raise ConfigError(
            f"class weights need counts of objects that sum to more than 0; got {list(counts)}"
        )
    raw = [count**-power if count else 0.0 for count in counts]
    mean = sum(weight * count for weight, count in zip(raw, counts, strict=True)) / sum(counts)
    return tuple(weight / mean for weight in raw)


class SoftmaxLoss(nn.Module):
    """Cross-entropy over K classes and the background, which is the last of the K + 1 logits.

    Args:
        mining: which negatives to learn from; ``None`` for all.
        class_weights: one per class; ``None`` for 1. The background weighs 1.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        mining: HardNegatives | None = None,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.mining = mining
        _keep_weights(self, class_weights, background=True)

    def forward(
        self,
        logits: Float[Tensor, "B L C"],
        labels: Int[Tensor, "B L"],
        positive: Bool[Tensor, "B L"],
        counted: Bool[Tensor, "B L"],
    ) -> Float[Tensor, " B"]:
        """Return the loss of each image, summed over what is learned from.

        Args:
            logits: K + 1 of each prediction.
            labels: the matched label; read only where ``positive``.
            positive: predictions that hold an object.
            counted: predictions that take part.
        """
        wanted = labels.where(positive, logits.shape[2] - 1)
        loss = -F.log_softmax(logits.float(), dim=2).gather(2, wanted[..., None])[..., 0]  # B x L
        kept = counted if self.mining is None else self.mining(loss, positive, counted)
        if self.class_weights is not None:
            loss = loss * self.class_weights[wanted]
        return (loss * kept).sum(dim=1)


class SigmoidLoss(nn.Module):
    """Binary cross-entropy of each class by itself: a prediction may hold several, or none.

    Args:
        gamma: of the focal loss; 0 for plain cross-entropy.
        alpha: weight of the positives in the focal loss; negative for no balance.
        smoothing: label smoothing (Szegedy et al. 2016, section 7): 1 becomes ``1 - smoothing / 2`` and
            0 becomes ``smoothing / 2``, as Darknet has it.
        mining: which negatives to learn from; ``None`` for all.
        class_weights: one per class, on both sides of its decision; ``None`` for 1.

    Raises:
        ConfigError: smoothing of a focal loss is not defined.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        *,
        gamma: float = 0.0,
        alpha: float = -1.0,
        smoothing: float = 0.0,
        mining: HardNegatives | None = None,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if smoothing and (gamma or alpha >= 0):
            raise ConfigError(
                f"label smoothing goes with plain cross-entropy; got gamma {gamma}, alpha {alpha}"
            )
        self.gamma, self.alpha, self.smoothing, self.mining = gamma, alpha, smoothing, mining
        _keep_weights(self, class_weights, background=False)

    def forward(
        self,
        logits: Float[Tensor, "B L K"],
        labels: Int[Tensor, "B L"],
        positive: Bool[Tensor, "B L"],
        counted: Bool[Tensor, "B L"],
    ) -> Float[Tensor, " B"]:
        """Return the loss of each image, summed over classes and over what is learned from."""
        classes = torch.arange(logits.shape[2], device=logits.device)
        one_hot = ((labels[..., None] == classes) & positive[..., None]).float()  # B x L x K
        each = self._each(logits.float(), one_hot)
        if self.class_weights is not None:
            each = each * self.class_weights
        loss = each.sum(dim=2)
        kept = counted if self.mining is None else self.mining(loss, positive, counted)
        return (loss * kept).sum(dim=1)

    def _each(self, logits: Tensor, one_hot: Tensor) -> Tensor:
        if self.gamma or self.alpha >= 0:
            return focal_loss(logits, one_hot, self.alpha, self.gamma)
        smooth = one_hot * (1 - self.smoothing) + self.smoothing / 2
        return F.binary_cross_entropy_with_logits(logits, smooth, reduction="none")


class ObjectnessLoss:
    """Binary cross-entropy of "is there an object of any class" (Redmon & Farhadi 2018, section 2.1).

    Args:
        gamma: of the focal loss; 0 for plain cross-entropy.
        positive_weight: factor on the positives.
        mining: which negatives to learn from; ``None`` for all.
    """

    def __init__(
        self,
        gamma: float = 0.0,
        positive_weight: float = 1.0,
        mining: HardNegatives | None = None,
    ) -> None:
        self.gamma, self.positive_weight, self.mining = gamma, positive_weight, mining

    def __call__(
        self,
        logits: Float[Tensor, "B L"],
        positive: Bool[Tensor, "B L"],
        counted: Bool[Tensor, "B L"],
    ) -> Float[Tensor, " B"]:
        """Return the loss of each image, summed over what is learned from."""
        loss = focal_loss(logits.float(), positive.float(), alpha=-1.0, gamma=self.gamma)
        kept = counted if self.mining is None else self.mining(loss, positive, counted)
        weight = torch.where(positive, self.positive_weight, 1.0)
        return (loss * weight * kept).sum(dim=1)


def _keep_weights(module: nn.Module, weights: Sequence[float] | None, *, background: bool) -> None:
    """Register class weights as a buffer that follows the module but is not saved with it."""
    values = None
    if weights is not None:
        values = torch.tensor([*weights, *([1.0] if background else [])], dtype=torch.float32)
    module.register_buffer("class_weights", values, persistent=False)
