"""Shrink an image by area averaging: each target pixel is the mean of the area it covers.

The reducer of voc-release5 (Felzenszwalb, Girshick, McAllester): separable, one weighted sum per
axis, whole source pixels weigh ``target / source`` and the two fractions at the ends their share.
Fractions of at most a thousandth of a pixel are dropped, as in the official code. Because every
target pixel sees all the pixels below it, no smoothing is needed before a gradient filter.

Everything is double and summed in the official order, for two reasons. Cell features divide by the
local gradient energy, so the noise of float32 sums on a flat patch would come out at full strength.
And a gradient that points exactly between two orientations is decided by the last bits: with the
same sums, the same bin wins, and published models give the published scores.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

SLIVER = 1e-3  # fractions of a source pixel up to this are ignored (voc-release5)


@njit(cache=True, nogil=True)
def area_taps(source: int, target: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the first source index (target,) and the weights (target, K) of every target pixel."""
    scale, ratio = target / source, source / target
    first = np.zeros(target, np.int64)
    weights = np.zeros((target, math.ceil(ratio) + 1), np.float64)
    for index in range(target):
        begin = index * ratio
        end = begin + ratio
        whole = math.ceil(begin)
        last = min(math.floor(end), source)
        tap = 0
        first[index] = whole
        if whole - begin > SLIVER:
            first[index] = whole - 1
            weights[index, 0] = (whole - begin) * scale
            tap = 1
        for _ in range(whole, last):
            weights[index, tap] = scale
            tap += 1
        if end - last > SLIVER and last < source:
            weights[index, tap] = (end - last) * scale
    return first, weights


@njit(cache=True, nogil=True)
def _add_row(source: NDArray[np.float64], weight: float, row: NDArray[np.float64]) -> None:
    for x in range(source.size):
        row[x] += weight * source[x]


@njit(cache=True, nogil=True)
def _blend(
    row: NDArray[np.float64],
    first: NDArray[np.int64],
    weights: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """Write the weighted sums (target,) of a row; two to three taps are the pyramid's own case."""
    taps = weights.shape[1]
    for x in range(out.size):
        start, own = first[x], weights[x]
        total = own[0] * row[start] + own[1] * row[start + 1]
        for tap in range(2, taps):
            total += own[tap] * row[start + tap]
        out[x] = total


@njit(cache=True, nogil=True)
def reduce_area(image: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """Shrink planes (C, H, W) to (C, height, width), neither larger than the source."""
    planes, source_height, source_width = image.shape
    row_first, row_weights = area_taps(source_height, height)
    first, weights = area_taps(source_width, width)
    out = np.zeros((planes, height, width), np.float64)
    # The tail stays zero: taps of weight zero may look past the end.
    row = np.zeros(source_width + weights.shape[1], np.float64)
    for plane in range(planes):
        for y in range(height):
            row[:source_width] = 0
            for tap in range(row_weights.shape[1]):
                if row_weights[y, tap] > 0:
                    source = image[plane, row_first[y] + tap]
                    _add_row(source, row_weights[y, tap], row[:source_width])
            _blend(row, first, weights, out[plane, y])
    return out
