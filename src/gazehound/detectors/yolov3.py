"""YOLOv3 (Redmon, Farhadi 2018: YOLOv3: An Incremental Improvement).

    image ── DarkNet-53 ──┬────────┬───────────┐
                          C3       C4          C5
                          │        │           │ five convolutions ── 3x3, 1x1 ── stride 32
                          │    concat ── up ───┤
                          │        │ five ─────────────────────────── 3x3, 1x1 ── stride 16
                       concat ── up ┤
                          │ five ──────────────────────────────────── 3x3, 1x1 ── stride 8

Each cell of each map holds three of nine anchors; for each it says where the centre lies in the cell,
how the anchor grows, whether there is an object (once), and each class by itself. A truth has one
anchor, the one of the most similar shape; predictions that overlap a truth by 0.7 without owning it
are left out.

YOLOv3-SPP pools C5 with windows of 5, 9 and 13 cells; YOLOv3-tiny has seven convolutions and two maps.
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
from gazehound.nn.darknet import DEPTHS, DarkNet53, TinyDarkNet
from gazehound.nn.heads.cells import CellHead
from gazehound.nn.losses.cells import CellBoxLoss, OffsetLoss
from gazehound.nn.losses.imbalance import ObjectnessLoss, SigmoidLoss
from gazehound.nn.necks.darknet import TinyNeck, YOLOv3Neck
from gazehound.nn.postprocess import Found, Limits, best_per_level, keep_decoded
from gazehound.records import Classes, Targets

ANCHORS = (
    (10.0, 13.0), (16.0, 30.0), (33.0, 23.0), (30.0, 61.0), (62.0, 45.0), (59.0, 119.0),
    (116.0, 90.0), (156.0, 198.0), (373.0, 326.0),
)  # fmt: skip
MASKS = ((0, 1, 2), (3, 4, 5), (6, 7, 8))
ANCHORS_TINY = (
    (10.0, 14.0), (23.0, 27.0), (37.0, 58.0), (81.0, 82.0), (135.0, 169.0), (344.0, 319.0),
)  # fmt: skip
MASKS_TINY = ((0, 1, 2), (3, 4, 5))


class YOLOv3(Network):
    """The detector, built of finished parts; the paper's part is the default.

    Args:
        classes: names and ids of the labels.
        preprocess: how images become network inputs at prediction.
        backbone: gives the maps.
        neck: mixes them.
        head: default a 3x3 and a 1x1 convolution per map.
        cells: anchors and strides.
        coder: default the paper's.
        assigner: default the anchor of the most similar shape, ignoring above 0.7.
        class_loss: default cross-entropy of each class, at positives only.
        objectness_loss: default cross-entropy.
        box_loss: default on the numbers.
        limits: what ``decode`` keeps.
    """

    def __init__(
        self,
        classes: Classes,
        preprocess: Preprocess,
        backbone: DarkNet53 | TinyDarkNet,
        neck: YOLOv3Neck | TinyNeck,
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
        self.coder = coder or AnchorCellCoder((1.0,) * len(self.cells.strides))
        self.assign = assigner or ShapeAssigner(ignore=0.7)
        self.class_loss = class_loss or SigmoidLoss()
        self.objectness_loss = objectness_loss or ObjectnessLoss()
        self.box_loss = box_loss or OffsetLoss()
        self.limits = limits or Limits(score=0.005, iou=0.45)

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


def yolov3(
    classes: Classes,
    *,
    preprocess: Preprocess | None = None,
    pretrained: bool = False,
    norm: str = "batch",
    spp: bool = False,
    width: float = 1.0,
    depths: Sequence[int] = DEPTHS,
    anchors: Sequence[Sequence[float]] = ANCHORS,
    masks: Sequence[Sequence[int]] = MASKS,
    class_weights: Sequence[float] | None = None,
    limits: Mapping[str, Any] | None = None,
) -> YOLOv3:
    """Build YOLOv3 on DarkNet-53.

    Args:
        classes: names and ids.
        preprocess: how images become network inputs.
        pretrained: start DarkNet-53 from ImageNet weights.
        norm: only ``batch``; ``frozen`` is the same, for the Darknet YOLOs always train their norms.
        spp: with spatial pyramid pooling.
        width: factor on all channels.
        depths: residual blocks of the five stages.
        anchors: (width, height) in pixels of the network input (``gazehound data anchors``).
        masks: which of them each level has, finest first.
        class_weights: one per class (see :func:`gazehound.nn.losses.imbalance.inverse_frequency`).
        limits: fields of :class:`Limits` that differ from YOLOv3's.

    Raises:
        ConfigError: ``norm`` is unknown, or anchors and masks do not fit together.
    """
    _need_norm(norm)
    body = DarkNet53(width, depths, pretrained=pretrained)
    return YOLOv3(
        classes,
        preprocess or darknet_preprocess(),
        body,
        YOLOv3Neck(body.channels, spp=spp),
        cells=AnchorCells(anchors, masks),
        class_loss=SigmoidLoss(class_weights=class_weights),
        limits=Limits(**{"score": 0.005, "iou": 0.45, **(limits or {})}),
    )


def yolov3_spp(classes: Classes, **options: Any) -> YOLOv3:
    """YOLOv3-SPP: spatial pyramid pooling in the coarsest set."""
    return yolov3(classes, **{"spp": True, **options})


def yolov3_tiny(
    classes: Classes,
    *,
    preprocess: Preprocess | None = None,
    pretrained: bool = False,
    norm: str = "batch",
    width: float = 1.0,
    anchors: Sequence[Sequence[float]] = ANCHORS_TINY,
    masks: Sequence[Sequence[int]] = MASKS_TINY,
    class_weights: Sequence[float] | None = None,
    limits: Mapping[str, Any] | None = None,
) -> YOLOv3:
    """Build YOLOv3-tiny; for the arguments see :func:`yolov3`.

    Raises:
        ConfigError: also when ``pretrained``: there are no ImageNet weights of this backbone.
    """
    _need_norm(norm)
    if pretrained:
        raise ConfigError("there are no ImageNet weights of YOLOv3-tiny's backbone")
    body = TinyDarkNet(width)
    neck = TinyNeck(body.channels, round(256 * width))
    hidden = [round(256 * width), round(512 * width)]
    return YOLOv3(
        classes,
        preprocess or darknet_preprocess(),
        body,
        neck,
        CellHead(neck.channels, len(classes), hidden, len(masks[0])),
        AnchorCells(anchors, masks, strides=(16, 32)),
        class_loss=SigmoidLoss(class_weights=class_weights),
        limits=Limits(**{"score": 0.005, "iou": 0.45, **(limits or {})}),
    )


def darknet_preprocess(size: int = 416) -> Preprocess:
    """Return the longer side at ``size``, the rest grey, values in 0..1."""
    return Preprocess("longer", size, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), fill=128)


def _need_norm(norm: str) -> None:
    if norm not in ("batch", "frozen"):
        raise ConfigError(f"the norm of a Darknet YOLO is 'batch'; got '{norm}'")
