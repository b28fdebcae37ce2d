"""EfficientDet (Tan, Pang, Le 2020: EfficientDet: Scalable and Efficient Object Detection).

    image ── EfficientNet ── C3 C4 C5 ── BiFPN, repeated ── P3 .. P7 ──┬── class tower ── K per anchor
                                                                       └── box tower ──── 4 deltas

One number, the compound coefficient, scales everything at once: resolution, backbone, width and
depth of the pyramid, depth of the towers. All convolutions of pyramid and towers are separable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gazehound.data.preprocess import Preprocess
from gazehound.detectors.network import Network
from gazehound.errors import unknown_name
from gazehound.nn.aspect_anchors import AspectAnchors
from gazehound.nn.assigners.assigner import Assigner, Candidates, Predictions, lay_out
from gazehound.nn.assigners.max_iou import MaxIoUAssigner
from gazehound.nn.assigners.named import make_assigner
from gazehound.nn.backbones import Backbone
from gazehound.nn.coders import DeltaCoder
from gazehound.nn.heads.separable import SeparableHead
from gazehound.nn.losses.box import BoxLoss, SmoothL1Loss
from gazehound.nn.losses.focal import FocalLoss
from gazehound.nn.necks.bifpn import BiFPN
from gazehound.nn.necks.neck import Neck
from gazehound.nn.normaliser import normaliser
from gazehound.nn.postprocess import Found, Limits, decode_dense
from gazehound.records import Classes, Targets

BOX_WEIGHT = 50.0
HUBER_DELTA = 0.1


@dataclass(frozen=True)
class Dense:
    """What EfficientDet computes for a batch.

    Attributes:
        logits: (B, L, K) class logits of all anchors.
        deltas: (B, L, 4) box deltas from the anchors.
        candidates: the L anchors, ``xyxy`` in pixels of the network input, level by level.
    """

    logits: Float[Tensor, "B L K"]
    deltas: Float[Tensor, "B L 4"]
    candidates: Candidates

    @property
    def anchors(self) -> Float[Tensor, "L 4"]:
        """Return the anchors of all levels."""
        return self.candidates.boxes


class EfficientDet(Network):
    """The detector, built of finished parts; the paper's part is the default.

    Args:
        classes: names and ids of the labels.
        preprocess: how images become network inputs at prediction.
        backbone: gives C3, C4, C5.
        neck: gives P3..P7; default a BiFPN of three cells and 64 channels, as D0 has it.
        head: class and box towers; default three separable convolutions, as D0 has it.
        anchors: default three sizes x three shapes per cell.
        coder: default plain deltas.
        assigner: default IoU 0.5, nothing ignored.
        class_loss: default focal loss, alpha 0.25, gamma 1.5.
        box_loss: default Huber's with delta 0.1, which is a tenth of smooth L1 with beta 0.1.
        box_weight: factor on the mean of the box loss over the four numbers.
        limits: what ``decode`` keeps; ``per_level`` counts for all levels together.
    """

    def __init__(
        self,
        classes: Classes,
        preprocess: Preprocess,
        backbone: Backbone,
        neck: Neck | None = None,
        head: SeparableHead | None = None,
        anchors: AspectAnchors | None = None,
        coder: DeltaCoder | None = None,
        assigner: Assigner | None = None,
        class_loss: FocalLoss | None = None,
        box_loss: BoxLoss | None = None,
        box_weight: float = BOX_WEIGHT * HUBER_DELTA,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(classes, preprocess)
        self.backbone = backbone
        self.neck = neck or BiFPN(backbone.channels)
        self.anchors = anchors or AspectAnchors()
        self.head = head or SeparableHead(self.neck.channels, len(classes), self.anchors.per_cell)
        self.coder = coder or DeltaCoder()
        self.assign = assigner or MaxIoUAssigner(positive=0.5, negative=0.5)
        self.class_loss = class_loss or FocalLoss(alpha=0.25, gamma=1.5)
        self.box_loss = box_loss or SmoothL1Loss(beta=HUBER_DELTA)
        self.box_weight = box_weight
        self.limits = limits or Limits(score=0.01, per_level=5000)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Dense:
        """Compute the logits, deltas and anchors of a batch."""
        pyramid = self.neck(self.backbone(images))  # P3..P7, each B x C x H/s x W/s
        logits, deltas = self.head(pyramid)  # B x L x K, B x L x 4
        return Dense(logits, deltas, lay_out(self.anchors, pyramid, images))

    def losses(self, outputs: Dense, targets: Targets) -> dict[str, Tensor]:
        """Return ``class`` and ``box``, divided by one more than the positive anchors of the batch."""
        with torch.no_grad():
            decoded = self.coder.decode(outputs.deltas.float(), outputs.anchors)
            predictions = Predictions(outputs.logits, decoded)
        match = self.assign(outputs.candidates, targets, predictions)
        labels, boxes = match.labels_of(targets), match.boxes_of(targets)
        class_loss = self.class_loss(outputs.logits, labels, match.positive, match.counted)
        box_loss = self.box_loss(outputs.deltas, boxes, outputs.anchors, match.positive, self.coder)
        count = normaliser(match.positive.sum(), plus=1)
        box = self.box_weight * box_loss.sum() / (4 * count)
        return {"class": class_loss.sum() / count, "box": box}

    def decode(self, outputs: Dense, sizes: Float[Tensor, "B 2"]) -> Found:
        """Keep the best of all levels, decode, clip to the image content, suppress per class."""
        scores = torch.sigmoid(outputs.logits.float())
        lengths = (scores.shape[1],)  # the best of all levels, not of each
        return decode_dense(
            scores, outputs.deltas, outputs.anchors, lengths, sizes, self.coder, self.limits
        )


@dataclass(frozen=True)
class Scale:
    """What the compound coefficient stands for (table 1 and equations 1 to 3).

    Attributes:
        backbone: a timm name, without the ``tf_`` of TensorFlow's weights.
        size: of the input, pixels.
        channels: of pyramid and towers.
        cells: of the BiFPN.
        depth: of the towers.
        levels: of the pyramid, from P3.
        weighting: of the BiFPN's sums.
        anchor_scale: side of the smallest anchor over the stride.
    """

    backbone: str
    size: int
    channels: int
    cells: int
    depth: int
    levels: int = 5
    weighting: str = "fast"
    anchor_scale: float = 4.0


SCALES: Mapping[str, Scale] = {
    "d0": Scale("efficientnet_b0", 512, 64, 3, 3),
    "d1": Scale("efficientnet_b1", 640, 88, 4, 3),
    "d2": Scale("efficientnet_b2", 768, 112, 5, 3),
    "d3": Scale("efficientnet_b3", 896, 160, 6, 4),
    "d4": Scale("efficientnet_b4", 1024, 224, 7, 4),
    "d5": Scale("efficientnet_b5", 1280, 288, 7, 4),
    "d6": Scale("efficientnet_b6", 1280, 384, 8, 5, weighting="sum"),
    "d7": Scale("efficientnet_b6", 1536, 384, 8, 5, weighting="sum", anchor_scale=5.0),
    "d7x": Scale("efficientnet_b7", 1536, 384, 8, 5, levels=6, weighting="sum"),
}


def efficientdet(
    classes: Classes,
    *,
    scale: str = "d0",
    preprocess: Preprocess | None = None,
    backbone: str | None = None,
    pretrained: bool = False,
    norm: str | None = None,
    channels: int | None = None,
    cells: int | None = None,
    depth: int | None = None,
    momentum: float = 0.01,
    tensorflow: bool = False,
    assigner: str | None = None,
    limits: Mapping[str, Any] | None = None,
) -> EfficientDet:
    """Build EfficientDet.

    Args:
        classes: names and ids.
        scale: ``d0`` to ``d7x``.
        preprocess: how images become network inputs.
        backbone: a timm name; default that of the scale.
        pretrained: start the backbone from ImageNet weights.
        norm: of the backbone (see :class:`Backbone`).
        channels: of pyramid and towers; default that of the scale.
        cells: of the BiFPN; default that of the scale.
        depth: of the towers; default that of the scale.
        momentum: of the norms of pyramid and towers, in PyTorch's sense.
        tensorflow: with the paddings and the redundant biases of weights from TensorFlow.
        assigner: another than the paper's, by name (see :func:`make_assigner`).
        limits: fields of :class:`Limits` that differ from this detector's defaults.

    Raises:
        ConfigError: ``scale`` is unknown.
    """
    if scale not in SCALES:
        raise unknown_name("scale of EfficientDet", scale, SCALES)
    plan = SCALES[scale]
    name = backbone or ("tf_" if tensorflow else "") + plan.backbone
    body = Backbone(name, pretrained=pretrained, norm=norm)
    width = channels or plan.channels
    batch_norm = partial(nn.BatchNorm2d, eps=1e-3, momentum=momentum)
    neck = BiFPN(
        body.channels, width, levels=plan.levels, cells=cells or plan.cells,
        weighting=plan.weighting, norm=batch_norm, same=tensorflow, bias=tensorflow,
    )  # fmt: skip
    anchors = AspectAnchors([8 * 2**i for i in range(plan.levels)], plan.anchor_scale)
    head = SeparableHead(
        width, len(classes), anchors.per_cell, depth=depth or plan.depth, levels=plan.levels,
        norm=batch_norm, bias=tensorflow,
    )  # fmt: skip
    return EfficientDet(
        classes,
        preprocess or Preprocess(resize="longer", size=plan.size, multiple=128, square=True),
        body,
        neck,
        head,
        anchors,
        assigner=make_assigner(assigner) if assigner else None,
        limits=Limits(**{"score": 0.01, "per_level": 5000, **(limits or {})}),
    )


def efficientdet_d0(classes: Classes, **options: Any) -> EfficientDet:
    """EfficientDet-D0."""
    return efficientdet(classes, **{"scale": "d0", **options})


def efficientdet_d1(classes: Classes, **options: Any) -> EfficientDet:
    """EfficientDet-D1."""
    return efficientdet(classes, **{"scale": "d1", **options})


def efficientdet_d2(classes: Classes, **options: Any) -> EfficientDet:
    """EfficientDet-D2."""
    return efficientdet(classes, **{"scale": "d2", **options})


def efficientdet_d3(classes: Classes, **options: Any) -> EfficientDet:
    """EfficientDet-D3."""
    return efficientdet(classes, **{"scale": "d3", **options})


def efficientdet_d4(classes: Classes, **options: Any) -> EfficientDet:
    """EfficientDet-D4."""
    return efficientdet(classes, **{"scale": "d4", **options})


def efficientdet_d5(classes: Classes, **options: Any) -> EfficientDet:
    """EfficientDet-D5."""
    return efficientdet(classes, **{"scale": "d5", **options})


def efficientdet_d6(classes: Classes, **options: Any) -> EfficientDet:
    """EfficientDet-D6."""
    return efficientdet(classes, **{"scale": "d6", **options})


def efficientdet_d7(classes: Classes, **options: Any) -> EfficientDet:
    """EfficientDet-D7: D6 at a larger input, with larger anchors."""
    return efficientdet(classes, **{"scale": "d7", **options})


def efficientdet_d7x(classes: Classes, **options: Any) -> EfficientDet:
    """EfficientDet-D7x: a larger backbone and a sixth level."""
    return efficientdet(classes, **{"scale": "d7x", **options})
