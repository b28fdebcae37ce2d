"""Faster R-CNN (Ren, He, Girshick, Sun 2015), on a pyramid (Lin et al. 2017), on C4 and on DC5.

    image ── ResNet ── C2..C5 ── FPN ── P2 ... P6 ──┬── RPN ── 3 anchors per cell ── proposals ─┐
                                                    │                                           │
                                                    └───────────── RoIAlign 7 x 7 ◄─────────────┘
                                                                       │
                                             two fully connected layers ──┬── K + 1 classes
                                                                          └── 4 deltas per class

The proposals of the first stage are positions only: no gradient passes through them. Both stages learn
from balanced samples, since nearly all anchors and most proposals are background.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from gazehound.data.preprocess import Preprocess
from gazehound.detectors.network import Network
from gazehound.errors import ConfigError
from gazehound.nn.anchors import AnchorGrid
from gazehound.nn.backbones import Backbone
from gazehound.nn.heads.box import BoxPredictor, ConvolutionalBody, FullyConnectedBody, StageBody
from gazehound.nn.heads.region import RegionHead
from gazehound.nn.heads.rpn import RPNHead
from gazehound.nn.losses.regions import ObjectnessClasses, SoftmaxClasses
from gazehound.nn.mobilenet_maps import MobileNetMaps
from gazehound.nn.necks.fpn import FPN
from gazehound.nn.pooling import RegionPool
from gazehound.nn.postprocess import Found, Limits
from gazehound.nn.rpn import AnchorOutputs, ProposalNetwork, input_sizes, proposal_network
from gazehound.nn.samplers import BalancedSampler
from gazehound.nn.two_stage import (
    TwoStage,
    dilate_first,
    known_dialect,
    pyramid_anchors,
    region_align,
    single_map_anchors,
    stride_first,
)
from gazehound.records import Classes, Targets


class FasterRCNN(Network):
    """The detector, built of finished parts.

    Args:
        classes: names and ids of the labels.
        preprocess: how images become network inputs at prediction.
        backbone: gives feature maps.
        neck: from those to the maps that both stages read; ``nn.Identity()`` for none.
        rpn: the proposal network.
        region: the second stage.
        limits: what ``decode`` keeps.
    """

    def __init__(
        self,
        classes: Classes,
        preprocess: Preprocess,
        backbone: nn.Module,
        neck: nn.Module,
        rpn: ProposalNetwork,
        region: RegionHead,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(classes, preprocess)
        self.backbone, self.neck = backbone, neck
        self.rpn, self.region = rpn, region
        self.limits = limits or Limits()

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> TwoStage[AnchorOutputs]:
        """Compute the feature maps and the first stage of a batch."""
        maps = self.neck(self.backbone(images))  # P2..P6, each B x 256 x H/s x W/s
        image = (images.shape[-2], images.shape[-1])
        return TwoStage(maps, self.rpn(maps, image), image)

    def losses(self, outputs: TwoStage[AnchorOutputs], targets: Targets) -> dict[str, Tensor]:
        """Return the losses of both stages; the truths count as proposals, too."""
        sizes = input_sizes(outputs.first.objectness, outputs.image)
        proposals = self.rpn.propose(outputs.first, sizes, learning=True)
        regions = self.region.label(proposals.with_truths(targets), targets)  # 512 per image
        logits, deltas = self.region(outputs.maps, regions.boxes)
        second = self.region.losses(logits, deltas, regions)
        return {**self.rpn.losses(outputs.first, targets), **second}

    def decode(self, outputs: TwoStage[AnchorOutputs], sizes: Float[Tensor, "B 2"]) -> Found:
        """Propose, classify and refine the proposals, suppress per class."""
        proposals = self.rpn.propose(outputs.first, sizes).shortened()
        return self.region.detect(outputs.maps, proposals, sizes, self.limits)


def assembled(
    classes: Classes,
    preprocess: Preprocess | None,
    backbone: nn.Module,
    neck: nn.Module,
    rpn: tuple[RPNHead, AnchorGrid],
    region: tuple[RegionPool, FullyConnectedBody | ConvolutionalBody | StageBody],
    *,
    agnostic: bool = False,
    objectness: bool = False,
    regions: int = 512,
    proposals: Mapping[str, Any] | None = None,
    learning_proposals: Mapping[str, Any] | None = None,
    limits: Mapping[str, Any] | None = None,
) -> FasterRCNN:
    """Put the parts that differ between variants together with those that do not.

    Args:
        classes: names and ids.
        preprocess: how images become network inputs.
        backbone: gives feature maps.
        neck: makes of them the maps that both stages read.
        rpn: head and anchors of the first stage.
        region: pool and body of the second stage.
        agnostic: one box per region, not one for each class.
        objectness: say objectness and class of a region apart, not background as a class.
        regions: that learn, per image; a quarter of them positive if there are so many.
        proposals: fields of :class:`ProposalLimits` at prediction that differ from its defaults.
        learning_proposals: likewise in training, from 2,000 per level and 2,000 per image.
        limits: fields of :class:`Limits` that differ from its defaults.
    """
    pool, body = region
    predictor = BoxPredictor(body.channels, len(classes), agnostic=agnostic)
    sampler = BalancedSampler(regions, 0.25)
    class_loss = ObjectnessClasses() if objectness else SoftmaxClasses()
    return FasterRCNN(
        classes,
        preprocess or Preprocess(),
        backbone,
        neck,
        proposal_network(*rpn, proposals, learning_proposals),
        RegionHead(pool, body, predictor, sampler=sampler, class_loss=class_loss),
        Limits(**(limits or {})),
    )


def faster_rcnn(
    classes: Classes,
    *,
    preprocess: Preprocess | None = None,
    backbone: str = "resnet50",
    pretrained: bool = False,
    norm: str | None = None,
    norm_eps: float | None = None,
    version: int = 1,
    channels: int = 256,
    hidden: int = 1024,
    dialect: str = "gazehound",
    **rest: Any,
) -> FasterRCNN:
    """Build Faster R-CNN with a feature pyramid on any timm backbone.

    Args:
        classes: names and ids.
        preprocess: how images become network inputs.
        backbone: a timm name.
        pretrained: start the backbone from ImageNet weights.
        norm: of the backbone (see :class:`Backbone`).
        norm_eps: of the backbone's norms.
        version: 1, the paper; 2, torchvision's ``_v2``: BatchNorm in the pyramid, two convolutions in
            the proposal network, four convolutions and one fully connected layer per region.
        channels: of the pyramid.
        hidden: width of the fully connected layers.
        dialect: ``torchvision`` or ``detectron2`` for what was trained there.
        rest: see :func:`assembled`.

    Raises:
        ConfigError: ``version`` or ``dialect`` is unknown.
    """
    if version not in (1, 2):
        raise ConfigError(f"version must be 1 (the paper) or 2 (torchvision's); got {version!r}")
    strides = (4, 8, 16, 32)
    body = Backbone(backbone, strides, pretrained=pretrained, norm=norm, norm_eps=norm_eps)
    if known_dialect(dialect) == "detectron2":
        stride_first(body)
    neck = FPN(body.channels, channels, extra="pool", norm=nn.BatchNorm2d if version == 2 else None)
    per_region = (FullyConnectedBody if version == 1 else ConvolutionalBody)(channels, 7, hidden)
    first = RPNHead(channels, 3, depth=version), pyramid_anchors(dialect)
    second = region_align(strides, 7, dialect), per_region
    return assembled(classes, preprocess, body, neck, first, second, **rest)


def faster_rcnn_r18(classes: Classes, **options: Any) -> FasterRCNN:
    """Faster R-CNN for small machines: ResNet-18, a pyramid of 128 channels, layers of 512."""
    small = {"backbone": "resnet18", "channels": 128, "hidden": 512}
    return faster_rcnn(classes, **{**small, **options})


def faster_rcnn_r50(classes: Classes, **options: Any) -> FasterRCNN:
    """Faster R-CNN R50-FPN: torchvision's ``fasterrcnn_resnet50_fpn``."""
    return faster_rcnn(classes, **{"backbone": "resnet50", **options})


def faster_rcnn_r50_v2(classes: Classes, **options: Any) -> FasterRCNN:
    """Faster R-CNN R50-FPN with torchvision's improvements: ``fasterrcnn_resnet50_fpn_v2``."""
    return faster_rcnn(classes, **{"backbone": "resnet50", "version": 2, **options})


def faster_rcnn_r101(classes: Classes, **options: Any) -> FasterRCNN:
    """Faster R-CNN R101-FPN."""
    return faster_rcnn(classes, **{"backbone": "resnet101", **options})


def faster_rcnn_mobilenet(
    classes: Classes,
    *,
    preprocess: Preprocess | None = None,
    pretrained: bool = False,
    norm: str | None = None,
    channels: int = 256,
    hidden: int = 1024,
    dialect: str = "gazehound",
    **rest: Any,
) -> FasterRCNN:
    """Faster R-CNN on MobileNetV3-Large: torchvision's ``fasterrcnn_mobilenet_v3_large_fpn``.

    Both maps have stride 32, so the regions are pooled from the first; all anchor sizes lie on each.
    """
    body = MobileNetMaps(pretrained=pretrained, norm=norm)
    anchors = single_map_anchors((32, 32, 64), known_dialect(dialect))
    first = RPNHead(channels, anchors.per_cell), anchors
    second = region_align((32,), 7, dialect), FullyConnectedBody(channels, 7, hidden)
    neck = FPN(body.channels, channels, extra="pool")
    rest["proposals"] = {"score": 0.05, **rest.get("proposals", {})}
    return assembled(classes, preprocess, body, neck, first, second, **rest)


def faster_rcnn_mobilenet_320(classes: Classes, **options: Any) -> FasterRCNN:
    """Its fast variant, on images of 320: ``fasterrcnn_mobilenet_v3_large_320_fpn``."""
    few = {"per_level": 150, "per_image": 150, **options.pop("proposals", {})}
    small = {"preprocess": Preprocess(size=320, largest=640), "proposals": few}
    return faster_rcnn_mobilenet(classes, **{**small, **options})


def _on_one_map(
    classes: Classes,
    preprocess: Preprocess | None,
    body: Backbone,
    region: tuple[RegionPool, FullyConnectedBody | StageBody],
    dialect: str,
    rest: dict[str, Any],
) -> FasterRCNN:
    """Put a detector without a pyramid together; all anchor sizes lie on its one map of stride 16."""
    anchors = single_map_anchors((16,), dialect)
    first = RPNHead(body.channels[0], anchors.per_cell), anchors
    # A single map has all the candidates that a pyramid spreads over its levels.
    rest["proposals"] = {"per_level": 6000, **rest.get("proposals", {})}
    rest["learning_proposals"] = {"per_level": 12000, **rest.get("learning_proposals", {})}
    preprocess = preprocess or Preprocess(multiple=16)
    return assembled(classes, preprocess, body, nn.Identity(), first, region, **rest)


def faster_rcnn_c4(
    classes: Classes,
    *,
    preprocess: Preprocess | None = None,
    backbone: str = "resnet50",
    pretrained: bool = False,
    norm: str | None = None,
    dialect: str = "gazehound",
    **rest: Any,
) -> FasterRCNN:
    """Faster R-CNN on C4 (He et al. 2016, appendix A): stages 1 to 3 see the image, stage 4 each region."""
    body = Backbone(backbone, (16,), pretrained=pretrained, norm=norm)
    stage = StageBody(backbone, pretrained=pretrained, norm=norm)
    if known_dialect(dialect) == "detectron2":
        stride_first(body)
        stride_first(stage)
    region = region_align((16,), 14, dialect), stage
    return _on_one_map(classes, preprocess, body, region, dialect, rest)


def faster_rcnn_dc5(
    classes: Classes,
    *,
    preprocess: Preprocess | None = None,
    backbone: str = "resnet50",
    pretrained: bool = False,
    norm: str | None = None,
    hidden: int = 1024,
    dialect: str = "gazehound",
    **rest: Any,
) -> FasterRCNN:
    """Faster R-CNN on a dilated C5 of stride 16 (Dai et al. 2017, section 4.1, and Detectron2's DC5)."""
    body = Backbone(backbone, (16,), pretrained=pretrained, norm=norm, output_stride=16)
    if known_dialect(dialect) == "detectron2":
        stride_first(body)
        dilate_first(body.body.layer4)
    per_region = FullyConnectedBody(body.channels[0], 7, hidden)
    region = region_align((16,), 7, dialect), per_region
    return _on_one_map(classes, preprocess, body, region, dialect, rest)
