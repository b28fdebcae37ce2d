"""SSD's matching (Liu et al. 2016, section 2.2, "Matching strategy")."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gazehound.boxes.iou import pairwise
from gazehound.nn.assigners.assigner import Candidates, Predictions
from gazehound.nn.assigners.assignment import Assignment, State
from gazehound.nn.assigners.claims import strongest_claims
from gazehound.records import Targets


class BipartiteAssigner:
    """Each truth gets the box that it overlaps most; then each box with IoU >= ``positive`` its best truth.

    Where truths want the same box, the larger overlap wins and the others ask for their next best, as
    in the greedy bipartite matching of the published code. All truths ask at once, and after ``rounds``
    of asking those that lost each time go without (they still have the boxes above ``positive``): so
    the work does not grow with the number of truths. A truth that overlaps nothing gets nothing.

    Args:
        positive: lowest IoU at which a box is positive in any case.
        rounds: of asking.
    """

    def __init__(self, positive: float = 0.5, rounds: int = 3) -> None:
        self.positive, self.rounds = positive, rounds

    @torch.no_grad()
    def __call__(
        self,
        candidates: Candidates | Float[Tensor, "L 4"],
        targets: Targets,
        predictions: Predictions | None = None,
    ) -> Assignment:
        """Assign the default boxes to the truths of each image; ``predictions`` are not looked at."""
        boxes = candidates.boxes if isinstance(candidates, Candidates) else candidates
        overlap = pairwise(targets.boxes, boxes)  # B x M x L
        overlap = overlap.masked_fill(~targets.valid[..., None], 0.0)
        best, truth = overlap.max(dim=1)  # B x L
        owner = self._claim(overlap)
        owned = owner < overlap.shape[1]
        truth = torch.where(owned, owner, truth)
        state = torch.where(owned | (best >= self.positive), int(State.POSITIVE), 0)
        overlap = overlap.gather(1, truth[:, None])[:, 0]
        return Assignment(truth, state.to(torch.int8), overlap)

    def _claim(self, overlap: Float[Tensor, "B M L"]) -> Int[Tensor, "B L"]:
        """Return the truth that claimed each box; M where none did."""
        truths, count = overlap.shape[1:]
        numbers = torch.arange(truths, device=overlap.device)
        owner = torch.full_like(overlap[:, 0], truths, dtype=torch.int64)  # B x L
        for _ in range(self.rounds):
            strength, place = overlap.max(dim=2)  # B x M
            won = strongest_claims(place, strength, count)
            owner = torch.minimum(owner, won)  # a taken box is not asked for again
            served = won.gather(1, place) == numbers
            taken = (owner < truths)[:, None] | served[..., None]  # B x M x L
            overlap = overlap.masked_fill(taken, 0.0)
        return owner
