"""OTA (Ge, Liu, Li, Yoshie, Sun 2021: OTA: Optimal Transport Assignment for Object Detection).

    image ── ResNet ── C3 C4 C5 ── FPN ── P3 P4 P5 P6 P7 ──┬── class tower ── sigmoid, K per point
                                                           └── box tower ──┬─ ReLU: l, t, r, b
                                                                           └─ predicted IoU

FCOS's network; its points are assigned all at once. Objects supply labels (as many as their predicted
boxes are worth), the background supplies the rest, points demand one each; what a pair would lose is
the price of the way, and Sinkhorn's iteration finds the cheapest plan. Score = sqrt(class x IoU).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gazehound.boxes.iou import iou
from gazehound.data.preprocess import Preprocess
from gazehound.detectors.network import Network
from gazehound.nn.assigners.assigner import Assigner, lay_out
from gazehound.nn.assigners.named import make_assigner
from gazehound.nn.backbones import Backbone
from gazehound.nn.coders import Coder, DistanceCoder
from gazehound.nn.heads.quality import QualityHead, QualityOutputs
from gazehound.nn.losses.box import BoxLoss, IoULoss
from gazehound.nn.losses.centreness import judgement_loss
from gazehound.nn.losses.focal import FocalLoss
from gazehound.nn.necks.fpn import FPN
from gazehound.nn.necks.neck import Neck
from gazehound.nn.normaliser import normaliser
from gazehound.nn.points import PointGrid
from gazehound.nn.postprocess import Found, Limits, decode_dense
from gazehound.nn.trunks import pyramid_trunk
from gazehound.records import Classes, Targets

IOU_WEIGHT = 0.5  # of the branch's loss


class OTA(Network):
    """The detector, built of finished parts; the paper's part is the default.

    Args:
        classes: names and ids of the labels.
        preprocess: how images become network inputs at prediction.
        backbone: gives C3, C4, C5.
        neck: gives P3..P7; default FPN.
        head: default FCOS's with scales per level.
        points: default the middle of each cell.
        coder: default distances in strides.
        assigner: default OTA; any other one fits.
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
        points: PointGrid | None = None,
        coder: Coder | None = None,
        assigner: Assigner | None = None,
        class_loss: FocalLoss | None = None,
        box_loss: BoxLoss | None = None,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(classes, preprocess)
        self.backbone = backbone
        self.neck = neck or FPN(backbone.channels)
        self.head = head or QualityHead(self.neck.channels, len(classes), bias=True)
        self.points = points or PointGrid()
        self.coder = coder or DistanceCoder()
        self.assign = assigner or make_assigner("ota")
        self.class_loss = class_loss or FocalLoss()
        self.box_loss = box_loss or IoULoss("giou", 2.0)
        self.limits = limits or Limits(iou=0.6)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> QualityOutputs:
        """Compute class logits, distances in strides and IoU logits of a batch."""
        pyramid = self.neck(self.backbone(images))  # P3..P7, each B x 256 x H/s x W/s
        logits, distances, overlap = self.head(pyramid)  # B x L x K, B x L x 4, B x L
        candidates = lay_out(self.points, pyramid, images)
        return QualityOutputs(logits, F.relu(distances), overlap, candidates)

    def losses(self, outputs: QualityOutputs, targets: Targets) -> dict[str, Tensor]:
        """Return ``class``, ``box`` and ``iou``, each divided by the batch's positive points."""
        predictions = outputs.predictions(self.coder)
        match = self.assign(outputs.candidates, targets, predictions)
        labels, boxes, positive = match.labels_of(targets), match.boxes_of(targets), match.positive
        overlap = iou(predictions.boxes, boxes)  # without gradient
        judgement = judgement_loss(outputs.judged, overlap, positive)
        losses = {
            "class": self.class_loss(outputs.logits, labels, positive, match.counted),
            "box": self.box_loss(outputs.regression, boxes, outputs.anchors, positive, self.coder),
            "iou": IOU_WEIGHT * judgement,
        }
        positives = normaliser(positive.sum())
        return {name: loss.sum() / positives for name, loss in losses.items()}

    def decode(self, outputs: QualityOutputs, sizes: Float[Tensor, "B 2"]) -> Found:
        """Score by class and IoU, keep the best per level, suppress per class."""
        scores = outputs.judged_scores().sqrt()
        return decode_dense(
            scores, outputs.regression, outputs.anchors, outputs.lengths, sizes,
            self.coder, self.limits,
        )  # fmt: skip


def ota(
    classes: Classes,
    *,
    preprocess: Preprocess | None = None,
    channels: int = 256,
    depth: int = 4,
    assigner: str = "ota",
    limits: Mapping[str, Any] | None = None,
    **trunk: Any,
) -> OTA:
    """Build OTA on any timm backbone.

    Args:
        classes: names and ids.
        preprocess: how images become network inputs.
        channels: of the pyramid and the towers.
        depth: 3x3 convolutions in each tower.
        assigner: ``ota`` or another name of :func:`make_assigner`.
        limits: fields of :class:`Limits` that differ from OTA's (score 0.05, NMS 0.6).
        trunk: backbone, pretrained, norm, neck, ...: see :func:`pyramid_trunk`.

    Raises:
        ConfigError: a part's name is unknown.
    """
    body, neck = pyramid_trunk(channels=channels, **trunk)
    return OTA(
        classes,
        preprocess or Preprocess(),
        body,
        neck,
        QualityHead(channels, len(classes), depth=depth, bias=True),
        assigner=make_assigner(assigner),
        limits=Limits(**{"iou": 0.6, **(limits or {})}),
    )


def ota_r18(classes: Classes, **options: Any) -> OTA:
    """OTA for small machines: ResNet-18, pyramid and towers of 128 channels."""
    return ota(classes, **{"backbone": "resnet18", "channels": 128, **options})


def ota_r50(classes: Classes, **options: Any) -> OTA:
    """OTA as published, ResNet-50."""
    return ota(classes, **{"backbone": "resnet50", **options})


def ota_r101(classes: Classes, **options: Any) -> OTA:
    """OTA as published, ResNet-101."""
    return ota(classes, **{"backbone": "resnet101", **options})
