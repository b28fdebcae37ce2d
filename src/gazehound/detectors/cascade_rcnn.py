"""Cascade R-CNN (Cai, Vasconcelos 2018: Cascade R-CNN: Delving into High Quality Object Detection).

    maps ── RPN ── proposals ── stage 1 ── boxes ── stage 2 ── boxes ── stage 3 ── boxes
                                IoU 0.5             IoU 0.6             IoU 0.7
                                   └── classes ────────┴── classes ────────┴── classes ── their mean

A head trained with a high IoU threshold has too few positives among raw proposals, and sees better boxes
at test than it learned from. Each stage here learns from what the stage before made better (figure 3d).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gazehound.data.preprocess import Preprocess
from gazehound.detectors.network import Network
from gazehound.errors import ConfigError
from gazehound.nn.backbones import Backbone
from gazehound.nn.heads.cascade import STAGE_WEIGHTS, cascade_heads, refined
from gazehound.nn.heads.region import RegionHead
from gazehound.nn.heads.rpn import RPNHead
from gazehound.nn.necks.fpn import FPN
from gazehound.nn.postprocess import Found, Limits, decode_regions
from gazehound.nn.rpn import AnchorOutputs, ProposalNetwork, input_sizes, proposal_network
from gazehound.nn.two_stage import (
    TwoStage,
    known_dialect,
    pyramid_anchors,
    region_align,
    stride_first,
)
from gazehound.records import Classes, Targets


class CascadeRCNN(Network):
    """The detector, built of finished parts.

    Args:
        classes: names and ids of the labels.
        preprocess: how images become network inputs at prediction.
        backbone: gives feature maps.
        neck: makes the maps that all stages read.
        rpn: the proposal network.
        stages: region heads with one box for all classes; the first samples, the others learn from all.
        weights: of the stages' losses.
        limits: what ``decode`` keeps.

    Raises:
        ConfigError: there is not one weight per stage.
    """

    def __init__(
        self,
        classes: Classes,
        preprocess: Preprocess,
        backbone: nn.Module,
        neck: nn.Module,
        rpn: ProposalNetwork,
        stages: Sequence[RegionHead],
        weights: Sequence[float] = STAGE_WEIGHTS,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(classes, preprocess)
        if len(stages) != len(weights):
            raise ConfigError(f"{len(stages)} stages need as many weights; got {len(weights)}")
        self.backbone, self.neck, self.rpn = backbone, neck, rpn
        self.stages = nn.ModuleList(stages)
        self.weights = tuple(weights)
        self.limits = limits or Limits()

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> TwoStage[AnchorOutputs]:
        """Compute the feature maps and the proposal network's outputs."""
        maps = self.neck(self.backbone(images))  # P2..P6
        image = (images.shape[-2], images.shape[-1])
        return TwoStage(maps, self.rpn(maps, image), image)

    def losses(self, outputs: TwoStage[AnchorOutputs], targets: Targets) -> dict[str, Tensor]:
        """Return the proposal network's losses and, weighted, ``class_k`` and ``box_k`` of each stage."""
        losses = self.rpn.losses(outputs.first, targets)
        sizes = input_sizes(outputs.first.objectness, outputs.image)
        proposals = self.rpn.propose(outputs.first, sizes, learning=True).with_truths(targets)
        for number, (stage, weight) in enumerate(zip(self._heads(), self.weights, strict=True), 1):
            regions = stage.label(proposals, targets)
            logits, deltas = stage(outputs.maps, regions.boxes)
            own = stage.losses(logits, deltas, regions)
            losses.update({f"{name}_{number}": weight * loss for name, loss in own.items()})
            proposals = refined(stage, deltas, regions.boxes, regions.valid, sizes)
        return losses

    def decode(self, outputs: TwoStage[AnchorOutputs], sizes: Float[Tensor, "B 2"]) -> Found:
        """Run each stage on the boxes of the one before; mean of the classes, boxes of the last."""
        proposals = self.rpn.propose(outputs.first, sizes).shortened()
        scores = []
        for stage in self._heads():
            logits, deltas = stage(outputs.maps, proposals.boxes)
            scores.append(stage.class_loss.scores(logits))
            proposals = refined(stage, deltas, proposals.boxes, proposals.valid, sizes)
        mean = torch.stack(scores).mean(dim=0) * proposals.valid[..., None]
        return decode_regions(mean, proposals.boxes[:, :, None], self.limits)

    def _heads(self) -> list[RegionHead]:
        return list(self.stages)  # type: ignore[arg-type]


def cascade_rcnn(
    classes: Classes,
    *,
    preprocess: Preprocess | None = None,
    backbone: str = "resnet50",
    pretrained: bool = False,
    norm: str | None = None,
    channels: int = 256,
    hidden: int = 1024,
    regions: int = 512,
    dialect: str = "gazehound",
    proposals: Mapping[str, Any] | None = None,
    learning_proposals: Mapping[str, Any] | None = None,
    limits: Mapping[str, Any] | None = None,
) -> CascadeRCNN:
    """Build Cascade R-CNN with a feature pyramid on any timm backbone.

    Args:
        classes: names and ids.
        preprocess: how images become network inputs.
        backbone: a timm name.
        pretrained: start the backbone from ImageNet weights.
        norm: of the backbone (see :class:`Backbone`).
        channels: of the pyramid.
        hidden: width of the fully connected layers.
        regions: that learn, per image.
        dialect: ``detectron2`` for what was trained there.
        proposals: fields of :class:`ProposalLimits` at prediction that differ from its defaults.
        learning_proposals: likewise in training, from 2,000 per level and 2,000 per image.
        limits: fields of :class:`Limits` that differ from its defaults.
    """
    strides = (4, 8, 16, 32)
    body = Backbone(backbone, strides, pretrained=pretrained, norm=norm)
    if known_dialect(dialect) == "detectron2":
        stride_first(body)
    pool = region_align(strides, 7, dialect)
    stages = cascade_heads(pool, channels, len(classes), hidden=hidden, regions=regions)
    anchors = pyramid_anchors(dialect)
    head = RPNHead(channels, anchors.per_cell)
    network = proposal_network(head, anchors, proposals, learning_proposals)
    return CascadeRCNN(
        classes,
        preprocess or Preprocess(),
        body,
        FPN(body.channels, channels, extra="pool"),
        network,
        stages,
        limits=Limits(**(limits or {})),
    )


def cascade_rcnn_r18(classes: Classes, **options: Any) -> CascadeRCNN:
    """Cascade R-CNN for small machines: ResNet-18, a pyramid of 128 channels, layers of 512."""
    small = {"backbone": "resnet18", "channels": 128, "hidden": 512}
    return cascade_rcnn(classes, **{**small, **options})


def cascade_rcnn_r50(classes: Classes, **options: Any) -> CascadeRCNN:
    """Cascade R-CNN R50-FPN."""
    return cascade_rcnn(classes, **{"backbone": "resnet50", **options})


def cascade_rcnn_r101(classes: Classes, **options: Any) -> CascadeRCNN:
    """Cascade R-CNN R101-FPN."""
    return cascade_rcnn(classes, **{"backbone": "resnet101", **options})
