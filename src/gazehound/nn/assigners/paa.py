"""Probabilistic anchor assignment (Kim and Lee 2020, PAA, section 3.2 and algorithm 1)."""

from __future__ import annotations

import torch
from torch import Tensor

from gazehound.boxes.iou import giou, iou
from gazehound.nn.assigners.assigner import Candidates, Predictions
from gazehound.nn.assigners.assignment import Assignment, State
from gazehound.nn.assigners.max_iou import MaxIoUAssigner
from gazehound.nn.assigners.mixture import fit_mixture
from gazehound.nn.losses.focal import focal_loss
from gazehound.records import Targets


class PAAAssigner:
    """Which anchors are positive is read off the losses they have: two Gaussians part them.

    Candidates of a truth are the anchors whose best truth it is, with IoU >= ``overlap`` (and those that
    tie its best IoU). The ``best`` ones of least loss (focal + ``box_weight`` * GIoU loss, no gradient)
    per level go into a mixture of two Gaussians. Positive are the members of the component of lower loss
    up to its most likely one (the paper's figure 3 c); all others are negative. A single candidate is
    positive: there is nothing to part. Of members of equal likelihood the one of lowest loss counts.

    The assignment's ``overlap`` is the IoU of the predicted box with the matched truth.

    Args:
        best: candidates per truth and level.
        overlap: least IoU of a candidate's anchor with its truth.
        box_weight: of the GIoU loss in the score.
        iterations: at most so many steps of EM.
    """

    def __init__(
        self,
        best: int = 9,
        overlap: float = 0.1,
        box_weight: float = 1.3,
        iterations: int = 100,
    ) -> None:
        self.best, self.box_weight, self.iterations = best, box_weight, iterations
        self.near = MaxIoUAssigner(overlap, overlap)

    @torch.no_grad()
    def __call__(
        self, candidates: Candidates, targets: Targets, predictions: Predictions
    ) -> Assignment:
        """Assign the anchors of one network input to the truths of each image."""
        near = self.near(candidates, targets)
        boxes, truths = predictions.boxes.float(), near.boxes_of(targets)
        loss = self._loss(boxes, truths, near.labels_of(targets), predictions)  # B x L
        places, losses = self._candidates(candidates, near, loss, targets)  # B x M x C
        chosen = low_loss_group(losses.flatten(0, 1), self.iterations).view_as(places)
        positive = torch.zeros_like(loss, dtype=torch.int64)
        positive = positive.scatter_add(1, places.flatten(1), chosen.flatten(1).long()) > 0
        state = torch.where(positive, int(State.POSITIVE), int(State.NEGATIVE)).to(torch.int8)
        return Assignment(near.truth, state, iou(boxes, truths))

    def _loss(
        self, boxes: Tensor, truths: Tensor, labels: Tensor, predictions: Predictions
    ) -> Tensor:
        """Return what each anchor loses on its own best truth (B, L)."""
        logits = predictions.logits.float()
        miss = focal_loss(logits, torch.zeros_like(logits))
        own = logits.gather(2, labels[..., None])[..., 0]
        hit = focal_loss(own, torch.ones_like(own)) - focal_loss(own, torch.zeros_like(own))
        apart: Tensor = 1 - giou(boxes, truths)
        return miss.sum(dim=2) + hit + self.box_weight * apart

    def _candidates(
        self, candidates: Candidates, near: Assignment, loss: Tensor, targets: Targets
    ) -> tuple[Tensor, Tensor]:
        """Return each truth's anchors of least loss (B, M, C) and their losses, infinite where none."""
        truths = torch.arange(targets.valid.shape[1], device=loss.device)[:, None]  # M x 1
        own = (near.truth[:, None] == truths) & near.positive[:, None]  # B x M x L
        own &= targets.valid[..., None]
        all_losses = loss[:, None].where(own, torch.inf)
        places, losses, start = [], [], 0
        for level in all_losses.split(candidates.lengths, dim=2):
            count = min(self.best, level.shape[2])
            least, index = level.topk(count, dim=2, largest=False)
            places.append(index + start)
            losses.append(least)
            start += level.shape[2]
        return torch.cat(places, dim=2), torch.cat(losses, dim=2)


def low_loss_group(losses: Tensor, iterations: int = 100) -> Tensor:
    """Say which of each row's losses (N, C; infinite: none) belong to the group of low loss (bool).

    The group ends at its most likely member: what is lower is in, what is higher is out.
    """
    valid = torch.isfinite(losses)
    mixture = fit_mixture(losses, valid, iterations)
    joint = mixture.log_joint(losses.masked_fill(~valid, 0.0))  # N x C x 2
    member = (joint[..., 0] >= joint[..., 1]) & valid
    likelihood = torch.logsumexp(joint, dim=2).masked_fill(~member, -torch.inf)
    highest = likelihood.amax(dim=1, keepdim=True)
    peak = losses.masked_fill(~(member & (likelihood == highest)), torch.inf)
    last = peak.amin(dim=1, keepdim=True)
    single = valid.sum(dim=1, keepdim=True) == 1
    return (member & (losses <= last)) | (valid & single)
