"""Greedy non-maximum suppression: the indices of the plain O(n^2) loop, sooner.

Every box is compared with the kept boxes before it, many at once in SIMD lanes. Once many are kept,
only those that can matter are looked at. Two boxes whose IoU exceeds t overlap by more than t of either one's
width and height, because

    I / U <= overlap_x / (w_a + w_b - overlap_x)        (and so for y),

hence a kept box that suppresses another one covers at least one node of a regular lattice laid over
it with ceil(1/t) - 1 nodes along each side: its centre when t >= 0.5. Kept boxes are therefore
entered in all cells they touch of a uniform grid, and a box looks only into the cells of its own
nodes (or into all the cells it touches, where those are fewer). The test on the pairs found this
way is the plain float formula, so the result does not depend on the grid; extents are entered wider
than they are by far more than the rounding error of an IoU.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

FEW = 128  # kept boxes; so many are compared one and all before a grid is laid
CHUNK = 64  # pairs between two looks at the result: long enough to fill SIMD lanes
WIDEN = 1e-3  # of a side; the rounding error of a float32 IoU is about 1e-6
SMALLEST, LARGEST = 1e-15, 1e15  # sides whose areas neither vanish nor overflow in float32
CELLS_PER_SIDE = 2.0  # of a mean box
ENTRIES_PER_BOX = 16  # grid entries on average at most; bounds memory


@njit(cache=True, nogil=True)
def argsort_descending(scores: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the stable order of float32 scores (N,) from high to low, NaN first, as in torch.

    Radix sort by 11 bits: the bits of a float, with the sign folded in, sort like the float.
    """
    n = scores.size
    bits = (scores + np.float32(0)).view(np.uint32)  # -0 becomes +0, so that both tie
    keys = np.empty(n, np.uint32)
    histogram = np.zeros((3, 2048), np.int64)
    for i in range(n):
        b = bits[i]
        # Ascending keys for descending floats: positive ones are inverted, negative ones are not.
        key = b if b >> np.uint32(31) else np.uint32(0x7FFFFFFF) - b
        if scores[i] != scores[i]:
            key = np.uint32(0)
        keys[i] = key
        histogram[0, key & np.uint32(2047)] += 1
        histogram[1, (key >> np.uint32(11)) & np.uint32(2047)] += 1
        histogram[2, key >> np.uint32(22)] += 1
    order, moved = np.arange(n), np.empty(n, np.int64)
    for step in range(3):
        count, shift = histogram[step], np.uint32(11 * step)
        if count.max() == n:  # the digit says nothing
            continue
        place = 0
        for digit in range(2048):
            place, count[digit] = place + count[digit], place
        for r in range(n):
            digit = (keys[order[r]] >> shift) & np.uint32(2047)
            moved[count[digit]] = order[r]
            count[digit] += 1
        order, moved = moved, order
    return order


@njit(cache=True, nogil=True)
def group_by_label(
    order: NDArray[np.int64], labels: NDArray[np.int64], count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sort positions of ``order`` stably by label (0..count-1).

    Returns:
        (N,) positions in ``order``, class after class, and (count + 1,) where each class starts.
    """
    starts = np.zeros(count + 1, np.int64)
    for i in order:
        starts[labels[i] + 1] += 1
    for k in range(count):
        starts[k + 1] += starts[k]
    place = starts.copy()
    positions = np.empty(order.size, np.int64)
    for r in range(order.size):
        label = labels[order[r]]
        positions[place[label]] = r
        place[label] += 1
    return positions, starts


@njit(cache=True, nogil=True)
def _columns(boxes: Any, order: NDArray[np.int64]) -> Any:
    """Return (5, n): x1, y1, x2, y2 and area of the boxes in this order, in the dtype of boxes."""
    columns = np.empty((5, order.size), boxes.dtype)
    for r in range(order.size):
        i = order[r]
        for side in range(4):
            columns[side, r] = boxes[i, side]
        columns[4, r] = (boxes[i, 2] - boxes[i, 0]) * (boxes[i, 3] - boxes[i, 1])
    return columns


@njit(cache=True, nogil=True, error_model="numpy")
def _any_above(columns: Any, r: int, kept: Any, start: int, stop: int, threshold: Any) -> bool:
    """Say whether box ``r`` of ``columns`` has IoU > threshold with any of kept[:, start:stop].

    The arithmetic is that of torchvision's CPU kernel, operation by operation. A pair without an
    area, or with a NaN, has IoU NaN, which is above nothing. Counting in int32 instead of jumping
    is what lets the compiler use SIMD.
    """
    x1, y1, x2, y2 = columns[0, r], columns[1, r], columns[2, r], columns[3, r]
    area, zero = columns[4, r], np.float32(0)
    lefts, tops = kept[0, start:stop], kept[1, start:stop]
    rights, bottoms, areas = kept[2, start:stop], kept[3, start:stop], kept[4, start:stop]
    hits = np.int32(0)
    for k in range(areas.size):
        left = lefts[k] if lefts[k] > x1 else x1
        top = tops[k] if tops[k] > y1 else y1
        right = rights[k] if rights[k] < x2 else x2
        bottom = bottoms[k] if bottoms[k] < y2 else y2
        width, height = right - left, bottom - top
        width = width if width > zero else zero
        height = height if height > zero else zero
        intersection = width * height
        above = intersection / (areas[k] + area - intersection) > threshold
        hits = np.int32(hits + np.int32(above))
    return bool(hits > 0)


@njit(cache=True, nogil=True)
def _suppressed(columns: Any, r: int, kept: Any, start: int, stop: int, threshold: Any) -> bool:
    """Like :func:`_any_above`, leaving after the first chunk with a hit."""
    while start < stop:
        end = min(stop, start + CHUNK)
        if _any_above(columns, r, kept, start, end, threshold):
            return True
        start = end
    return False


@njit(cache=True, nogil=True)
def _copy_column(source: Any, r: int, target: Any, k: int) -> None:
    for row in range(5):
        target[row, k] = source[row, r]


@njit(cache=True, nogil=True)
def _suppress_plainly(
    columns: Any, threshold: Any, limit: int, few: int, keep: NDArray[np.bool_]
) -> int:
    """Compare with all kept boxes until ``few`` are kept; return the row to go on with."""
    kept = np.empty((5, min(few, limit, keep.size)), columns.dtype)
    count = 0
    for r in range(keep.size):
        if count == kept.shape[1]:
            return r
        if not _suppressed(columns, r, kept, 0, count, threshold):
            keep[r] = True
            _copy_column(columns, r, kept, count)
            count += 1
    return int(keep.size)


@njit(cache=True, nogil=True)
def _measure(columns: Any) -> tuple[bool, NDArray[np.float64], NDArray[np.float64]]:
    """Look at the boxes with an area: are the sides of all in the safe range, where, how large.

    Returns:
        safe, (4,) extent x1, y1, x2, y2, and (2,) mean width and height.
    """
    extent = np.array([np.inf, np.inf, -np.inf, -np.inf])
    mean, count = np.zeros(2), 0
    for r in range(columns.shape[1]):
        x1, y1, x2, y2 = columns[0, r], columns[1, r], columns[2, r], columns[3, r]
        width, height = np.float64(x2) - x1, np.float64(y2) - y1
        if not (width > 0 and height > 0):  # overlaps nothing
            continue
        if min(width, height) < SMALLEST or max(width, height) > LARGEST:
            return False, extent, mean
        extent[0], extent[1] = min(extent[0], x1), min(extent[1], y1)
        extent[2], extent[3] = max(extent[2], x2), max(extent[3], y2)
        mean[0] += width
        mean[1] += height
        count += 1
    return count > 0, extent, mean / max(count, 1)


@njit(cache=True, nogil=True)
def _cell(place: float, axis: int, grid: Any) -> int:
    """Return the cell of a coordinate; monotone in it, which is all that correctness needs."""
    cell = int((place - grid[axis, 0]) * grid[axis, 1])
    return min(int(grid[axis, 2]) - 1, max(0, cell))


@njit(cache=True, nogil=True)
def _touched(columns: Any, r: int, axis: int, grid: Any) -> tuple[int, int]:
    """Return the first and last cell along an axis under box ``r``, made a little larger."""
    low, high = np.float64(columns[axis, r]), np.float64(columns[axis + 2, r])
    more = (high - low) * WIDEN
    return _cell(low - more, axis, grid), _cell(high + more, axis, grid)


@njit(cache=True, nogil=True)
def _has_area(columns: Any, r: int) -> bool:
    return bool(columns[2, r] > columns[0, r] and columns[3, r] > columns[1, r])


@njit(cache=True, nogil=True)
def _count_entries(columns: Any, grid: Any, starts: NDArray[np.int64], most: int) -> bool:
    """Count into starts[1:] the boxes that touch each cell; False when above ``most`` in all."""
    total, across = 0, int(grid[0, 2])
    for r in range(columns.shape[1]):
        if not _has_area(columns, r):
            continue
        left, right = _touched(columns, r, 0, grid)
        top, bottom = _touched(columns, r, 1, grid)
        total += (right - left + 1) * (bottom - top + 1)
        if total > most:
            return False
        for y in range(top, bottom + 1):
            for x in range(left, right + 1):
                starts[y * across + x + 1] += 1
    return True


@njit(cache=True, nogil=True)
def _lay_grid(columns: Any, extent: Any, mean: Any) -> tuple[Any, NDArray[np.int64]]:
    """Choose cells so fine that few boxes share one, so coarse that the entries stay few.

    Returns:
        (2, 3) origin, cells per pixel and number of cells along x and y; and (cells + 1,) where the
        entries of each cell start.
    """
    n = columns.shape[1]
    size = mean / CELLS_PER_SIDE
    grid = np.empty((2, 3))
    while True:
        for axis in range(2):
            length = extent[axis + 2] - extent[axis]
            cells = min(max(1.0, math.floor(length / size[axis])), 4.0 * n)
            grid[axis] = extent[axis], cells / length, cells
        total = grid[0, 2] * grid[1, 2]
        if total <= 4 * n:
            starts = np.zeros(int(total) + 1, np.int64)
            if _count_entries(columns, grid, starts, ENTRIES_PER_BOX * n):
                break
        size *= 1.5
    for c in range(starts.size - 1):
        starts[c + 1] += starts[c]
    return grid, starts


@njit(cache=True, nogil=True)
def _lattice(columns: Any, r: int, axis: int, grid: Any, nodes: int, cells: Any) -> int:
    """Write the cells along an axis that box ``r`` looks into; return their number.

    They are those of its nodes, or all it touches where those are fewer; none twice.
    """
    first, last = _touched(columns, r, axis, grid)
    if last - first + 1 <= nodes:
        for c in range(first, last + 1):
            cells[c - first] = c
        return last - first + 1
    low, high = np.float64(columns[axis, r]), np.float64(columns[axis + 2, r])
    count = 0
    for node in range(1, nodes + 1):
        c = _cell(low + (high - low) * node / (nodes + 1), axis, grid)
        if count == 0 or cells[count - 1] != c:
            cells[count] = c
            count += 1
    return count


@njit(cache=True, nogil=True)
def _suppress_by_grid(
    columns: Any,
    threshold: Any,
    limit: int,
    keep: NDArray[np.bool_],
    extent: Any,
    mean: Any,
    first: int,
) -> None:
    """Go on from row ``first``; ``keep`` holds the answers before it."""
    grid, starts = _lay_grid(columns, extent, mean)
    across = int(grid[0, 2])
    ends = starts.copy()
    entries = np.empty((5, starts[-1]), columns.dtype)
    most = max(across, int(grid[1, 2]))
    nodes = max(1, math.ceil(1 / threshold) - 1) if threshold * most > 1 else most
    xs, ys = np.empty(most, np.int64), np.empty(most, np.int64)
    count = 0
    for r in range(keep.size):
        if count >= limit:
            break
        solid = _has_area(columns, r)
        hit = not keep[r] if r < first else False
        if solid and r >= first:
            n_x = _lattice(columns, r, 0, grid, nodes, xs)
            n_y = _lattice(columns, r, 1, grid, nodes, ys)
            for v in range(n_y):
                for u in range(n_x):
                    c = ys[v] * across + xs[u]
                    if _suppressed(columns, r, entries, starts[c], ends[c], threshold):
                        hit = True
                        break
                if hit:
                    break
        if not hit:
            keep[r] = True
            count += 1
            if solid:
                _enter(columns, r, grid, entries, ends)


@njit(cache=True, nogil=True)
def _enter(columns: Any, r: int, grid: Any, entries: Any, ends: NDArray[np.int64]) -> None:
    """Append box ``r`` to the entries of every cell it touches."""
    left, right = _touched(columns, r, 0, grid)
    top, bottom = _touched(columns, r, 1, grid)
    for y in range(top, bottom + 1):
        for x in range(left, right + 1):
            c = y * int(grid[0, 2]) + x
            _copy_column(columns, r, entries, ends[c])
            ends[c] += 1


@njit(cache=True, nogil=True)
def suppress(boxes: Any, order: NDArray[np.int64], threshold: Any, limit: int) -> NDArray[np.bool_]:
    """Greedy NMS.

    Args:
        boxes: (M, 4) ``xyxy``, float32 or float64.
        order: (N,) rows of ``boxes``, best first.
        threshold: the largest float of the dtype of ``boxes`` not above the threshold; >= 0.
        limit: stop after this many kept boxes.

    Returns:
        (N,) whether each row of ``order`` is kept.
    """
    columns = _columns(boxes, order)
    keep = np.zeros(order.size, np.bool_)
    row = _suppress_plainly(columns, threshold, limit, FEW, keep)
    if row < order.size and limit > FEW:
        safe, extent, mean = _measure(columns)
        if safe:
            _suppress_by_grid(columns, threshold, limit, keep, extent, mean, row)
        else:
            _suppress_plainly(columns, threshold, limit, order.size, keep)
    return keep


@njit(cache=True, nogil=True)
def suppress_by_class(
    boxes: Any,
    order: NDArray[np.int64],
    labels: NDArray[np.int64],
    count: int,
    threshold: Any,
    limit: int,
) -> NDArray[np.bool_]:
    """Greedy NMS among boxes of the same label (M,), 0..count-1; otherwise as :func:`suppress`."""
    positions, starts = group_by_label(order, labels, count)
    keep = np.zeros(order.size, np.bool_)
    for k in range(count):
        if starts[k] < starts[k + 1]:
            rows = positions[starts[k] : starts[k + 1]]
            keep[rows] = suppress(boxes, order[rows], threshold, limit)
    return keep
