"""Rows of a resized image *by phase*, and their gradients.

Pixel x of a row lies at (x mod s) * groups + x // s: first come all columns x = 0 mod s, then all
x = 1 mod s, and so on. Sampling gathers pixels from anywhere, so the order costs nothing; it makes
the same column of all blocks, s pixels apart, one run of neighbouring floats, and the left neighbours
of a run the run before it.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gazehound.kernels.resize import UNIT, blend_rows

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Taps = tuple[NDArray[np.uint32], Floats]

_HALF = np.float32(0.5)
_NEXT = np.uint32(1)  # unsigned, so that no index can be taken for a negative one


@njit(cache=True, nogil=True)
def mirror(i: int, length: int) -> int:
    """Return the index in 0..length-1 that ``i`` mirrors to; the border pixel is not repeated."""
    if length == 1:
        return 0
    i = i % (2 * (length - 1))
    return 2 * (length - 1) - i if i >= length else i


@njit(cache=True, nogil=True)
def phase_taps(taps: Taps, shift: int, stride: int, groups: int) -> Taps:
    """Reorder column taps by phase; column 0 is pixel ``shift``, columns outside are mirrored.

    Column -1 comes before all of them, and the column after the last behind.
    """
    left, right = taps
    length = stride * groups
    index = np.empty(length + 2, np.uint32)
    weight = np.empty(length + 2, np.float32)
    for x in range(-1, length + 1):
        inside = mirror(x + shift, len(left))
        at = x + 1 if x < 0 or x == length else (x % stride) * groups + x // stride + 1
        index[at], weight[at] = left[inside], right[inside]
    return index, weight


@njit(cache=True, nogil=True)
def _gather(source: Floats, across: Taps, first: int, out: Floats) -> None:
    """Blend each two neighbours of ``source`` into ``out``, from its place ``first`` on."""
    index, weight = across
    target = out[first:]
    for x in range(len(index)):
        i = index[x]
        target[x] = source[i] + weight[x] * (source[i + _NEXT] - source[i])


@njit(cache=True, nogil=True)
def _gather_colours(source: Floats, across: Taps, first: int, out: Floats) -> None:
    """Do the same for three channels at once: their places and weights are read only once."""
    index, weight = across
    red, green, blue = source[0], source[1], source[2]
    r, g, b = out[0, first:], out[1, first:], out[2, first:]
    for x in range(len(index)):
        i, w = index[x], weight[x]
        j = i + _NEXT
        r[x] = red[i] + w * (red[j] - red[i])
        g[x] = green[i] + w * (green[j] - green[i])
        b[x] = blue[i] + w * (blue[j] - blue[i])


@njit(cache=True, nogil=True)
def load_row(
    planes: Bytes, y: int, down: Taps, across: Taps, groups: int, gamma: bool, out: Floats
) -> None:
    """Sample one row of the resized image into ``out`` (C, (stride + 2) * groups), by phase.

    The first and the last run of ``out`` repeat the last and the first phase, shifted by one group:
    the neighbours of the runs at either end.
    """
    channels, length = planes.shape[0], len(across[0]) - 2
    blended = np.empty((channels, planes.shape[2] + 1), np.float32)
    for c in range(channels):
        blend_rows(planes[c], down[0][y], down[1][y], blended[c])
    if channels == 3:
        _gather_colours(blended, across, groups - 1, out)
    else:
        for c in range(channels):
            _gather(blended[c], across, groups - 1, out[c])
    for c in range(channels):
        row = out[c]
        row[0], row[length + 2 * groups - 1] = row[groups - 1], row[groups + length]
        for u in range(1, groups):  # a slice assigned to a slice would compile for seconds
            row[u] = row[length + u - 1]
            row[length + groups + u - 1] = row[groups + u]
        if gamma:
            for x in range(len(row)):
                row[x] = math.sqrt(np.float32(np.int32(row[x] * UNIT + _HALF)))
        else:
            for x in range(len(row)):
                row[x] = np.float32(np.int32(row[x] * UNIT + _HALF))


@njit(cache=True, nogil=True)
def strongest_gradient(
    near: tuple[Floats, Floats, Floats],
    groups: int,
    last: bool,
    dx: Floats,
    dy: Floats,
    energy: Floats,
) -> None:
    """Write the [-1, 0, 1] gradient of the channel whose gradient is largest, and its square.

    ``near`` holds the rows above, at and below. Of equal gradients the ``last`` channel's counts (as
    in OpenCV), else the first's (as in scikit-image).
    """
    above, row, below = near
    channels, length = row.shape[0], len(dx)
    energy[:] = -1
    for i in range(channels):
        c = i if last else channels - 1 - i
        left, right = row[c, :length], row[c, 2 * groups :]
        up, down = above[c, groups:], below[c, groups:]
        for x in range(length):
            gx = right[x] - left[x]
            gy = down[x] - up[x]
            e = gx * gx + gy * gy
            stronger = e >= energy[x]
            dx[x] = gx if stronger else dx[x]
            dy[x] = gy if stronger else dy[x]
            energy[x] = e if stronger else energy[x]
