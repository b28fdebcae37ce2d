"""Box coders of the YOLO line: numbers relative to a cell of the feature map."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

LARGEST_GROWTH = (
    8.0  # a box is at most e^8 (2,981) cells wide: exp stays finite, whatever is learned
)


class CellCoder:
    """YOLOX's numbers (Ge et al. 2021, section 2.1): offset from the cell's corner, log of the size.

    With a cell of side ``s`` whose top left corner is ``(x, y)`` and a truth G as centre and size:
    ``tx = (Gx - x) / s``, ``ty`` likewise, ``tw = ln(Gw / s)``, ``th`` likewise. Cells are given as the
    squares that :class:`~gazehound.nn.points.PointGrid` lists.

    Args:
        growth: upper clamp of tw and th at decoding.
    """

    def __init__(self, growth: float = LARGEST_GROWTH) -> None:
        self.growth = growth

    def encode(
        self, boxes: Float[Tensor, "*N 4"], cells: Float[Tensor, "*M 4"]
    ) -> Float[Tensor, "*P 4"]:
        """Return the numbers of ``boxes`` in ``cells`` (they broadcast); finite for boxes without area."""
        side = cells[..., 2:] - cells[..., :2]
        centre = (boxes[..., :2] + boxes[..., 2:]) / 2
        growth = torch.log((boxes[..., 2:] - boxes[..., :2]) / side + 1e-8)
        return torch.cat(((centre - cells[..., :2]) / side, growth), dim=-1)

    def decode(
        self, numbers: Float[Tensor, "*N 4"], cells: Float[Tensor, "*M 4"]
    ) -> Float[Tensor, "*P 4"]:
        """Return the ``xyxy`` boxes that ``numbers`` stand for in ``cells`` (they broadcast)."""
        side = cells[..., 2:] - cells[..., :2]
        centre = cells[..., :2] + numbers[..., :2] * side
        half = 0.5 * torch.exp(numbers[..., 2:].clamp(max=self.growth)) * side
        return torch.cat((centre - half, centre + half), dim=-1)


class BoundedCellCoder:
    """YOLOv5's numbers: both the centre's reach and the size's growth are bounded by sigmoids.

    In a cell of side ``s`` with its corner at ``c``, for an anchor of size ``p``:
    ``centre = c + s (2 sigmoid(t) - 0.5)``, which reaches half a cell into the neighbours, and
    ``size = p (2 sigmoid(t))^2``, at most four anchors.
    """

    def decode(
        self,
        numbers: Float[Tensor, "*N 4"],
        anchors: Float[Tensor, "*M 4"],
        stride: Float[Tensor, "*S"],
    ) -> Float[Tensor, "*P 4"]:
        """Return the ``xyxy`` boxes that ``numbers`` stand for (all arguments broadcast).

        Args:
            numbers: ``tx, ty, tw, th``.
            anchors: ``xyxy``, put on the middle of their cells.
            stride: side of the cells, pixels.
        """
        share = 2 * torch.sigmoid(numbers)
        middle, size = (
            (anchors[..., :2] + anchors[..., 2:]) / 2,
            anchors[..., 2:] - anchors[..., :2],
        )
        centre = middle + (share[..., :2] - 1) * stride[..., None]
        half = 0.5 * share[..., 2:] ** 2 * size
        return torch.cat((centre - half, centre + half), dim=-1)
