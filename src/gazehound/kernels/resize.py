"""Bilinear resizing of 8-bit images, exact to the last bit and the same on every machine.

The rule is that of OpenCV's ``INTER_LINEAR_EXACT``, which its HOG detector uses: pixel centres map
by ``x_source = (x + 0.5) * source / target - 0.5``, weights are rounded to 1/256, borders repeat,
the weighted sum is exact and only the result is rounded. All sums stay below 2**24, so float32
holds them exactly, in any order, and the loops vectorise.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

UNIT = np.float32(1 / 256)  # one grey value, in sums of both passes
_WHOLE = np.float32(256)
_HALF = np.float32(0.5)
_NEXT = np.uint32(1)  # unsigned, so that no index can be taken for a negative one


@njit(cache=True, nogil=True)
def bilinear_taps(source: int, target: int) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    """Return the left neighbour of each target pixel and the weight of the right one.

    The weight is a multiple of 1/256; the right neighbour is the next pixel, or does not count.
    """
    left = np.zeros(target, np.uint32)
    weight = np.zeros(target, np.float32)
    scale = 1.0 / (target / source)
    for i in range(target):
        position = scale * (i + 0.5) - 0.5
        whole = np.floor(position)
        if source > 1 and whole >= source - 1:
            left[i], weight[i] = source - 2, 1.0
        elif source > 1 and whole >= 0:
            left[i], weight[i] = int(whole), np.rint((position - whole) * 256.0) / 256.0
    return left, weight


@njit(cache=True, nogil=True)
def blend_rows(plane: NDArray[np.uint8], top: int, weight: float, out: NDArray[np.float32]) -> None:
    """Write row ``top`` blended with the next, times 256, to ``out`` (W + 1); the last repeats."""
    rows, columns = plane.shape
    first, second = plane[top], plane[min(top + 1, rows - 1)]
    w = np.float32(weight) * _WHOLE
    for x in range(columns):
        out[x] = (_WHOLE - w) * np.float32(first[x]) + w * np.float32(second[x])
    out[columns] = out[columns - 1]


@njit(cache=True, nogil=True)
def resize_planes(planes: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Resize planes (C, H, W) uint8 to (C, height, width); see the module for the rule."""
    channels, rows, columns = planes.shape
    top, down = bilinear_taps(rows, height)
    left, right = bilinear_taps(columns, width)
    out = np.empty((channels, height, width), np.uint8)
    blended = np.empty(columns + 1, np.float32)
    mixed = np.empty(width, np.float32)
    for c in range(channels):
        for y in range(height):
            blend_rows(planes[c], top[y], down[y], blended)
            for x in range(width):
                i = left[x]
                mixed[x] = blended[i] + right[x] * (blended[i + _NEXT] - blended[i])
            row = out[c, y]
            for x in range(width):
                row[x] = np.uint8(np.int32(mixed[x] * UNIT + _HALF))
    return out


@njit(cache=True, nogil=True)
def split_planes(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Turn an interleaved image (H, W, C) into planes (C, H, W)."""
    height, width, channels = image.shape
    out = np.empty((channels, height, width), np.uint8)
    for y in range(height):
        if channels == 3:
            row, red, green, blue = image[y], out[0, y], out[1, y], out[2, y]
            for x in range(width):
                red[x], green[x], blue[x] = row[x, 0], row[x, 1], row[x, 2]
        else:
            for c in range(channels):
                for x in range(width):
                    out[c, y, x] = image[y, x, c]
    return out
