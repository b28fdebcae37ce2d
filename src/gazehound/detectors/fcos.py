"""FCOS (Tian, Shen, Chen, He 2019: FCOS: Fully Convolutional One-Stage Object Detection).

    image ── ResNet ── C3 C4 C5 ── FPN ── P3 P4 P5 P6 P7 ──┬── class tower ── sigmoid, K per point
                                                           └── box tower ──┬─ ReLU: l, t, r, b
                                                                           └─ centre-ness

No anchors: every cell is a point that says how far away the four sides of its object are. Which level
an object belongs to follows from its size, which points from nearness to its centre; where objects
overlap the smaller one wins. Centre-ness turns down boxes seen from an object's rim:
score = sqrt(class x centre-ness).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gazehound.data.preprocess import Preprocess
from gazehound.detectors.network import Network
from gazehound.errors import unknown_name
from gazehound.nn.assigners.assigner import Assigner, lay_out
from gazehound.nn.assigners.fcos import FCOSAssigner
from gazehound.nn.backbones import Backbone
from gazehound.nn.coders import Coder, DistanceCoder
from gazehound.nn.heads.quality import QualityHead, QualityOutputs
from gazehound.nn.losses.box import BoxLoss, IoULoss
from gazehound.nn.losses.centreness import centreness, judgement_loss
from gazehound.nn.losses.focal import FocalLoss
from gazehound.nn.necks.fpn import FPN
from gazehound.nn.necks.neck import Neck
from gazehound.nn.normaliser import normaliser
from gazehound.nn.points import PointGrid
from gazehound.nn.postprocess import Found, Limits, decode_dense
from gazehound.nn.trunks import pyramid_trunk
from gazehound.records import Classes, Targets


class FCOS(Network):
    """The detector, built of finished parts; the improved version of the paper's authors by default.

    Args:
        classes: names and ids of the labels.
        preprocess: how images become network inputs at prediction.
        backbone: gives C3, C4, C5.
        neck: gives P3..P7; default FPN.
        head: default two towers of four convolutions with biases and GroupNorm, scales per level.
        points: default the middle of each cell.
        coder: default distances in strides.
        assigner: default levels by size, centre sampling with radius 1.5.
        class_loss: default focal loss, alpha 0.25, gamma 2.
        box_loss: default GIoU.
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
        self.assign = assigner or FCOSAssigner()
        self.class_loss = class_loss or FocalLoss()
        self.box_loss = box_loss or IoULoss("giou")
        self.limits = limits or Limits(score=0.2, iou=0.6)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> QualityOutputs:
        """Compute class logits, distances in strides and centre-ness logits of a batch."""
        pyramid = self.neck(self.backbone(images))  # P3..P7, each B x 256 x H/s x W/s
        logits, distances, centre = self.head(pyramid)  # B x L x K, B x L x 4, B x L
        candidates = lay_out(self.points, pyramid, images)
        return QualityOutputs(logits, F.relu(distances), centre, candidates)

    def losses(self, outputs: QualityOutputs, targets: Targets) -> dict[str, Tensor]:
        """Return ``class``, ``box`` and ``centreness``, each divided by the batch's positive points."""
        match = self.assign(outputs.candidates, targets, outputs.predictions(self.coder))
        labels, boxes, positive = match.labels_of(targets), match.boxes_of(targets), match.positive
        wanted = centreness(outputs.candidates.centres, boxes)
        losses = {
            "class": self.class_loss(outputs.logits, labels, positive, match.counted),
            "box": self.box_loss(outputs.regression, boxes, outputs.anchors, positive, self.coder),
            "centreness": judgement_loss(outputs.judged, wanted, positive),
        }
        positives = normaliser(positive.sum())
        return {name: loss.sum() / positives for name, loss in losses.items()}

    def decode(self, outputs: QualityOutputs, sizes: Float[Tensor, "B 2"]) -> Found:
        """Score by class and centre-ness, keep the best per level, suppress per class."""
        scores = outputs.judged_scores().sqrt()
        return decode_dense(
            scores, outputs.regression, outputs.anchors, outputs.lengths, sizes,
            self.coder, self.limits,
        )  # fmt: skip


def fcos(
    classes: Classes,
    *,
    preprocess: Preprocess | None = None,
    channels: int = 256,
    depth: int = 4,
    dialect: str = "gazehound",
    limits: Mapping[str, Any] | None = None,
    **trunk: Any,
) -> FCOS:
    """Build FCOS on any timm backbone.

    Args:
        classes: names and ids.
        preprocess: how images become network inputs.
        channels: of the pyramid and the towers.
        depth: 3x3 convolutions in each tower.
        dialect: ``torchvision`` has its points in the cells' corners and no scales per level, as its
            weights need it.
        limits: fields of :class:`Limits` that differ from FCOS's (score 0.2, NMS 0.6).
        trunk: backbone, pretrained, norm, neck, ...: see :func:`pyramid_trunk`.

    Raises:
        ConfigError: ``dialect`` or a part's name is unknown.
    """
    if dialect not in ("gazehound", "torchvision"):
        raise unknown_name("dialect", dialect, ("gazehound", "torchvision"))
    theirs = dialect == "torchvision"
    body, neck = pyramid_trunk(channels=channels, **trunk)
    return FCOS(
        classes,
        preprocess or Preprocess(),
        body,
        neck,
        QualityHead(channels, len(classes), depth=depth, bias=True, scaled=not theirs),
        PointGrid(torchvision=theirs),
        limits=Limits(**{"score": 0.2, "iou": 0.6, **(limits or {})}),
    )


def fcos_r18(classes: Classes, **options: Any) -> FCOS:
    """FCOS for small machines: ResNet-18, pyramid and towers of 128 channels."""
    return fcos(classes, **{"backbone": "resnet18", "channels": 128, **options})


def fcos_r50(classes: Classes, **options: Any) -> FCOS:
    """FCOS as published, ResNet-50: takes torchvision's ``fcos_resnet50_fpn`` in its dialect."""
    return fcos(classes, **{"backbone": "resnet50", **options})


def fcos_r101(classes: Classes, **options: Any) -> FCOS:
    """FCOS as published, ResNet-101."""
    return fcos(classes, **{"backbone": "resnet101", **options})
