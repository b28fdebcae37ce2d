"""SimOTA (Ge et al. 2021, YOLOX, section 2.1): optimal transport cut down to its dynamic k."""

from __future__ import annotations

import torch
from torch import Tensor

from gazehound.boxes.iou import pairwise
from gazehound.nn.assigners.assigner import Candidates, Predictions
from gazehound.nn.assigners.assignment import Assignment, State
from gazehound.nn.assigners.costs import joint_entropy_cost
from gazehound.nn.assigners.geometry import near_centres
from gazehound.nn.assigners.selection import lowest
from gazehound.records import Targets

OUTSIDE = 1e6  # cost of a place that is near some truth's centre, but not near this one's


class SimOTAAssigner:
    """Each truth takes its k cheapest candidates; k is the sum of its best IoUs, at least 1.

    As YOLOX's released code: candidates are the places within ``radius`` strides of some truth's
    centre; cost = class entropy + ``iou_weight`` * -ln IoU + 1e6 away from this truth's centre. A place
    that several truths take goes to the truth (of all) for which it is cheapest; of equally cheap ones,
    and so of identical truths, to the first. A truth with no place near its centre stays unmatched.

    The assignment's ``overlap`` is the IoU of the predicted box with the matched truth.

    Args:
        radius: half side of the centre area, in strides.
        most: best IoUs that are summed up; no truth takes more places than these.
        iou_weight: of -ln IoU in the cost.
    """

    def __init__(self, radius: float = 1.5, most: int = 10, iou_weight: float = 3.0) -> None:
        self.radius, self.most, self.iou_weight = radius, most, iou_weight

    @torch.no_grad()
    def __call__(
        self, candidates: Candidates, targets: Targets, predictions: Predictions
    ) -> Assignment:
        """Assign the candidates of one network input to the truths of each image."""
        valid = targets.valid[..., None]  # B x M x 1
        near = near_centres(candidates.centres, candidates.stride, targets.boxes, self.radius)
        near &= valid  # B x M x L
        possible = near.any(dim=1, keepdim=True) & near.any(dim=2, keepdim=True)
        overlap = pairwise(targets.boxes, predictions.boxes.float())  # B x M x L
        overlap = overlap.where(possible, 0.0)
        cost = self._cost(overlap, near, targets, predictions).where(possible, torch.inf)
        best = overlap.topk(min(self.most, overlap.shape[2]), dim=2).values
        count = best.sum(dim=2, keepdim=True).long().clamp(min=1) * valid  # B x M x 1
        return settle(lowest(cost, count, self.most), cost, overlap)

    def _cost(
        self, overlap: Tensor, near: Tensor, targets: Targets, predictions: Predictions
    ) -> Tensor:
        quality = None if predictions.quality is None else predictions.quality.float()
        of_class = joint_entropy_cost(predictions.logits.float(), quality, targets.labels)
        return of_class - self.iou_weight * torch.log(overlap + 1e-8) + OUTSIDE * ~near


def settle(taken: Tensor, cost: Tensor, overlap: Tensor) -> Assignment:
    """Give each place to one truth: the one that takes it, or the cheapest of all if several do.

    Args:
        taken: (B, M, L) bool, which truths take which places.
        cost: (B, M, L); infinite for pairs that cannot be.
        overlap: (B, M, L) IoU.
    """
    takers = taken.sum(dim=1)  # B x L
    truth = torch.where(takers > 1, cost.argmin(dim=1), taken.byte().argmax(dim=1))
    state = torch.where(takers > 0, int(State.POSITIVE), int(State.NEGATIVE)).to(torch.int8)
    matched = overlap.gather(1, truth[:, None])[:, 0]
    return Assignment(truth, state, matched)
