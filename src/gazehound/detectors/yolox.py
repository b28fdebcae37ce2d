"""YOLOX (Ge, Liu, Wang, Li, Sun 2021: YOLOX: Exceeding YOLO Series in 2021).

    image ── CSP-Darknet ── C3 C4 C5 ── CSP-PAN ── N3 N4 N5 ──┬── class tower ── sigmoid, K per cell
                                                              └── box tower ──┬─ 4 numbers per cell
                                                                              └─ objectness

No anchors: a cell says where a box lies from its corner and how many cells wide it is. Which cells
learn a truth is decided by what they predict already (SimOTA): per truth the few near its centre that
would cost least, as many as their IoUs add up to. An object's score is class times objectness; a
positive cell's class is to be its IoU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gazehound.boxes.iou import iou
from gazehound.data.preprocess import Preprocess
from gazehound.detectors.network import Network
from gazehound.errors import ConfigError
from gazehound.nn.assigners.assigner import Assigner, Candidates, Predictions, lay_out
from gazehound.nn.assigners.assignment import Assignment
from gazehound.nn.assigners.simota import SimOTAAssigner
from gazehound.nn.cell_coders import CellCoder
from gazehound.nn.csp import BatchNorm, CSPBackbone, focus_backbone
from gazehound.nn.darknet import DEPTHS, DarkNet53, leaky
from gazehound.nn.heads.decoupled import DecoupledHead
from gazehound.nn.necks.csp_pan import CSPPAN
from gazehound.nn.necks.darknet import YOLOv3Neck
from gazehound.nn.normaliser import normaliser
from gazehound.nn.points import PointGrid
from gazehound.nn.postprocess import Found, Limits, best_per_level, keep_decoded
from gazehound.records import Classes, Targets

BOX_WEIGHT = 5.0  # of the IoU loss, as released
LIMITS: Mapping[str, Any] = {"score": 0.01, "iou": 0.65, "per_image": 300}


@dataclass(frozen=True)
class Decoupled:
    """What YOLOX computes for a batch; L cells of all levels.

    Attributes:
        logits: (B, L, K) class logits.
        objectness: (B, L) logit of there being an object.
        deltas: (B, L, 4) box numbers of the coder.
        boxes: (B, L, 4) the ``xyxy`` boxes that they stand for, pixels of the network input.
        candidates: the cells, as squares.
    """

    logits: Float[Tensor, "B L K"]
    objectness: Float[Tensor, "B L"]
    deltas: Float[Tensor, "B L 4"]
    boxes: Float[Tensor, "B L 4"]
    candidates: Candidates


class YOLOX(Network):
    """The detector, built of finished parts; the paper's part is the default.

    Args:
        classes: names and ids of the labels.
        preprocess: how images become network inputs at prediction.
        backbone: gives C3, C4, C5.
        neck: gives N3, N4, N5; default CSP-PAN.
        head: decoupled towers of 256 channels by default.
        grid: the cells; their side is their stride.
        coder: default offset from the corner and log of the size, in cells.
        assigner: default SimOTA.
        limits: what ``decode`` keeps.
    """

    def __init__(
        self,
        classes: Classes,
        preprocess: Preprocess,
        backbone: CSPBackbone | DarkNet53,
        neck: CSPPAN | YOLOv3Neck | None = None,
        head: DecoupledHead | None = None,
        grid: PointGrid | None = None,
        coder: CellCoder | None = None,
        assigner: Assigner | None = None,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(classes, preprocess)
        self.backbone = backbone
        self.neck = neck or CSPPAN(backbone.channels)
        self.head = head or DecoupledHead(self.neck.channels, len(classes))
        self.grid = grid or PointGrid((8, 16, 32))
        self.coder = coder or CellCoder()
        self.assign = assigner or SimOTAAssigner()
        self.limits = limits or Limits(**LIMITS)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Decoupled:
        """Compute classes, objectness and boxes of all cells of a batch."""
        pyramid = self.neck(self.backbone(images))  # N3..N5, each B x C x H/s x W/s
        logits, deltas, objectness = self.head(pyramid)  # B x L x K, B x L x 4, B x L
        candidates = lay_out(self.grid, pyramid, images)
        deltas = deltas.float()
        boxes = self.coder.decode(deltas, candidates.boxes)
        return Decoupled(logits.float(), objectness.float(), deltas, boxes, candidates)

    def match(self, outputs: Decoupled, targets: Targets) -> Assignment:
        """Return which cells learn which truth."""
        predictions = Predictions(outputs.logits, outputs.boxes, outputs.objectness)
        return self.assign(outputs.candidates, targets, predictions)

    def losses(self, outputs: Decoupled, targets: Targets) -> dict[str, Tensor]:
        """Return ``box``, ``objectness``, ``class`` and ``l1``, each divided by the batch's positives.

        ``l1`` pulls the box numbers themselves to the truth's; as in the paper it is left out (0) while
        training pastes images together.
        """
        match = self.match(outputs, targets)
        positive, squares = match.positive, outputs.candidates.boxes
        keep = positive[
            ..., None
        ]  # elsewhere the square stands in for both boxes: no stray gradient
        truths = match.boxes_of(targets).where(keep, squares)
        overlap = iou(outputs.boxes.where(keep, squares), truths)
        box = (1 - overlap**2) * positive
        hit = F.one_hot(match.labels_of(targets), len(self.classes)) * match.overlap[..., None]
        entropy = F.binary_cross_entropy_with_logits
        of_class = entropy(outputs.logits, hit.to(outputs.logits), reduction="none") * keep
        objectness = entropy(outputs.objectness, positive.float(), reduction="none")
        l1 = (outputs.deltas - self.coder.encode(truths, squares)).abs() * keep
        positives = normaliser(positive.sum())
        return {
            "box": BOX_WEIGHT * box.sum() / positives,
            "objectness": objectness.sum() / positives,
            "class": of_class.sum() / positives,
            "l1": (0.0 if self.strong_augmentation else 1.0) * l1.sum() / positives,
        }

    def decode(self, outputs: Decoupled, sizes: Float[Tensor, "B 2"]) -> Found:
        """Take each cell's best class, keep the best cells per level, clip, suppress per class."""
        best, label = torch.sigmoid(outputs.logits).max(dim=2, keepdim=True)  # B x L x 1
        scores = best * torch.sigmoid(outputs.objectness)[..., None]
        found, cell = best_per_level(scores, outputs.candidates.lengths, self.limits)  # B x C
        count = len(self.classes)
        pairs = cell * count + label[..., 0].gather(1, cell)
        return keep_decoded(found, pairs, outputs.boxes, count, sizes, self.limits)


def yolox_preprocess(size: int) -> Preprocess:
    """Return YOLOX's preprocessing: BGR in 0..255, the rest of a square filled with grey 114."""
    return Preprocess(
        "longer",
        size,
        mean=(0.0, 0.0, 0.0),
        std=(1 / 255, 1 / 255, 1 / 255),
        square=True,
        fill=114,
        order="bgr",
    )


def yolox(
    classes: Classes,
    *,
    preprocess: Preprocess | None = None,
    depth: float = 1.0,
    width: float = 1.0,
    depthwise: bool = False,
    size: int = 640,
    pretrained: bool = False,
    limits: Mapping[str, Any] | None = None,
) -> YOLOX:
    """Build YOLOX of any depth and width; the defaults are YOLOX-l.

    Args:
        classes: names and ids.
        preprocess: how images become network inputs; default :func:`yolox_preprocess` of ``size``.
        depth: factor on the numbers of bottlenecks.
        width: factor on the channels.
        depthwise: 3x3 convolutions are depthwise separable, as in YOLOX-nano.
        size: side of the square network input at prediction, pixels.
        pretrained: must be False; YOLOX starts from random weights or from a whole detector.
        limits: fields of :class:`Limits` that differ from YOLOX's (score 0.01, NMS at 0.65).

    Raises:
        ConfigError: ``pretrained`` is asked for.
    """
    if pretrained:
        raise ConfigError(
            "YOLOX has no ImageNet weights to start from; start from a detector's weights instead"
        )
    backbone = focus_backbone(depth, width, depthwise=depthwise)
    return YOLOX(
        classes,
        preprocess or yolox_preprocess(size),
        backbone,
        CSPPAN(backbone.channels, round(3 * depth), depthwise=depthwise),
        DecoupledHead(backbone.channels, len(classes), int(256 * width), depthwise=depthwise),
        limits=Limits(**{**LIMITS, **(limits or {})}),
    )


def yolox_nano(classes: Classes, **options: Any) -> YOLOX:
    """YOLOX-nano: 0.9 million weights, depthwise, 416 pixels."""
    nano = {"depth": 0.33, "width": 0.25, "depthwise": True, "size": 416}
    return yolox(classes, **{**nano, **options})


def yolox_tiny(classes: Classes, **options: Any) -> YOLOX:
    """YOLOX-tiny: 5.1 million weights, 416 pixels."""
    return yolox(classes, **{"depth": 0.33, "width": 0.375, "size": 416, **options})


def yolox_s(classes: Classes, **options: Any) -> YOLOX:
    """YOLOX-s: 9.0 million weights."""
    return yolox(classes, **{"depth": 0.33, "width": 0.5, **options})


def yolox_m(classes: Classes, **options: Any) -> YOLOX:
    """YOLOX-m: 25.3 million weights."""
    return yolox(classes, **{"depth": 0.67, "width": 0.75, **options})


def yolox_l(classes: Classes, **options: Any) -> YOLOX:
    """YOLOX-l: 54.2 million weights."""
    return yolox(classes, **options)


def yolox_x(classes: Classes, **options: Any) -> YOLOX:
    """YOLOX-x: 99.1 million weights."""
    return yolox(classes, **{"depth": 1.33, "width": 1.25, **options})


def yolox_darknet53(
    classes: Classes,
    *,
    preprocess: Preprocess | None = None,
    width: float = 1.0,
    depths: Sequence[int] = DEPTHS,
    size: int = 640,
    pretrained: bool = False,
    limits: Mapping[str, Any] | None = None,
) -> YOLOX:
    """YOLOX on YOLOv3's body (section 2.1): DarkNet-53, pyramid pooling, top-down pyramid, leaky ReLU.

    Args:
        classes: names and ids.
        preprocess: how images become network inputs; default :func:`yolox_preprocess` of ``size``.
        width: factor on the channels.
        depths: residual blocks of each of the backbone's five stages.
        size: side of the square network input at prediction, pixels.
        pretrained: start the backbone from timm's ImageNet weights.
        limits: fields of :class:`Limits` that differ from YOLOX's.
    """
    backbone = DarkNet53(width, depths, pretrained=pretrained)
    neck = YOLOv3Neck(backbone.channels, spp=True)
    head = DecoupledHead(neck.channels, len(classes), round(256 * width), act=leaky)
    network = YOLOX(
        classes,
        preprocess or yolox_preprocess(size),
        backbone,
        neck,
        head,
        limits=Limits(**{**LIMITS, **(limits or {})}),
    )
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps, module.momentum = BatchNorm.keywords["eps"], BatchNorm.keywords["momentum"]
    return network
