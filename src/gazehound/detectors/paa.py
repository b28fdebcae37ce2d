"""PAA (Kim and Lee 2020: Probabilistic Anchor Assignment with IoU Prediction for Object Detection).

    image ── ResNet ── C3 C4 C5 ── FPN ── P3 P4 P5 P6 P7 ──┬── class tower ── sigmoid, K per anchor
                                                           └── box tower ──┬─ 4 deltas per anchor
                                                                           └─ predicted IoU

ATSS's network, but the network itself says which anchors suit it: the losses that an object's anchors
would have are taken as drawn from two Gaussians, and the group of low loss is positive. The third
branch predicts the box's IoU; score = sqrt(class x IoU). After NMS each box becomes the average of the
boxes around it, weighted by score and nearness (score voting).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor

from gazehound.boxes.iou import iou
from gazehound.data.preprocess import Preprocess
from gazehound.detectors.network import Network
from gazehound.errors import ConfigError
from gazehound.nn.anchors import AnchorGrid, octave_sizes
from gazehound.nn.assigners.assigner import Assigner, lay_out
from gazehound.nn.assigners.named import make_assigner
from gazehound.nn.backbones import Backbone
from gazehound.nn.coders import Coder, DeltaCoder
from gazehound.nn.heads.quality import QualityHead, QualityOutputs
from gazehound.nn.losses.box import BoxLoss, IoULoss
from gazehound.nn.losses.centreness import judgement_loss
from gazehound.nn.losses.focal import FocalLoss
from gazehound.nn.necks.fpn import FPN
from gazehound.nn.necks.neck import Neck
from gazehound.nn.normaliser import normaliser
from gazehound.nn.postprocess import Found, Limits, decode_best, suppress
from gazehound.nn.score_voting import vote
from gazehound.nn.trunks import pyramid_trunk
from gazehound.records import Classes, Targets

STRIDES = (8, 16, 32, 64, 128)
IOU_WEIGHT = 0.5  # of the branch's loss


class PAA(Network):
    """The detector, built of finished parts; the paper's part is the default.

    Args:
        classes: names and ids of the labels.
        preprocess: how images become network inputs at prediction.
        backbone: gives C3, C4, C5.
        neck: gives P3..P7; default FPN.
        head: default two towers of four convolutions with GroupNorm, scales per level.
        anchors: default one square of eight strides per cell.
        coder: default deltas with weights 10, 10, 5, 5.
        assigner: default PAA; any other one fits.
        class_loss: default focal loss, alpha 0.25, gamma 2.
        box_loss: default GIoU with weight 1.3.
        limits: what ``decode`` keeps.
        voting: whether boxes are moved by score voting after NMS.
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
        voting: bool = True,
    ) -> None:
        super().__init__(classes, preprocess)
        self.backbone = backbone
        self.neck = neck or FPN(backbone.channels)
        self.head = head or QualityHead(self.neck.channels, len(classes))
        self.anchors = anchors or AnchorGrid(STRIDES, octave_sizes(STRIDES, 8.0, 1), (1.0,))
        self.coder = coder or DeltaCoder((10.0, 10.0, 5.0, 5.0))
        self.assign = assigner or make_assigner("paa")
        self.class_loss = class_loss or FocalLoss()
        self.box_loss = box_loss or IoULoss("giou", 1.3)
        self.limits = limits or Limits(score=0.1, iou=0.6)
        self.voting = voting

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> QualityOutputs:
        """Compute class logits, deltas and IoU logits of a batch."""
        pyramid = self.neck(self.backbone(images))  # P3..P7, each B x 256 x H/s x W/s
        logits, deltas, overlap = self.head(pyramid)  # B x L x K, B x L x 4, B x L
        return QualityOutputs(logits, deltas, overlap, lay_out(self.anchors, pyramid, images))

    def losses(self, outputs: QualityOutputs, targets: Targets) -> dict[str, Tensor]:
        """Return ``class`` and ``iou`` per positive, ``box`` as a mean weighted by the predicted IoU."""
        predictions = outputs.predictions(self.coder)
        match = self.assign(outputs.candidates, targets, predictions)
        labels, boxes, positive = match.labels_of(targets), match.boxes_of(targets), match.positive
        overlap = iou(predictions.boxes, boxes)  # without gradient
        class_loss = self.class_loss(outputs.logits, labels, positive, match.counted)
        box_loss = self.box_loss(
            outputs.regression, boxes, outputs.anchors, positive, self.coder, overlap
        )
        judgement = judgement_loss(outputs.judged, overlap, positive)
        positives = normaliser(positive.sum())
        return {
            "class": class_loss.sum() / positives,
            "box": box_loss.sum() / normaliser((overlap * positive).sum(), least=1e-6),
            "iou": IOU_WEIGHT * judgement.sum() / positives,
        }

    def decode(self, outputs: QualityOutputs, sizes: Float[Tensor, "B 2"]) -> Found:
        """Score by class and IoU, keep the best per level, suppress per class, vote.

        Raises:
            ConfigError: the limits leave NMS to somebody else, and score voting comes after it.
        """
        if self.voting and not self.limits.nms:
            raise ConfigError(
                "PAA's score voting follows NMS, so NMS must be inside: export with --nms"
            )
        scores = outputs.judged_scores().sqrt()
        boxes, best, labels = decode_best(
            scores, outputs.regression, outputs.anchors, outputs.lengths, sizes,
            self.coder, self.limits,
        )  # fmt: skip
        found = suppress(boxes, best, labels, self.limits)
        return vote(found, boxes, best, labels) if self.voting else found


def paa(
    classes: Classes,
    *,
    preprocess: Preprocess | None = None,
    channels: int = 256,
    depth: int = 4,
    assigner: str = "paa",
    voting: bool = True,
    limits: Mapping[str, Any] | None = None,
    **trunk: Any,
) -> PAA:
    """Build PAA on any timm backbone.

    Args:
        classes: names and ids.
        preprocess: how images become network inputs.
        channels: of the pyramid and the towers.
        depth: 3x3 convolutions in each tower.
        assigner: ``paa`` or another name of :func:`make_assigner`.
        voting: whether boxes are moved by score voting after NMS.
        limits: fields of :class:`Limits` that differ from PAA's (score 0.1, NMS 0.6).
        trunk: backbone, pretrained, norm, neck, ...: see :func:`pyramid_trunk`.

    Raises:
        ConfigError: a part's name is unknown.
    """
    body, neck = pyramid_trunk(channels=channels, **trunk)
    return PAA(
        classes,
        preprocess or Preprocess(),
        body,
        neck,
        QualityHead(channels, len(classes), depth=depth),
        assigner=make_assigner(assigner),
        limits=Limits(**{"score": 0.1, "iou": 0.6, **(limits or {})}),
        voting=voting,
    )


def paa_r18(classes: Classes, **options: Any) -> PAA:
    """PAA for small machines: ResNet-18, pyramid and towers of 128 channels."""
    return paa(classes, **{"backbone": "resnet18", "channels": 128, **options})


def paa_r50(classes: Classes, **options: Any) -> PAA:
    """PAA as published, ResNet-50."""
    return paa(classes, **{"backbone": "resnet50", **options})


def paa_r101(classes: Classes, **options: Any) -> PAA:
    """PAA as published, ResNet-101."""
    return paa(classes, **{"backbone": "resnet101", **options})
