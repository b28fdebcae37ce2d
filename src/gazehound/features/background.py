"""Windows without objects, for training a cascade: ready patches, and areas of images.

Images are searched by the cascade itself. A window is cut from the shrunk image in which it was
found, so that the next stage learns from the very pixels that the scan shows it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gazehound.boxes.iou import intersection_over_area
from gazehound.features.cascade import Cascade
from gazehound.features.haar import HaarFeatures
from gazehound.features.scanning import Hits, scales_of, scan_images
from gazehound.features.stumps import Patches, Stumps
from gazehound.kernels.resize import resize_planes

SCALE_STEP = 1.25  # between the shrunk images that are searched
COVERED = 0.25  # part of a window that objects may cover
FROM_ONE_IMAGE = 4  # windows of one image, as a multiple of an even share


@dataclass(frozen=True, eq=False)
class PatchBackground:
    """Ready patches (N, h, w) uint8 without objects."""

    patches: NDArray[np.uint8]

    def windows(
        self, cascade: Cascade | None, count: int, rng: np.random.Generator
    ) -> NDArray[np.uint8]:
        """Return up to ``count`` of those that every stage lets through, in random order."""
        patches = self.patches if cascade is None else self.patches[passing(cascade, self.patches)]
        return patches[rng.permutation(len(patches))[:count]]

    def __repr__(self) -> str:
        return f"patches {self.patches.shape} {zlib.crc32(self.patches.tobytes())}"


@dataclass(frozen=True, eq=False)
class ImageBackground:
    """Images, less the areas of their objects.

    Attributes:
        image: gives the i-th image, (H, W) grey.
        objects: per image, (N, 4) ``xyxy`` boxes of its objects.
        window: (height, width) of the detector.
    """

    image: Callable[[int], NDArray[np.uint8]]
    objects: tuple[NDArray[np.float32], ...]
    window: tuple[int, int]

    def windows(
        self, cascade: Cascade | None, count: int, rng: np.random.Generator
    ) -> NDArray[np.uint8]:
        """Return up to ``count`` windows, a bounded number from each image, images in random order."""
        share = max(1, -(-count * FROM_ONE_IMAGE // max(1, len(self.objects))))
        found: list[NDArray[np.uint8]] = [np.zeros((0, *self.window), np.uint8)]
        total = 0
        for row in rng.permutation(len(self.objects)):
            if total >= count:
                break
            patches = self._of_image(int(row), cascade, share, rng)
            found.append(patches)
            total += len(patches)
        every = np.concatenate(found)
        return every[rng.permutation(len(every))[:count]]

    def _of_image(
        self, row: int, cascade: Cascade | None, count: int, rng: np.random.Generator
    ) -> NDArray[np.uint8]:
        image = self.image(row)
        scales = scales_of(self.window, (image.shape[0], image.shape[1]), SCALE_STEP)
        if not len(scales):
            return np.zeros((0, *self.window), np.uint8)
        if cascade is None:
            hits = _random_windows(image, self.window, scales, 2 * count, rng)
        else:
            hits = scan_images(cascade, image, scales)
        corners = np.column_stack([hits.boxes[:, :2], hits.boxes[:, :2] + hits.boxes[:, 2:]])
        free = np.flatnonzero(~_covered(corners.astype(np.float32), self.objects[row]))
        chosen = free[rng.permutation(len(free))[:count]]
        return cut(image, hits, chosen, self.window)

    def __repr__(self) -> str:
        boxes = np.concatenate([np.zeros((0, 4), np.float32), *self.objects])
        return f"images {len(self.objects)} {self.window} {zlib.crc32(boxes.tobytes())}"


@dataclass(frozen=True)
class JoinedBackground:
    """Ready patches first, then windows of images."""

    patches: PatchBackground
    images: ImageBackground

    def windows(
        self, cascade: Cascade | None, count: int, rng: np.random.Generator
    ) -> NDArray[np.uint8]:
        """Return up to ``count``: half of them patches while they last, the rest from images."""
        ready = self.patches.windows(cascade, max(1, count // 2), rng)
        mined = self.images.windows(cascade, count - len(ready), rng)
        every = np.concatenate([ready, mined])
        return every[rng.permutation(len(every))]


def passing(cascade: Cascade, patches: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return (N,) whether a cascade of stumps lets each patch of its window's size through."""
    features = HaarFeatures(cascade.window, cascade.rects, cascade.weights, cascade.tilted)
    asked = Patches(patches, bool(cascade.tilted.any()))
    kept = np.ones(len(patches), bool)
    leaves = cascade.leaves.reshape(-1, 2).astype(np.float64)
    for stage, bound in enumerate(cascade.bounds):
        rows = slice(*cascade.stage_first[stage : stage + 2])
        stumps = Stumps(
            cascade.feature[rows].astype(np.int64), cascade.threshold[rows], leaves[rows]
        )
        kept &= asked.values(features, stumps).sum(axis=0) >= bound
    return kept


def cut(
    image: NDArray[np.uint8], hits: Hits, rows: NDArray[Any], window: tuple[int, int]
) -> NDArray[np.uint8]:
    """Return the windows (N, h, w) of some hits, from the shrunk images they were found in."""
    height, width = window
    out = np.empty((len(rows), height, width), np.uint8)
    planes = np.ascontiguousarray(image)[None]
    for level in np.unique(hits.cells[rows, 0]):
        small = resize_planes(planes, *(int(side) for side in hits.shapes[level]))[0]
        for place in np.flatnonzero(hits.cells[rows, 0] == level):
            _, x, y = hits.cells[rows[place]]
            out[place] = small[y : y + height, x : x + width]
    return out


def _covered(windows: NDArray[np.float32], objects: NDArray[np.float32]) -> NDArray[np.bool_]:
    if not len(objects) or not len(windows):
        return np.zeros(len(windows), bool)
    share = intersection_over_area(windows[:, None], objects[None])
    return np.asarray(share.max(axis=1) > COVERED)


def _random_windows(
    image: NDArray[np.uint8],
    window: tuple[int, int],
    scales: NDArray[np.float32],
    count: int,
    rng: np.random.Generator,
) -> Hits:
    """Draw windows of random scale and place, in the form of hits."""
    size = np.asarray(image.shape, np.float32)
    shapes = np.rint(size[None] / scales[:, None]).astype(np.int64)
    level = rng.integers(0, len(scales), count)
    room = np.maximum(shapes[level] - np.asarray(window), 0) + 1
    y, x = (rng.integers(0, room[:, i]) for i in range(2))
    corner = np.rint(np.column_stack([x, y]) * scales[level, None])
    sides = np.rint(np.asarray(window)[None] * scales[level, None])[:, ::-1]
    boxes = np.column_stack([corner, sides]).astype(np.int64)
    return Hits(boxes, np.zeros(count, np.float32), np.column_stack([level, x, y]), shapes)
