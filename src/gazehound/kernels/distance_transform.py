"""Generalised distance transforms: the best place of a part under a quadratic cost.

For a score map ``f`` and a cost ``a d^2 + b d`` per axis, with ``d`` = wanted place - actual place,

    out(i) = max over j of  f(j) - a (i - j)^2 - b (i - j)

The unbounded transform costs linear time: the upper envelope of parabolas, one axis after the
other (Felzenszwalb and Huttenlocher, Theory of Computing 2012, Algorithm 1). The bounded one looks
at most ``reach`` places away, as the models of voc-release5 do. ``-inf`` marks places that cannot be
taken. On equal values the smaller index wins.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def _envelope(
    values: NDArray[np.float32],
    a: float,
    b: float,
    out: NDArray[np.float32],
    source: NDArray[np.int32],
    peaks: NDArray[np.int64],
    starts: NDArray[np.float64],
) -> None:
    """One axis: keep the parabolas of the upper envelope, then read it from left to right."""
    count = 0
    for k in range(values.size):
        if values[k] == -np.inf:
            continue
        start = -np.inf
        while count > 0:
            j = peaks[count - 1]
            gain = np.float64(values[j]) - np.float64(values[k])
            start = (gain + a * (k * k - j * j) - b * (k - j)) / (2 * a * (k - j))
            if start > starts[count - 1]:
                break
            count -= 1
            start = -np.inf
        peaks[count] = k
        starts[count] = start
        count += 1
    if count == 0:
        out[:] = -np.inf
        source[:] = 0
        return
    piece = 0
    for i in range(values.size):
        while piece + 1 < count and starts[piece + 1] < i:
            piece += 1
        j = peaks[piece]
        out[i] = values[j] - (a * (i - j) + b) * (i - j)
        source[i] = j


@njit(cache=True, nogil=True)
def _window(
    values: NDArray[np.float32],
    a: float,
    b: float,
    reach: int,
    out: NDArray[np.float32],
    source: NDArray[np.int32],
) -> None:
    """One axis, looking at most ``reach`` places away."""
    for i in range(values.size):
        best = np.float32(-np.inf)
        winner = 0
        for j in range(max(0, i - reach), min(values.size, i + reach + 1)):
            value = np.float32(values[j] - (a * (i - j) + b) * (i - j))
            if value > best:
                best = value
                winner = j
        out[i] = best
        source[i] = winner


@njit(cache=True, nogil=True)
def distance_transform(
    scores: NDArray[np.float32], deformation: NDArray[np.float64], reach: int
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int32]]:
    """Transform a score map (H, W); return the values and the row and column each came from.

    Args:
        scores: (H, W) float32; ``-inf`` where a part cannot be.
        deformation: (ax, bx, ay, by), both quadratic terms above zero.
        reach: the largest displacement per axis; negative for none (linear time).

    Returns:
        values (H, W) float32, rows (H, W) int32, columns (H, W) int32. Where nothing can be reached
        the value is ``-inf`` and the indices are of no use.
    """
    height, width = scores.shape
    ax, bx, ay, by = deformation
    peaks = np.zeros(max(height, width), np.int64)
    starts = np.zeros(max(height, width), np.float64)
    half = np.empty((width, height), np.float32)
    half_rows = np.zeros((width, height), np.int32)
    for x in range(width):
        if reach < 0:
            _envelope(scores[:, x].copy(), ay, by, half[x], half_rows[x], peaks, starts)
        else:
            _window(scores[:, x].copy(), ay, by, reach, half[x], half_rows[x])
    values = np.empty((height, width), np.float32)
    rows = np.zeros((height, width), np.int32)
    columns = np.zeros((height, width), np.int32)
    for y in range(height):
        if reach < 0:
            _envelope(half[:, y].copy(), ax, bx, values[y], columns[y], peaks, starts)
        else:
            _window(half[:, y].copy(), ax, bx, reach, values[y], columns[y])
        for x in range(width):
            rows[y, x] = half_rows[columns[y, x], y]
    return values, rows, columns


@njit(cache=True, nogil=True, fastmath={"nsz"})
def add_deformed(
    total: NDArray[np.float32],
    scores: NDArray[np.float32],
    deformation: NDArray[np.float64],
    reach: int,
    start: tuple[int, int],
    extent: tuple[int, int],
) -> None:
    """Add a part's bounded transform, read at every second place, to root scores, in place.

    Root place (y, x) wants the part at (start + 2 (y, x)); only those places are transformed, a
    quarter of the map, and the rows are done as whole vectors.

    Args:
        total: (H, W) float32, the sums so far.
        scores: (h, w) float32, the part's filter response.
        deformation: (ax, bx, ay, by).
        reach: the largest displacement per axis, not negative.
        start: (y, x) place of the part that root place (0, 0) wants; may be negative.
        extent: (rows, columns): wanted places outside 0..extent-1 give ``-inf``.
    """
    height, width = scores.shape
    ax, bx, ay, by = deformation
    line = np.full(max(width, extent[1]) + 2 * reach + 2, -np.inf, np.float32)
    best = np.empty(total.shape[1], np.float32)
    first = max(0, (1 - start[1]) // 2)  # the first and one past the last root column inside
    last = min(total.shape[1], (extent[1] - 1 - start[1]) // 2 + 1)
    for y in range(total.shape[0]):
        wanted = start[0] + 2 * y
        if wanted < 0 or wanted >= extent[0] or last <= first:
            total[y] = -np.inf
            continue
        middle = line[reach : reach + width]
        middle[:] = -np.inf
        for j in range(max(0, wanted - reach), min(height, wanted + reach + 1)):
            cost = np.float32((ay * (wanted - j) + by) * (wanted - j))
            row = scores[j]
            for x in range(width):
                value = row[x] - cost
                middle[x] = value if value > middle[x] else middle[x]
        best[:] = -np.inf
        for d in range(-reach, reach + 1):  # d = wanted - actual
            cost = np.float32((ax * d + bx) * d)
            shifted = line[start[1] + 2 * first - d + reach :]
            for x in range(last - first):
                value = shifted[2 * x] - cost
                best[first + x] = value if value > best[first + x] else best[first + x]
        for x in range(total.shape[1]):
            total[y, x] += best[x]


@njit(cache=True, nogil=True)
def best_place(
    scores: NDArray[np.float32],
    deformation: NDArray[np.float64],
    reach: int,
    y: int,
    x: int,
) -> tuple[int, int, float]:
    """Return (row, column, value) of the best place at most ``reach`` from a wanted one."""
    height, width = scores.shape
    ax, bx, ay, by = deformation
    row, column, best = 0, 0, -np.inf
    for j in range(max(0, y - reach), min(height, y + reach + 1)):
        for i in range(max(0, x - reach), min(width, x + reach + 1)):
            cost = (ay * (y - j) + by) * (y - j) + (ax * (x - i) + bx) * (x - i)
            value = scores[j, i] - cost
            if value > best:
                row, column, best = j, i, value
    return row, column, best
