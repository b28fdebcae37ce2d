"""The linear scores of all windows of a block grid: a correlation over blocks."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float32]
_ZERO = np.float32(0)


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def correlate_blocks(grid: Floats, weights: Floats, bias: float, stride: tuple[int, int]) -> Floats:
    """Return the linear score of every window of a block grid.

    Args:
        grid: (block rows, block columns, D).
        weights: (h, w, D), one filter.
        bias: added to every score.
        stride: blocks between windows, (y, x).

    Returns:
        (window rows, window columns) float32; empty when the grid is smaller than the filter.
    """
    height, width, length = weights.shape
    count_y = (grid.shape[0] - height) // stride[0] + 1 if grid.shape[0] >= height else 0
    count_x = (grid.shape[1] - width) // stride[1] + 1 if grid.shape[1] >= width else 0
    out = np.full((count_y, count_x), np.float32(bias))
    span = width * length
    flat = grid.reshape(grid.shape[0], grid.shape[1] * length)
    flat_weights = weights.reshape(height, span)
    step = stride[1] * length
    for y in range(count_y):
        for j in range(height):
            blocks = flat[y * stride[0] + j]
            line = flat_weights[j]
            for x in range(0, count_x - 3, 4):  # four windows share each load of a weight
                one = blocks[x * step : x * step + span]
                two = blocks[(x + 1) * step : (x + 1) * step + span]
                three = blocks[(x + 2) * step : (x + 2) * step + span]
                four = blocks[(x + 3) * step : (x + 3) * step + span]
                a, b, c, d = _ZERO, _ZERO, _ZERO, _ZERO
                for k in range(span):
                    w = line[k]
                    a += one[k] * w
                    b += two[k] * w
                    c += three[k] * w
                    d += four[k] * w
                out[y, x] += a
                out[y, x + 1] += b
                out[y, x + 2] += c
                out[y, x + 3] += d
            for x in range(count_x - count_x % 4, count_x):
                one = blocks[x * step : x * step + span]
                a = _ZERO
                for k in range(span):
                    a += one[k] * line[k]
                out[y, x] += a
    return out
