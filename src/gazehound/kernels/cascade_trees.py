"""Scanning cascades of trees, of LBP features, and of detectors that are rescaled.

The general walk: any tree, any rectangle weights, Haar-like or local binary pattern features, any
grid. :mod:`gazehound.kernels.cascade` is the fast one for stumps. The tables are those described
there, except that ``corners`` holds 16 offsets per LBP feature (the 4 x 4 lattice of its 3 x 3
blocks, row by row) and that integral images are 64 bits wide.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

STRIPE = 8  # rows of positions that one share takes before it is the next one's turn
_ZERO = np.float32(0)


@njit(cache=True, nogil=True, inline="always")
def _sum(sums: NDArray[np.int64], at: int, corners: NDArray[np.uint32], k: int) -> Any:
    return (
        sums[np.uint64(at + corners[k])]
        - sums[np.uint64(at + corners[k + 1])]
        - sums[np.uint64(at + corners[k + 2])]
        + sums[np.uint64(at + corners[k + 3])]
    )


@njit(cache=True, nogil=True)
def _inverse_norm(
    sums: NDArray[np.int64],
    squares: NDArray[np.int64],
    at: int,
    norm: NDArray[np.int64],
    area: float,
) -> np.float32:
    """Return 1 / (area * deviation) of a window, or 0 when it is flat (deviation at most 10)."""
    a, b, c, d = at + norm[0], at + norm[1], at + norm[2], at + norm[3]
    total = np.float64(sums[a] - sums[b] - sums[c] + sums[d])
    energy = np.float64(squares[a] - squares[b] - squares[c] + squares[d])
    spread = area * energy - total * total
    if spread <= 0.0:
        return _ZERO
    inverse = np.float32(1.0 / np.sqrt(spread))
    return inverse if area * np.float64(inverse) < 0.1 else _ZERO


@njit(cache=True, nogil=True)
def _pattern(sums: NDArray[np.int64], at: int, corners: NDArray[np.uint32], k: int) -> int:
    """Return the 8-bit pattern of a 3 x 3 block feature: neighbours not darker than the centre.

    Clockwise from the top left block, the most significant bit first.
    """
    lattice = np.empty(16, np.int64)
    for i in range(16):
        lattice[i] = sums[np.uint64(at + corners[k + i])]
    centre = lattice[5] - lattice[6] - lattice[9] + lattice[10]
    code = 0
    for block in (0, 1, 2, 6, 10, 9, 8, 4):
        value = lattice[block] - lattice[block + 1] - lattice[block + 4] + lattice[block + 5]
        code = 2 * code + (1 if value >= centre else 0)
    return code


@njit(cache=True, nogil=True)
def _goes_left(
    sums: NDArray[np.int64],
    at: int,
    inverse: np.float32,
    corners: NDArray[np.uint32],
    weights: NDArray[np.float32],
    threshold: np.float32,
    subset: NDArray[np.int32],
    node: int,
) -> bool:
    """Decide one node: a response below the threshold, or a pattern in the subset, goes left."""
    if len(subset) > 0:
        code = _pattern(sums, at, corners, node * 16)
        return bool((np.int64(subset[code >> 5]) >> (code & 31)) & 1)
    k, w = node * 12, node * 3
    value = weights[w] * np.float32(_sum(sums, at, corners, k))
    value += weights[w + 1] * np.float32(_sum(sums, at, corners, k + 4))
    if weights[w + 2] != _ZERO:
        value += weights[w + 2] * np.float32(_sum(sums, at, corners, k + 8))
    return bool(value * inverse < threshold)


@njit(cache=True, nogil=True)
def run_cascade(
    sums: NDArray[np.int64],
    at: int,
    inverse: np.float32,
    corners: NDArray[np.uint32],
    weights: NDArray[np.float32],
    thresholds: NDArray[np.float32],
    subsets: NDArray[np.int32],
    children: NDArray[np.int32],
    leaves: NDArray[np.float32],
    tree_first: NDArray[np.int64],
    stage_first: NDArray[np.int64],
    bounds: NDArray[np.float64],
) -> tuple[int, float]:
    """Return how many stages the window at ``at`` passes, and the sum of the last one it met."""
    total = 0.0
    for stage in range(len(bounds)):
        total = 0.0
        for tree in range(stage_first[stage], stage_first[stage + 1]):
            root = tree_first[tree]
            step = 0
            while True:
                node = root + step
                left = _goes_left(
                    sums, at, inverse, corners, weights, thresholds[node], subsets[node], node
                )
                step = children[node, 0] if left else children[node, 1]
                if step <= 0:
                    break
            total += np.float64(leaves[root + tree - step])
        if total < bounds[stage]:
            return stage, total
    return len(bounds), total


@njit(cache=True, nogil=True)
def scan_trees(
    sums: NDArray[np.int64],
    squares: NDArray[np.int64],
    levels: NDArray[np.int64],
    norm: NDArray[np.int64],
    area: NDArray[np.float64],
    corners: NDArray[np.uint32],
    weights: NDArray[np.float32],
    thresholds: NDArray[np.float32],
    subsets: NDArray[np.int32],
    children: NDArray[np.int32],
    leaves: NDArray[np.float32],
    tree_first: NDArray[np.int64],
    stage_first: NDArray[np.int64],
    bounds: NDArray[np.float64],
    skip: bool,
    accepted: NDArray[np.uint8],
    response: NDArray[np.float32],
    reached: NDArray[np.uint16],
    part: int,
    parts: int,
) -> None:
    """Scan one of ``parts`` shares of the rows of any grid with any cascade.

    Args:
        sums: (B,) integral images of all levels, tilted ones behind them.
        squares: (B,) squared integral images; empty for LBP features, which are not normalised.
        levels: (L, 7), see :mod:`gazehound.kernels.cascade`; so ``norm``, ``area`` and ``weights``.
        norm: corners of the norm rectangle.
        area: its pixels.
        corners: (G, 12 M) of Haar-like or (G, 16 M) of LBP features.
        weights: (G, 3 M) of the rectangles; empty for LBP.
        thresholds: (M,) of the normalised response.
        subsets: (M, 8) bit sets of the patterns that go left; (M, 0) for Haar-like features.
        children: (M, 2) next node of the tree when positive, else leaf ``-child``.
        leaves: (M + T,) values; tree ``t`` has ``nodes + 1`` from ``tree_first[t] + t`` on.
        tree_first: (T + 1,) first node of each tree.
        stage_first: (S + 1,) first tree of each stage.
        bounds: (S,) sum that a stage asks for.
        skip: whether a rejection by the first stage skips the next position of the row.
        accepted: (P,) output, 1 where every stage passed; zeros on entry.
        response: (P,) output, the last stage's sum there.
        reached: (P,) output, 0 where no stage was asked, else 1 more than the stages passed; zeros on
            entry. Or empty: nobody wants to know.
        part: which share.
        parts: how many there are; shares may run in threads.
    """
    stages = len(bounds)
    for level in range(len(levels)):
        columns, group = levels[level, 1], levels[level, 6]
        table, weight = corners[group], weights[group]
        for row in range(levels[level, 2]):
            if (row // STRIPE + level) % parts != part:
                continue
            base = levels[level, 0] + row * levels[level, 5]
            out = levels[level, 3] + row * columns
            x = 0
            while x < columns:
                at = base + x * levels[level, 4]
                inverse = np.float32(1)
                if len(squares) > 0:
                    inverse = _inverse_norm(sums, squares, at, norm[group], area[group])
                if inverse != _ZERO:
                    passed, total = run_cascade(
                        sums, at, inverse, table, weight, thresholds, subsets, children, leaves,
                        tree_first, stage_first, bounds,
                    )  # fmt: skip
                    if len(reached):
                        reached[out + x] = passed + 1
                    if passed == stages:
                        accepted[out + x] = 1
                        response[out + x] = total
                    elif passed == 0 and skip:
                        x += 1
                x += 1
