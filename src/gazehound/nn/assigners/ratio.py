"""YOLOv5's matching: every anchor of about the truth's shape, in its cell and the two nearest ones."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gazehound.nn.anchor_cells import Cells
from gazehound.nn.assigners.assignment import Assignment, State
from gazehound.nn.assigners.claims import strongest_claims
from gazehound.records import Targets


@dataclass(frozen=True)
class Claims:
    """Which predictions each truth wants, in fixed shapes. Several truths may want the same one.

    C claims per image: truth by truth, level by level, anchor by anchor, three cells each.

    Attributes:
        place: (B, C) row of the prediction.
        truth: (B, C) index of the truth.
        strength: (B, C) how well the anchor fits, more for the truth's own cell; 0 where it is no claim.
        level: (C,) pyramid level.
    """

    place: Int[Tensor, "B C"]
    truth: Int[Tensor, "B C"]
    strength: Float[Tensor, "B C"]
    level: Int[Tensor, " C"]

    @property
    def valid(self) -> Bool[Tensor, "B C"]:
        """Return which of them are claims at all."""
        return self.strength > 0

    def settled(self, overlap: Float[Tensor, "B C"], count: int) -> Assignment:
        """Return the claims as one truth per prediction: the strongest claim has it.

        Args:
            overlap: IoU of the predicted box with the truth, claim by claim.
            count: predictions of an image.
        """
        owner = strongest_claims(self.place, self.strength, count)  # B x L
        owned = owner < self.place.shape[1]
        owner = owner.where(owned, 0)
        state = torch.where(owned, int(State.POSITIVE), int(State.NEGATIVE)).to(torch.int8)
        return Assignment(
            self.truth.gather(1, owner) * owned, state, overlap.gather(1, owner) * owned
        )


class RatioAssigner:
    """An anchor fits a truth when neither side of one is ``most`` times that of the other.

    It is claimed in the cell where the truth's centre lies, and in the neighbour to the left or right
    and the one above or below that the centre is nearer to, as far as they exist. So a truth has up to
    three cells on each level, with up to all anchors. A truth without extent, of another shape than
    all anchors, or with its centre outside the input is nobody's.

    Args:
        most: see above; 4 in YOLOv5.
    """

    def __init__(self, most: float = 4.0) -> None:
        self.most = most

    @torch.no_grad()
    def __call__(self, cells: Cells, targets: Targets) -> Claims:
        """Return the claims of the truths of each image."""
        batch, truths = targets.labels.shape
        size = targets.boxes[..., 2:] - targets.boxes[..., :2]  # B x M x 2
        centre = (targets.boxes[..., :2] + targets.boxes[..., 2:]) / 2
        places, strengths, start = [], [], 0
        for length, stride, grid in zip(cells.lengths, cells.strides, cells.grids, strict=True):
            first = cells.boxes[start : start + cells.per_cell]
            fit = self._fit(size, first[:, 2:] - first[:, :2])  # B x M x A
            fit = fit * targets.valid[..., None]
            cell, inside = _three_cells(centre / stride, grid)  # B x M x 3
            anchor = torch.arange(cells.per_cell, device=cell.device)
            place = start + cell[:, :, None] * cells.per_cell + anchor[:, None]  # B x M x A x 3
            own = torch.tensor((1.0, 0.0, 0.0), device=cell.device)
            strength = (fit[..., None] + own) * (fit[..., None] > 0) * inside[:, :, None]
            places.append(place.flatten(2))
            strengths.append(strength.flatten(2))
            start += length
        each = 3 * cells.per_cell
        of_level = torch.arange(len(places), device=centre.device).repeat_interleave(each)
        truth = torch.arange(truths, device=centre.device)[:, None].expand(-1, len(of_level))
        return Claims(
            torch.cat(places, dim=2).flatten(1),
            truth.flatten().expand(batch, -1),
            torch.cat(strengths, dim=2).flatten(1),
            of_level.repeat(truths),
        )

    def _fit(
        self, sizes: Float[Tensor, "B M 2"], shapes: Float[Tensor, "A 2"]
    ) -> Float[Tensor, "B M A"]:
        """Return 1 over the largest ratio of sides, and 0 where that ratio is too large."""
        ratio = sizes[:, :, None] / shapes  # B x M x A x 2
        fit = torch.minimum(ratio, 1 / ratio.clamp(min=1e-9)).amin(dim=3)
        return fit * (fit > 1 / self.most)


def _three_cells(
    centre: Float[Tensor, "B M 2"], grid: tuple[int, int]
) -> tuple[Int[Tensor, "B M 3"], Bool[Tensor, "B M 3"]]:
    """Return the cells (row-major numbers) of a centre, in cells, and whether they lie in the grid.

    The cell itself, its nearer neighbour to the side, its nearer neighbour above or below.
    """
    rows, columns = grid
    corner = torch.floor(centre)
    nearer = torch.where(centre - corner < 0.5, -1, 1)  # B x M x 2
    column, row = corner.long().unbind(-1)
    beside, above = nearer.unbind(-1)
    column = torch.stack((column, column + beside, column), dim=2)
    row = torch.stack((row, row, row + above), dim=2)
    inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
    inside = inside & inside[..., :1]  # no neighbours of a cell that is not there
    return (row * columns + column).where(inside, 0), inside
