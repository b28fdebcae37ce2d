"""Scanning a cascade of stumps on Haar-like features over integral images.

A window runs through the stages until one rejects it. The plain walk, one window after the other,
spends its time reading the feature table, so the scan goes row by row and stage by stage: where a
good part of a run of neighbours is still alive, one stump is evaluated for the whole run with SIMD
loads; the others are walked four at a time, which share one reading of the table.

The SIMD sums are single precision and only decide what lies clear of the stage's threshold, by more
than their error bound. Everything else is summed in double precision as OpenCV does, so the result
is that of the plain walk.

A scan writes into two maps with one entry per grid position: whether all stages passed, and the
last stage's sum; on demand into a third, how far each window came. The order of work therefore never
shows in the result. The tables:

    levels   (L, 7) int64: buffer entry of the first window, positions per row, rows of positions,
             first entry in the maps, buffer entries from one position to the next, from one row of
             positions to the next, row of the offset tables that the level uses
    norm     (G, 4) corner offsets of the rectangle whose deviation normalises the window
    area     (G,) its pixels
    corners  (G, 12 M) corner offsets of each node's feature: four of each of three rectangles
    weights  (G, 3 M) weights of the rectangles; a third weight of 0: there are only two

Indices into the buffers are unsigned: a signed one would be tested for being negative.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

STRIPE = 8  # rows of positions that one share takes before it is the next one's turn
RUN = 128  # windows evaluated together by one SIMD pass
CROWD = 32  # survivors in a run from which the SIMD pass is cheaper than walking them
_ZERO = np.float32(0)
_ONE, _TWO, _THREE = np.uint64(1), np.uint64(2), np.uint64(3)
_FOUR, _EIGHT = np.uint64(4), np.uint64(8)


@njit(cache=True, nogil=True, inline="always")
def _rectangle_sum(
    sums: NDArray[Any], at: np.uint64, a: np.uint32, b: np.uint32, c: np.uint32, d: np.uint32
) -> np.float32:
    """Return the pixel sum of a rectangle, given its corner offsets, for the window at ``at``.

    In images of over 8 megapixels the entries wrap around at 32 bits; their difference is right.
    """
    return np.float32(np.int32(sums[at + a] - sums[at + b] - sums[at + c] + sums[at + d]))


@njit(cache=True, nogil=True)
def _run_norms(
    sums: NDArray[np.int32],
    squares: NDArray[np.uint32],
    base: int,
    norm: NDArray[np.int64],
    area: float,
    out: NDArray[np.float32],
) -> None:
    """Fill ``out`` with 1 / (area * deviation) of neighbouring windows, or 0 where they are flat.

    OpenCV's rule for flat: no variance at all, or ``area / norm >= 0.1``, which is a deviation of at
    most 10 grey levels. The squares wrap around at 32 bits; their difference is right.
    """
    n = len(out)
    a, b = sums[base + norm[0] :][:n], sums[base + norm[1] :][:n]
    c, d = sums[base + norm[2] :][:n], sums[base + norm[3] :][:n]
    total = np.empty(n, np.float64)
    for x in range(n):
        total[x] = np.float64(np.int32(a[x] - b[x] - c[x] + d[x]))
    p, q = squares[base + norm[0] :][:n], squares[base + norm[1] :][:n]
    r, s = squares[base + norm[2] :][:n], squares[base + norm[3] :][:n]
    for x in range(n):
        energy = np.float64(np.uint32(p[x] - q[x] - r[x] + s[x]))
        spread = area * energy - total[x] * total[x]
        inverse = np.float32(1.0 / np.sqrt(max(spread, 1e-9)))
        out[x] = inverse if area * np.float64(inverse) < 0.1 else _ZERO


@njit(cache=True, nogil=True)
def _run_stage(
    sums: NDArray[np.int32],
    base: int,
    inverse: NDArray[np.float32],
    corners: NDArray[np.uint32],
    weights: NDArray[np.float32],
    thresholds: NDArray[np.float32],
    leaves: NDArray[np.float32],
    first: int,
    end: int,
    response: NDArray[np.float32],
    total: NDArray[np.float32],
) -> None:
    """Sum one stage in single precision for a run of neighbouring windows, into ``total``.

    Each loop reads few enough streams that the compiler can prove the stores independent.
    """
    n, at = np.uint64(len(total)), np.uint64(base)
    total[:] = _ZERO
    for s in range(first, end):
        k, r = np.uint64(s * 12), np.uint64(s * 3)
        a, b = at + corners[k], at + corners[k + _ONE]
        c, d = at + corners[k + _TWO], at + corners[k + _THREE]
        weight = weights[r]
        for x in range(n):
            response[x] = weight * np.float32(
                np.int32(sums[a + x] - sums[b + x] - sums[c + x] + sums[d + x])
            )
        rest = 2 if weights[r + _TWO] == _ZERO else 3
        threshold, below, above = thresholds[s], leaves[2 * s], leaves[2 * s + 1]
        for part in range(1, rest):
            k += _FOUR
            r += _ONE
            a, b = at + corners[k], at + corners[k + _ONE]
            c, d = at + corners[k + _TWO], at + corners[k + _THREE]
            weight = weights[r]
            if part < rest - 1:
                for x in range(n):
                    response[x] += weight * np.float32(
                        np.int32(sums[a + x] - sums[b + x] - sums[c + x] + sums[d + x])
                    )
            else:
                for x in range(n):
                    value = response[x] + weight * np.float32(
                        np.int32(sums[a + x] - sums[b + x] - sums[c + x] + sums[d + x])
                    )
                    total[x] += below if value * inverse[x] < threshold else above


@njit(cache=True, nogil=True)
def _four_sums(
    sums: NDArray[np.int32],
    base: int,
    columns: NDArray[np.int32],
    inverse: NDArray[np.float32],
    corners: NDArray[np.uint32],
    weights: NDArray[np.float32],
    thresholds: NDArray[np.float32],
    leaves: NDArray[np.float32],
    first: int,
    end: int,
) -> tuple[float, float, float, float]:
    """Return one stage's double-precision sums of the windows at the four ``columns`` of a row."""
    i, j, m, n = columns[0], columns[1], columns[2], columns[3]
    f, g, u, v = inverse[i], inverse[j], inverse[m], inverse[n]
    at, bt, ct, dt = (
        np.uint64(base + i),
        np.uint64(base + j),
        np.uint64(base + m),
        np.uint64(base + n),
    )
    p = q = r = s = 0.0
    for stump in range(first, end):
        k, w = np.uint64(stump * 12), np.uint64(stump * 3)
        a, b, c, d = corners[k], corners[k + _ONE], corners[k + _TWO], corners[k + _THREE]
        weight = weights[w]
        i_value = weight * _rectangle_sum(sums, at, a, b, c, d)
        j_value = weight * _rectangle_sum(sums, bt, a, b, c, d)
        m_value = weight * _rectangle_sum(sums, ct, a, b, c, d)
        n_value = weight * _rectangle_sum(sums, dt, a, b, c, d)
        rest = 2 if weights[w + _TWO] == _ZERO else 3
        for _ in range(1, rest):
            k += _FOUR
            w += _ONE
            a, b, c, d = corners[k], corners[k + _ONE], corners[k + _TWO], corners[k + _THREE]
            weight = weights[w]
            i_value += weight * _rectangle_sum(sums, at, a, b, c, d)
            j_value += weight * _rectangle_sum(sums, bt, a, b, c, d)
            m_value += weight * _rectangle_sum(sums, ct, a, b, c, d)
            n_value += weight * _rectangle_sum(sums, dt, a, b, c, d)
        threshold = thresholds[np.uint64(stump)]
        below = np.float64(leaves[np.uint64(stump * 2)])
        above = np.float64(leaves[np.uint64(stump * 2 + 1)])
        p += below if i_value * f < threshold else above
        q += below if j_value * g < threshold else above
        r += below if m_value * u < threshold else above
        s += below if n_value * v < threshold else above
    return p, q, r, s


@njit(cache=True, nogil=True)
def _exact_sums(
    sums: NDArray[np.int32],
    base: int,
    columns: NDArray[np.int32],
    inverse: NDArray[np.float32],
    corners: NDArray[np.uint32],
    weights: NDArray[np.float32],
    thresholds: NDArray[np.float32],
    leaves: NDArray[np.float32],
    first: int,
    end: int,
    out: NDArray[np.float64],
) -> None:
    """Fill ``out`` with one stage's double-precision sums of the windows at ``columns`` of a row."""
    count = len(columns)
    four = np.empty(4, np.int32)
    for start in range(0, count, 4):
        for i in range(4):
            four[i] = columns[min(start + i, count - 1)]
        found = _four_sums(
            sums, base, four, inverse, corners, weights, thresholds, leaves, first, end
        )
        for i in range(min(4, count - start)):
            out[start + i] = found[i]


@njit(cache=True, nogil=True)
def _stage_of_row(
    sums: NDArray[np.int32],
    base: int,
    inverse: NDArray[np.float32],
    corners: NDArray[np.uint32],
    weights: NDArray[np.float32],
    thresholds: NDArray[np.float32],
    leaves: NDArray[np.float32],
    first: int,
    end: int,
    bound: float,
    doubt: float,
    alive: NDArray[np.int32],
    scratch: NDArray[np.float32],
    exact: NDArray[np.float64],
    asked: NDArray[np.int32],
) -> int:
    """Run one stage over the columns in ``alive``; move the survivors to its front; count them."""
    count, kept, start = len(alive), 0, 0
    while start < count:
        left = alive[start]
        stop = start + 1
        while stop < count and alive[stop] < left + RUN:
            stop += 1
        crowded = stop - start >= CROWD
        if crowded:
            n = alive[stop - 1] + 1 - left
            _run_stage(
                sums, base + left, inverse[left : left + n], corners, weights, thresholds, leaves,
                first, end, scratch[0, :n], scratch[1, :n],
            )  # fmt: skip
        open_cases = 0
        for i in range(start, stop):
            value = np.float64(scratch[1, alive[i] - left])
            if not crowded or abs(value - bound) <= doubt:
                asked[open_cases] = alive[i]
                open_cases += 1
        _exact_sums(
            sums, base, asked[:open_cases], inverse, corners, weights, thresholds, leaves, first,
            end, exact,
        )  # fmt: skip
        case = 0
        for i in range(start, stop):
            column = alive[i]
            value = np.float64(scratch[1, column - left])
            if case < open_cases and asked[case] == column:
                value = exact[case]
                case += 1
            alive[kept] = column
            kept += 1 if value >= bound else 0
        start = stop
    return kept


@njit(cache=True, nogil=True)
def _visited(
    passed: NDArray[np.int32],
    inverse: NDArray[np.float32],
    alive: NDArray[np.int32],
    reached: NDArray[np.uint16],
) -> int:
    """List the columns that a scan visits and the first stage passes; return their number.

    After a rejection by the first stage a scan skips one position; a flat window is rejected before
    the first stage and causes no skip.

    Args:
        passed: columns that the first stage passes, rising.
        inverse: of every column; 0: flat.
        alive: output; may share its memory with ``passed``.
        reached: output, 1 where the first stage was asked and 2 where it was passed; or empty.
    """
    count, case, x = 0, 0, 0
    while x < len(inverse):
        while case < len(passed) and passed[case] < x:
            case += 1
        if case < len(passed) and passed[case] == x:
            alive[count] = x
            count += 1
            if len(reached):
                reached[x] = 2
        elif inverse[x] != _ZERO:
            if len(reached):
                reached[x] = 1
            x += 1
        x += 1
    return count


@njit(cache=True, nogil=True)
def scan_stumps(
    sums: NDArray[np.int32],
    squares: NDArray[np.uint32],
    levels: NDArray[np.int64],
    norm: NDArray[np.int64],
    area: NDArray[np.float64],
    corners: NDArray[np.uint32],
    weights: NDArray[np.float32],
    thresholds: NDArray[np.float32],
    leaves: NDArray[np.float32],
    stage_first: NDArray[np.int64],
    bounds: NDArray[np.float64],
    doubts: NDArray[np.float64],
    accepted: NDArray[np.uint8],
    response: NDArray[np.float32],
    reached: NDArray[np.uint16],
    part: int,
    parts: int,
) -> None:
    """Scan one of ``parts`` shares of the rows; neighbouring windows lie side by side in the buffer.

    Args:
        sums: (B,) integral images of all levels, tilted ones behind them.
        squares: (B,) squared integral images, wrapped to 32 bits.
        levels: see the module; so ``norm``, ``area``, ``corners`` and ``weights`` (M stumps).
        norm: corners of the norm rectangle.
        area: its pixels.
        corners: of the stumps' features.
        weights: of their rectangles.
        thresholds: (M,) of the normalised response.
        leaves: (2 M,) value below the threshold and not below it.
        stage_first: (S + 1,) first stump of each stage.
        bounds: (S,) sum that a stage asks for.
        doubts: (S,) error bound of its single-precision sum.
        accepted: (P,) output, 1 where every stage passed; zeros on entry.
        response: (P,) output, the last stage's sum there.
        reached: (P,) output, 0 where no stage was asked, else 1 more than the stages passed; zeros on
            entry. Or empty: nobody wants to know.
        part: which share.
        parts: how many there are; shares may run in threads.
    """
    stages = len(bounds)
    widest = RUN
    for level in range(len(levels)):
        widest = max(widest, levels[level, 1])
    scratch = np.empty((3, widest), np.float32)
    exact = np.empty(widest, np.float64)
    alive, asked = np.empty(widest, np.int32), np.empty(widest, np.int32)
    for level in range(len(levels)):
        columns, group = levels[level, 1], levels[level, 6]
        inverse = scratch[2, :columns]
        table, weight = corners[group], weights[group]
        for row in range(levels[level, 2]):
            if (row // STRIPE + level) % parts != part:
                continue
            base = levels[level, 0] + row * levels[level, 5]
            _run_norms(sums, squares, base, norm[group], area[group], inverse)
            count = 0
            for x in range(columns):
                alive[count] = x
                count += inverse[x] != _ZERO
            stage = 0
            while stage < stages and count > 0:
                count = _stage_of_row(
                    sums, base, inverse, table, weight, thresholds, leaves, stage_first[stage],
                    stage_first[stage + 1], bounds[stage], doubts[stage], alive[:count], scratch,
                    exact, asked,
                )  # fmt: skip
                if stage == 0:
                    first = levels[level, 3] + row * columns
                    row_of = reached[first : first + columns] if len(reached) else reached
                    count = _visited(alive[:count], inverse, alive, row_of)
                elif len(reached):
                    first = levels[level, 3] + row * columns
                    for i in range(count):
                        reached[first + alive[i]] = stage + 2
                stage += 1
            _exact_sums(
                sums, base, alive[:count], inverse, table, weight, thresholds, leaves,
                stage_first[stages - 1], stage_first[stages], exact,
            )  # fmt: skip
            out = levels[level, 3] + row * columns
            for i in range(count):
                accepted[out + alive[i]] = 1
                response[out + alive[i]] = exact[i]
