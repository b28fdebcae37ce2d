"""One pass over boxes for everything that must hold of them."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def first_faulty(xywh: NDArray[np.float64]) -> tuple[int, int]:
    """Return the first row that is not finite, and the first with a negative size; -1 for none."""
    endless, negative = -1, -1
    for row in range(len(xywh)):
        for k in range(4):
            if endless < 0 and not np.isfinite(xywh[row, k]):
                endless = row
        if negative < 0 and (xywh[row, 2] < 0 or xywh[row, 3] < 0):
            negative = row
    return endless, negative


@njit(cache=True, nogil=True)
def count_leaving(
    xywh: NDArray[np.float64], image: NDArray[np.int32], sizes: NDArray[np.int64]
) -> tuple[int, int, int, int]:
    """Count boxes that leave their image as ``xywh``, and that lie in it as ``xyxy``.

    Args:
        xywh: (N, 4) boxes.
        image: (N,) image of each.
        sizes: (I, 2) height and width; zeros where unknown.

    Returns:
        Boxes in images of known size, those that leave, those that fit as corners, and the first row
        that leaves, or -1.
    """
    known, leaving, corners, first = 0, 0, 0, -1
    for row in range(len(xywh)):
        height, width = sizes[image[row], 0], sizes[image[row], 1]
        if height <= 0 or width <= 0:
            continue
        known += 1
        right, bottom = 1.02 * width + 1, 1.02 * height + 1
        x, y, w, h = xywh[row, 0], xywh[row, 1], xywh[row, 2], xywh[row, 3]
        if x + w > right or y + h > bottom:
            leaving += 1
            if first < 0:
                first = row
        corners += w >= x and h >= y and w <= right and h <= bottom
    return known, leaving, corners, first
