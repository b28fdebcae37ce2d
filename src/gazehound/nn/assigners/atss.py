"""Adaptive training sample selection (Zhang et al. 2020, ATSS, algorithm 1)."""

from __future__ import annotations

import torch
from torch import Tensor

from gazehound.boxes.iou import pairwise
from gazehound.errors import ConfigError
from gazehound.nn.assigners.assigner import Candidates, Predictions
from gazehound.nn.assigners.assignment import Assignment, State
from gazehound.nn.assigners.geometry import sides
from gazehound.nn.assigners.selection import lowest
from gazehound.records import Targets

INSIDE = 0.01  # pixels that a centre must lie inside a box, as in the authors' code


class ATSSAssigner:
    """The statistics of each truth's nearby anchors say which IoU is good enough for it.

    Per truth, the ``nearest`` anchors of each level by the distance of centres are candidates (for
    several anchors per cell, that many times as many, as in the authors' code). Positive are those with
    IoU >= mean + standard deviation of the candidates' IoUs, if their centre lies inside the truth. An
    anchor that several truths want goes to the one of highest IoU; of equal IoUs, and so of identical
    truths, to the first. Of equally near anchors the first are candidates.

    The deviation is the unbiased one; of a single candidate it is 0. Anchors without any overlap are
    never positive.

    Args:
        nearest: candidates per truth and level, the paper's only parameter.

    Raises:
        ConfigError: ``nearest`` is not positive.
    """

    def __init__(self, nearest: int = 9) -> None:
        if nearest < 1:
            raise ConfigError(f"ATSS needs nearest >= 1; got {nearest}")
        self.nearest = nearest

    @torch.no_grad()
    def __call__(
        self, candidates: Candidates, targets: Targets, predictions: Predictions | None = None
    ) -> Assignment:
        """Assign the anchors of one network input to the truths of each image; no prediction is read."""
        overlap = pairwise(targets.boxes, candidates.boxes)  # B x M x L
        close = self._close(candidates, targets)
        shortest, _ = sides(candidates.centres, targets.boxes)
        good = close & (overlap >= _threshold(overlap, close)) & (shortest > INSIDE)
        good &= (overlap > 0) & targets.valid[..., None]
        best, truth = overlap.where(good, -1.0).max(dim=1)  # B x L
        state = torch.where(best >= 0, int(State.POSITIVE), int(State.NEGATIVE)).to(torch.int8)
        return Assignment(truth, state, best.clamp(min=0))

    def _close(self, candidates: Candidates, targets: Targets) -> Tensor:
        """Mark the anchors (B, M, L) that are nearest to each truth on their level."""
        centres = (targets.boxes[..., :2] + targets.boxes[..., 2:]) / 2  # B x M x 2
        way = centres[:, :, None] - candidates.centres  # B x M x L x 2
        distance = way.square().sum(dim=3)
        count = self.nearest * candidates.per_cell
        levels = distance.split(candidates.lengths, dim=2)
        return torch.cat([lowest(level, count, count) for level in levels], dim=2)


def _threshold(overlap: Tensor, chosen: Tensor) -> Tensor:
    """Return mean + standard deviation (B, M, 1) of the chosen IoUs of each truth."""
    count = chosen.sum(dim=2, keepdim=True)
    mean = (overlap * chosen).sum(dim=2, keepdim=True) / count.clamp(min=1)
    squares = ((overlap - mean).square() * chosen).sum(dim=2, keepdim=True)
    return mean + (squares / (count - 1).clamp(min=1)).sqrt()
