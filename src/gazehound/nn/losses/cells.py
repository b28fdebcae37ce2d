"""Box losses of predictions in cells: on the numbers themselves (YOLOv3), or by CIoU (YOLOv4)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from gazehound.boxes.iou import KINDS
from gazehound.errors import unknown_name
from gazehound.nn.anchor_cells import AnchorCellCoder, Cells

CellBoxLoss = Callable[..., Tensor]
"""(numbers, truth boxes, cells, positive, coder) -> the loss of each image, summed over positives."""


class OffsetLoss:
    """YOLOv3's: how far the centre and the log size are off; small boxes weigh up to twice as much.

    The centre by cross-entropy of its place in the cell, whose gradient is what Darknet applies
    (``truth - sigmoid(t)``); tw and th by half the squared error. Both times ``2 - w h``, the truth's
    area relative to the input's. Summed over the positives of each image.
    """

    def __call__(
        self,
        numbers: Float[Tensor, "B L 4"],
        truths: Float[Tensor, "B L 4"],
        cells: Cells,
        positive: Bool[Tensor, "B L"],
        coder: AnchorCellCoder,
    ) -> Float[Tensor, " B"]:
        """Return the loss of each image."""
        place, growth = coder.encode(truths, cells)
        place = place.clamp(0, 1)
        xy = F.binary_cross_entropy_with_logits(numbers[..., :2], place, reduction="none")
        wh = 0.5 * (numbers[..., 2:] - growth) ** 2
        height, width = cells.image
        area = (truths[..., 2:] - truths[..., :2]).prod(dim=2) / (height * width)
        loss = (xy + wh).sum(dim=2) * (2 - area.clamp(0, 1))
        return loss.where(positive, 0.0).sum(dim=1)


class CellIoULoss:
    """YOLOv4's: ``1 - CIoU`` of the decoded box (Zheng et al. 2020, equation 10).

    Summed over the positives of each image.

    Args:
        kind: ``iou``, ``giou``, ``diou`` or ``ciou``.
        weight: factor on the loss.
    """

    def __init__(self, kind: str = "ciou", weight: float = 1.0) -> None:
        if kind not in KINDS:
            raise unknown_name("overlap measure", kind, KINDS)
        self.overlap, self.weight = KINDS[kind], weight

    def __call__(
        self,
        numbers: Float[Tensor, "B L 4"],
        truths: Float[Tensor, "B L 4"],
        cells: Cells,
        positive: Bool[Tensor, "B L"],
        coder: AnchorCellCoder,
    ) -> Float[Tensor, " B"]:
        """Return the loss of each image."""
        # Where nothing is to be learned the anchor stands in for both boxes: no stray gradient, no NaN.
        keep = positive[..., None]
        boxes = coder.decode(numbers, cells).where(keep, cells.boxes)
        loss = 1 - self.overlap(boxes, truths.where(keep, cells.boxes))
        return self.weight * torch.where(positive, loss, 0.0).sum(dim=1)
