"""YOLOv4 (Bochkovskiy, Wang, Liao 2020: YOLOv4: Optimal Speed and Accuracy of Object Detection).

    image ── CSPDarkNet-53 ──┬────────┬──────────┐
                             C3       C4         C5
                             │        │         SPP
                          concat ◄─ concat ◄──── P5
                             P3 ──► concat      │
                             │        N4 ──► concat
                             │        │         N5
                          stride 8    16        32      3x3, 1x1: three anchors per cell

YOLOv3's head on a cross-stage partial backbone with Mish, pyramid pooling and a second, bottom-up path.
Centres can reach the border of their cell (``scale_x_y``), boxes learn by CIoU, and a truth has every
anchor whose shape is similar enough. Mosaic and label smoothing are settings of training.

YOLOv4-tiny (Wang, Bochkovskiy, Liao 2021: Scaled-YOLOv4, section 3.3) has three one-shot stages with
leaky ReLU and two maps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gazehound.data.preprocess import Preprocess
from gazehound.detectors.network import Network
from gazehound.errors import ConfigError
from gazehound.nn.anchor_cells import AnchorCellCoder, AnchorCells, CellOutputs
from gazehound.nn.assigners.assigner import Predictions
from gazehound.nn.assigners.shape import ShapeAssigner
from gazehound.nn.darknet import DEPTHS, CSPDarkNet53, TinyCSPDarkNet
from gazehound.nn.heads.cells import CellHead
from gazehound.nn.losses.cells import CellBoxLoss, CellIoULoss
from gazehound.nn.losses.imbalance import ObjectnessLoss, SigmoidLoss
from gazehound.nn.necks.darknet import TinyNeck, YOLOv4Neck
from gazehound.nn.postprocess import Found, Limits, best_per_level, keep_decoded
from gazehound.records import Classes, Targets

ANCHORS = (
    (12.0, 16.0), (19.0, 36.0), (40.0, 28.0), (36.0, 75.0), (76.0, 55.0), (72.0, 146.0),
    (142.0, 110.0), (192.0, 243.0), (459.0, 401.0),
)  # fmt: skip
MASKS = ((0, 1, 2), (3, 4, 5), (6, 7, 8))
ANCHORS_TINY = (
    (10.0, 14.0), (23.0, 27.0), (37.0, 58.0), (81.0, 82.0), (135.0, 169.0), (344.0, 319.0),
)  # fmt: skip
MASKS_TINY = ((1, 2, 3), (3, 4, 5))  # anchor 0 is on no map and anchor 3 on both, as published
SCALES, SCALES_TINY = (1.2, 1.1, 1.05), (1.05, 1.05)
BOX_WEIGHT = 3.5  # Darknet's 0.07 without its units; see docs/deviations.md


class YOLOv4(Network):
    """The detector, built of finished parts; the paper's part is the default.

    Args:
        classes: names and ids of the labels.
        preprocess: how images become network inputs at prediction.
        backbone: gives the maps.
        neck: mixes them.
        head: default a 3x3 and a 1x1 convolution per map.
        cells: anchors and strides.
        coder: default centres scaled by 1.2, 1.1, 1.05.
        assigner: default every anchor with a shape IoU above 0.213, ignoring above 0.7.
        class_loss: default cross-entropy of each class, at positives only.
        objectness_loss: default cross-entropy.
        box_loss: default CIoU.
        limits: what ``decode`` keeps.
    """

    def __init__(
        self,
        classes: Classes,
        preprocess: Preprocess,
        backbone: CSPDarkNet53 | TinyCSPDarkNet,
        neck: YOLOv4Neck | TinyNeck,
        head: CellHead | None = None,
        cells: AnchorCells | None = None,
        coder: AnchorCellCoder | None = None,
        assigner: ShapeAssigner | None = None,
        class_loss: SigmoidLoss | None = None,
        objectness_loss: ObjectnessLoss | None = None,
        box_loss: CellBoxLoss | None = None,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(classes, preprocess)
        self.backbone, self.neck = backbone, neck
        self.cells = cells or AnchorCells(ANCHORS, MASKS)
        self.head = head or CellHead(neck.channels, len(classes), per_cell=self.cells.per_cell)
        self.coder = coder or AnchorCellCoder(SCALES)
        self.assign = assigner or ShapeAssigner(ignore=0.7, also=0.213)
        self.class_loss = class_loss or SigmoidLoss()
        self.objectness_loss = objectness_loss or ObjectnessLoss()
        self.box_loss = box_loss or CellIoULoss("ciou", BOX_WEIGHT)
        self.limits = limits or Limits(score=0.005, iou=0.6)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> CellOutputs:
        """Compute the numbers of all anchors of a batch."""
        maps = self.neck(self.backbone(images))
        numbers = self.head(maps)  # B x L x (5 + K)
        return CellOutputs(numbers, self.cells((images.shape[-2], images.shape[-1])))

    def losses(self, outputs: CellOutputs, targets: Targets) -> dict[str, Tensor]:
        """Return ``box``, ``objectness`` and ``class``, each divided by the number of images."""
        cells, logits, objectness = outputs.cells, outputs.logits, outputs.objectness
        decoded = self.coder.decode(outputs.boxes, cells)
        match = self.assign(cells, targets, Predictions(logits, decoded, objectness))
        labels, truths, positive = match.labels_of(targets), match.boxes_of(targets), match.positive
        return {
            "box": self.box_loss(outputs.boxes, truths, cells, positive, self.coder).mean(),
            "objectness": self.objectness_loss(objectness, positive, match.counted).mean(),
            "class": self.class_loss(logits, labels, positive, positive).mean(),
        }

    def decode(self, outputs: CellOutputs, sizes: Float[Tensor, "B 2"]) -> Found:
        """Score each class by objectness times its probability, keep the best, suppress per class."""
        scores = torch.sigmoid(outputs.objectness)[..., None] * torch.sigmoid(outputs.logits)
        boxes = self.coder.decode(outputs.boxes, outputs.cells)
        candidates, index = best_per_level(scores, outputs.cells.lengths, self.limits)
        return keep_decoded(candidates, index, boxes, scores.shape[2], sizes, self.limits)


def yolov4(
    classes: Classes,
    *,
    preprocess: Preprocess | None = None,
    pretrained: bool = False,
    norm: str = "batch",
    width: float = 1.0,
    depths: Sequence[int] = DEPTHS,
    anchors: Sequence[Sequence[float]] = ANCHORS,
    masks: Sequence[Sequence[int]] = MASKS,
    scales: Sequence[float] = SCALES,
    smoothing: float = 0.0,
    class_weights: Sequence[float] | None = None,
    limits: Mapping[str, Any] | None = None,
) -> YOLOv4:
    """Build YOLOv4 on CSPDarkNet-53.

    Args:
        classes: names and ids.
        preprocess: how images become network inputs.
        pretrained: refused, for there are no ImageNet weights with Mish within reach.
        norm: only ``batch``; ``frozen`` is the same, for the Darknet YOLOs always train their norms.
        width: factor on all channels.
        depths: residual blocks of the five stages.
        anchors: (width, height) in pixels of the network input (``gazehound data anchors``).
        masks: which of them each level has, finest first.
        scales: ``scale_x_y`` of each level, finest first.
        smoothing: of the class labels.
        class_weights: one per class (see :func:`gazehound.nn.losses.imbalance.inverse_frequency`).
        limits: fields of :class:`Limits` that differ from YOLOv4's.

    Raises:
        ConfigError: ``pretrained`` or ``norm`` is refused, or anchors and masks do not fit together.
    """
    _check(pretrained, norm)
    body = CSPDarkNet53(width, depths)
    return YOLOv4(
        classes,
        preprocess or darknet_preprocess(608),
        body,
        YOLOv4Neck(body.channels),
        cells=AnchorCells(anchors, masks),
        coder=AnchorCellCoder(scales),
        class_loss=SigmoidLoss(smoothing=smoothing, class_weights=class_weights),
        limits=Limits(**{"score": 0.005, "iou": 0.6, **(limits or {})}),
    )


def yolov4_tiny(
    classes: Classes,
    *,
    preprocess: Preprocess | None = None,
    pretrained: bool = False,
    norm: str = "batch",
    width: float = 1.0,
    anchors: Sequence[Sequence[float]] = ANCHORS_TINY,
    masks: Sequence[Sequence[int]] = MASKS_TINY,
    scales: Sequence[float] = SCALES_TINY,
    smoothing: float = 0.0,
    class_weights: Sequence[float] | None = None,
    limits: Mapping[str, Any] | None = None,
) -> YOLOv4:
    """Build YOLOv4-tiny; for the arguments see :func:`yolov4`. A truth has one anchor shape here."""
    _check(pretrained, norm)
    body = TinyCSPDarkNet(width)
    neck = TinyNeck(body.channels, round(256 * width))
    hidden = [round(256 * width), round(512 * width)]
    return YOLOv4(
        classes,
        preprocess or darknet_preprocess(416),
        body,
        neck,
        CellHead(neck.channels, len(classes), hidden, len(masks[0])),
        AnchorCells(anchors, masks, strides=(16, 32)),
        AnchorCellCoder(scales),
        ShapeAssigner(ignore=0.7),
        SigmoidLoss(smoothing=smoothing, class_weights=class_weights),
        limits=Limits(**{"score": 0.005, "iou": 0.6, **(limits or {})}),
    )


def darknet_preprocess(size: int) -> Preprocess:
    """Return the longer side at ``size``, the rest grey, values in 0..1."""
    return Preprocess("longer", size, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), fill=128)


def _check(pretrained: bool, norm: str) -> None:
    if pretrained:
        raise ConfigError("there are no ImageNet weights of YOLOv4's backbones here")
    if norm not in ("batch", "frozen"):
        raise ConfigError(f"the norm of a Darknet YOLO is 'batch'; got '{norm}'")
