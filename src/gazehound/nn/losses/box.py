"""Box regression losses: on deltas (smooth L1) or on decoded boxes (the IoU family)."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from gazehound.boxes.iou import KINDS
from gazehound.errors import unknown_name
from gazehound.nn.coders import DeltaCoder

BoxLoss = Callable[..., Tensor]
"""(deltas, truth boxes, anchors, positive, coder) -> the loss of each image, summed over positives."""


class SmoothL1Loss:
    """Smooth L1 between predicted and encoded deltas (Girshick 2015, equation 3).

    Quadratic below ``beta``, linear above; ``beta = 0`` is plain L1. Summed over the four numbers and
    the positive anchors of each image; the caller divides by the number of positives.
    """

    def __init__(self, beta: float = 1 / 9) -> None:
        self.beta = beta

    def __call__(
        self,
        deltas: Float[Tensor, "B L 4"],
        truths: Float[Tensor, "B L 4"],
        anchors: Float[Tensor, "... L 4"],
        positive: Bool[Tensor, "B L"],
        coder: DeltaCoder,
    ) -> Float[Tensor, " B"]:
        """Return the loss of each image."""
        wanted = coder.encode(truths, anchors)
        loss = F.smooth_l1_loss(deltas.float(), wanted, beta=self.beta, reduction="none")
        return (loss.sum(dim=2) * positive).sum(dim=1)


class IoULoss:
    """``1 - IoU`` of decoded boxes, for any member of the IoU family.

    Summed over the positive anchors of each image; the caller divides by the number of positives.

    Args:
        kind: ``iou``, ``giou``, ``diou`` or ``ciou``.
        weight: factor on the loss.
    """

    def __init__(self, kind: str = "giou", weight: float = 1.0) -> None:
        if kind not in KINDS:
            raise unknown_name("overlap measure", kind, KINDS)
        self.overlap, self.weight = KINDS[kind], weight

    def __call__(
        self,
        deltas: Float[Tensor, "B L 4"],
        truths: Float[Tensor, "B L 4"],
        anchors: Float[Tensor, "... L 4"],
        positive: Bool[Tensor, "B L"],
        coder: DeltaCoder,
    ) -> Float[Tensor, " B"]:
        """Return the loss of each image."""
        # Where nothing is to be learned the anchor stands in for both boxes: no stray gradient, no NaN.
        keep = positive[..., None]
        boxes = coder.decode(deltas.float(), anchors).where(keep, anchors)
        loss = 1 - self.overlap(boxes, truths.where(keep, anchors))
        summed: Tensor = (loss * positive).sum(dim=1)
        return self.weight * summed
