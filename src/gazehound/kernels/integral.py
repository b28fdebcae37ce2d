"""Integral images in one scan: sums, squared sums, and sums over cones for 45-degree rectangles.

An integral image has one row and one column more than its image: entry ``(Y, X)`` sums the pixels
above and left of it, ``y < Y`` and ``x < X`` (Viola and Jones 2001, section 2.1). The tilted one
sums the cone that opens upwards from pixel ``(X - 1, Y - 1)`` (Lienhart and Maydt 2002, section 2.1).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gazehound.kernels.resize import resize_planes


@njit(cache=True, nogil=True)
def integrate(image: NDArray[np.uint8], sums: NDArray[Any], squares: NDArray[Any]) -> None:
    """Fill ``sums`` and ``squares`` in one scan of ``image``.

    Args:
        image: (H, W) grey.
        sums: (H + 1, W + 1) integers, overwritten.
        squares: (H + 1, W + 1) integers, overwritten. Narrow entries wrap around, which leaves the
            difference of a rectangle exact while that one fits; both outputs work so.
    """
    height, width = image.shape
    sums[0, :] = 0
    squares[0, :] = 0
    for y in range(height):
        row_sum, row_square = np.int64(0), np.int64(0)
        sums[y + 1, 0] = 0
        squares[y + 1, 0] = 0
        for x in range(width):
            value = np.int64(image[y, x])
            row_sum += value
            row_square += value * value
            sums[y + 1, x + 1] = sums[y, x + 1] + row_sum
            squares[y + 1, x + 1] = squares[y, x + 1] + row_square


@njit(cache=True, nogil=True)
def integrate_tilted(image: NDArray[np.uint8], cones: NDArray[Any]) -> None:
    """Fill ``cones`` (H + 1, W + 1) with the sums of the upward cones of ``image`` (H, W).

    ``T(Y, X) = T(Y-1, X-1) + T(Y-1, X+1) - T(Y-2, X) + I(Y-1, X-1) + I(Y-2, X-1)``. A cone whose tip
    lies one column outside holds what the inner neighbour's cone one row up holds; this closes the
    recurrence at both borders.
    """
    height, width = image.shape
    cones[0, :] = 0
    if height == 0 or width == 0:
        cones[:, :] = 0
        return
    cones[1, 0] = 0
    for x in range(1, width + 1):
        cones[1, x] = image[0, x - 1]
    for y in range(2, height + 1):
        cones[y, 0] = cones[y - 1, 1]
        for x in range(1, width):
            pixels = np.int64(image[y - 1, x - 1]) + np.int64(image[y - 2, x - 1])
            cones[y, x] = cones[y - 1, x - 1] + cones[y - 1, x + 1] - cones[y - 2, x] + pixels
        pixels = np.int64(image[y - 1, width - 1]) + np.int64(image[y - 2, width - 1])
        cones[y, width] = cones[y - 1, width - 1] + pixels


@njit(cache=True, nogil=True)
def _add_row(run: NDArray[Any], out: NDArray[Any], above: int, here: int, odd: int) -> None:
    """Write a row of an integral image: the row above plus the running sums of this row.

    With ``odd`` > 0 the odd columns start at buffer column ``odd``.
    """
    columns = len(run)
    last, line = out[above:], out[here:]
    if odd == 0:
        for x in range(columns):
            line[x] = last[x] + run[x]
        return
    for x in range((columns + 1) // 2):
        line[x] = last[x] + run[2 * x]
    last, line = last[odd:], line[odd:]
    for x in range(columns // 2):
        line[x] = last[x] + run[2 * x + 1]


@njit(cache=True, nogil=True)
def _integrate_rows(
    image: NDArray[np.uint8],
    sums: NDArray[Any],
    squares: NDArray[Any],
    start: int,
    stride: int,
    odd: int,
) -> None:
    """Integrate an image into flat buffers, rows ``stride`` entries apart."""
    height, width = image.shape
    run, energy = np.zeros(width + 1, sums.dtype), np.zeros(width + 1, squares.dtype)
    sums[start : start + stride] = 0
    squares[start : start + stride] = 0
    for y in range(height):
        row_sum, row_square = np.int64(0), np.int64(0)
        row = image[y]
        for x in range(width):
            value = np.int64(row[x])
            row_sum += value
            row_square += value * value
            run[x + 1] = row_sum
            energy[x + 1] = row_square
        above = start + y * stride
        _add_row(run, sums, above, above + stride, odd)
        _add_row(energy, squares, above, above + stride, odd)


@njit(cache=True, nogil=True)
def integrate_level(
    image: NDArray[np.uint8],
    level: NDArray[np.int64],
    tilted: int,
    sums: NDArray[Any],
    squares: NDArray[Any],
) -> None:
    """Shrink ``image`` to one level of a pyramid and integrate it into flat buffers.

    Args:
        image: (H, W) grey.
        level: height, width, first buffer entry, entries per buffer row, and the buffer column where
            odd columns start (0: columns keep their order). Windows two pixels apart lie side by
            side in a buffer that is sorted into even and odd columns.
        tilted: entries from an integral image to its tilted one; 0: there are none.
        sums: (B,) int32 or int64, overwritten.
        squares: (B,) uint32 or int64, overwritten.
    """
    height, width, start, stride, odd = level
    small = resize_planes(np.expand_dims(image, 0), height, width)[0]
    _integrate_rows(small, sums, squares, start, stride, odd)
    if tilted > 0:
        cones = np.empty((height + 1, width + 1), sums.dtype)
        integrate_tilted(small, cones)
        for y in range(height + 1):
            here = start + tilted + y * stride
            sums[here : here + stride] = 0
            _add_row(cones[y], sums, here, here, odd)
