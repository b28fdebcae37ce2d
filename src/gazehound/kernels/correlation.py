"""Correlate a feature map with a bank of filters through one matrix product.

A map is (C, H, W) and contiguous, so shifting it by ``dx`` is reading its flat planes ``dx``
later. ``C x width`` such shifted planes times the filters' rows give, for every filter row, its own
partial sum at every place; adding the rows of a filter, each one map row lower, gives its response.
The product (BLAS) does all the arithmetic that counts; unrolling only one axis instead of two keeps
the copy ``height`` times smaller than the usual im2col.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray


@dataclass(frozen=True)
class FilterBank:
    """Filters made ready for :func:`correlate`.

    Attributes:
        matrix: (rows, C * width) float32: every row of every filter, filter after filter; filters
            narrower than the widest are filled with zeros.
        heights: the height of each filter.
        widths: the width of each filter.
        width: the largest width.
    """

    matrix: NDArray[np.float32]
    heights: tuple[int, ...]
    widths: tuple[int, ...]
    width: int


def filter_bank(filters: Sequence[NDArray[np.float32]]) -> FilterBank:
    """Lay out filters, each (height, width, C), for the matrix product."""
    heights = tuple(int(f.shape[0]) for f in filters)
    widths = tuple(int(f.shape[1]) for f in filters)
    width, channels = max(widths), filters[0].shape[2]
    matrix = np.zeros((sum(heights), channels, width), np.float32)
    row = 0
    for weights in filters:
        height, own, _ = weights.shape
        matrix[row : row + height, :, :own] = weights.transpose(0, 2, 1)
        row += height
    return FilterBank(matrix.reshape(len(matrix), -1), heights, widths, width)


@njit(cache=True, nogil=True)
def _shifted_planes(planes: NDArray[np.float32], width: int, out: NDArray[np.float32]) -> None:
    """Fill (C * width, N) with the planes (C, N), each read 0..width-1 places later."""
    channels, count = planes.shape
    for c in range(channels):
        for shift in range(width):
            row = out[c * width + shift]
            kept = max(count - shift, 0)
            row[:kept] = planes[c, count - kept :]
            row[kept:] = 0


@njit(cache=True, nogil=True)
def _sum_rows(partial: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Add a filter's rows (h, H, W), each one map row lower, into its response (H - h + 1, w)."""
    rows, columns = out.shape
    for y in range(rows):
        target = out[y]
        target[:] = partial[0, y, :columns]
        for k in range(1, partial.shape[0]):
            source = partial[k, y + k]
            for x in range(columns):
                target[x] += source[x]


def correlate(features: NDArray[np.float32], bank: FilterBank) -> list[NDArray[np.float32]]:
    """Return the response (H - h + 1, W - w + 1) of every filter on a map (C, H, W).

    A filter larger than the map has an empty response.
    """
    channels, height, width = features.shape
    shifted = np.empty((channels * bank.width, height * width), np.float32)
    _shifted_planes(features.reshape(channels, -1), bank.width, shifted)
    partial = (bank.matrix @ shifted).reshape(len(bank.matrix), height, width)
    responses = []
    row = 0
    for own_height, own_width in zip(bank.heights, bank.widths, strict=True):
        shape = (max(height - own_height + 1, 0), max(width - own_width + 1, 0))
        response = np.empty(shape, np.float32)
        if response.size:
            _sum_rows(partial[row : row + own_height], response)
        responses.append(response)
        row += own_height
    return responses
