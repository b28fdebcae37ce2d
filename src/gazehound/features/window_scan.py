"""Linear templates slid over the block grids of a pyramid.

A level is resized, described and normalised once, for all templates; a template's scores are then a
correlation of its weights with the grid. Windows that do not stand on the blocks' own raster (a
window stride below the block stride) need further grids, one per offset.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gazehound.errors import ConfigError
from gazehound.features.hog import Hog
from gazehound.features.pyramid import Level
from gazehound.features.threads import in_threads
from gazehound.kernels.block_scores import correlate_blocks
from gazehound.records import FloatArray, IntArray
from gazehound.watching import is_watched, show


@dataclass(frozen=True)
class Template:
    """A linear classifier of windows.

    Attributes:
        window: (height, width) of the window, pixels.
        weights: (block rows, block columns, numbers per block) float32.
        bias: added to the product.

    Raises:
        ConfigError: the weights have not three axes.
    """

    window: tuple[int, int]
    weights: FloatArray
    bias: float

    def __post_init__(self) -> None:
        if self.weights.ndim != 3:
            raise ConfigError(
                f"a template needs weights (rows, columns, numbers per block); got shape "
                f"{self.weights.shape}"
            )


@dataclass(frozen=True)
class Raster:
    """Where windows stand on a level.

    Attributes:
        stride: pixels between windows.
        pad: pixels added at every side of the level by mirroring, so that windows can leave it.
    """

    stride: int = 8
    pad: int = 0

    def offsets(self, block_stride: int) -> tuple[list[int], int]:
        """Return the first window of each block raster needed, and the step on it in blocks."""
        common = gcd(self.stride, block_stride)
        first = [k * self.stride for k in range(block_stride // common)]
        return first, self.stride // common


class Hits(NamedTuple):
    """Windows at or above a threshold, in the order level, y, x.

    Attributes:
        level: (N,) index of the pyramid level.
        corner: (N, 2) int64, the window's (x, y) in pixels of the level.
        margin: (N,) float32, the template's response.
    """

    level: IntArray
    corner: IntArray
    margin: FloatArray

    def select(self, rows: NDArray[Any]) -> Hits:
        """Return only these hits (an index or boolean array)."""
        return Hits(*(column[rows] for column in self))


def scan(
    planes: NDArray[np.uint8],
    hog: Hog,
    templates: Sequence[Template],
    levels: Sequence[Level],
    raster: Raster,
    threshold: float | Sequence[float],
) -> list[Hits]:
    """Return the hits of every template on all levels.

    Args:
        planes: the image, (C, H, W) uint8.
        hog: the descriptor that the templates were trained on.
        templates: the classifiers.
        levels: of ``pyramid_levels``.
        raster: where windows stand.
        threshold: the smallest response kept, one for all or one per template.
    """
    limits = np.broadcast_to(np.asarray(threshold, np.float64), len(templates))

    highest = -np.inf

    def on_level(level: Level) -> list[tuple[IntArray, FloatArray]]:
        nonlocal highest
        scores = score_level(planes, hog, templates, level, raster)
        if is_watched():
            top = max(float(p.scores.max(initial=-np.inf)) for parts in scores for p in parts)
            shown = scores if top >= highest else _without_grids(scores)
            highest = max(highest, top)
            show(LevelScores(level, raster, shown))
        return [_collect(parts, limit, raster) for parts, limit in zip(scores, limits, strict=True)]

    found = in_threads(on_level, levels)
    return [_joined([row[k] for row in found]) for k in range(len(templates))]


class RasterScores(NamedTuple):
    """The responses of one template on one block raster of a level.

    Attributes:
        origin: (y, x) of the first window in the padded level.
        step: pixels between windows, (y, x).
        scores: (rows, columns) float32.
        grid: (block rows, block columns, numbers per block), what the template was slid over; ``None``
            where it was let go.
    """

    origin: tuple[int, int]
    step: int
    scores: FloatArray
    grid: FloatArray | None


@dataclass(frozen=True)
class LevelScores:
    """The step that a scan shows of each pyramid level.

    Only the level where a template responds most is sure to have its grids: all of them together can be
    far larger than the picture.

    Attributes:
        level: of the pyramid.
        raster: where windows stand on it.
        scores: a list per template, an entry per block raster.
    """

    level: Level
    raster: Raster
    scores: list[list[RasterScores]]


def _without_grids(scores: list[list[RasterScores]]) -> list[list[RasterScores]]:
    return [[part._replace(grid=None) for part in parts] for parts in scores]


def score_level(
    planes: NDArray[np.uint8],
    hog: Hog,
    templates: Sequence[Template],
    level: Level,
    raster: Raster,
) -> list[list[RasterScores]]:
    """Return the responses on one level: a list per template, an entry per block raster."""
    first, step = raster.offsets(hog.stride)
    out: list[list[RasterScores]] = [[] for _ in templates]
    for y in first:
        for x in first:
            grid = hog.grid(planes, level.size, (raster.pad, raster.pad), (y, x))
            for template, parts in zip(templates, out, strict=True):
                scores = correlate_blocks(grid, template.weights, template.bias, (step, step))
                parts.append(RasterScores((y, x), step * hog.stride, scores, grid))
    return out


def _collect(
    parts: Sequence[RasterScores], limit: float, raster: Raster
) -> tuple[IntArray, FloatArray]:
    """Return the corners (N, 2), x and y, and responses of the windows kept, in raster order."""
    corners, margins = [], []
    for (y, x), step, scores, _ in parts:
        rows, columns = np.nonzero(scores >= limit)
        corners.append(np.stack([columns * step + x, rows * step + y], axis=1) - raster.pad)
        margins.append(scores[rows, columns])
    corner, margin = np.concatenate(corners), np.concatenate(margins)
    if len(parts) == 1:
        return corner, margin
    order = np.lexsort((corner[:, 0], corner[:, 1]))
    return corner[order], margin[order]


def _joined(found: Sequence[tuple[IntArray, FloatArray]]) -> Hits:
    if not found:
        empty = np.zeros(0, np.int64)
        return Hits(empty, np.zeros((0, 2), np.int64), np.zeros(0, np.float32))
    counts = [len(margin) for _, margin in found]
    return Hits(
        np.repeat(np.arange(len(found)), counts),
        np.concatenate([corner for corner, _ in found]),
        np.concatenate([margin for _, margin in found]),
    )
