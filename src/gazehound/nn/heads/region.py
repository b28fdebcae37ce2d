"""The second stage of the R-CNN line: pool each proposal, say its class, move its box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from gazehound.boxes.formats import clip
from gazehound.nn.assigners.max_iou import MaxIoUAssigner
from gazehound.nn.coders import DeltaCoder
from gazehound.nn.heads.box import BoxPredictor
from gazehound.nn.losses.box import BoxLoss, SmoothL1Loss
from gazehound.nn.losses.regions import RegionClasses, SoftmaxClasses
from gazehound.nn.normaliser import normaliser
from gazehound.nn.pooling import RegionPool
from gazehound.nn.postprocess import Found, Limits, decode_regions
from gazehound.nn.proposals import Proposals
from gazehound.nn.samplers import BalancedSampler, draw_of
from gazehound.records import Targets

REGION_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
"""Of the deltas of regions: one over their usual spread (Girshick 2015; Ren et al. 2015)."""


@dataclass(frozen=True)
class Labelled:
    """Regions and what they should learn.

    Attributes:
        boxes: (B, R, 4) ``xyxy``, pixels of the network input.
        valid: (B, R); only these take part in the losses.
        positive: (B, R); only these learn a box, and a class other than the background.
        labels: (B, R); of the matched truth, meaningful where positive.
        truths: (B, R, 4) boxes of the matched truths, meaningful where positive.
    """

    boxes: Float[Tensor, "B R 4"]
    valid: Bool[Tensor, "B R"]
    positive: Bool[Tensor, "B R"]
    labels: Int[Tensor, "B R"]
    truths: Float[Tensor, "B R 4"]


class RegionHead(nn.Module):
    """A stage of region classification, built of finished parts; the defaults are Faster R-CNN's.

    Args:
        pool: makes features of one size of each box.
        body: from a pooled region (R, C, S, S) to numbers (R, D).
        predictor: from those to class logits and box deltas.
        coder: of the deltas.
        assigner: IoU from which a region learns a truth, and under which it is background.
        sampler: which regions learn; ``None`` for all.
        class_loss: of K + 1 logits per region.
        box_loss: of the positive regions' deltas.
    """

    def __init__(
        self,
        pool: RegionPool,
        body: nn.Module,
        predictor: BoxPredictor,
        *,
        coder: DeltaCoder | None = None,
        assigner: MaxIoUAssigner | None = None,
        sampler: BalancedSampler | None = None,
        class_loss: RegionClasses | None = None,
        box_loss: BoxLoss | None = None,
    ) -> None:
        super().__init__()
        self.pool, self.body, self.predictor = pool, body, predictor
        self.coder = coder or DeltaCoder(REGION_WEIGHTS)
        self.assign = assigner or MaxIoUAssigner(0.5, 0.5, keep_best=False)
        self.sample = sampler
        self.class_loss = class_loss or SoftmaxClasses()
        self.box_loss = box_loss or SmoothL1Loss(1 / 9)

    def forward(
        self, maps: Sequence[Tensor], boxes: Float[Tensor, "B R 4"]
    ) -> tuple[Float[Tensor, "B R K1"], Float[Tensor, "B R C 4"]]:
        """Return the class logits, and the deltas of each class (or of all at once) of each region."""
        logits, deltas = self.predictor(self.body(self.pool(maps, boxes)))
        shape = boxes.shape[:2]
        return logits.unflatten(0, shape), deltas.unflatten(0, shape)

    @torch.no_grad()
    def label(self, proposals: Proposals, targets: Targets) -> Labelled:
        """Match regions to truths, and draw those that learn."""
        match = self.assign(proposals.boxes, targets).within(proposals.valid)
        columns = (proposals.boxes, match.labels_of(targets), match.boxes_of(targets))
        if self.sample is None:
            boxes, labels, truths = columns
            return Labelled(boxes, match.counted, match.positive, labels, truths)
        counted = proposals.boxes * proposals.valid[..., None]  # padding has no say in the draw
        drawn = self.sample(match, draw_of(counted))
        boxes, labels, truths = (drawn.rows(column) for column in columns)
        return Labelled(boxes, drawn.valid, drawn.positive, labels, truths)

    def losses(
        self, logits: Float[Tensor, "B R K1"], deltas: Float[Tensor, "B R C 4"], regions: Labelled
    ) -> dict[str, Tensor]:
        """Return ``class`` and ``box``, each divided by the number of valid regions of the batch.

        The box loss is divided by all regions, not by the positive ones, so that each positive weighs
        the same however few there are (Ren et al. 2015, section 3.1.2).
        """
        class_loss = self.class_loss(logits, regions.labels, regions.positive) * regions.valid
        chosen = deltas_of(deltas, regions.labels)
        box_loss = self.box_loss(
            chosen, regions.truths, regions.boxes, regions.positive, self.coder
        )
        count = normaliser(regions.valid.sum())
        return {"class": class_loss.sum() / count, "box": box_loss.sum() / count}

    def refine(
        self,
        deltas: Float[Tensor, "B R C 4"],
        boxes: Float[Tensor, "B R 4"],
        sizes: Float[Tensor, "B 2"],
    ) -> Float[Tensor, "B R C 4"]:
        """Decode the deltas at their regions, and clip to (height, width) ``sizes``."""
        decoded = self.coder.decode(deltas.float(), boxes[:, :, None])
        clipped: Tensor = clip(decoded, sizes[:, 0, None, None], sizes[:, 1, None, None])
        return clipped

    def detect(
        self,
        maps: Sequence[Tensor],
        proposals: Proposals,
        sizes: Float[Tensor, "B 2"],
        limits: Limits,
    ) -> Found:
        """Classify the proposals, move their boxes, suppress per class."""
        logits, deltas = self(maps, proposals.boxes)
        scores = self.class_loss.scores(logits) * proposals.valid[..., None]
        return decode_regions(scores, self.refine(deltas, proposals.boxes, sizes), limits)


def deltas_of(
    deltas: Float[Tensor, "B R C 4"], labels: Int[Tensor, "B R"]
) -> Float[Tensor, "B R 4"]:
    """Return each region's deltas for its label; with one box for all classes, that one."""
    if deltas.shape[2] == 1:
        return deltas[:, :, 0]
    index = labels[..., None, None].expand(-1, -1, 1, 4)
    return deltas.gather(2, index)[:, :, 0]
