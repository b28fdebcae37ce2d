"""Assignment by the largest IoU (Ren et al. 2015, section 3.1.2; Lin et al. 2017, section 4)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from gazehound.boxes.iou import pairwise
from gazehound.errors import ConfigError
from gazehound.nn.assigners.assignment import Assignment, State
from gazehound.records import Targets


class MaxIoUAssigner:
    """Each anchor looks at its best truth.

    IoU >= ``positive``: responsible for it. IoU < ``negative``: background. Between: ignored. With
    ``keep_best``, anchors that tie the best IoU of some truth are positive too (each for its own best
    truth), so that no truth goes unlearned. A truth that overlaps no anchor at all stays unmatched:
    torchvision and Detectron2 would make every anchor with IoU 0 positive for it.

    Raises:
        ConfigError: not 0 <= negative <= positive <= 1.
    """

    def __init__(
        self, positive: float = 0.5, negative: float = 0.4, *, keep_best: bool = True
    ) -> None:
        if not 0 <= negative <= positive <= 1:
            raise ConfigError(
                f"need 0 <= negative <= positive <= 1; got negative={negative}, positive={positive}"
            )
        self.positive, self.negative, self.keep_best = positive, negative, keep_best

    @torch.no_grad()
    def __call__(self, anchors: Float[Tensor, "L 4"], targets: Targets) -> Assignment:
        """Assign the anchors of one network input to the truths of each image."""
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
        state = torch.where(best < self.negative, int(State.NEGATIVE), int(State.IGNORED))
        state = state.masked_fill(positive, int(State.POSITIVE)).to(torch.int8)
        return Assignment(truth, state, best.clamp(min=0))
