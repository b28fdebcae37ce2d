"""ATSS (Zhang, Chi, Yao, Lei, Li 2020: Bridging the Gap Between Anchor-based and Anchor-free Detection).

    image ── ResNet ── C3 C4 C5 ── FPN ── P3 P4 P5 P6 P7 ──┬── class tower ── sigmoid, K per anchor
                                                           └── box tower ──┬─ 4 deltas per anchor
                                                                           └─ centre-ness

What parts RetinaNet from FCOS is not anchors or points but who is positive. With one square anchor of
eight strides per cell, each object sets its own IoU threshold: mean plus standard deviation of the IoUs
of the anchors nearest to it. Score = class x centre-ness.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor

from gazehound.data.preprocess import Preprocess
from gazehound.detectors.network import Network
from gazehound.nn.anchors import AnchorGrid, octave_sizes
from gazehound.nn.assigners.assigner import Assigner, lay_out
from gazehound.nn.assigners.named import make_assigner
from gazehound.nn.backbones import Backbone
from gazehound.nn.coders import Coder, DeltaCoder
from gazehound.nn.heads.quality import QualityHead, QualityOutputs
from gazehound.nn.losses.box import BoxLoss, IoULoss
from gazehound.nn.losses.centreness import centreness, judgement_loss
from gazehound.nn.losses.focal import FocalLoss
from gazehound.nn.necks.fpn import FPN
from gazehound.nn.necks.neck import Neck
from gazehound.nn.normaliser import normaliser
from gazehound.nn.postprocess import Found, Limits, decode_dense
from gazehound.nn.trunks import pyramid_trunk
from gazehound.records import Classes, Targets

STRIDES = (8, 16, 32, 64, 128)


class ATSS(Network):
    """The detector, built of finished parts; the paper's part is the default.

    Args:
        classes: names and ids of the labels.
        preprocess: how images become network inputs at prediction.
        backbone: gives C3, C4, C5.
        neck: gives P3..P7; default FPN.
        head: default two towers of four convolutions with GroupNorm, scales per level.
        anchors: default one square of eight strides per cell.
        coder: default deltas with weights 10, 10, 5, 5.
        assigner: default ATSS, the nine nearest per level; any other one fits.
        class_loss: default focal loss, alpha 0.25, gamma 2.
        box_loss: default GIoU with weight 2.
        limits: what ``decode`` keeps.
    """

    def __init__(
        self,
        classes: Classes,
        preprocess: Preprocess,
        backbone: Backbone,
        neck: Neck | None = None,
        head: QualityHead | None = None,
        anchors: AnchorGrid | None = None,
        coder: Coder | None = None,
        assigner: Assigner | None = None,
        class_loss: FocalLoss | None = None,
        box_loss: BoxLoss | None = None,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(classes, preprocess)
        self.backbone = backbone
        self.neck = neck or FPN(backbone.channels)
        self.head = head or QualityHead(self.neck.channels, len(classes))
        self.anchors = anchors or AnchorGrid(STRIDES, octave_sizes(STRIDES, 8.0, 1), (1.0,))
        self.coder = coder or DeltaCoder((10.0, 10.0, 5.0, 5.0))
        self.assign = assigner or make_assigner("atss")
        self.class_loss = class_loss or FocalLoss()
        self.box_loss = box_loss or IoULoss("giou", 2.0)
        self.limits = limits or Limits(score=0.02, iou=0.6)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> QualityOutputs:
        """Compute class logits, deltas and centre-ness logits of a batch."""
        pyramid = self.neck(self.backbone(images))  # P3..P7, each B x 256 x H/s x W/s
        logits, deltas, centre = self.head(pyramid)  # B x L x K, B x L x 4, B x L
        return QualityOutputs(logits, deltas, centre, lay_out(self.anchors, pyramid, images))

    def losses(self, outputs: QualityOutputs, targets: Targets) -> dict[str, Tensor]:
        """Return ``class`` and ``centreness`` per positive, ``box`` as a mean weighted by centre-ness."""
        match = self.assign(outputs.candidates, targets, outputs.predictions(self.coder))
        labels, boxes, positive = match.labels_of(targets), match.boxes_of(targets), match.positive
        wanted = centreness(outputs.candidates.centres, boxes)
        class_loss = self.class_loss(outputs.logits, labels, positive, match.counted)
        box_loss = self.box_loss(
            outputs.regression, boxes, outputs.anchors, positive, self.coder, wanted
        )
        judgement = judgement_loss(outputs.judged, wanted, positive)
        positives = normaliser(positive.sum())
        return {
            "class": class_loss.sum() / positives,
            "box": box_loss.sum() / normaliser((wanted * positive).sum(), least=1e-6),
            "centreness": judgement.sum() / positives,
        }

    def decode(self, outputs: QualityOutputs, sizes: Float[Tensor, "B 2"]) -> Found:
        """Score by class times centre-ness, keep the best per level, suppress per class."""
        return decode_dense(
            outputs.judged_scores(), outputs.regression, outputs.anchors, outputs.lengths, sizes,
            self.coder, self.limits,
        )  # fmt: skip


def atss(
    classes: Classes,
    *,
    preprocess: Preprocess | None = None,
    channels: int = 256,
    depth: int = 4,
    assigner: str = "atss",
    limits: Mapping[str, Any] | None = None,
    **trunk: Any,
) -> ATSS:
    """Build ATSS on any timm backbone.

    Args:
        classes: names and ids.
        preprocess: how images become network inputs.
        channels: of the pyramid and the towers.
        depth: 3x3 convolutions in each tower.
        assigner: ``atss`` or another name of :func:`make_assigner`.
        limits: fields of :class:`Limits` that differ from ATSS's (score 0.02, NMS 0.6).
        trunk: backbone, pretrained, norm, neck, ...: see :func:`pyramid_trunk`.

    Raises:
        ConfigError: a part's name is unknown.
    """
    body, neck = pyramid_trunk(channels=channels, **trunk)
    return ATSS(
        classes,
        preprocess or Preprocess(),
        body,
        neck,
        QualityHead(channels, len(classes), depth=depth),
        assigner=make_assigner(assigner),
        limits=Limits(**{"score": 0.02, "iou": 0.6, **(limits or {})}),
    )


def atss_r18(classes: Classes, **options: Any) -> ATSS:
    """ATSS for small machines: ResNet-18, pyramid and towers of 128 channels."""
    return atss(classes, **{"backbone": "resnet18", "channels": 128, **options})


def atss_r50(classes: Classes, **options: Any) -> ATSS:
    """ATSS as published, ResNet-50."""
    return atss(classes, **{"backbone": "resnet50", **options})


def atss_r101(classes: Classes, **options: Any) -> ATSS:
    """ATSS as published, ResNet-101."""
    return atss(classes, **{"backbone": "resnet101", **options})
