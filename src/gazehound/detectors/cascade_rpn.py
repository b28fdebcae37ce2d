"""Cascade RPN with Fast R-CNN's head behind it (Vu, Jang, Pham, Yoo 2019: Cascade RPN).

    maps ── dilated 3x3 ──┬── 4 deltas ── refined anchors ──┐   one square per cell to begin with
                          └── bridged features ──┐          │
                                                 ▼          ▼
                                          adaptive 3x3 (samples spread over the anchor)
                                                 ├── objectness
                                                 └── 4 deltas ── proposals ── RoIAlign ── class, box

Few good proposals instead of many: 300, of which a second stage with a threshold of 0.65 learns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from gazehound.data.preprocess import Preprocess
from gazehound.detectors.network import Network
from gazehound.nn.assigners.max_iou import MaxIoUAssigner
from gazehound.nn.backbones import Backbone
from gazehound.nn.cascade_rpn import CascadeOutputs, CascadeProposalNetwork
from gazehound.nn.coders import DeltaCoder
from gazehound.nn.heads.box import BoxPredictor, FullyConnectedBody
from gazehound.nn.heads.region import RegionHead
from gazehound.nn.losses.box import SmoothL1Loss
from gazehound.nn.necks.fpn import FPN
from gazehound.nn.postprocess import Found, Limits
from gazehound.nn.proposals import ProposalLimits
from gazehound.nn.rpn import input_sizes
from gazehound.nn.samplers import BalancedSampler
from gazehound.nn.two_stage import TwoStage, region_align
from gazehound.records import Classes, Targets

CLASS_WEIGHT = 1.5  # of the second stage's class loss
SCORE = 0.001  # lowest score kept


class CascadeRPN(Network):
    """The detector, built of finished parts.

    Args:
        classes: names and ids of the labels.
        preprocess: how images become network inputs at prediction.
        backbone: gives feature maps.
        neck: makes the maps that all stages read.
        rpn: the two-stage proposal network.
        region: classifies its proposals.
        limits: what ``decode`` keeps.
    """

    def __init__(
        self,
        classes: Classes,
        preprocess: Preprocess,
        backbone: nn.Module,
        neck: nn.Module,
        rpn: CascadeProposalNetwork,
        region: RegionHead,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(classes, preprocess)
        self.backbone, self.neck = backbone, neck
        self.rpn, self.region = rpn, region
        self.limits = limits or Limits(score=SCORE)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> TwoStage[CascadeOutputs]:
        """Compute the feature maps and the proposal network's two stages."""
        maps = self.neck(self.backbone(images))  # P2..P6
        image = (images.shape[-2], images.shape[-1])
        return TwoStage(maps, self.rpn(maps, image), image)

    def losses(self, outputs: TwoStage[CascadeOutputs], targets: Targets) -> dict[str, Tensor]:
        """Return the proposal network's three losses, ``class`` and ``box``."""
        sizes = input_sizes(outputs.first.objectness, outputs.image)
        proposals = self.rpn.propose(outputs.first, sizes, learning=True)
        regions = self.region.label(proposals.with_truths(targets), targets)  # 256 per image
        logits, deltas = self.region(outputs.maps, regions.boxes)
        second = self.region.losses(logits, deltas, regions)
        first = self.rpn.losses(outputs.first, targets)
        return {**first, "class": CLASS_WEIGHT * second["class"], "box": second["box"]}

    def decode(self, outputs: TwoStage[CascadeOutputs], sizes: Float[Tensor, "B 2"]) -> Found:
        """Propose, classify and refine once more, suppress per class."""
        proposals = self.rpn.propose(outputs.first, sizes).shortened()
        return self.region.detect(outputs.maps, proposals, sizes, self.limits)


def cascade_rpn(
    classes: Classes,
    *,
    preprocess: Preprocess | None = None,
    backbone: str = "resnet50",
    pretrained: bool = False,
    norm: str | None = None,
    channels: int = 256,
    hidden: int = 1024,
    regions: int = 256,
    proposals: Mapping[str, Any] | None = None,
    learning_proposals: Mapping[str, Any] | None = None,
    limits: Mapping[str, Any] | None = None,
) -> CascadeRPN:
    """Build Cascade RPN and its second stage on any timm backbone.

    Args:
        classes: names and ids.
        preprocess: how images become network inputs.
        backbone: a timm name.
        pretrained: start the backbone from ImageNet weights.
        norm: of the backbone (see :class:`Backbone`).
        channels: of the pyramid.
        hidden: width of the fully connected layers.
        regions: that learn, per image.
        proposals: fields of :class:`ProposalLimits` at prediction that differ from 2,000 per level,
            300 per image and an IoU of 0.8.
        learning_proposals: likewise in training.
        limits: fields of :class:`Limits` that differ from its defaults and a score of 0.001.
    """
    strides = (4, 8, 16, 32)
    body = Backbone(backbone, strides, pretrained=pretrained, norm=norm)
    few = {"per_level": 2000, "per_image": 300, "iou": 0.8}
    network = CascadeProposalNetwork(
        channels,
        limits=ProposalLimits(**{**few, **(proposals or {})}),
        learning_limits=ProposalLimits(**{**few, **(learning_proposals or {})}),
    )
    per_region = FullyConnectedBody(channels, 7, hidden)
    region = RegionHead(
        region_align(strides),
        per_region,
        BoxPredictor(per_region.channels, len(classes)),
        coder=DeltaCoder((25.0, 25.0, 12.5, 12.5)),
        assigner=MaxIoUAssigner(0.65, 0.65, keep_best=False),
        sampler=BalancedSampler(regions, 0.25),
        box_loss=SmoothL1Loss(1.0),
    )
    return CascadeRPN(
        classes,
        preprocess or Preprocess(),
        body,
        FPN(body.channels, channels, extra="pool"),
        network,
        region,
        Limits(**{"score": SCORE, **(limits or {})}),
    )


def cascade_rpn_r50(classes: Classes, **options: Any) -> CascadeRPN:
    """Cascade RPN R50-FPN with the second stage of Faster R-CNN."""
    return cascade_rpn(classes, **{"backbone": "resnet50", **options})
