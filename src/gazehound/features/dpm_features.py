"""The feature pyramid of deformable part models: 31 + 1 channels, an extra octave for the parts.

Follows voc-release5 (Girshick, Felzenszwalb, McAllester), whose facts are: image values 0..255, no
mean subtracted; ``interval`` levels per octave, shrunk by area averaging from the full image, each
further octave by halving the last one; features at the full resolution with half-sized cells for
the parts of the first octave; every level padded with ``truncation`` cells, so that windows may
leave the image. Maps are (32, rows, columns) float32.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gazehound.errors import ImageError
from gazehound.features.threads import in_threads
from gazehound.kernels.area_average import reduce_area
from gazehound.kernels.dpm_features import (
    CHANNELS,
    TRUNCATION,
    cell_histograms,
    normalised_cells,
    oriented_gradients,
)

FloatArray = NDArray[np.float32]
Planes = NDArray[np.float64]  # (C, H, W), values 0..255

SMALLEST_SIDE = 5  # cells: the pyramid ends where the image's shorter side is below this


def _mirror_channels() -> NDArray[np.int64]:
    """Return where each channel of a mirrored map is found: angle a becomes 180 degrees - a."""
    signed = [(9 - o) % 18 for o in range(18)]
    unsigned = [18 + (9 - o) % 9 for o in range(9)]
    return np.array([*signed, *unsigned, 29, 30, 27, 28, TRUNCATION])


MIRROR_CHANNELS = _mirror_channels()


def mirror_filter(weights: FloatArray) -> FloatArray:
    """Return filters (..., height, width, 32) that see a mirrored image as these see the image."""
    return np.ascontiguousarray(weights[..., ::-1, MIRROR_CHANNELS])


def planes_of(image: NDArray[Any]) -> Planes:
    """Return an image (H, W), (H, W, 1) or (H, W, 3) of any bit depth as planes (1 or 3, H, W).

    Sixteen-bit images are brought to 0..255, the range that models are trained on.

    Raises:
        ImageError: the array has another shape, or no pixels.
    """
    if image.ndim == 2:
        image = image[:, :, None]
    if image.ndim != 3 or image.shape[2] not in (1, 3) or not image.size:
        raise ImageError(
            f"an image must have shape (H, W), (H, W, 1) or (H, W, 3); got {image.shape}"
        )
    scale = 1 / 257 if image.dtype == np.uint16 else 1.0
    return np.ascontiguousarray(image.transpose(2, 0, 1), np.float64) * scale


def enlarge(values: Planes, axis: int, target: int) -> Planes:
    """Enlarge one axis linearly; pixel centres map to pixel centres, borders repeat."""
    source = values.shape[axis]
    position = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
    left = np.minimum(position.astype(int), max(source - 2, 0))
    share = (position - left).reshape([-1 if a == axis else 1 for a in range(values.ndim)])
    right = np.minimum(left + 1, source - 1)
    return np.asarray(values.take(left, axis) * (1 - share) + values.take(right, axis) * share)


def magnified(image: NDArray[Any], factor: int) -> Planes:
    """Return an image (H, W, 1 or 3) with ``factor`` times the sides, values 0..255.

    Raises:
        ImageError: see :func:`planes_of`.
    """
    planes = planes_of(image)
    _, height, width = planes.shape
    planes = enlarge(enlarge(planes, 1, factor * height), 2, factor * width)
    return planes.transpose(1, 2, 0)


def feature_map(
    gradients: tuple[Planes, NDArray[np.int64]], cell: int, padding: tuple[int, int] = (-1, -1)
) -> FloatArray:
    """Return the features (32, rows, columns) of one image.

    Args:
        gradients: lengths and orientations, of ``oriented_gradients``.
        cell: side of a cell, pixels.
        padding: (rows, columns) of truncation cells beyond the grid of whole cells; its outer ring,
            which has no features, counts as truncated too. -1 leaves the ring out: no padding.
    """
    height, width = gradients[0].shape
    ring_y, ring_x = padding[0] + 1, padding[1] + 1
    rows, columns = (max(int(side / cell + 0.5) - 2, 0) for side in (height, width))
    out = np.zeros((CHANNELS, rows + 2 * ring_y, columns + 2 * ring_x), np.float32)
    out[TRUNCATION] = 1
    if rows and columns:
        out[TRUNCATION, ring_y : ring_y + rows, ring_x : ring_x + columns] = 0
        normalised_cells(cell_histograms(*gradients, cell), out, ring_y, ring_x)
    return out


def image_features(image: NDArray[Any], cell: int = 8) -> FloatArray:
    """Return the features (32, rows - 2, columns - 2) of an image; rows = round(height / cell).

    Raises:
        ImageError: see :func:`planes_of`.
    """
    return feature_map(oriented_gradients(planes_of(image)), cell)


@dataclass(frozen=True)
class FeaturePyramid:
    """Feature maps of one image; root level ``r`` has its parts at twice its resolution.

    Attributes:
        fine: the first octave with cells of half the size: parts of root levels 0..interval-1.
        coarse: the root levels, from the finest; level r is the part level of root level
            r + interval.
        interval: levels per octave.
        cell: side of a cell of the root levels, pixels of the shrunk image.
        padding: (rows, columns) of truncation cells around every level.
        image_size: (height, width) of the image, pixels.
    """

    fine: tuple[FloatArray, ...]
    coarse: tuple[FloatArray, ...]
    interval: int
    cell: int
    padding: tuple[int, int]
    image_size: tuple[int, int]

    def part_level(self, level: int) -> FloatArray:
        """Return the map with twice the resolution of root level ``level``."""
        return self.fine[level] if level < self.interval else self.coarse[level - self.interval]

    def cell_sizes(self) -> NDArray[np.float64]:
        """Return the side of a cell of each root level in pixels of the image."""
        return self.cell * 2.0 ** (np.arange(len(self.coarse)) / self.interval)


def level_sizes(image_size: tuple[int, int], cell: int, interval: int) -> list[tuple[int, int]]:
    """Return (height, width) of the shrunk image of every root level, pixels.

    Levels end at five cells (of the image's shorter side); there is one whole octave at least.
    """
    octaves = math.log2(min(image_size) / (SMALLEST_SIDE * cell))
    sizes: list[tuple[int, int]] = []
    for level in range(max(1 + math.floor(octaves * interval), interval)):
        if level < interval:
            sizes.append(_scaled(image_size, 2 ** (-level / interval)))
        else:
            sizes.append(_scaled(sizes[level - interval], 0.5))
    return sizes


def _scaled(size: tuple[int, int], scale: float) -> tuple[int, int]:
    height, width = (max(int(side * scale + 0.5), 1) for side in size)
    return height, width


def feature_pyramid(
    image: NDArray[Any],
    cell: int = 8,
    interval: int = 10,
    padding: tuple[int, int] = (0, 0),
    only: Collection[int] | None = None,
) -> FeaturePyramid:
    """Build the pyramid of an image.

    Args:
        image: see :func:`planes_of`.
        cell: side of a cell, pixels.
        interval: levels per octave.
        padding: (rows, columns) of truncation cells around every level.
        only: root levels that will be scored; the maps that they do not need may be left empty.

    Raises:
        ImageError: see :func:`planes_of`.
    """
    planes = planes_of(image)
    size = (planes.shape[1], planes.shape[2])
    sizes = level_sizes(size, cell, interval)
    wanted = range(len(sizes)) if only is None else only
    unused = np.zeros((CHANNELS, 0, 0), np.float32)
    coarse = [unused] * len(sizes)

    def one_scale(first: int) -> FloatArray:
        """Fill the levels first, first + interval, ...; return the fine one."""
        last = max((level for level in wanted if level % interval == first), default=-1)
        if last < 0:
            return unused
        gradients = oriented_gradients(shrunk := _shrunk(planes, sizes[first]))
        coarse[first] = feature_map(gradients, cell, padding)
        for level in range(first + interval, last + 1, interval):
            shrunk = _shrunk(shrunk, sizes[level])
            coarse[level] = feature_map(oriented_gradients(shrunk), cell, padding)
        return feature_map(gradients, cell // 2, padding) if first in wanted else unused

    fine = in_threads(one_scale, range(interval))
    return FeaturePyramid(tuple(fine), tuple(coarse), interval, cell, padding, size)


def _shrunk(planes: Planes, size: tuple[int, int]) -> Planes:
    return planes if size == planes.shape[1:] else reduce_area(planes, *size)
