"""Histogram-of-gradient cells with 31 + 1 channels (Felzenszwalb et al., PAMI 2010, section 6).

The exact definition is the one of voc-release5. Per pixel: the gradient ``[-1, 0, 1]`` of the
colour channel where it is longest, its direction snapped to the nearest of 18. Per cell: 18 sums of
gradient lengths, voted bilinearly to the four nearest cells. Per output cell, four normalisers, one
per 2x2 block that contains the cell, then

    channels  0..17  signed orientations    0.5 * sum over normalisers of min(h * n, 0.2)
    channels 18..26  unsigned orientations  the same of h[o] + h[o + 9]
    channels 27..30  texture                0.2357 * sum over the 18 clipped values, per normaliser
    channel  31      truncation             1 in the padding, 0 inside

Orientation ``o`` points to ``(cos, sin)(o * 20 degrees)``, with y down.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

CHANNELS = 32
TRUNCATION = 31
CLIP = np.float32(0.2)
TEXTURE = np.float32(0.2357)  # about 1 / sqrt(18)
ENERGY_FLOOR = 1e-4

# cos and sin of 0, 20, ..., 160 degrees, to the four digits of the official code.
COSINES = (1.0, 0.9397, 0.7660, 0.5, 0.1736, -0.1736, -0.5, -0.7660, -0.9397)
SINES = (0.0, 0.3420, 0.6428, 0.8660, 0.9848, 0.9848, 0.8660, 0.6428, 0.3420)


@njit(cache=True, nogil=True)
def _strongest(
    image: NDArray[np.float64],
    y: int,
    dx: NDArray[np.float64],
    dy: NDArray[np.float64],
    energy: NDArray[np.float64],
) -> None:
    """Fill one row of gradients, each of the channel where it is longest (the first wins)."""
    width = image.shape[2]
    energy[:] = -1
    for plane in range(image.shape[0]):
        above, here, below = image[plane, y - 1], image[plane, y], image[plane, y + 1]
        for x in range(1, width - 1):
            gx = here[x + 1] - here[x - 1]
            gy = below[x] - above[x]
            squared = gx * gx + gy * gy
            longer = squared > energy[x]
            energy[x] = squared if longer else energy[x]
            dx[x] = gx if longer else dx[x]
            dy[x] = gy if longer else dy[x]


@njit(cache=True, nogil=True)
def _nearest(
    dx: NDArray[np.float64],
    dy: NDArray[np.float64],
    longest: NDArray[np.float64],
    winner: NDArray[np.int64],
) -> None:
    """Fill one row with the orientation 0..17 nearest to each gradient; of equals the first."""
    longest[:] = 0
    winner[:] = 0
    for o in range(9):
        cosine, sine = COSINES[o], SINES[o]
        for x in range(dx.size):
            dot = cosine * dx[x] + sine * dy[x]
            size = abs(dot)
            side = o if dot > 0 else o + 9
            better = size > longest[x]
            longest[x] = size if better else longest[x]
            winner[x] = side if better else winner[x]


@njit(cache=True, nogil=True)
def _square_root(values: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    for x in range(values.size):
        out[x] = math.sqrt(values[x])


@njit(cache=True, nogil=True)
def oriented_gradients(
    image: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return length (H, W) and orientation 0..17 (H, W) of the gradients of planes (C, H, W).

    The one-pixel frame has no gradient and stays zero. Everything is eight bytes wide and every loop
    over a row is a function of its own, so that whole rows run as vectors; see ``area_average`` for
    why the arithmetic is double.
    """
    _, height, width = image.shape
    lengths = np.zeros((height, width), np.float64)
    orientations = np.zeros((height, width), np.int64)
    dx, dy, energy, longest = np.zeros(width), np.zeros(width), np.zeros(width), np.zeros(width)
    for y in range(1, height - 1):
        _strongest(image, y, dx, dy, energy)
        _nearest(dx[1:-1], dy[1:-1], longest[1:-1], orientations[y, 1:-1])
        _square_root(energy[1:-1], lengths[y, 1:-1])
    return lengths, orientations


@njit(cache=True, nogil=True)
def _votes(cells: int, cell: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return, per pixel of ``cells * cell``, its left cell and the share of the right one."""
    left = np.zeros(cells * cell, np.int64)
    share = np.zeros(cells * cell, np.float64)
    for pixel in range(cells * cell):
        position = (pixel + 0.5) / cell - 0.5
        left[pixel] = math.floor(position)
        share[pixel] = position - left[pixel]
    return left, share


@njit(cache=True, nogil=True)
def cell_histograms(
    lengths: NDArray[np.float64], orientations: NDArray[np.int64], cell: int
) -> NDArray[np.float32]:
    """Sum gradients into cells: (H, W) twice -> (rows, columns, 18).

    The grid has ``round(H / cell)`` rows; where it reaches past the image, the last gradient is
    repeated, and where it ends before, pixels are left out, as in voc-release5. The histogram is
    kept one cell larger on every side while voting, so that the border needs no case of its own.
    """
    height, width = lengths.shape
    rows, columns = int(height / cell + 0.5), int(width / cell + 0.5)
    histogram = np.zeros((rows + 2, columns + 2, 18), np.float32)
    top, share_y = _votes(rows, cell)
    left, share_x = _votes(columns, cell)
    for y in range(1, rows * cell - 1):
        source = min(y, height - 2)
        down = share_y[y]
        upper, lower = histogram[top[y] + 1], histogram[top[y] + 2]
        for x in range(1, columns * cell - 1):
            pixel = min(x, width - 2)
            length = lengths[source, pixel]
            o = orientations[source, pixel]
            column = left[x] + 1
            to_right = length * share_x[x]
            to_left = length - to_right
            upper[column, o] += to_left * (1 - down)
            upper[column + 1, o] += to_right * (1 - down)
            lower[column, o] += to_left * down
            lower[column + 1, o] += to_right * down
    return histogram[1:-1, 1:-1]


@njit(cache=True, nogil=True)
def _normalisers(histogram: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return 1 / sqrt(energy) of every 2x2 block of cells: (R, C, 18) -> (R - 1, C - 1)."""
    rows, columns, _ = histogram.shape
    energy = np.zeros((rows, columns), np.float32)
    for y in range(rows):
        for x in range(columns):
            for o in range(9):
                both = histogram[y, x, o] + histogram[y, x, o + 9]
                energy[y, x] += both * both
    out = np.empty((rows - 1, columns - 1), np.float32)
    for y in range(rows - 1):
        for x in range(columns - 1):
            block = energy[y, x] + energy[y, x + 1] + energy[y + 1, x] + energy[y + 1, x + 1]
            out[y, x] = 1 / math.sqrt(block + ENERGY_FLOOR)
    return out


@njit(cache=True, nogil=True)
def normalised_cells(
    histogram: NDArray[np.float32], out: NDArray[np.float32], top: int, left: int
) -> None:
    """Write the 31 channels of the inner cells into ``out`` (32, H, W) from row ``top``, ``left``.

    The outer ring of the histogram (rows, columns, 18) only normalises; it has no output.
    """
    rows, columns, _ = histogram.shape
    scale = _normalisers(histogram)
    norms, texture = np.zeros((2, 4), np.float32)
    for y in range(rows - 2):
        for x in range(columns - 2):
            norms[0], norms[1] = scale[y + 1, x + 1], scale[y, x + 1]
            norms[2], norms[3] = scale[y + 1, x], scale[y, x]
            texture[:] = 0
            values = histogram[y + 1, x + 1]
            for o in range(18):
                total = np.float32(0)
                for k in range(4):
                    clipped = min(values[o] * norms[k], CLIP)
                    texture[k] += clipped
                    total += clipped
                out[o, top + y, left + x] = np.float32(0.5) * total
            for o in range(9):
                total = np.float32(0)
                for k in range(4):
                    total += min((values[o] + values[o + 9]) * norms[k], CLIP)
                out[18 + o, top + y, left + x] = np.float32(0.5) * total
            for k in range(4):
                out[27 + k, top + y, left + x] = TEXTURE * texture[k]
