"""Multi-scale scanning of a cascade, by shrinking the image (OpenCV) or growing the detector (paper).

OpenCV's way: for every scale the image is shrunk, the grid step is 2 pixels below scale 2 and 1 from
there on, a rejection by the first stage skips the next position, and windows with a deviation of at
most 10 grey levels are rejected. The paper's way (Viola and Jones 2004, section 5.4): one integral
image, the rectangles grow with the scale, and the grid step is ``scale * shift`` pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numba import get_num_threads
from numpy.typing import NDArray

from gazehound.errors import ConfigError
from gazehound.features.cascade import Cascade
from gazehound.features.cascade_scan import scanned
from gazehound.features.threads import in_threads
from gazehound.kernels.cascade import scan_stumps
from gazehound.kernels.cascade_trees import scan_trees
from gazehound.kernels.integral import integrate_level
from gazehound.watching import is_watched, show


@dataclass(frozen=True)
class Hits:
    """Windows that every stage passed, in order of scale, row and column.

    Attributes:
        boxes: (N, 4) int64 ``xywh``, pixels of the image.
        response: (N,) float32, the last stage's unthresholded sum.
        cells: (N, 3) int64, scale index and the window's x, y in the image of that scale.
        shapes: (L, 2) int64, (height, width) of the image of every scale.
    """

    boxes: NDArray[np.int64]
    response: NDArray[np.float32]
    cells: NDArray[np.int64]
    shapes: NDArray[np.int64]


@dataclass(frozen=True)
class _Tables:
    """Offset tables of one buffer layout (see ``gazehound.kernels.cascade``)."""

    norm: NDArray[np.int64]
    area: NDArray[np.float64]
    corners: NDArray[np.uint32]
    weights: NDArray[np.float32]


def scales_of(
    window: tuple[int, int],
    size: tuple[int, int],
    factor: float,
    min_size: tuple[int, int] = (0, 0),
    max_size: tuple[int, int] | None = None,
) -> NDArray[np.float32]:
    """Return the scales at which the window fits the image: powers of ``factor`` from 1 on.

    Args:
        window: (height, width) of the detector.
        size: (height, width) of the image.
        factor: over 1.
        min_size: (height, width) of the smallest window to keep.
        max_size: of the largest; None: the image.

    Raises:
        ConfigError: the factor is not over 1.
    """
    if not factor > 1:
        raise ConfigError(f"the scale factor must be over 1; got {factor}")
    largest = np.minimum(size, max_size) if max_size else np.asarray(size)
    scales: list[float] = []
    scale = 1.0
    while True:
        grown = np.rint(np.asarray(window) * scale)
        if (grown > largest).any():
            return np.asarray(scales, np.float32)
        if (grown >= min_size).all():
            scales.append(scale)
        scale *= factor


def scan_images(cascade: Cascade, image: NDArray[np.uint8], scales: NDArray[np.float32]) -> Hits:
    """Scan the shrunk images of every scale: OpenCV's ``detectMultiScale`` without grouping.

    Args:
        cascade: the detector.
        image: (H, W) grey.
        scales: (L,) from :func:`scales_of`.
    """
    if len(scales) == 0:
        return _no_hits()
    size = np.asarray(image.shape, np.float32)
    shapes = np.rint(size[None] / scales[:, None]).astype(np.int64).reshape(-1, 2)
    steps = np.where(scales >= 2, 1, 2)
    layout, odd, strides, total = _layout(shapes, steps)
    tilted = total if cascade.tilted.any() else 0
    fast = cascade.is_stumps and not cascade.is_lbp
    sums = np.empty(total + tilted, np.int32 if fast else np.int64)
    squares = np.empty(total, np.uint32 if fast else np.int64)
    pixels = np.ascontiguousarray(image)
    in_threads(lambda row: integrate_level(pixels, row, tilted, sums, squares), layout)
    grid = _opencv_grid(shapes, steps, cascade.window)
    first = np.cumsum(np.concatenate([[0], grid.prod(axis=1)]))
    group = (steps == 1).astype(np.int64)
    levels = np.column_stack(
        [layout[:, 2], grid[:, 1], grid[:, 0], first[:-1], np.ones_like(group),
         layout[:, 3] * steps, group]
    )  # fmt: skip
    tables = _pyramid_tables(cascade, strides, odd, tilted)
    reached = np.zeros(int(first[-1]) if is_watched() else 0, np.uint16)
    found = _run(cascade, fast, sums, squares, levels, tables, True, int(first[-1]), reached)
    cells = _cells(found[0], levels, steps)
    hits = _hits(cascade, found, cells, scales[cells[:, 0]], shapes)
    if is_watched():
        windows = np.rint(np.asarray(cascade.window)[None] * scales[:, None]).astype(np.int64)
        integral = _integral(sums, layout[0])
        show(scanned(cascade, integral, scales, windows, steps * scales, levels, reached, hits))
    return hits


def _opencv_grid(
    shapes: NDArray[np.int64], steps: NDArray[np.int64], window: tuple[int, int]
) -> NDArray[np.int64]:
    """Return (L, 2) rows and columns of positions at each scale.

    OpenCV deals out the rows in stripes, as many as the first scale has positions across over 32. It
    halves the number of rows before it rounds up to whole stripes, so with a step of 2 the last row
    can be left over and is not scanned; here neither.
    """
    room = np.maximum(shapes - np.asarray(window) + 1, 0)
    stripes = max(-(-int(room[0, 1]) // 32), 1)
    stripe = np.maximum((room[:, 0] // steps + stripes - 1) // stripes, 1) * steps
    scanned = np.column_stack([np.minimum(stripe * stripes, room[:, 0]), room[:, 1]])
    return -(-scanned // steps[:, None])


def _layout(
    shapes: NDArray[np.int64], steps: NDArray[np.int64]
) -> tuple[NDArray[np.int64], int, tuple[int, int], int]:
    """Stack the levels; those of step 2 share one stride with sorted columns, the rest another."""
    widest = [shapes[steps == step, 1].max(initial=0) for step in (2, 1)]
    odd = int(widest[0] + 2) // 2
    strides = (2 * odd, int(widest[1]) + 1)
    stride = np.where(steps == 2, *strides)
    start = np.cumsum(np.concatenate([[0], (shapes[:, 0] + 1) * stride]))
    layout = np.column_stack([shapes, start[:-1], stride, np.where(steps == 2, odd, 0)])
    return layout.astype(np.int64), odd, strides, int(start[-1])


@lru_cache(maxsize=16)
def _pyramid_tables(cascade: Cascade, strides: tuple[int, int], odd: int, tilted: int) -> _Tables:
    """Offsets for sorted (step 2) and plain (step 1) buffers; a cascade compares by identity."""
    xs, ys, lean = cascade.corners()
    height, width = cascade.window
    norm_x = np.asarray([1, width - 1, 1, width - 1])
    norm_y = np.asarray([1, 1, height - 1, height - 1])
    corners, norms = [], []
    for stride, half in zip(strides, (odd, 0), strict=True):
        placed = _offsets(xs, ys, stride, half) + lean[:, None] * tilted
        corners.append(placed.astype(np.uint32).ravel())
        norms.append(_offsets(norm_x, norm_y, stride, half))
    weights = cascade.weights[cascade.feature].ravel()
    area = float((height - 2) * (width - 2))
    return _Tables(np.stack(norms), np.full(2, area), np.stack(corners), np.stack([weights] * 2))


def _offsets(xs: NDArray[Any], ys: NDArray[Any], stride: int, half: int) -> NDArray[np.int64]:
    across = xs // 2 + xs % 2 * half if half else xs
    return np.asarray(ys * stride + across, np.int64)


def _integral(sums: NDArray[Any], layout: NDArray[np.int64]) -> NDArray[Any]:
    """Return the integral image (H + 1, W + 1) of one scale, its columns in their order."""
    height, width, start, stride, odd = layout
    across = _offsets(np.arange(width + 1), np.zeros(1, np.int64), 1, int(odd))
    return np.asarray(sums[start + across + np.arange(height + 1)[:, None] * stride])


def scan_scales(
    cascade: Cascade, image: NDArray[np.uint8], scales: NDArray[np.float32], shift: float = 1.0
) -> Hits:
    """Scan one integral image with the detector grown to every scale: the paper's way.

    Rectangles are rounded to whole pixels; the whole's weight is set so that an even image still
    gives 0, and the response is divided by the grown window's norm, so thresholds stay as trained.

    Args:
        cascade: the detector; Haar-like features.
        image: (H, W) grey.
        scales: (L,) from :func:`scales_of`.
        shift: grid step at scale 1, pixels.

    Raises:
        ConfigError: the cascade asks LBP features.
    """
    if cascade.is_lbp:
        raise ConfigError("LBP features cannot be rescaled; scan the shrunk images instead")
    if len(scales) == 0:
        return _no_hits()
    height, width = image.shape
    shapes = np.asarray([[height, width]], np.int64)
    layout, _, (_, stride), total = _layout(shapes, np.ones(1, np.int64))
    tilted = total if cascade.tilted.any() else 0
    sums, squares = np.empty(total + tilted, np.int64), np.empty(total, np.int64)
    integrate_level(np.ascontiguousarray(image), layout[0], tilted, sums, squares)
    steps = np.maximum(np.rint(scales * shift), 1).astype(np.int64)
    windows = np.rint(np.asarray(cascade.window)[None] * scales[:, None]).astype(np.int64)
    grid = np.maximum((np.asarray([height, width]) - windows) // steps[:, None] + 1, 0)
    first = np.cumsum(np.concatenate([[0], grid.prod(axis=1)]))
    levels = np.column_stack(
        [np.zeros_like(steps), grid[:, 1], grid[:, 0], first[:-1], steps, steps * stride,
         np.arange(len(scales))]
    ).astype(np.int64)  # fmt: skip
    tables = _grown_tables(cascade, scales, stride, tilted)
    reached = np.zeros(int(first[-1]) if is_watched() else 0, np.uint16)
    found = _run(cascade, False, sums, squares, levels, tables, False, int(first[-1]), reached)
    cells = _cells(found[0], levels, steps)
    hits = _hits(cascade, found, cells, np.ones(len(cells), np.float32), shapes, windows)
    if is_watched():
        integral = _integral(sums, layout[0])
        show(scanned(cascade, integral, scales, windows, steps, levels, reached, hits))
    return hits


def _grown_tables(
    cascade: Cascade, scales: NDArray[np.float32], stride: int, tilted: int
) -> _Tables:
    norms, areas, corners, weights = [], [], [], []
    for scale in scales:
        grown, weight = _grown(cascade, float(scale))
        xs, ys, lean = grown.corners()
        corners.append((ys * stride + xs + lean[:, None] * tilted).astype(np.uint32).ravel())
        weights.append(weight[cascade.feature].ravel())
        margin = _margin(grown.window, float(scale))
        ys, xs = (np.asarray([margin, side - margin]) for side in grown.window)
        norms.append((ys[:, None] * stride + xs[None]).ravel())
        areas.append(float((ys[1] - ys[0]) * (xs[1] - xs[0])))
    return _Tables(
        np.asarray(norms, np.int64).reshape(-1, 4), np.asarray(areas),
        np.asarray(corners, np.uint32).reshape(len(scales), -1),
        np.asarray(weights, np.float32).reshape(len(scales), -1),
    )  # fmt: skip


def _margin(window: tuple[int, int], scale: float) -> int:
    """Pixels that the norm rectangle of a grown window stays away from its border."""
    return min(round(scale), (min(window) - 1) // 2)


def _grown(cascade: Cascade, scale: float) -> tuple[Cascade, NDArray[np.float32]]:
    """Return the cascade with its rectangles grown, and the weights that keep them balanced.

    The sums of all parts but the first keep their weight; the areas of rounded rectangles differ
    from ``scale**2`` times the original's, so each weight is corrected by that ratio, and the first
    balances the rest. The norm carries the grown window's area, which takes the scale out.
    """
    height, width = cascade.window
    window = (round(height * scale), round(width * scale))
    rects = cascade.rects.astype(np.float64)
    low = np.rint(rects[..., :2] * scale)
    if cascade.tilted.any():
        size = np.floor(rects[..., 2:] * scale)
    else:
        size = np.rint((rects[..., :2] + rects[..., 2:]) * scale) - low
    grown = np.concatenate([low, size], axis=-1).astype(np.int16)
    area = np.where(cascade.weights != 0, grown[..., 2] * grown[..., 3].astype(np.float64), 1)
    old = rects[..., 2] * rects[..., 3]
    margin = _margin(window, scale)
    norm = (window[0] - 2 * margin) * (window[1] - 2 * margin)
    unit = norm / ((height - 2) * (width - 2))
    weights = cascade.weights * np.where(area > 0, old * unit / np.maximum(area, 1), 0)
    rest = (weights[:, 1:] * area[:, 1:]).sum(axis=1)
    balanced = (cascade.weights * old).sum(axis=1) == 0
    weights[:, 0] = np.where(balanced, -rest / np.maximum(area[:, 0], 1), weights[:, 0])
    return replace(cascade, window=window, rects=grown), weights.astype(np.float32)


def _run(
    cascade: Cascade,
    fast: bool,
    sums: NDArray[Any],
    squares: NDArray[Any],
    levels: NDArray[np.int64],
    tables: _Tables,
    skip: bool,
    positions: int,
    reached: NDArray[np.uint16],
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Run the fitting kernel; return the map entries of the hits and their sums."""
    accepted = np.zeros(positions, np.uint8)
    response = np.empty(positions, np.float32)
    parts = get_num_threads()
    doubts = _doubts(cascade) if fast else np.zeros(0)
    where = (levels, tables.norm, tables.area, tables.corners, tables.weights)
    maps = (accepted, response, reached)

    def share(part: int) -> None:
        if fast:
            scan_stumps(
                sums, squares, *where, cascade.threshold, cascade.leaves, cascade.stage_first,
                cascade.bounds, doubts, *maps, part, parts,
            )  # fmt: skip
        else:
            scan_trees(
                sums, squares[:0] if cascade.is_lbp else squares, *where, cascade.threshold,
                cascade.subsets, cascade.children, cascade.leaves, cascade.tree_first,
                cascade.stage_first, cascade.bounds, skip, *maps, part, parts,
            )  # fmt: skip

    in_threads(share, range(parts))
    hits = np.flatnonzero(accepted)
    return hits, response[hits]


def _doubts(cascade: Cascade) -> NDArray[np.float64]:
    """(S,) bound on the error of a single-precision sum of a stage's leaves."""
    largest = np.abs(cascade.leaves.reshape(-1, 2)).max(axis=1).astype(np.float64)
    size = np.diff(cascade.stage_first)
    return np.asarray(np.add.reduceat(largest, cascade.stage_first[:-1]) * size * 2.0**-23)


def _cells(
    hits: NDArray[np.int64], levels: NDArray[np.int64], steps: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Turn map entries into (scale index, x, y)."""
    level = np.searchsorted(levels[:, 3], hits, side="right") - 1
    row, column = np.divmod(hits - levels[level, 3], np.maximum(levels[level, 1], 1))
    return np.column_stack([level, column * steps[level], row * steps[level]])


def _no_hits() -> Hits:
    return Hits(
        np.zeros((0, 4), np.int64), np.zeros(0, np.float32), np.zeros((0, 3), np.int64),
        np.zeros((0, 2), np.int64),
    )  # fmt: skip


def _hits(
    cascade: Cascade,
    found: tuple[NDArray[np.int64], NDArray[np.float32]],
    cells: NDArray[np.int64],
    scale: NDArray[np.float32],
    shapes: NDArray[np.int64],
    windows: NDArray[np.int64] | None = None,
) -> Hits:
    """Map cells to boxes of the image; halves round to even, as OpenCV's do."""
    corner = np.rint(cells[:, 1:].astype(np.float32) * scale[:, None])
    if windows is None:
        size = np.rint(np.asarray(cascade.window, np.float32)[None] * scale[:, None])
    else:
        size = windows[cells[:, 0]]
    boxes = np.column_stack([corner, size[:, ::-1]]).astype(np.int64)
    return Hits(boxes, found[1], cells, shapes)
