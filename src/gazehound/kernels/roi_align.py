"""RoIAlign on the CPU: bilinear weights once per region, then sums over contiguous channels.

The average over the samples of a bin is separable: sample positions form a grid, so the weight of a
cell is a weight of its row times a weight of its column. Each axis is reduced to a short list of
(cell, weight) per bin, neighbouring samples that share a cell being merged; what is left is a weighted
sum of a few channel vectors, which the compiler turns into vector instructions. Backward is the
transpose: a row of bins is spread over the columns first, and the spread row over the rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, error_model="numpy")
def roi_align(features: Any, rows: Any, scale: Any, sampling: int, aligned: bool, out: Any) -> None:
    """Write the pooled features of each region into ``out``.

    The positions are computed operation by operation as torchvision's are, in float32.

    Args:
        features: (B, H, W, C) float32, C order.
        rows: (R, 5) float32: image of the batch, then ``xyxy`` in pixels of the network input.
        scale: float32, cells per pixel.
        sampling: samples per bin and axis; 0 takes as many as a bin has cells, rounded up.
        aligned: shift by half a cell, so that cell centres lie at .5 (He et al.'s later form); when
            not, a region is at least one cell wide and high.
        out: (R, S, S, C) float32, written.
    """
    side = out.shape[1]
    for r in range(rows.shape[0]):
        image = features[int(rows[r, 0])]
        box = rows[r, 1:] * scale
        ys, y_weights, y_counts = _bins(box[1], box[3], aligned, image.shape[0], side, sampling)
        xs, x_weights, x_counts = _bins(box[0], box[2], aligned, image.shape[1], side, sampling)
        for i in range(side):
            for j in range(side):
                into = out[r, i, j]
                into[:] = np.float32(0.0)
                for a in range(y_counts[i]):
                    row = image[ys[i, a]]
                    _add(row, xs[j], x_weights[j], x_counts[j], y_weights[i, a], into)


@njit(cache=True, nogil=True, error_model="numpy")
def roi_align_backward(
    gradient: Any, rows: Any, scale: Any, sampling: int, aligned: bool, out: Any
) -> None:
    """Add what each region hands back to the features that it was pooled from.

    Args:
        gradient: (R, S, S, C) float32, C order.
        rows: (R, 5) float32: image of the batch, then ``xyxy`` in pixels of the network input.
        scale: float32, cells per pixel.
        sampling: samples per bin and axis, as in :func:`roi_align`.
        aligned: the convention, likewise.
        out: (B, H, W, C) float32, added to.
    """
    side = gradient.shape[1]
    spread = np.zeros((out.shape[2], out.shape[3]), np.float32)
    for r in range(rows.shape[0]):
        image = out[int(rows[r, 0])]
        box = rows[r, 1:] * scale
        ys, y_weights, y_counts = _bins(box[1], box[3], aligned, image.shape[0], side, sampling)
        xs, x_weights, x_counts = _bins(box[0], box[2], aligned, image.shape[1], side, sampling)
        first, last = _span(xs, x_counts)
        for i in range(side):
            if y_counts[i] == 0:
                continue
            spread[first : last + 1] = np.float32(0.0)
            for j in range(side):
                for b in range(x_counts[j]):
                    _spread(gradient[r, i, j], x_weights[j, b], spread[xs[j, b]])
            for a in range(y_counts[i]):
                row = image[ys[i, a]]
                for x in range(first, last + 1):
                    _spread(spread[x], y_weights[i, a], row[x])


@njit(cache=True, nogil=True, error_model="numpy")
def _span(index: Any, count: Any) -> Any:
    """Return the first and the last cell that any bin of an axis reads; (0, -1) for none."""
    first, last = np.int64(0), np.int64(-1)
    for b in range(count.size):
        for t in range(count[b]):
            first = index[b, t] if last < 0 else min(first, index[b, t])
            last = max(last, index[b, t])
    return first, last


@njit(cache=True, nogil=True, error_model="numpy")
def _spread(source: Any, weight: Any, into: Any) -> None:
    """Add a weighted channel vector to another."""
    for channel in range(into.size):
        into[channel] += weight * source[channel]


@njit(cache=True, nogil=True, error_model="numpy")
def _bins(low: Any, high: Any, aligned: bool, cells: int, side: int, sampling: int) -> Any:
    """Return what the bins of one axis of a region read; ``low`` and ``high`` in cells."""
    offset = np.float32(0.5) if aligned else np.float32(0.0)
    start = low - offset
    length = high - offset - start
    return _taps(start, length if aligned else max(length, np.float32(1.0)), cells, side, sampling)


@njit(cache=True, nogil=True, error_model="numpy")
def _taps(start: Any, length: Any, cells: int, side: int, sampling: int) -> Any:
    """Return the cells (side, T) that each bin of an axis reads, their weights, and how many."""
    step = length / np.float32(side)
    samples = sampling if sampling > 0 else max(int(np.ceil(step)), 0)
    index = np.zeros((side, 2 * samples + 4), np.int64)
    weight = np.zeros((side, 2 * samples + 4), np.float32)
    count = np.zeros(side, np.int64)
    share = np.float32(1.0) / np.float32(max(samples, 1))
    for b in range(side):
        base = start + np.float32(b) * step
        for s in range(samples):
            at = base + (np.float32(s) + np.float32(0.5)) * step / np.float32(samples)
            if not np.float32(-1.0) <= at <= np.float32(cells):
                continue  # samples a cell or more outside count as zero (and so does NaN)
            at = max(at, np.float32(0.0))
            low = int(at)
            high = low + 1
            if low >= cells - 1:
                low = high = cells - 1
                at = np.float32(low)
            part = at - np.float32(low)
            _append(index[b], weight[b], count, b, low, (np.float32(1.0) - part) * share)
            _append(index[b], weight[b], count, b, high, part * share)
        # Four cells are read at a time: what is over points at a cell already read, with weight 0.
        for t in range(count[b], -(-count[b] // 4) * 4):
            index[b, t] = index[b, count[b] - 1]
    return index, weight, count


@njit(cache=True, nogil=True, error_model="numpy")
def _append(index: Any, weight: Any, count: Any, b: int, cell: int, part: Any) -> None:
    """Add a cell to a bin's list; samples advance, so a shared cell is among the last two."""
    for back in range(1, 3):
        if count[b] >= back and index[count[b] - back] == cell:
            weight[count[b] - back] += part
            return
    index[count[b]] = cell
    weight[count[b]] = part
    count[b] += 1


@njit(cache=True, nogil=True, error_model="numpy")
def _add(row: Any, cells: Any, weights: Any, count: int, factor: Any, into: Any) -> None:
    """Add the weighted channel vectors of a row's cells to ``into``, four at a time."""
    for t in range(0, count, 4):
        a, b, c, d = row[cells[t]], row[cells[t + 1]], row[cells[t + 2]], row[cells[t + 3]]
        wa, wb = weights[t] * factor, weights[t + 1] * factor
        wc, wd = weights[t + 2] * factor, weights[t + 3] * factor
        for channel in range(into.size):
            into[channel] += wa * a[channel] + wb * b[channel] + wc * c[channel] + wd * d[channel]
