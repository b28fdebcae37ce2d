"""Histograms of oriented gradients: the loops (Dalal & Triggs 2005, section 6).

``block_grid`` resizes an image, takes its gradients and makes its whole grid of normalised blocks
in one pass. What a pixel gives to a cell of a block is a product of a row factor and a column
factor (the Gaussian window is separable, and so is the bilinear vote), so votes are summed over
rows first, then over columns.

Every loop runs over neighbouring floats, which is what makes it fast: rows are kept by phase (see
``kernels.gradients``), so that the same pixel column of all blocks is one contiguous run.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gazehound.kernels.gradients import load_row, mirror, phase_taps, strongest_gradient
from gazehound.kernels.resize import bilinear_taps

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Runs = tuple[NDArray[np.int64], NDArray[np.uintp], Floats]  # of ``_listed``


class Rule(NamedTuple):
    """How pixels vote and blocks are normalised.

    Attributes:
        bins: orientation bins.
        signed: bins cover 360 degrees instead of 180.
        gamma: square roots instead of grey values.
        soft: votes are shared between two bins; else each goes to one.
        clip: the clipping value of L2-Hys.
        first: (a, b) of the first normalisation: the length of v counts as sqrt(|v|^2 + a) + b.
        second: those of the second.
    """

    bins: int
    signed: bool
    gamma: bool
    soft: bool
    clip: float
    first: tuple[float, float]
    second: tuple[float, float]


# A minimax polynomial of atan on 0..1 in odd powers, within 2e-4 radian: OpenCV's fastAtan2.
_P1 = np.float32(0.9997878412794807)
_P3 = np.float32(-0.3258083974640975)
_P5 = np.float32(0.1555786518463281)
_P7 = np.float32(-0.04432655554492128)
_TINY = np.float32(2.220446049250313e-16)
_HALF = np.float32(0.5)
_ZERO = np.float32(0)
_ONE = np.float32(1)


@njit(cache=True, nogil=True, error_model="numpy")
def _soft_votes(
    dx: Floats,
    dy: Floats,
    energy: Floats,
    bins: int,
    signed: bool,
    low: Floats,
    high: Floats,
    nearest: NDArray[np.int32],
) -> None:
    """Split each magnitude between the two nearest bins, whose centres lie at k + 1/2.

    ``nearest`` is the lower bin.
    """
    turn = float(bins if signed else 2 * bins)
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
    signed: bool,
    low: Floats,
    high: Floats,
    nearest: NDArray[np.int32],
) -> None:
    """Give each magnitude whole to the bin of its angle: bin k holds k <= angle < k + 1.

    The bin is the number of borders that the angle has reached. Grey values being whole numbers,
    many angles lie on a border (45 or 90 degrees); a border's sine and cosine are rounded to 12
    digits, so that such a test gives exactly zero, which an arctangent would not.
    """
    turn = float(bins if signed else 2 * bins)
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
            if not signed:  # orientations: the lower half plane folds onto the upper
                nearest[x] += np.int32(reached)
            elif below:
                nearest[x] += np.int32(lower and reached)
            else:
                nearest[x] += np.int32(lower or reached)
    for x in range(len(dx)):
        low[x] = math.sqrt(energy[x])
        high[x] = 0


@njit(cache=True, nogil=True)
def _votes_for(
    low: Floats, high: Floats, nearest: NDArray[np.int32], bin_: int, bins: int, out: Floats
) -> None:
    """Write what each pixel gives to one bin; all arrays but ``nearest`` are float32, one length."""
    before = np.int32(bin_ - 1 if bin_ > 0 else bins - 1)  # its higher share falls into this bin
    this = np.int32(bin_)
    for x in range(len(out)):
        v = low[x] if nearest[x] == this else _ZERO
        out[x] = high[x] if nearest[x] == before else v


@njit(cache=True, nogil=True)
def _listed(factors: Floats, place: NDArray[np.int64]) -> Runs:
    """List the places with a positive factor of every set: counts, places and factors by set."""
    sets = len(factors)
    count = np.zeros(sets, np.int64)
    begins = np.zeros(factors.shape, np.uintp)
    weights = np.zeros(factors.shape, np.float32)
    for k in range(sets):
        for j in range(factors.shape[1]):
            if factors[k, j] > _ZERO:
                begins[k, count[k]], weights[k, count[k]] = place[j], factors[k, j]
                count[k] += 1
    return count, begins, weights


@njit(cache=True, nogil=True, fastmath={"contract"})
def _add_runs(source: Floats, runs: Runs, k: int, out: Floats) -> None:
    """Add to ``out`` the weighted sum of set ``k`` of runs of ``source``, four at a time.

    Runs are indexed, not sliced: counting references to so many slices would cost a seventh.
    """
    count, begins, weights = runs
    n = len(out)
    for i in range(0, count[k] - 3, 4):
        a, b, c, d = begins[k, i], begins[k, i + 1], begins[k, i + 2], begins[k, i + 3]
        p, q, r, s = weights[k, i], weights[k, i + 1], weights[k, i + 2], weights[k, i + 3]
        for x in range(n):
            j = np.uintp(x)
            out[x] += p * source[a + j] + q * source[b + j] + r * source[c + j] + s * source[d + j]
    for i in range(count[k] - count[k] % 4, count[k]):
        a, p = begins[k, i], weights[k, i]
        for x in range(n):
            out[x] += p * source[a + np.uintp(x)]


@njit(cache=True, nogil=True, error_model="numpy")
def _normalise(sums: Floats, rule: Rule, out: Floats) -> None:
    """L2-Hys of one row of blocks, ``sums`` (D, blocks) to ``out`` (blocks, D).

    Scale to unit length, clip, scale again. ``sums`` is overwritten.
    """
    count = sums.shape[1]
    energy, scale = np.empty(count, np.float32), np.empty(count, np.float32)
    limit = np.float32(rule.clip)
    for step in range(2):
        pair = rule.first if step == 0 else rule.second
        b = np.float32(pair[1])
        energy[:] = np.float32(pair[0])
        for d in range(len(sums)):
            line = sums[d]
            for u in range(count):
                energy[u] += line[u] * line[u]
        for u in range(count):
            scale[u] = _ONE / (math.sqrt(energy[u]) + b)
        for d in range(len(sums)):
            line = sums[d]
            for u in range(count):
                v = line[u] * scale[u]
                line[u] = limit if step == 0 and v > limit else v
    for u in range(count):
        block = out[u]
        for d in range(len(sums)):
            block[d] = sums[d, u]


@njit(cache=True, nogil=True)
def _stripe_factors(rows: Floats, stride: int) -> Floats:
    """Cut row factors (cells, block height) into stripes: (stripes x cells, pixel rows)."""
    cells, block = rows.shape
    out = np.zeros((-(-block // stride) * cells, stride), np.float32)
    for y in range(block):
        for cell in range(cells):
            out[(y // stride) * cells + cell, y % stride] = rows[cell, y]
    return out


@njit(cache=True, nogil=True)
def _column_places(block: int, stride: int, groups: int) -> NDArray[np.int64]:
    """Return where the run of each pixel column of a block begins among the phases."""
    out = np.empty(block, np.int64)
    for j in range(block):
        out[j] = (j % stride) * groups + j // stride
    return out


@njit(cache=True, nogil=True)
def _add_stripe(
    votes: tuple[Floats, Floats, NDArray[np.int32]],
    bins: int,
    down: Runs,
    across: Runs,
    rows: tuple[int, int],
    sums: Floats,
) -> None:
    """Add a stripe of pixel rows to the blocks it belongs to.

    Args:
        votes: lower and higher shares and lower bins, each (pixel rows, length).
        bins: orientation bins.
        down: runs over pixel rows, one set per block row of the stripe and cell y.
        across: runs over pixel columns, one set per cell x.
        rows: the stripe's index, and the number of block rows.
        sums: (block rows at a time, D, blocks in a row), by block row modulo their number.
    """
    low, high, nearest = votes
    cells_x = len(across[0])
    cells_y = sums.shape[1] // (cells_x * bins)
    stripe, count = rows
    given = np.empty(low.size, np.float32)
    striped = np.empty(low.shape[1], np.float32)
    flat_low, flat_high, flat_nearest = low.reshape(-1), high.reshape(-1), nearest.reshape(-1)
    for b in range(bins):
        _votes_for(flat_low, flat_high, flat_nearest, b, bins, given)
        for k in range(len(down[0])):
            row = stripe - k // cells_y
            if row < 0 or row >= count:
                continue
            striped[:] = 0
            _add_runs(given, down, k, striped)
            for cx in range(cells_x):
                total = sums[row % len(sums), (cx * cells_y + k % cells_y) * bins + b]
                _add_runs(striped, across, cx, total)


@njit(cache=True, nogil=True)
def block_grid(
    planes: Bytes,
    size: tuple[int, int],
    columns: Floats,
    rows: Floats,
    stride: int,
    pad: tuple[int, int],
    origin: tuple[int, int],
    rule: Rule,
) -> Floats:
    """Resize an image and return its normalised blocks, (block rows, block columns, D).

    A block runs over its cell columns, then cell rows, then bins: D = cells x * cells y * bins.

    Args:
        planes: (C, H, W) uint8.
        size: (height, width) to resize to, exactly as ``resize_planes`` does.
        columns: (cells x, block width), the factor of each pixel column in each cell column.
        rows: (cells y, block height), likewise.
        stride: pixels between blocks.
        pad: pixels added at every side by mirroring, (y, x).
        origin: the first block's corner in the padded image, (y, x).
        rule: how pixels vote and blocks are normalised.
    """
    (cells_x, block_x), (cells_y, block_y) = columns.shape, rows.shape
    height, width = size[0] + 2 * pad[0] - origin[0], size[1] + 2 * pad[1] - origin[1]
    count_y = (height - block_y) // stride + 1 if height >= block_y else 0
    count_x = (width - block_x) // stride + 1 if width >= block_x else 0
    grid = np.empty((count_y, count_x, cells_x * cells_y * rule.bins), np.float32)
    if grid.size == 0:
        return grid
    reach = -(-block_y // stride)  # stripes in a block
    groups = count_x - 1 - (-block_x // stride)
    length = stride * groups
    taps = bilinear_taps(planes.shape[1], size[0])
    phases = phase_taps(bilinear_taps(planes.shape[2], size[1]), origin[1] - pad[1], stride, groups)
    down = _listed(_stripe_factors(rows, stride), length * np.arange(stride))
    across = _listed(columns, _column_places(block_x, stride, groups))
    lines = np.empty((3, planes.shape[0], length + 2 * groups), np.float32)
    # one array each: unpacking a taller one would give strided views, and scalar loops
    dx, dy = np.empty(length, np.float32), np.empty(length, np.float32)
    energy = np.empty(length, np.float32)
    low, high = np.empty((stride, length), np.float32), np.empty((stride, length), np.float32)
    nearest = np.empty((stride, length), np.int32)
    sums = np.zeros((reach, grid.shape[2], count_x), np.float32)
    shift = origin[0] - pad[0]
    for y in range(-2, stride * (count_y - 1 + reach)):
        after = mirror(y + 1 + shift, size[0])
        load_row(planes, after, taps, phases, groups, rule.gamma, lines[(y + 1) % 3])
        if y < 0:
            continue
        near = (lines[(y - 1) % 3], lines[y % 3], lines[(y + 1) % 3])
        strongest_gradient(near, groups, rule.soft, dx, dy, energy)
        r = y % stride
        if rule.soft:
            _soft_votes(dx, dy, energy, rule.bins, rule.signed, low[r], high[r], nearest[r])
        else:
            _hard_votes(dx, dy, energy, rule.bins, rule.signed, low[r], high[r], nearest[r])
        if r < stride - 1:
            continue
        stripe = y // stride
        _add_stripe((low, high, nearest), rule.bins, down, across, (stripe, count_y), sums)
        row = stripe - reach + 1
        if row >= 0:
            _normalise(sums[row % reach], rule, grid[row])
            sums[row % reach] = 0
    return grid
