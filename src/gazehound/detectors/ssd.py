"""SSD (Liu, Anguelov, Erhan, Szegedy, Reed, Fu, Berg 2016: SSD: Single Shot MultiBox Detector).

    image ── VGG16 ── conv4_3 ── fc7 ── conv8 ── conv9 ── conv10 ── conv11
                         │        │       │        │        │         │
                       L2 norm    │       │        │        │         │
                         └────────┴───────┴───┬────┴────────┴─────────┘
                     per map: 3x3 convolution ┼── softmax, K classes and background per default box
                                              └── 4 deltas per default box

8,732 default boxes at 300 pixels, 24,564 at 512. A truth gets its best box, and every box that overlaps
it by half; of the background only the three worst per positive are learned from.

SSDLite (Sandler et al. 2018, section 6.2; Howard et al. 2019, section 6.3) puts the same head, made of
depthwise convolutions, on MobileNetV3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gazehound.data.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from gazehound.detectors.network import Network
from gazehound.errors import unknown_name
from gazehound.nn.assigners.bipartite import BipartiteAssigner
from gazehound.nn.batch_norm import SteadyBatchNorm
from gazehound.nn.coders import DeltaCoder
from gazehound.nn.default_boxes import DefaultBoxes
from gazehound.nn.heads.ssd import SSDHead
from gazehound.nn.losses.box import BoxLoss, SmoothL1Loss
from gazehound.nn.losses.imbalance import HardNegatives, SoftmaxLoss
from gazehound.nn.mobilenet import SSDLITE320, MobileNetV3, depthwise_level, depthwise_predictor
from gazehound.nn.necks.extra_levels import SSD300, SSD512, ExtraLevel, ExtraLevels
from gazehound.nn.normaliser import normaliser
from gazehound.nn.postprocess import Found, Limits, best_per_class, keep_decoded
from gazehound.nn.vgg import ReducedVGG16
from gazehound.records import Classes, Targets

VGG_MEAN = (0.48235, 0.45882, 0.40784)  # 123, 117, 104: what Caffe's VGG16 was trained with
TWO, SIX = (2.0,), (2.0, 3.0)  # long over short side, beside 1
RATIOS = {300: (TWO, SIX, SIX, SIX, TWO, TWO), 512: (TWO, SIX, SIX, SIX, SIX, TWO, TWO)}
STEPS = {
    300: (8.0, 16.0, 32.0, 64.0, 100.0, 300.0),
    512: (8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0),
}
SCALES = {
    (300, "voc"): (30.0, 60.0, 111.0, 162.0, 213.0, 264.0, 315.0),
    (300, "coco"): (21.0, 45.0, 99.0, 153.0, 207.0, 261.0, 315.0),
    (512, "voc"): (35.0, 76.0, 153.0, 230.0, 307.0, 384.0, 460.0, 537.0),
    (512, "coco"): (20.0, 51.0, 133.0, 215.0, 296.0, 378.0, 460.0, 542.0),
}
SCALES_LITE = (64.0, 112.0, 160.0, 208.0, 256.0, 304.0, 320.0)


@dataclass(frozen=True)
class Boxed:
    """What SSD computes for a batch.

    Attributes:
        logits: (B, L, K + 1) class logits of all default boxes, the background last.
        deltas: (B, L, 4) box deltas from the default boxes.
        anchors: (L, 4) the default boxes, ``xyxy`` in pixels of the network input.
        lengths: default boxes per map; they sum to L.
    """

    logits: Float[Tensor, "B L C"]
    deltas: Float[Tensor, "B L 4"]
    anchors: Float[Tensor, "L 4"]
    lengths: tuple[int, ...]


class SSD(Network):
    """The detector, built of finished parts; the paper's part is the default.

    Args:
        classes: names and ids of the labels.
        preprocess: how images become network inputs at prediction.
        backbone: gives two maps; has ``channels``.
        extras: coarser maps behind them.
        anchors: the default boxes.
        head: default a 3x3 convolution per map for the classes and one for the boxes.
        coder: default deltas with variances 0.1 and 0.2.
        assigner: default the best box of each truth, and IoU 0.5.
        class_loss: default softmax with three hard negatives per positive.
        box_loss: default smooth L1 with beta 1.
        limits: what ``decode`` keeps.
    """

    def __init__(
        self,
        classes: Classes,
        preprocess: Preprocess,
        backbone: ReducedVGG16 | MobileNetV3,
        extras: ExtraLevels,
        anchors: DefaultBoxes,
        head: SSDHead | None = None,
        coder: DeltaCoder | None = None,
        assigner: BipartiteAssigner | None = None,
        class_loss: SoftmaxLoss | None = None,
        box_loss: BoxLoss | None = None,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(classes, preprocess)
        self.backbone, self.extras, self.anchors = backbone, extras, anchors
        channels = [*backbone.channels, *extras.channels]
        self.head = head or SSDHead(channels, anchors.per_cell, len(classes))
        self.coder = coder or DeltaCoder(weights=(10.0, 10.0, 5.0, 5.0))
        self.assign = assigner or BipartiteAssigner(positive=0.5)
        self.class_loss = class_loss or SoftmaxLoss(HardNegatives(ratio=3.0))
        self.box_loss = box_loss or SmoothL1Loss(beta=1.0)
        self.limits = limits or Limits(score=0.01, iou=0.45, per_image=200, per_class=400)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Boxed:
        """Compute the logits, deltas and default boxes of a batch."""
        maps = self.backbone(images)
        maps = [*maps, *self.extras(maps[-1])]
        logits, deltas = self.head(maps)  # B x L x (K+1), B x L x 4
        grids = [(m.shape[-2], m.shape[-1]) for m in maps]
        anchors = self.anchors(grids, (images.shape[-2], images.shape[-1]))  # L x 4
        per_cell = zip(grids, self.anchors.per_cell, strict=True)
        lengths = tuple(rows * columns * count for (rows, columns), count in per_cell)
        return Boxed(logits, deltas, anchors, lengths)

    def losses(self, outputs: Boxed, targets: Targets) -> dict[str, Tensor]:
        """Return ``class`` and ``box``, each divided by the number of positives of the batch."""
        match = self.assign(outputs.anchors, targets)
        labels, boxes = match.labels_of(targets), match.boxes_of(targets)
        class_loss = self.class_loss(outputs.logits, labels, match.positive, match.counted)
        box_loss = self.box_loss(outputs.deltas, boxes, outputs.anchors, match.positive, self.coder)
        positives = normaliser(match.positive.sum())
        return {"class": class_loss.sum() / positives, "box": box_loss.sum() / positives}

    def decode(self, outputs: Boxed, sizes: Float[Tensor, "B 2"]) -> Found:
        """Keep the best of each class, decode, clip to the image content, suppress per class."""
        scores = torch.softmax(outputs.logits.float(), dim=2)[..., :-1]  # B x L x K
        boxes = self.coder.decode(outputs.deltas.float(), outputs.anchors)
        candidates, index = best_per_class(scores, self.limits)
        return keep_decoded(candidates, index, boxes, scores.shape[2], sizes, self.limits)


def ssd(
    classes: Classes,
    *,
    size: int = 300,
    preprocess: Preprocess | None = None,
    pretrained: bool = False,
    norm: str | None = None,
    width: float = 1.0,
    scales: str = "coco",
    dialect: str = "gazehound",
    class_weights: Sequence[float] | None = None,
    limits: Mapping[str, Any] | None = None,
) -> SSD:
    """Build SSD on VGG16.

    Args:
        classes: names and ids.
        size: 300 or 512, the input that maps and default boxes are laid out for.
        preprocess: how images become network inputs.
        pretrained: start VGG16 from ImageNet weights.
        norm: ``none``, the paper; ``batch``, BatchNorm throughout. ``None`` means none when pretrained
            and batch otherwise, for without norms VGG16 hardly learns from scratch.
        width: factor on all channels.
        scales: default boxes as published for ``coco`` or ``voc``.
        dialect: ``torchvision`` cuts default boxes to the image's side; what it trained needs that.
        class_weights: one per class (see :func:`gazehound.nn.losses.imbalance.inverse_frequency`).
        limits: fields of :class:`Limits` that differ from SSD's.

    Raises:
        ConfigError: ``size``, ``scales``, ``norm`` or ``dialect`` is unknown.
    """
    if (size, scales) not in SCALES:
        raise unknown_name("SSD (size and scales)", f"{size} {scales}", map(_spoken, SCALES))
    if dialect not in ("gazehound", "torchvision"):
        raise unknown_name("dialect", dialect, ("gazehound", "torchvision"))
    clip = dialect == "torchvision"
    norm = norm or ("none" if pretrained else "batch")
    body = ReducedVGG16(width=width, norm=norm, pretrained=pretrained)
    level = partial(ExtraLevel, norm=SteadyBatchNorm if norm == "batch" else None)
    extras = ExtraLevels(body.channels[-1], SSD300 if size == 300 else SSD512, width, level)
    return SSD(
        classes,
        preprocess or vgg_preprocess(size, pretrained),
        body,
        extras,
        DefaultBoxes(size, SCALES[size, scales], RATIOS[size], STEPS[size], clip=clip),
        class_loss=SoftmaxLoss(HardNegatives(), class_weights),
        limits=Limits(**{"score": 0.01, "iou": 0.45, "per_image": 200, **(limits or {})}),
    )


def _spoken(key: tuple[int, str]) -> str:
    return f"{key[0]} {key[1]}"


def vgg_preprocess(size: int, pretrained: bool = False) -> Preprocess:
    """Return SSD's warp to a square; timm's pretrained VGG16 wants ImageNet's deviation divided out."""
    mean, std = (IMAGENET_MEAN, IMAGENET_STD) if pretrained else (VGG_MEAN, (1 / 255,) * 3)
    return Preprocess(resize="stretch", size=size, multiple=1, mean=mean, std=std)


def ssd300(classes: Classes, **options: Any) -> SSD:
    """SSD300 as published: torchvision's ``ssd300_vgg16``."""
    return ssd(classes, **{"size": 300, **options})


def ssd512(classes: Classes, **options: Any) -> SSD:
    """SSD512 as published."""
    return ssd(classes, **{"size": 512, **options})


def ssdlite320(
    classes: Classes,
    *,
    preprocess: Preprocess | None = None,
    pretrained: bool = False,
    norm: str = "batch",
    reduced: bool = True,
    width: float = 1.0,
    class_weights: Sequence[float] | None = None,
    limits: Mapping[str, Any] | None = None,
) -> SSD:
    """SSDLite on MobileNetV3-Large: torchvision's ``ssdlite320_mobilenet_v3_large``.

    Args:
        classes: names and ids.
        preprocess: how images become network inputs.
        pretrained: start from torchvision's ImageNet weights.
        norm: only ``batch``; ``frozen`` is the same, for SSDLite always trains its norms.
        reduced: half the channels behind C4, as published.
        width: factor on the backbone's channels.
        class_weights: one per class.
        limits: fields of :class:`Limits` that differ from SSDLite's.

    Raises:
        ConfigError: ``norm`` is unknown.
    """
    if norm not in ("batch", "frozen"):
        raise unknown_name("norm of SSDLite", norm, ("batch", "frozen"))
    body = MobileNetV3(width=width, reduced=reduced, pretrained=pretrained)
    extras = ExtraLevels(body.channels[-1], SSDLITE320, block=depthwise_level)
    boxes = DefaultBoxes(320, SCALES_LITE, (SIX,) * 6, clip=True)
    channels = [*body.channels, *extras.channels]
    half = (0.5, 0.5, 0.5)
    kept = {"score": 0.001, "iou": 0.55, "per_image": 300, "per_class": 300, **(limits or {})}
    return SSD(
        classes,
        preprocess or Preprocess("stretch", 320, mean=half, std=half, multiple=1),
        body,
        extras,
        boxes,
        SSDHead(channels, boxes.per_cell, len(classes), depthwise_predictor, std=0.03),
        class_loss=SoftmaxLoss(HardNegatives(), class_weights),
        limits=Limits(**kept),
    )
