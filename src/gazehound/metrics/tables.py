"""The columns that every protocol reads: truths and detections of a data set, one row per box.

Boxes are float64 ``xywh`` exactly as a COCO file holds them, because the official tools compute on
those numbers; ``xyxy`` records are converted by ``xywh_of``. Rows name image and class by index.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gazehound.errors import DataError
from gazehound.kernels import matching
from gazehound.kernels.grouping import counting_order, is_sorted, rank_in_group, sort_by_score
from gazehound.metrics.threads import spread
from gazehound.records import Classes

Column = NDArray[Any]


def xywh_of(boxes: Column) -> NDArray[np.float64]:
    """Return ``xyxy`` boxes (N, 4) as float64 ``xywh``, the sizes subtracted in float64.

    A float32 corner is exact in float64, and so nearly always is the difference of two, so x + w is
    again the corner: the overlaps are those of the original boxes.
    """
    corners = np.asarray(boxes, np.float64).reshape(-1, 4)
    return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)


@dataclass(frozen=True)
class Truths:
    """The annotated objects.

    Attributes:
        image: (M,) int32 index of the image.
        label: (M,) int32 index of the class.
        xywh: (M, 4) float64 boxes, pixels.
        area: (M,) float64 annotated area, square pixels.
        crowd: (M,) bool, COCO's ``iscrowd``.
        difficult: (M,) bool, Pascal VOC's flag.
        phantom: (M,) bool; annotation id 0 in a COCO file, whose match pycocotools takes for none.
        extras: further columns (KITTI's ``truncated`` and ``occluded``, LVIS's ``ignore``).
        ignored: (M,) bool or empty; besides the crowds, these neither count nor hurt.
    """

    image: NDArray[np.int32]
    label: NDArray[np.int32]
    xywh: NDArray[np.float64]
    area: NDArray[np.float64]
    crowd: NDArray[np.bool_]
    difficult: NDArray[np.bool_]
    phantom: NDArray[np.bool_]
    extras: dict[str, Column] = field(default_factory=dict)
    ignored: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))

    def __len__(self) -> int:
        return len(self.image)


@dataclass(frozen=True)
class Found:
    """The detections, within one image in the order in which the detector gave them.

    Attributes:
        image: (N,) int32 index of the image.
        label: (N,) int32 index of the class.
        xywh: (N, 4) float64 boxes, pixels.
        score: (N,) float64.
        lenient: (N,) bool or empty; LVIS: unmatched, it does not count.
    """

    image: NDArray[np.int32]
    label: NDArray[np.int32]
    xywh: NDArray[np.float64]
    score: NDArray[np.float64]
    lenient: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))

    def __len__(self) -> int:
        return len(self.image)


@dataclass(frozen=True)
class Tables:
    """Truths and detections of the same images.

    Attributes:
        classes: names and ids of the labels.
        image_ids: (I,) the images' ids, rising; int64 or str.
        truths: the annotated objects.
        found: the detections.
        sizes: (I, 2) int64 height and width of each image; zeros where unknown.
        files: name of each image file; empty where unknown.
    """

    classes: Classes
    image_ids: Column
    truths: Truths
    found: Found
    sizes: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    files: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for what, table in (("truth", self.truths), ("detection", self.found)):
            if len(table) and not 0 <= table.label.min() <= table.label.max() < len(self.classes):
                raise DataError(
                    f"{what} labels must lie in 0..{len(self.classes) - 1}; "
                    f"got {table.label.min()}..{table.label.max()}"
                )
            if len(table) and not 0 <= table.image.min() <= table.image.max() < len(self.image_ids):
                raise DataError(
                    f"{what} images must lie in 0..{len(self.image_ids) - 1}; "
                    f"got {table.image.min()}..{table.image.max()}"
                )

    @cached_property
    def found_in_order(self) -> matching.Found:
        """The detections as the kernels read them: by label, then by falling score."""
        found, n_images, n_labels = self.found, len(self.image_ids), len(self.classes)
        order, offsets = _grouped(found.image, found.label, n_images, n_labels)
        rank = np.zeros(len(order), np.int32)
        bits = found.score.view(np.uint64)

        def sort(labels: tuple[int, int], _: tuple[int, int]) -> None:
            sort_by_score(order, offsets, bits, labels)
            rank_in_group(order, offsets, found.image, n_images, labels, rank)

        spread(sort, offsets, 1)
        return matching.Found(
            order, offsets, rank, found.image, found.xywh, found.score, found.lenient
        )

    @cached_property
    def truths_in_order(self) -> matching.Truths:
        """The truths as the kernels read them: by label, then by image; crowds are ignored."""
        truths = self.truths
        order, offsets = _grouped(
            truths.image, truths.label, len(self.image_ids), len(self.classes)
        )
        ignored = truths.crowd | truths.ignored if len(truths.ignored) else truths.crowd
        return matching.Truths(
            order, offsets, truths.image[order], truths.xywh[order], truths.area[order],
            ignored[order], truths.crowd[order], truths.phantom[order],
        )  # fmt: skip


def _grouped(
    image: NDArray[np.int32], label: NDArray[np.int32], n_images: int, n_labels: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return rows by label, then image, then as given; and where each label's run begins."""
    order = np.arange(len(image), dtype=np.int32)
    if not is_sorted(image):
        order, _ = counting_order(image, order, n_images)
    return counting_order(label, order, n_labels)
