"""YOLOv5 (Jocher et al. 2020, releases 6 and 7; there is no paper).

    image ── CSP backbone ── C3 C4 C5 ── CSP-PAN ── N3 N4 N5 ── 1x1 ── 3 anchors per cell: box,
             6x6 stem, SPPF                                            objectness, K classes

A truth is learned on every level, by every anchor whose sides are within a factor of four of its own,
and in up to three cells: its own and the two that its centre is nearest to. So most truths have a dozen
positive predictions where YOLOv3 has one. A centre may lie half a cell outside its cell, a size is at
most four anchors. Objectness is to be the predicted box's CIoU.

Written from the architecture's description and its table of weights, not from its code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from gazehound.boxes.iou import ciou
from gazehound.data.anchor_shapes import learn_anchors
from gazehound.data.preprocess import Preprocess
from gazehound.detectors.network import Network
from gazehound.errors import ConfigError
from gazehound.nn.anchor_cells import AnchorCells, CellOutputs
from gazehound.nn.assigners.assigner import Predictions
from gazehound.nn.assigners.assignment import Assignment
from gazehound.nn.assigners.ratio import Claims, RatioAssigner
from gazehound.nn.cell_coders import BoundedCellCoder
from gazehound.nn.csp import CSPBackbone, sppf_backbone
from gazehound.nn.heads.coupled import IMAGE, CoupledHead
from gazehound.nn.necks.csp_pan import CSPPAN
from gazehound.nn.normaliser import normaliser
from gazehound.nn.postprocess import Found, Limits, best_per_level, keep_decoded
from gazehound.records import Classes, Targets

ANCHORS = (
    (10.0, 13.0), (16.0, 30.0), (33.0, 23.0), (30.0, 61.0), (62.0, 45.0), (59.0, 119.0),
    (116.0, 90.0), (156.0, 198.0), (373.0, 326.0),
)  # fmt: skip
MASKS = ((0, 1, 2), (3, 4, 5), (6, 7, 8))
BOX, OBJECTNESS, CLASS = 0.05, 1.0, 0.5  # gains of the losses; the class's is for 80 classes
BALANCE = (4.0, 1.0, 0.4)  # of the levels' objectness: the fine ones are harder
RECALL = 0.98  # of the truths' shapes that the anchors should reach
LIMITS: Mapping[str, Any] = {"score": 0.001, "iou": 0.65, "per_image": 300}


class YOLOv5(Network):
    """The detector, built of finished parts; the published part is the default.

    Args:
        classes: names and ids of the labels.
        preprocess: how images become network inputs at prediction.
        backbone: gives C3, C4, C5.
        neck: gives N3, N4, N5; default CSP-PAN.
        head: one convolution per level.
        cells: anchors of all levels; kept in the checkpoint, as they may have been learned.
        coder: box numbers; default bounded by sigmoids.
        assigner: default by the ratio of sides.
        limits: what ``decode`` keeps.
    """

    def __init__(
        self,
        classes: Classes,
        preprocess: Preprocess,
        backbone: CSPBackbone,
        neck: CSPPAN | None = None,
        head: CoupledHead | None = None,
        cells: AnchorCells | None = None,
        coder: BoundedCellCoder | None = None,
        assigner: RatioAssigner | None = None,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(classes, preprocess)
        self.backbone = backbone
        self.neck = neck or CSPPAN(backbone.channels)
        self.cells = cells or AnchorCells(ANCHORS, MASKS)
        self.cells.register_buffer("shapes", self.cells.shapes)  # from now on part of the state
        self.head = head or CoupledHead(
            self.neck.channels, len(classes), self.cells.strides, self.cells.per_cell
        )
        self.coder = coder or BoundedCellCoder()
        self.assign = assigner or RatioAssigner()
        self.limits = limits or Limits(**LIMITS)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> CellOutputs:
        """Compute the numbers of all anchors of all cells of a batch."""
        pyramid = self.neck(self.backbone(images))  # N3..N5, each B x C x H/s x W/s
        cells = self.cells((images.shape[-2], images.shape[-1]))
        return CellOutputs(self.head(pyramid), cells)  # B x L x (5 + K)

    def match(self, outputs: CellOutputs, targets: Targets) -> Assignment:
        """Return one truth per prediction: what the claims come to."""
        claims = self.assign(outputs.cells, targets)
        overlap, _ = self._claimed(outputs, claims, targets)
        return claims.settled(overlap.detach(), outputs.numbers.shape[1])

    def losses(self, outputs: CellOutputs, targets: Targets) -> dict[str, Tensor]:
        """Return ``box``, ``objectness`` and ``class``, each times the number of images.

        Box and class losses are means over the claims of a level, summed over levels; objectness is a
        mean over all predictions of a level, the levels weighted by ``BALANCE``. The number of images
        makes of it a sum over the batch, which the published learning rates are meant for.
        """
        cells, images = outputs.cells, len(outputs.numbers)
        claims = self.assign(cells, targets)
        overlap, logits = self._claimed(outputs, claims, targets)  # B x C, B x C x K
        weight = _mean_per_level(claims, len(cells.lengths))  # B x C
        labels = targets.labels.gather(1, claims.truth)
        hit = F.one_hot(labels, len(self.classes)).to(logits)
        entropy = F.binary_cross_entropy_with_logits
        of_class = entropy(logits, hit, reduction="none").sum(dim=2)
        goal = torch.zeros_like(outputs.objectness).scatter_reduce(
            1, claims.place, overlap.detach().clamp(min=0) * claims.valid, "amax"
        )
        of_object = entropy(outputs.objectness, goal, reduction="none")  # B x L
        per_level = [b / (images * n) for b, n in zip(BALANCE, cells.lengths, strict=True)]
        height, width = cells.image
        area = height * width / IMAGE**2
        return {
            "box": BOX * images * ((1 - overlap) * weight).sum(),
            "objectness": OBJECTNESS * images * area * (of_object * cells.spread(per_level)).sum(),
            "class": CLASS / 80 * images * (of_class * weight).sum(),
        }

    def _claimed(
        self, outputs: CellOutputs, claims: Claims, targets: Targets
    ) -> tuple[Tensor, Tensor]:
        """Return the CIoU (B, C) and the class logits (B, C, K) of the claimed predictions."""
        cells, place = outputs.cells, claims.place
        index = place[..., None].expand(-1, -1, outputs.numbers.shape[2])
        numbers = outputs.numbers.gather(1, index).float()  # B x C x (5 + K)
        anchors = cells.boxes[place]  # B x C x 4
        boxes = self.coder.decode(numbers[..., :4], anchors, cells.stride[place])
        truths = targets.boxes.gather(1, claims.truth[..., None].expand(-1, -1, 4))
        keep = claims.valid[..., None]  # elsewhere the anchor stands in for both: no stray gradient
        return ciou(boxes.where(keep, anchors), truths.where(keep, anchors)), numbers[..., 5:]

    def predictions(self, outputs: CellOutputs) -> Predictions:
        """Return class logits, decoded boxes and objectness of all anchors."""
        cells = outputs.cells
        boxes = self.coder.decode(outputs.boxes, cells.boxes, cells.stride)
        return Predictions(outputs.logits, boxes, outputs.objectness)

    def decode(self, outputs: CellOutputs, sizes: Float[Tensor, "B 2"]) -> Found:
        """Score classes times objectness, keep the best per level, clip, suppress per class."""
        said = self.predictions(outputs)
        scores = torch.sigmoid(said.logits) * torch.sigmoid(outputs.objectness)[..., None]
        found, pairs = best_per_level(scores, outputs.cells.lengths, self.limits)
        return keep_decoded(found, pairs, said.boxes, len(self.classes), sizes, self.limits)

    def look_at(self, shapes: NDArray[np.float32]) -> str:
        """Check the anchors against the box shapes of a training set; learn others if they miss too many.

        Args:
            shapes: (N, 2) widths and heights at the network input, pixels.

        Returns:
            One line that says what was found and done.
        """
        now = self.cells.shapes.flatten(0, 1).cpu().numpy()
        reach = best_possible_recall(shapes, now, self.assign.most)
        said = f"the anchors reach {reach:.1%} of the boxes' shapes"
        if reach >= RECALL or len(np.unique(shapes, axis=0)) < len(now):
            return said
        learned = learn_anchors(shapes, len(now)).shapes
        better = best_possible_recall(shapes, learned, self.assign.most)
        if better <= reach:
            return f"{said}, and learned ones no more"
        self.cells.shapes.copy_(torch.from_numpy(learned).view_as(self.cells.shapes))
        return f"{said}; learned ones reach {better:.1%} and take their place"


def _mean_per_level(claims: Claims, levels: int) -> Float[Tensor, "B C"]:
    """Return the weights that make a mean over the batch's claims of each level, summed over levels."""
    of_level = F.one_hot(claims.level, levels)  # C x levels
    count = normaliser((claims.valid.sum(dim=0)[:, None] * of_level).sum(dim=0))  # levels
    return claims.valid / count[claims.level]


def best_possible_recall(
    shapes: NDArray[np.float32], anchors: NDArray[np.float32], most: float = 4.0
) -> float:
    """Return the share of box shapes (N, 2) that some anchor (A, 2) is allowed to learn; 1 for none."""
    if not len(shapes):
        return 1.0
    ratio = shapes[:, None] / anchors  # N x A x 2
    fit = np.minimum(ratio, 1 / np.maximum(ratio, 1e-9)).min(axis=2).max(axis=1)
    return float((fit > 1 / most).mean())


def yolov5(
    classes: Classes,
    *,
    preprocess: Preprocess | None = None,
    depth: float = 1.0,
    width: float = 1.0,
    anchors: Sequence[Sequence[float]] = ANCHORS,
    size: int = 640,
    pretrained: bool = False,
    limits: Mapping[str, Any] | None = None,
) -> YOLOv5:
    """Build YOLOv5 of any depth and width; the defaults are YOLOv5l.

    Args:
        classes: names and ids.
        preprocess: how images become network inputs; default RGB in 0..1, grey 114 around.
        depth: factor on the numbers of bottlenecks.
        width: factor on the channels.
        anchors: nine widths and heights, pixels of the network input, small ones first.
        size: longer side of the network input at prediction, pixels.
        pretrained: must be False; YOLOv5 starts from random weights or from a whole detector.
        limits: fields of :class:`Limits` that differ from YOLOv5's (score 0.001, NMS at 0.65).

    Raises:
        ConfigError: ``pretrained`` is asked for, or the anchors are not nine.
    """
    if pretrained:
        raise ConfigError(
            "YOLOv5 has no ImageNet weights to start from; start from a detector's weights instead"
        )
    if len(anchors) != len(ANCHORS):
        raise ConfigError(f"YOLOv5 has {len(ANCHORS)} anchors; got {len(anchors)}")
    grey = Preprocess("longer", size, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), fill=114)
    backbone = sppf_backbone(depth, width)
    return YOLOv5(
        classes,
        preprocess or grey,
        backbone,
        CSPPAN(backbone.channels, max(round(3 * depth), 1)),
        cells=AnchorCells(anchors, MASKS),
        limits=Limits(**{**LIMITS, **(limits or {})}),
    )


def yolov5n(classes: Classes, **options: Any) -> YOLOv5:
    """YOLOv5n: 1.9 million weights."""
    return yolov5(classes, **{"depth": 0.33, "width": 0.25, **options})


def yolov5s(classes: Classes, **options: Any) -> YOLOv5:
    """YOLOv5s: 7.2 million weights."""
    return yolov5(classes, **{"depth": 0.33, "width": 0.5, **options})


def yolov5m(classes: Classes, **options: Any) -> YOLOv5:
    """YOLOv5m: 21.2 million weights."""
    return yolov5(classes, **{"depth": 0.67, "width": 0.75, **options})


def yolov5l(classes: Classes, **options: Any) -> YOLOv5:
    """YOLOv5l: 46.6 million weights."""
    return yolov5(classes, **options)


def yolov5x(classes: Classes, **options: Any) -> YOLOv5:
    """YOLOv5x: 86.7 million weights."""
    return yolov5(classes, **{"depth": 1.33, "width": 1.25, **options})
