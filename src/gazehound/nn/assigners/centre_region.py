"""Assignment by the central region of a truth (Wang et al. 2019, Guided Anchoring, section 3.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gazehound.boxes.formats import area
from gazehound.errors import ConfigError
from gazehound.nn.assigners.assignment import Assignment, State
from gazehound.records import Targets


class CentreRegionAssigner:
    """Each truth has one level; cells in the middle of its box learn it there.

    The middle is the box shrunk to ``positive`` of its sides, at least one cell; cells between that and
    ``ignored`` of its sides are left out, and so are those of the middle on the neighbouring levels. What
    lies in several middles learns the smallest truth. There is one anchor per cell.

    Args:
        strides: pixels per cell, level by level.
        scale: a truth whose root of area is ``scale`` strides is just right for that level.
        positive: see above.
        ignored: see above.

    Raises:
        ConfigError: not 0 < positive <= ignored <= 1.
    """

    def __init__(
        self,
        strides: Sequence[int] = (4, 8, 16, 32, 64),
        *,
        scale: float = 8.0,
        positive: float = 0.2,
        ignored: float = 0.5,
    ) -> None:
        if not 0 < positive <= ignored <= 1:
            raise ConfigError(
                f"need 0 < positive <= ignored <= 1; got positive={positive}, ignored={ignored}"
            )
        self.strides, self.scale = tuple(strides), scale
        self.positive, self.ignored = positive, ignored

    @torch.no_grad()
    def __call__(
        self, anchors: Float[Tensor, "L 4"], lengths: Sequence[int], targets: Targets
    ) -> Assignment:
        """Assign the anchors, one per cell of ``lengths`` cells per level, to the truths of each image."""
        level, stride, last = self._cells(anchors, lengths)
        cell = ((anchors[:, :2] + anchors[:, 2:]) / 2 / stride[:, None]).round()  # L x 2
        at = targets.boxes[:, :, None] / stride[:, None]  # B x M x L x 4, in cells
        offset = self._levels(targets.boxes)[..., None] - level  # B x M x L
        there = targets.valid[..., None] & (offset == 0)
        beside = targets.valid[..., None] & (offset.abs() == 1)
        core = _inside(cell, at, self.positive, last)
        positive = core & there
        ignored = (_inside(cell, at, self.ignored, last) & there) | (core & beside)
        # Of several truths the smallest: its area is the largest key.
        key = -area(targets.boxes)[..., None].expand(positive.shape)
        truth = key.masked_fill(~positive, -math.inf).argmax(dim=1)  # B x L
        state = torch.where(ignored.any(dim=1), int(State.IGNORED), int(State.NEGATIVE))
        state = state.masked_fill(positive.any(dim=1), int(State.POSITIVE)).to(torch.int8)
        return Assignment(truth, state, positive.any(dim=1).float())

    def _levels(self, boxes: Float[Tensor, "B M 4"]) -> Tensor:
        """Return the level of each truth."""
        root = area(boxes).clamp(min=1e-6).sqrt()
        level = torch.log2(root / (self.scale * self.strides[0])) + 0.5
        return level.floor().clamp(0, len(self.strides) - 1)

    def _cells(
        self, anchors: Tensor, lengths: Sequence[int]
    ) -> tuple[Tensor, Tensor, Float[Tensor, "L 2"]]:
        """Return the level and stride of each anchor, and the last (column, row) of its level."""
        levels, strides, last, start = [], [], [], 0
        centres = (anchors[:, :2] + anchors[:, 2:]) / 2
        for number, (length, stride) in enumerate(zip(lengths, self.strides, strict=True)):
            levels.append(anchors.new_full((length,), float(number)))
            strides.append(anchors.new_full((length,), float(stride)))
            end = centres[start + length - 1 : start + length] / stride
            last.append(end.round().expand(length, 2))
            start += length
        return torch.cat(levels), torch.cat(strides), torch.cat(last)


def _inside(
    cell: Float[Tensor, "L 2"], boxes: Float[Tensor, "B M L 4"], share: float, last: Tensor
) -> Bool[Tensor, "B M L"]:
    """Return which cells lie in the middle ``share`` of boxes that are given in cells."""
    rest = (1 - share) / 2
    low = ((1 - rest) * boxes[..., :2] + rest * boxes[..., 2:]).round()
    high = (rest * boxes[..., :2] + (1 - rest) * boxes[..., 2:]).round()
    low, high = low.clamp(min=0).minimum(last), high.clamp(min=0).minimum(last)
    return ((cell >= low) & (cell <= high)).all(dim=-1)
