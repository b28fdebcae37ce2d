"""Assignment by the largest IoU (Ren et al. 2015, section 3.1.2; Lin et al. 2017, section 4)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from gazehound.boxes.iou import pairwise
from gazehound.errors import ConfigError
from gazehound.nn.assigners.assigner import Candidates, Predictions
from gazehound.nn.assigners.assignment import Assignment, State
from gazehound.records import Targets


class MaxIoUAssigner:
    """Each anchor looks at its best truth.

    IoU >= ``positive``: responsible for it. IoU < ``negative``: background. Between: ignored. With
    ``keep_best``, anchors that tie the best IoU of some truth are positive too (each for its own best
    truth), so that no truth goes unlearned. A truth that overlaps no anchor at all stays unmatched:
    torchvision and Detectron2 would make every anchor with IoU 0 positive for it.

    Args:
        positive: lowest IoU of a positive.
        negative: a negative's IoU is below it.
        keep_best: see above.
        floor: a negative's IoU is at least this; Fast R-CNN takes 0.1, a rough form of hard negatives.

    Raises:
        ConfigError: not 0 <= floor <= negative <= positive <= 1.
    """

    def __init__(
        self,
        positive: float = 0.5,
        negative: float = 0.4,
        *,
        keep_best: bool = True,
        floor: float = 0.0,
    ) -> None:
        if not 0 <= negative <= positive <= 1:
            raise ConfigError(
                f"need 0 <= negative <= positive <= 1; got negative={negative}, positive={positive}"
            )
        if not 0 <= floor <= negative:
            raise ConfigError(f"need 0 <= floor <= negative ({negative}); got floor={floor}")
        self.positive, self.negative, self.keep_best = positive, negative, keep_best
        self.floor = floor

    @torch.no_grad()
    def __call__(
        self,
        candidates: Candidates | Float[Tensor, "*B L 4"],
        targets: Targets,
        predictions: Predictions | None = None,
    ) -> Assignment:
        """Assign anchors to the truths of each image.

        Args:
            candidates: a network's candidates, or any boxes: of one network input, or of each image.
            targets: padded.
            predictions: not looked at.
        """
        anchors = candidates.boxes if isinstance(candidates, Candidates) else candidates
        overlap = pairwise(targets.boxes, anchors)  # B x M x L
        overlap = overlap.masked_fill(~targets.valid[..., None], -1.0)
        if overlap.shape[1] == 0:
            overlap = overlap.new_full((overlap.shape[0], 1, overlap.shape[2]), -1.0)
        best, truth = overlap.max(dim=1)  # B x L
        positive = best >= self.positive
        if self.keep_best:
            best_of_truth = overlap.amax(dim=2, keepdim=True)  # B x M x 1
            ties = (overlap == best_of_truth) & (best_of_truth > 0)  # B x M x L
            positive |= ties.any(dim=1)
        best = best.clamp(min=0)
        low = (best < self.negative) & (best >= self.floor)
        state = torch.where(low, int(State.NEGATIVE), int(State.IGNORED))
        state = state.masked_fill(positive, int(State.POSITIVE)).to(torch.int8)
        return Assignment(truth, state, best)
