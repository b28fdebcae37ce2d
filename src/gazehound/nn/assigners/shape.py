"""The Darknet YOLOs' matching: by the shape of the truth, at the cell of its centre."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gazehound.boxes.iou import pairwise
from gazehound.nn.anchor_cells import Cells
from gazehound.nn.assigners.assigner import Predictions
from gazehound.nn.assigners.assignment import Assignment, State
from gazehound.nn.assigners.claims import strongest_claims
from gazehound.records import Targets


class ShapeAssigner:
    """A truth belongs to the anchor of the most similar shape, in the cell where its centre lies.

    Shapes are compared as boxes with one centre (Redmon & Farhadi 2018, section 2.3); YOLOv4 takes
    every anchor with a shape IoU above ``also`` besides (``iou_thresh``). A prediction that no truth
    owns is background, unless its box overlaps some truth by more than ``ignore``: then it is left
    out. Where several truths want one prediction, the one of the more similar shape has it. A truth
    without extent, or with its centre outside the input, is nobody's.

    The assignment's ``overlap`` is the IoU of the predicted box with its best truth.

    Args:
        ignore: see above.
        also: see above; 1 for none.
    """

    def __init__(self, ignore: float = 0.7, also: float = 1.0) -> None:
        self.ignore, self.also = ignore, also

    @torch.no_grad()
    def __call__(self, cells: Cells, targets: Targets, predictions: Predictions) -> Assignment:
        """Assign the predictions of one network input shape to the truths of each image."""
        overlap = pairwise(predictions.boxes.float(), targets.boxes)  # B x L x M
        overlap = overlap.where(targets.valid[:, None], 0.0)
        best, near = overlap.max(dim=2)  # B x L
        strength, places = self._claims(cells, targets)  # B x M x A
        owner = strongest_claims(places.flatten(1), strength.flatten(1), overlap.shape[1])
        owned = owner < strength[0].numel()
        truth = torch.where(owned, owner // strength.shape[2], near)
        state = torch.where(best > self.ignore, int(State.IGNORED), int(State.NEGATIVE))
        state = state.masked_fill(owned, int(State.POSITIVE)).to(torch.int8)
        return Assignment(truth, state, best)

    def _claims(
        self, cells: Cells, targets: Targets
    ) -> tuple[Float[Tensor, "B M A"], Int[Tensor, "B M A"]]:
        """Return how strongly each truth claims each anchor of all levels (0: not), and at which row."""
        size = targets.boxes[..., 2:] - targets.boxes[..., :2]  # B x M x 2
        centre = (targets.boxes[..., :2] + targets.boxes[..., 2:]) / 2
        shapes, places, inside, start = [], [], [], 0
        for length, stride, grid in zip(cells.lengths, cells.strides, cells.grids, strict=True):
            first = cells.boxes[start : start + cells.per_cell]
            shapes.append(first[:, 2:] - first[:, :2])  # A x 2
            cell, within = _cell_of(centre, stride, grid)  # B x M
            anchors = torch.arange(cells.per_cell, device=cell.device)
            places.append(start + cell[..., None] * cells.per_cell + anchors)
            inside.append(within[..., None].expand_as(places[-1]))
            start += length
        similar = _shape_iou(size, torch.cat(shapes))  # B x M x A
        chosen = (similar == similar.amax(dim=2, keepdim=True)) | (similar > self.also)
        chosen &= torch.cat(inside, dim=2) & targets.valid[..., None]
        return similar * chosen, torch.cat(places, dim=2)


def _cell_of(
    centre: Float[Tensor, "B M 2"], stride: int, grid: tuple[int, int]
) -> tuple[Int[Tensor, "B M"], Bool[Tensor, "B M"]]:
    """Return the cell (row-major number) of each centre, and whether it lies in the grid at all."""
    rows, columns = grid
    column, row = torch.floor(centre / stride).long().unbind(-1)
    within = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
    return (row * columns + column).where(within, 0), within


def _shape_iou(
    sizes: Float[Tensor, "B M 2"], shapes: Float[Tensor, "A 2"]
) -> Float[Tensor, "B M A"]:
    """IoU of boxes that share their centre; 0 for a box without extent."""
    shared = torch.minimum(sizes[:, :, None], shapes).prod(dim=3)
    return shared / (sizes.prod(dim=2)[..., None] + shapes.prod(dim=1) - shared)
