"""A picture with boxes while it is being augmented, and what a cut does to the boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gazehound.boxes.formats import area
from gazehound.errors import ConfigError
from gazehound.records import BoolArray, FloatArray, IntArray, Sample

Frame = tuple[float, float, float, float]


@dataclass(frozen=True)
class Scene:
    """One picture with its boxes, in pixels of the picture.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        boxes: (N, 4) float32 ``xyxy``.
        labels: (N,) int64.
        seen: (N,) float32, the share of each object's box that no cut has taken away so far.
    """

    image: NDArray[np.uint8]
    boxes: FloatArray
    labels: IntArray
    seen: FloatArray

    @classmethod
    def of(cls, sample: Sample) -> Scene:
        """Return the learnable part of a sample: crowd regions are no truths.

        Raises:
            ConfigError: the sample has no image.
        """
        if sample.image is None:
            raise ConfigError(f"{sample.file or sample.image_id}: a sample without its image")
        kept = sample.select(~sample.crowd)
        return cls(sample.image, kept.boxes, kept.labels, np.ones(len(kept), np.float32))

    @property
    def size(self) -> tuple[int, int]:
        """Return (height, width)."""
        return self.image.shape[0], self.image.shape[1]

    def select(self, rows: BoolArray) -> Scene:
        """Return the scene with only these boxes."""
        return replace(self, boxes=self.boxes[rows], labels=self.labels[rows], seen=self.seen[rows])

    def cut(self, frame: Frame) -> Scene:
        """Clip the boxes to a frame (x1, y1, x2, y2); those outside it are dropped."""
        low, high = np.asarray(frame[:2] * 2, np.float32), np.asarray(frame[2:] * 2, np.float32)
        boxes = np.clip(self.boxes, low, high)
        inside = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        share = area(boxes) / np.maximum(area(self.boxes), np.finfo(np.float32).tiny)
        return replace(self, boxes=boxes, seen=self.seen * np.minimum(share, 1)).select(inside)

    def resized(self, height: int, width: int) -> Scene:
        """Return the scene at another size (bilinear, with antialiasing)."""
        if (height, width) == self.size:
            return self
        picture = Image.fromarray(self.image).resize((width, height), Image.Resampling.BILINEAR)
        scale = np.asarray([width / self.size[1], height / self.size[0]] * 2, np.float32)
        return replace(self, image=np.asarray(picture), boxes=self.boxes * scale)

    def mirrored(self) -> Scene:
        """Return the scene flipped left to right."""
        width = np.float32(self.size[1])
        x1, y1, x2, y2 = self.boxes.T
        boxes = np.stack((width - x2, y1, width - x1, y2), axis=1)
        return replace(self, image=np.ascontiguousarray(self.image[:, ::-1]), boxes=boxes)

    def onto(self, canvas: NDArray[np.uint8], corner: tuple[int, int], window: Frame) -> Scene:
        """Draw the scene on ``canvas`` in place, and return its boxes there.

        Args:
            canvas: (H, W, 3) uint8; the caller's own, it is drawn on.
            corner: (x, y) of the scene's upper left corner on the canvas, pixels; may be negative.
            window: (x1, y1, x2, y2) whole pixels of the canvas; nothing is drawn outside.
        """
        x, y = corner
        height, width = self.size
        x1, y1 = max(x, int(window[0]), 0), max(y, int(window[1]), 0)
        x2 = min(x + width, int(window[2]), canvas.shape[1])
        y2 = min(y + height, int(window[3]), canvas.shape[0])
        if x1 >= x2 or y1 >= y2:
            return replace(self, image=canvas).select(np.zeros(len(self.boxes), bool))
        canvas[y1:y2, x1:x2] = self.image[y1 - y : y2 - y, x1 - x : x2 - x]
        shifted = self.boxes + np.asarray([x, y] * 2, np.float32)
        return replace(self, image=canvas, boxes=shifted).cut((x1, y1, x2, y2))


def together(image: NDArray[np.uint8], scenes: Sequence[Scene]) -> Scene:
    """Return one scene of this picture with the boxes of all ``scenes``."""
    return Scene(
        image,
        np.concatenate([s.boxes for s in scenes]),
        np.concatenate([s.labels for s in scenes]),
        np.concatenate([s.seen for s in scenes]),
    )


def canvas_of(height: int, width: int, fill: int) -> NDArray[np.uint8]:
    """Return an empty (height, width, 3) canvas of one grey level."""
    return np.full((height, width, 3), fill, np.uint8)
