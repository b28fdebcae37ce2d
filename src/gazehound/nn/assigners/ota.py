"""Optimal transport assignment (Ge et al. 2021, OTA, section 3)."""

from __future__ import annotations

import torch
from torch import Tensor

from gazehound.boxes.iou import pairwise
from gazehound.nn.assigners.assigner import Candidates, Predictions
from gazehound.nn.assigners.assignment import Assignment, State
from gazehound.nn.assigners.costs import focal_cost
from gazehound.nn.assigners.geometry import near_centres, sides
from gazehound.nn.assigners.sinkhorn import sinkhorn
from gazehound.nn.losses.focal import focal_loss
from gazehound.records import Targets

INSIDE = 0.01  # pixels that a place must lie inside a box, as in the authors' code
OUTSIDE = 1e3  # cost of a place outside; the authors' 1e6 leaves float32 no digits for the rest


class OTAAssigner:
    """Truths supply labels, places demand one each, the background supplies the rest.

    A pair costs its focal loss + ``iou_weight`` * -ln IoU; a place as background costs the focal loss of
    no class. A truth supplies k labels, k the sum of its ``most`` best IoUs among the places inside it
    and near its centre, at least 1. The transport plan is found by Sinkhorn's iteration; each supplier's
    row is divided by its largest entry, and each place goes to the supplier with the largest one; of
    equal ones to the cheapest, and of identical truths to the first.

    A place outside a truth's area, or away from its centre, costs so much that it carries labels only
    where a truth has no room for them; it never becomes that truth's positive. So of twenty truths over
    one place one gets it, and the others stay unmatched, like truths that hold no place at all.

    The assignment's ``overlap`` is the IoU of the predicted box with the matched truth.

    Args:
        radius: half side of the centre area, in strides.
        most: best IoUs that are summed up.
        iou_weight: of -ln IoU in the cost.
        epsilon: strength of the plan's entropy.
        iterations: of Sinkhorn.
    """

    def __init__(
        self,
        radius: float = 2.5,
        most: int = 20,
        iou_weight: float = 1.5,
        epsilon: float = 0.1,
        iterations: int = 50,
    ) -> None:
        self.radius, self.most, self.iou_weight = radius, most, iou_weight
        self.epsilon, self.iterations = epsilon, iterations

    @torch.no_grad()
    def __call__(
        self, candidates: Candidates, targets: Targets, predictions: Predictions
    ) -> Assignment:
        """Assign the places of one network input to the truths of each image."""
        inside = self._inside(candidates, targets)  # B x M x L
        overlap = pairwise(targets.boxes, predictions.boxes.float()) * targets.valid[..., None]
        cost = self._cost(inside, overlap, targets, predictions)  # B x (M + 1) x L
        plan = self.plan(cost, inside, overlap)
        share = plan / plan.amax(dim=2, keepdim=True).clamp(min=torch.finfo(plan.dtype).tiny)
        largest = share == share.amax(dim=1, keepdim=True)
        supplier = cost.where(largest, torch.inf).argmin(dim=1)  # B x L
        background = supplier == inside.shape[1]
        truth = supplier.masked_fill(background, 0)
        here = truth[:, None]  # B x 1 x L
        positive = ~background & inside.gather(1, here)[:, 0]
        state = torch.where(positive, int(State.POSITIVE), int(State.NEGATIVE)).to(torch.int8)
        return Assignment(truth, state, overlap.gather(1, here)[:, 0])

    def plan(self, cost: Tensor, inside: Tensor, overlap: Tensor) -> Tensor:
        """Return the transport plan (B, M + 1, L); the last row is the background's.

        Args:
            cost: (B, M + 1, L) of each pair.
            inside: (B, M, L) bool, which pairs may be.
            overlap: (B, M, L) IoU of truths and predicted boxes.
        """
        best = (overlap * inside).topk(min(self.most, overlap.shape[2]), dim=2).values
        supply = best.sum(dim=2).floor().clamp(min=1) * inside.any(dim=2)  # B x M
        rest = (overlap.shape[2] - supply.sum(dim=1, keepdim=True)).clamp(min=0)
        demand = torch.ones_like(overlap[:, 0])
        supplies = torch.cat((supply, rest), dim=1)
        return sinkhorn(cost, supplies, demand, self.epsilon, self.iterations)

    def _inside(self, candidates: Candidates, targets: Targets) -> Tensor:
        points, stride = candidates.centres, candidates.stride
        shortest, _ = sides(points, targets.boxes)
        near = near_centres(points, stride, targets.boxes, self.radius)
        return (shortest > INSIDE) & near & targets.valid[..., None]

    def _cost(
        self, inside: Tensor, overlap: Tensor, targets: Targets, predictions: Predictions
    ) -> Tensor:
        logits = predictions.logits.float()
        distance = -self.iou_weight * overlap.clamp(min=torch.finfo(torch.float32).eps).log()
        of_truths = focal_cost(logits, targets.labels) + distance + OUTSIDE * ~inside
        of_truths = of_truths.where(targets.valid[..., None], 2 * OUTSIDE)
        of_background = focal_loss(logits, torch.zeros_like(logits)).sum(dim=2)
        return torch.cat((of_truths, of_background[:, None]), dim=1)
