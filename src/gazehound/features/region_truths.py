"""What the regions of one image should learn: which object each overlaps best, and by how much."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gazehound.boxes.iou import pairwise
from gazehound.records import FloatArray, IntArray


@dataclass(frozen=True)
class RegionTruths:
    """Regions of an image and its objects.

    Attributes:
        boxes: (R, 4) regions: the objects themselves, then the proposals.
        objects: (T, 4).
        labels: (T,) of the objects.
        overlaps: (R, T) IoU of every region with every object.
    """

    boxes: FloatArray
    objects: FloatArray
    labels: IntArray
    overlaps: FloatArray

    @classmethod
    def of(cls, proposals: FloatArray, objects: FloatArray, labels: IntArray) -> RegionTruths:
        """Match proposals (P, 4) to the objects (T, 4) and their labels (T,)."""
        boxes = np.concatenate((objects, proposals)).astype(np.float32)
        return cls(boxes, objects, labels, np.asarray(pairwise(boxes, objects), np.float32))

    @property
    def overlap(self) -> FloatArray:
        """Return (R,) the best IoU with any object; 0 where there is none."""
        return np.asarray(self.overlaps.max(axis=1, initial=0.0), np.float32)

    @property
    def truth(self) -> IntArray:
        """Return (R,) the object that each region overlaps best; 0 where there is none."""
        if not len(self.objects):
            return np.zeros(len(self.boxes), np.int64)
        return np.asarray(self.overlaps.argmax(axis=1), np.int64)

    def region_labels(self, background: int, iou: float = 0.5) -> IntArray:
        """Return (R,) the class of each region's best object, or the background under this IoU."""
        if not len(self.objects):
            return np.full(len(self.boxes), background, np.int64)
        labels = np.where(self.overlap >= iou, self.labels[self.truth], background)
        return np.asarray(labels, np.int64)

    def beside(self, label: int, iou: float) -> IntArray:
        """Return the rows of regions that overlap every object of a class by less than ``iou``."""
        own = self.overlaps[:, self.labels == label]
        return np.flatnonzero(own.max(axis=1, initial=0.0) < iou).astype(np.int64)

    def near(self, label: int, iou: float) -> IntArray:
        """Return the rows of regions whose best object is of a class and overlaps by ``iou``."""
        if not len(self.objects):
            return np.zeros(0, np.int64)
        rows = np.flatnonzero((self.labels[self.truth] == label) & (self.overlap >= iou))
        return rows.astype(np.int64)
