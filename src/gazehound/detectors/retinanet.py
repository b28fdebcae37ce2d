"""RetinaNet (Lin, Goyal, Girshick, He, Dollár 2017: Focal Loss for Dense Object Detection).

    image ── ResNet ── C3 C4 C5 ── FPN ── P3 P4 P5 P6 P7 ──┬── class tower ── sigmoid, K per anchor
                                                           └── box tower ──── 4 deltas per anchor

Nine anchors per cell; an anchor learns the class and box of the truth it overlaps by 0.5, is
background under 0.4, and is left out between. The focal loss lets all of the ~100,000 anchors of an
image take part: it turns the easy ones down instead of sampling.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gazehound.data.preprocess import Preprocess
from gazehound.detectors.network import Network
from gazehound.errors import ConfigError, unknown_name
from gazehound.nn.anchors import AnchorGrid
from gazehound.nn.assigners.assigner import Assigner, Candidates, Predictions, lay_out
from gazehound.nn.assigners.named import make_assigner
from gazehound.nn.backbones import Backbone
from gazehound.nn.blocks import group_norm
from gazehound.nn.coders import Coder, DeltaCoder
from gazehound.nn.heads.dense import DenseHead
from gazehound.nn.losses.box import BoxLoss, SmoothL1Loss, make_box_loss
from gazehound.nn.losses.focal import FocalLoss
from gazehound.nn.necks.fpn import FPN
from gazehound.nn.necks.neck import Neck, make_neck
from gazehound.nn.normaliser import normaliser
from gazehound.nn.postprocess import Found, Limits, decode_dense
from gazehound.records import Classes, Targets


@dataclass(frozen=True)
class Dense:
    """What RetinaNet computes for a batch.

    Attributes:
        logits: (B, L, K) class logits of all anchors.
        deltas: (B, L, 4) box deltas from the anchors.
        candidates: the anchors, level by level.
    """

    logits: Float[Tensor, "B L K"]
    deltas: Float[Tensor, "B L 4"]
    candidates: Candidates

    @property
    def anchors(self) -> Float[Tensor, "L 4"]:
        """Return the anchors, ``xyxy`` in pixels of the network input."""
        return self.candidates.boxes

    @property
    def lengths(self) -> tuple[int, ...]:
        """Return the anchors per pyramid level; they sum to L."""
        return self.candidates.lengths


class RetinaNet(Network):
    """The detector, built of finished parts; the paper's part is the default.

    Args:
        classes: names and ids of the labels.
        preprocess: how images become network inputs at prediction.
        backbone: gives C3, C4, C5.
        neck: gives P3..P7; default FPN (see :func:`make_neck` for the others).
        head: class and box towers; default four 3x3 convolutions of 256 channels.
        anchors: default 3 sizes x 3 ratios per cell.
        coder: default plain deltas.
        assigner: default IoU 0.5 / 0.4; any other one fits.
        class_loss: default focal loss, alpha 0.25, gamma 2.
        box_loss: default smooth L1 with beta 1/9.
        limits: what ``decode`` keeps.
    """

    def __init__(
        self,
        classes: Classes,
        preprocess: Preprocess,
        backbone: Backbone,
        neck: Neck | None = None,
        head: DenseHead | None = None,
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
        self.anchors = anchors or AnchorGrid()
        self.head = head or DenseHead(self.neck.channels, len(classes), self.anchors.per_cell)
        self.coder = coder or DeltaCoder()
        self.assign = assigner or make_assigner("max-iou")
        self.class_loss = class_loss or FocalLoss()
        self.box_loss = box_loss or SmoothL1Loss()
        self.limits = limits or Limits()

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Dense:
        """Compute the logits, deltas and anchors of a batch."""
        pyramid = self.neck(self.backbone(images))  # P3..P7, each B x 256 x H/s x W/s
        logits, deltas = self.head(pyramid)  # B x L x K, B x L x 4
        return Dense(logits, deltas, lay_out(self.anchors, pyramid, images))

    def losses(self, outputs: Dense, targets: Targets) -> dict[str, Tensor]:
        """Return ``class`` and ``box``, each divided by the number of positive anchors of the batch."""
        with torch.no_grad():
            decoded = self.coder.decode(outputs.deltas.float(), outputs.anchors)
            predictions = Predictions(outputs.logits, decoded)
        match = self.assign(outputs.candidates, targets, predictions)
        labels, boxes = match.labels_of(targets), match.boxes_of(targets)
        class_loss = self.class_loss(outputs.logits, labels, match.positive, match.counted)
        box_loss = self.box_loss(outputs.deltas, boxes, outputs.anchors, match.positive, self.coder)
        positives = normaliser(match.positive.sum())
        return {"class": class_loss.sum() / positives, "box": box_loss.sum() / positives}

    def decode(self, outputs: Dense, sizes: Float[Tensor, "B 2"]) -> Found:
        """Keep the best per level, decode, clip to the image content, suppress per class."""
        scores = torch.sigmoid(outputs.logits.float())
        return decode_dense(
            scores, outputs.deltas, outputs.anchors, outputs.lengths, sizes, self.coder, self.limits
        )


def retinanet(
    classes: Classes,
    *,
    preprocess: Preprocess | None = None,
    backbone: str = "resnet50",
    pretrained: bool = False,
    norm: str | None = None,
    norm_eps: float | None = None,
    neck: str = "fpn",
    version: int = 1,
    channels: int = 256,
    depth: int = 4,
    box_weight: float = 1.0,
    box_loss: str | None = None,
    assigner: str = "max-iou",
    dialect: str = "gazehound",
    limits: Mapping[str, Any] | None = None,
) -> RetinaNet:
    """Build RetinaNet on any timm backbone.

    Args:
        classes: names and ids.
        preprocess: how images become network inputs.
        backbone: a timm name.
        pretrained: start the backbone from ImageNet weights.
        norm: of the backbone (see :class:`Backbone`).
        norm_eps: of the backbone's norms.
        neck: ``fpn``, ``panet``, ``bifpn``, ``nas-fpn`` or ``yolo``.
        version: 1, the paper; 2, torchvision's ``_v2``: GroupNorm towers, P6 from C5, GIoU loss.
        channels: of the pyramid and the towers.
        depth: 3x3 convolutions in each tower.
        box_weight: factor on the box loss.
        box_loss: ``smooth-l1``, ``iou``, ``giou``, ``diou``, ``ciou`` or ``eiou``; ``None`` takes the
            version's.
        assigner: ``max-iou`` or another name of :func:`make_assigner`.
        dialect: ``torchvision`` reproduces torchvision's anchors; anything it trained needs them.
        limits: fields of :class:`Limits` that differ from its defaults.

    Raises:
        ConfigError: ``version`` or ``dialect`` is unknown.
    """
    if version not in (1, 2):
        raise ConfigError(
            f"version must be 1 (the paper) or 2 (torchvision's _v2); got {version!r}"
        )
    if dialect not in ("gazehound", "torchvision"):
        raise unknown_name("dialect", dialect, ("gazehound", "torchvision"))
    norm_of_towers = group_norm if version == 2 else None
    body = Backbone(backbone, pretrained=pretrained, norm=norm, norm_eps=norm_eps)
    pyramid = make_neck(neck, body.channels, channels, extra="c5" if version == 2 else "p5")
    anchors = AnchorGrid(torchvision=dialect == "torchvision")
    return RetinaNet(
        classes,
        preprocess or Preprocess(),
        body,
        pyramid,
        DenseHead(channels, len(classes), anchors.per_cell, depth=depth, norm=norm_of_towers),
        anchors,
        assigner=make_assigner(assigner),
        box_loss=make_box_loss(box_loss or ("giou" if version == 2 else "smooth-l1"), box_weight),
        limits=Limits(**(limits or {})),
    )


def retinanet_r18(classes: Classes, **options: Any) -> RetinaNet:
    """RetinaNet for small machines: ResNet-18, pyramid and towers of 128 channels, version 2's head."""
    small = {"backbone": "resnet18", "channels": 128, "version": 2, "box_weight": 2.0}
    return retinanet(classes, **{**small, **options})


def retinanet_r50(classes: Classes, **options: Any) -> RetinaNet:
    """RetinaNet as published, ResNet-50: torchvision's ``retinanet_resnet50_fpn``."""
    return retinanet(classes, **{"backbone": "resnet50", **options})


def retinanet_r50_v2(classes: Classes, **options: Any) -> RetinaNet:
    """RetinaNet with torchvision's improvements: its ``retinanet_resnet50_fpn_v2``."""
    return retinanet(classes, **{"backbone": "resnet50", "version": 2, **options})


def retinanet_r101(classes: Classes, **options: Any) -> RetinaNet:
    """RetinaNet as published, ResNet-101."""
    return retinanet(classes, **{"backbone": "resnet101", **options})
