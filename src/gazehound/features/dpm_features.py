"""The feature pyramid of deformable part models: 31 + 1 channels, an extra octave for the parts.

Follows voc-release5 (Girshick, Felzenszwalb, McAllester), whose facts are: image values 0..255, no
mean subtracted; ``interval`` levels per octave, shrunk by area averaging from the full image, each
further octave by halving the last one; features at the full resolution with half-sized cells for the
parts of the first octave; every level padded with ``truncation`` cells, so that windows may leave
the image. Maps are (32, rows, columns) float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

from gazehound.errors import ImageError
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
Item = TypeVar("Item")
Result = TypeVar("Result")

SMALLEST_SIDE = 5  # cells: the pyramid ends where the image's shorter side is below this


def _mirror_channels() -> NDArray[np.int64]:
    """Return where each channel of a mirrored map is found: orientation o becomes 180 degrees - o."""
    signed = [(9 - o) % 18 for o in range(18)]
    unsigned = [18 + (9 - o) % 9 for o in range(9)]
    return np.array([*signed, *unsigned, 29, 30, 27, 28, TRUNCATION])


MIRROR_CHANNELS = _mirror_channels()


def mirror_filter(weights: FloatArray) -> FloatArray:
    """Return the filters (..., height, width, 32) that see a mirrored image as these see the image."""
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
        raise ImageError(f"an image must have shape (H, W), (H, W, 1) or (H, W, 3); got {image.shape}")
    scale = 1 / 257 if image.dtype == np.uint16 else 1.0
    return np.ascontiguousarray(image.transpose(2, 0, 1), np.float64) * scale


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
    """Return the features (32, rows - 2, columns - 2) of an image with ``round(side / cell)`` cells.

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

    def cell_size(self, level: int) -> float:
        """Return the side of a cell of root level ``level`` in pixels of the image."""
        return float(self.cell * 2 ** (level / self.interval))


def level_count(image_size: tuple[int, int], cell: int, interval: int) -> int:
    """Return the number of root levels: down to five cells, and one whole octave at least."""
    octaves = math.log2(min(image_size) / (SMALLEST_SIDE * cell))
    return max(1 + math.floor(octaves * interval), interval)


def feature_pyramid(
    image: NDArray[Any], cell: int = 8, interval: int = 10, padding: tuple[int, int] = (0, 0)
) -> FeaturePyramid:
    """Build the pyramid of an image.

    Raises:
        ImageError: see :func:`planes_of`.
    """
    planes = planes_of(image)
    size = (planes.shape[1], planes.shape[2])
    levels = level_count(size, cell, interval)
    coarse: dict[int, FloatArray] = {}

    def one_scale(first: int) -> FloatArray:
        """Fill the levels first, first + interval, ...; return the fine one."""
        shrunk = _shrink(planes, 2 ** (-first / interval))
        gradients = oriented_gradients(shrunk)
        for level in range(first, levels, interval):
            if level > first:
                shrunk = _shrink(shrunk, 0.5)
                coarse[level] = feature_map(oriented_gradients(shrunk), cell, padding)
            else:
                coarse[level] = feature_map(gradients, cell, padding)
        return feature_map(gradients, cell // 2, padding)

    fine = in_threads(one_scale, range(interval))
    ordered = tuple(coarse[level] for level in range(levels))
    return FeaturePyramid(tuple(fine), ordered, interval, cell, padding, size)


def _shrink(planes: Planes, scale: float) -> Planes:
    height, width = (max(int(side * scale + 0.5), 1) for side in planes.shape[1:])
    if (height, width) == planes.shape[1:]:
        return planes
    return reduce_area(planes, height, width)


def in_threads(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Map over items on as many threads as Numba may use; the kernels release the lock."""
    threads = numba.get_num_threads()
    if threads == 1:
        return [work(item) for item in items]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, items))
