"""GFL (Li, Wang, Wu, Chen, Hu, Li, Tang, Yang 2020: Generalized Focal Loss).

    image ── ResNet ── C3 C4 C5 ── FPN ── P3 P4 P5 P6 P7 ──┬── class tower ── sigmoid, K per cell
                                                           └── box tower ──── 4 x 17 logits per cell

The class score is to be the IoU of the box with its object, so score and place cannot disagree, and no
further branch is needed (quality focal loss). A side's distance is the mean of a distribution over 0 to
16 strides, which can be sharp or say that the edge is unclear (distribution focal loss). ATSS assigns.
Varifocal loss (Zhang et al. 2021) may take the quality focal loss's place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gazehound.boxes.iou import iou
from gazehound.data.preprocess import Preprocess
from gazehound.detectors.network import Network
from gazehound.errors import unknown_name
from gazehound.nn.anchors import AnchorGrid, octave_sizes
from gazehound.nn.assigners.assigner import Assigner, lay_out
from gazehound.nn.assigners.named import make_assigner
from gazehound.nn.backbones import Backbone
from gazehound.nn.coders import IntegralCoder
from gazehound.nn.heads.quality import QualityHead, QualityOutputs
from gazehound.nn.losses.box import BoxLoss, IoULoss
from gazehound.nn.losses.distribution import DistributionFocalLoss
from gazehound.nn.losses.quality import ClassLoss, QualityFocalLoss, VarifocalLoss
from gazehound.nn.necks.fpn import FPN
from gazehound.nn.necks.neck import Neck
from gazehound.nn.normaliser import normaliser
from gazehound.nn.postprocess import Found, Limits, decode_dense
from gazehound.nn.trunks import pyramid_trunk
from gazehound.records import Classes, Targets

STRIDES = (8, 16, 32, 64, 128)
CLASS_LOSSES = {"quality-focal": QualityFocalLoss, "varifocal": VarifocalLoss}


class GFL(Network):
    """The detector, built of finished parts; the paper's part is the default.

    Args:
        classes: names and ids of the labels.
        preprocess: how images become network inputs at prediction.
        backbone: gives C3, C4, C5.
        neck: gives P3..P7; default FPN.
        head: default ATSS's without a judging branch, 17 numbers per side.
        anchors: default one square of eight strides per cell, for the assignment.
        coder: default distributions over 0 to 16 strides.
        assigner: default ATSS; any other one fits.
        class_loss: default quality focal loss, beta 2.
        box_loss: default GIoU with weight 2.
        distribution_loss: default distribution focal loss with weight 0.25.
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
        coder: IntegralCoder | None = None,
        assigner: Assigner | None = None,
        class_loss: ClassLoss | None = None,
        box_loss: BoxLoss | None = None,
        distribution_loss: DistributionFocalLoss | None = None,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(classes, preprocess)
        self.backbone = backbone
        self.neck = neck or FPN(backbone.channels)
        self.coder = coder or IntegralCoder(16, unit=1 / 8)
        numbers = 4 * (self.coder.reach + 1)
        self.head = head or QualityHead(
            self.neck.channels, len(classes), numbers=numbers, judged=False
        )
        self.anchors = anchors or AnchorGrid(STRIDES, octave_sizes(STRIDES, 8.0, 1), (1.0,))
        self.assign = assigner or make_assigner("atss")
        self.class_loss = class_loss or QualityFocalLoss()
        self.box_loss = box_loss or IoULoss("giou", 2.0)
        self.distribution_loss = distribution_loss or DistributionFocalLoss()
        self.limits = limits or Limits(iou=0.6)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> QualityOutputs:
        """Compute class logits and the logits of the distances' distributions of a batch."""
        pyramid = self.neck(self.backbone(images))  # P3..P7, each B x 256 x H/s x W/s
        logits, distributions, _ = self.head(pyramid)  # B x L x K, B x L x 68
        return QualityOutputs(logits, distributions, None, lay_out(self.anchors, pyramid, images))

    def losses(self, outputs: QualityOutputs, targets: Targets) -> dict[str, Tensor]:
        """Return ``class`` per positive; ``box``, ``distribution`` as means weighted by class score."""
        predictions = outputs.predictions(self.coder)
        match = self.assign(outputs.candidates, targets, predictions)
        labels, boxes, positive = match.labels_of(targets), match.boxes_of(targets), match.positive
        quality = iou(predictions.boxes, boxes)  # B x L, without gradient
        weights = torch.sigmoid(predictions.logits.float()).amax(dim=2)  # B x L
        class_loss = self.class_loss(outputs.logits, labels, positive, match.counted, quality)
        read = (outputs.regression, boxes, outputs.anchors, positive, self.coder, weights)
        total = normaliser((weights * positive).sum(), least=1e-6)
        return {
            "class": class_loss.sum() / normaliser(positive.sum()),
            "box": self.box_loss(*read).sum() / total,
            "distribution": self.distribution_loss(*read).sum() / total,
        }

    def decode(self, outputs: QualityOutputs, sizes: Float[Tensor, "B 2"]) -> Found:
        """Keep the best class scores per level, decode their boxes, suppress per class."""
        scores = torch.sigmoid(outputs.logits.float())
        return decode_dense(
            scores, outputs.regression, outputs.anchors, outputs.lengths, sizes,
            self.coder, self.limits,
        )  # fmt: skip


def gfl(
    classes: Classes,
    *,
    preprocess: Preprocess | None = None,
    channels: int = 256,
    depth: int = 4,
    reach: int = 16,
    class_loss: str = "quality-focal",
    assigner: str = "atss",
    limits: Mapping[str, Any] | None = None,
    **trunk: Any,
) -> GFL:
    """Build GFL on any timm backbone.

    Args:
        classes: names and ids.
        preprocess: how images become network inputs.
        channels: of the pyramid and the towers.
        depth: 3x3 convolutions in each tower.
        reach: longest distance of a side, in strides.
        class_loss: ``quality-focal`` or ``varifocal``.
        assigner: ``atss`` or another name of :func:`make_assigner`.
        limits: fields of :class:`Limits` that differ from GFL's (score 0.05, NMS 0.6).
        trunk: backbone, pretrained, norm, neck, ...: see :func:`pyramid_trunk`.

    Raises:
        ConfigError: a part's name is unknown.
    """
    if class_loss not in CLASS_LOSSES:
        raise unknown_name("class loss of GFL", class_loss, CLASS_LOSSES)
    body, neck = pyramid_trunk(channels=channels, **trunk)
    numbers = 4 * (reach + 1)
    return GFL(
        classes,
        preprocess or Preprocess(),
        body,
        neck,
        QualityHead(channels, len(classes), numbers=numbers, depth=depth, judged=False),
        coder=IntegralCoder(reach, unit=1 / 8),
        assigner=make_assigner(assigner),
        class_loss=CLASS_LOSSES[class_loss](),
        limits=Limits(**{"iou": 0.6, **(limits or {})}),
    )


def gfl_r18(classes: Classes, **options: Any) -> GFL:
    """GFL for small machines: ResNet-18, pyramid and towers of 128 channels."""
    return gfl(classes, **{"backbone": "resnet18", "channels": 128, **options})


def gfl_r50(classes: Classes, **options: Any) -> GFL:
    """GFL as published, ResNet-50."""
    return gfl(classes, **{"backbone": "resnet50", **options})


def gfl_r101(classes: Classes, **options: Any) -> GFL:
    """GFL as published, ResNet-101."""
    return gfl(classes, **{"backbone": "resnet101", **options})
