"""Histograms of oriented gradients: the loops (Dalal & Triggs 2005, section 6).

``block_grid`` resizes an image, takes its gradients and makes its whole grid of normalised blocks
in one pass. What a pixel gives to a cell of a block is a product of a row factor and a column
factor (the Gaussian window is separable, and so is the bilinear vote), so votes are summed over
rows first, then over columns.

Every loop runs over neighbouring floats, which is what makes it fast: the pixels of a row are kept
*by phase*, that is first all columns x = 0 mod s, then all x = 1 mod s, and so on, where s is the
distance between blocks. Pixel x lies at (x mod s) * groups + x // s. The same column of all blocks
is then one contiguous run, and the left neighbours of a run are the run before it.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gazehound.kernels.resize import UNIT, bilinear_taps, blend_rows

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Taps = tuple[NDArray[np.uint32], Floats]

# A minimax polynomial of atan on 0..1 in odd powers, within 2e-4 radian: OpenCV's fastAtan2.
_P1 = np.float32(0.9997878412794807)
_P3 = np.float32(-0.3258083974640975)
_P5 = np.float32(0.1555786518463281)
_P7 = np.float32(-0.04432655554492128)
_TINY = np.float32(2.220446049250313e-16)
_HALF = np.float32(0.5)
_ZERO = np.float32(0)
_ONE = np.float32(1)


@njit(cache=True, nogil=True)
def _mirror(i: int, length: int) -> int:
    """Return the index in 0..length-1 that ``i`` mirrors to; the border pixel is not repeated."""
    if length == 1:
        return 0
    i = i % (2 * (length - 1))
    return 2 * (length - 1) - i if i >= length else i


@njit(cache=True, nogil=True)
def _phase_taps(taps: Taps, shift: int, stride: int, groups: int) -> Taps:
    """Reorder column taps by phase; column 0 is pixel ``shift``, columns outside are mirrored.

    Two more entries follow: column -1 and the column after the last.
    """
    left, right = taps
    length = stride * groups
    index = np.empty(length + 2, np.uint32)
    weight = np.empty(length + 2, np.float32)
    for x in range(-1, length + 1):
        at = (x % stride) * groups + x // stride
        if x < 0 or x == length:
            at = length + (x > 0)
        inside = _mirror(x + shift, len(left))
        index[at], weight[at] = left[inside], right[inside]
    return index, weight


@njit(cache=True, nogil=True)
def _load_row(
    planes: Bytes,
    y: int,
    down: Taps,
    across: Taps,
    groups: int,
    gamma: bool,
    blended: Floats,
    out: Floats,
) -> None:
    """Sample one row of the resized image into ``out`` (C, (stride + 2) * groups), by phase.

    The first and the last run of ``out`` repeat the last and the first phase, shifted by one group:
    the neighbours of the runs at either end.
    """
    top, weights = down
    index, weight = across
    length = len(index) - 2
    for c in range(planes.shape[0]):
        blend_rows(planes[c], top[y], weights[y], blended)
        row = out[c]
        inner = row[groups : groups + length]
        for x in range(length):
            i = index[x]
            inner[x] = blended[i] + weight[x] * (blended[i + np.uint32(1)] - blended[i])
        for k in range(2):
            i = index[length + k]
            value = blended[i] + weight[length + k] * (blended[i + np.uint32(1)] - blended[i])
            row[k * (length + 2 * groups - 1)] = value
        row[1:groups] = row[length : length + groups - 1]
        row[length + groups : length + 2 * groups - 1] = row[groups + 1 : 2 * groups]
        if gamma:
            for x in range(len(row)):
                row[x] = math.sqrt(np.float32(np.int32(row[x] * UNIT + _HALF)))
        else:
            for x in range(len(row)):
                row[x] = np.float32(np.int32(row[x] * UNIT + _HALF))


@njit(cache=True, nogil=True)
def _strongest_gradient(
    above: Floats,
    row: Floats,
    below: Floats,
    groups: int,
    last: bool,
    dx: Floats,
    dy: Floats,
    energy: Floats,
) -> None:
    """Write the [-1, 0, 1] gradient of the channel whose gradient is largest, and its square.

    Of equal ones the ``last`` channel's counts (as in OpenCV), else the first's (scikit-image).
    """
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


@njit(cache=True, nogil=True, error_model="numpy")
def _soft_votes(
    dx: Floats,
    dy: Floats,
    energy: Floats,
    bins: int,
    turn: float,
    low: Floats,
    high: Floats,
    nearest: NDArray[np.int32],
) -> None:
    """Split each magnitude between the two nearest bins, whose centres lie at k + 1/2.

    ``nearest`` is the lower bin, ``turn`` the number of bins in a full circle.
    """
    per_radian = np.float32(turn / (2 * np.pi))
    p1, p3, p5, p7 = _P1 * per_radian, _P3 * per_radian, _P5 * per_radian, _P7 * per_radian
    quarter, half, full = np.float32(turn / 4), np.float32(turn / 2), np.float32(turn)
    count = np.float32(bins)
    for x in range(len(dx)):
        gx, gy = dx[x], dy[x]
        ax, ay = abs(gx), abs(gy)
        steep = ay > ax
        c = (ax if steep else ay) / ((ay if steep else ax) + _TINY)
        c2 = c * c
        a = (((p7 * c2 + p5) * c2 + p3) * c2 + p1) * c
        a = quarter - a if steep else a
        a = half - a if gx < _ZERO else a
        a = full - a if gy < _ZERO else a
        a = a + _HALF  # the coordinate among bin centres, plus one, so that truncation is floor
        whole = np.float32(np.int32(a))
        share = a - whole
        whole = whole - _ONE
        whole = whole + count if whole < _ZERO else whole
        whole = whole - count if whole >= count else whole
        magnitude = math.sqrt(energy[x])
        high[x] = magnitude * share
        low[x] = magnitude - magnitude * share
        nearest[x] = np.int32(whole)


@njit(cache=True, nogil=True)
def _hard_votes(
    dx: Floats,
    dy: Floats,
    energy: Floats,
    bins: int,
    turn: float,
    low: Floats,
    high: Floats,
    nearest: NDArray[np.int32],
) -> None:
    """Give each magnitude whole to the bin of its angle: bin k holds k <= angle < k + 1.

    The bin is the number of borders that the angle has reached. Grey values being whole numbers,
    many angles lie on a border (45 or 90 degrees); a border's sine and cosine are rounded to 12
    digits, so that such a test gives exactly zero, which an arctangent would not.
    """
    nearest[:] = 0
    for k in range(1, bins):
        angle = 2 * math.pi * k / turn
        below = angle > math.pi * (1 - 1e-12)  # the border lies in the lower half plane
        cosine = round(math.cos(angle - math.pi * below) * 1e12) * 1e-12
        sine = round(math.sin(angle - math.pi * below) * 1e12) * 1e-12
        for x in range(len(dx)):
            gx, gy = np.float64(dx[x]), np.float64(dy[x])
            lower = gy < 0 or (gy == 0 and gx < 0)
            side = gy * cosine - gx * sine
            reached = (-side if lower else side) >= 0
            if turn > bins:  # orientations: the lower half plane folds onto the upper
                nearest[x] += np.int32(reached)
            elif below:
                nearest[x] += np.int32(lower and reached)
            else:
                nearest[x] += np.int32(lower or reached)
    for x in range(len(dx)):
        low[x] = math.sqrt(energy[x])
        high[x] = 0


@njit(cache=True, nogil=True)
def _sum_rows(
    low: Floats,
    high: Floats,
    nearest: NDArray[np.int32],
    bin_: int,
    bins: int,
    rows: Floats,
    vote: Floats,
    out: Floats,
) -> None:
    """Sum one bin's votes over the pixel rows of a stripe, once per set of row factors.

    ``low``, ``high``, ``nearest`` are (pixel rows, length); ``rows`` is (sets, pixel rows) and
    ``out`` (sets, length).
    """
    before = np.int32(bin_ - 1 if bin_ > 0 else bins - 1)  # its higher share falls into this bin
    this = np.int32(bin_)
    out[:] = 0
    for r in range(low.shape[0]):
        a, b, n = low[r], high[r], nearest[r]
        for x in range(len(vote)):
            v = a[x] if n[x] == this else _ZERO
            vote[x] = b[x] if n[x] == before else v
        for k in range(rows.shape[0]):
            w = rows[k, r]
            if w > _ZERO:
                total = out[k]
                for x in range(len(vote)):
                    total[x] += w * vote[x]


@njit(cache=True, nogil=True)
def _sum_columns(votes: Floats, columns: Floats, stride: int, groups: int, out: Floats) -> None:
    """Add votes (by phase) times one cell's column factors to ``out``, one number per block."""
    for j in range(len(columns)):
        w = columns[j]
        if w > _ZERO:
            begin = (j % stride) * groups + j // stride
            run = votes[begin : begin + len(out)]
            for u in range(len(out)):
                out[u] += w * run[u]


@njit(cache=True, nogil=True, error_model="numpy")
def _normalise(
    sums: Floats,
    clip: float,
    first: tuple[float, float],
    second: tuple[float, float],
    scratch: Floats,
    out: Floats,
) -> None:
    """L2-Hys of one row of blocks, ``sums`` (D, blocks) to ``out`` (blocks, D).

    Scale to unit length, clip, scale again; the length of v counts as sqrt(|v|^2 + a) + b, with
    (a, b) given for each of the two passes. ``sums`` is overwritten.
    """
    energy, scale = scratch[0], scratch[1]
    limit = np.float32(clip)
    for step in range(2):
        pair = first if step == 0 else second
        b = np.float32(pair[1])
        energy[:] = np.float32(pair[0])
        for d in range(len(sums)):
            line = sums[d]
            for u in range(len(energy)):
                energy[u] += line[u] * line[u]
        for u in range(len(energy)):
            scale[u] = _ONE / (math.sqrt(energy[u]) + b)
        for d in range(len(sums)):
            line = sums[d]
            for u in range(len(energy)):
                v = line[u] * scale[u]
                line[u] = limit if step == 0 and v > limit else v
    for u in range(len(energy)):
        block = out[u]
        for d in range(len(sums)):
            block[d] = sums[d, u]


@njit(cache=True, nogil=True)
def block_grid(
    planes: Bytes,
    size: tuple[int, int],
    columns: Floats,
    rows: Floats,
    stride: tuple[int, int],
    pad: tuple[int, int],
    origin: tuple[int, int],
    bins: int,
    signed: bool,
    gamma: bool,
    soft: bool,
    clip: float,
    first: tuple[float, float],
    second: tuple[float, float],
) -> Floats:
    """Resize an image and return its normalised blocks, (block rows, block columns, D).

    A block runs over its cell columns, then cell rows, then bins: D = cells x * cells y * bins.

    Args:
        planes: (C, H, W) uint8.
        size: (height, width) to resize to, exactly as ``resize_planes`` does.
        columns: (cells x, block width), the factor of each pixel column in each cell column.
        rows: (cells y, block height), likewise.
        stride: pixels between blocks, (y, x).
        pad: pixels added at every side by mirroring, (y, x).
        origin: the first block's corner in the padded image, (y, x).
        bins: orientation bins.
        signed: bins cover 360 degrees instead of 180.
        gamma: square roots instead of grey values.
        soft: votes are shared between two bins; else each goes to one.
        clip: the clipping value of L2-Hys.
        first: regularisers of the first normalisation; see ``_normalise``.
        second: those of the second.
    """
    (cells_x, block_x), (cells_y, block_y) = columns.shape, rows.shape
    step = stride[1]
    height, width = size[0] + 2 * pad[0] - origin[0], size[1] + 2 * pad[1] - origin[1]
    count_y = max((height - block_y) // stride[0] + 1, 0) if height >= block_y else 0
    count_x = max((width - block_x) // step + 1, 0) if width >= block_x else 0
    grid = np.empty((count_y, count_x, cells_x * cells_y * bins), np.float32)
    if grid.size == 0:
        return grid
    reach_y, reach_x = -(-block_y // stride[0]), -(-block_x // step)  # stripes, groups per block
    groups = count_x - 1 + reach_x
    length = step * groups
    down = bilinear_taps(planes.shape[1], size[0])
    across = _phase_taps(bilinear_taps(planes.shape[2], size[1]), origin[1] - pad[1], step, groups)
    blended = np.empty(planes.shape[2] + 1, np.float32)
    lines = np.empty((3, planes.shape[0], length + 2 * groups), np.float32)
    # one array each: unpacking a taller one would give strided views, and scalar loops
    dx, dy = np.empty(length, np.float32), np.empty(length, np.float32)
    energy, vote = np.empty(length, np.float32), np.empty(length, np.float32)
    low = np.empty((stride[0], length), np.float32)
    high = np.empty((stride[0], length), np.float32)
    nearest = np.empty((stride[0], length), np.int32)
    factors = np.zeros((reach_y * cells_y, stride[0]), np.float32)
    for k in range(len(factors)):
        for r in range(stride[0]):
            y = (k // cells_y) * stride[0] + r
            if y < block_y:
                factors[k, r] = rows[k % cells_y, y]
    striped = np.empty((len(factors), length), np.float32)
    sums = np.zeros((reach_y, cells_x * cells_y * bins, count_x), np.float32)
    scratch = np.empty((2, count_x), np.float32)
    turn = float(bins if signed else 2 * bins)
    shift = origin[0] - pad[0]
    for y in range(-1, 1):
        source = _mirror(y + shift, size[0])
        _load_row(planes, source, down, across, groups, gamma, blended, lines[y % 3])
    for stripe in range(count_y - 1 + reach_y):
        for r in range(stride[0]):
            y = stripe * stride[0] + r
            source = _mirror(y + 1 + shift, size[0])
            _load_row(planes, source, down, across, groups, gamma, blended, lines[(y + 1) % 3])
            _strongest_gradient(
                lines[(y - 1) % 3], lines[y % 3], lines[(y + 1) % 3], groups, soft, dx, dy, energy
            )
            if soft:
                _soft_votes(dx, dy, energy, bins, turn, low[r], high[r], nearest[r])
            else:
                _hard_votes(dx, dy, energy, bins, turn, low[r], high[r], nearest[r])
        for b in range(bins):
            _sum_rows(low, high, nearest, b, bins, factors, vote, striped)
            for k in range(len(factors)):
                row = stripe - k // cells_y
                if 0 <= row < count_y:
                    for cx in range(cells_x):
                        d = (cx * cells_y + k % cells_y) * bins + b
                        total = sums[row % reach_y, d]
                        _sum_columns(striped[k], columns[cx], step, groups, total)
        row = stripe - reach_y + 1
        if row >= 0:
            _normalise(sums[row % reach_y], clip, first, second, scratch, grid[row])
            sums[row % reach_y] = 0
    return grid
