"""Haar-like responses of many training patches, and their order, for boosting.

Patches become columns: entry ``(p, n)`` of the planes is integral-image entry ``p`` of patch ``n``, so
that one corner of a feature is a contiguous row over patches.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from gazehound.kernels.integral import integrate, integrate_tilted

TILE = 256  # patches whose integral images stay in the cache together
_DIGIT = 11  # bits per pass of the radix sort
_SIGN = np.uint32(0x80000000)


@njit(cache=True, nogil=True)
def patch_planes(
    patches: NDArray[np.uint8], tilted: bool
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Integrate patches.

    Args:
        patches: (N, h, w) grey.
        tilted: append the tilted integral images.

    Returns:
        Planes (P, N) int32 with P = (h + 1)(w + 1), twice that when tilted, and (N,) float32
        1 / (area * deviation) of each patch less one pixel on every side; 1 where that is even.
    """
    count, height, width = patches.shape
    entries = (height + 1) * (width + 1)
    planes = np.empty((entries * (2 if tilted else 1), count), np.int32)
    inverse = np.ones(count, np.float32)
    sums = np.empty((height + 1, width + 1), np.int32)
    squares = np.empty((height + 1, width + 1), np.int64)
    area = np.float64((height - 2) * (width - 2))
    bottom, right = height - 1, width - 1
    for n in range(count):
        integrate(patches[n], sums, squares)
        for p in range(entries):
            planes[p, n] = sums.flat[p]
        total = np.float64(sums[1, 1] - sums[1, right] - sums[bottom, 1] + sums[bottom, right])
        energy = np.float64(
            squares[1, 1] - squares[1, right] - squares[bottom, 1] + squares[bottom, right]
        )
        spread = area * energy - total * total
        if spread > 0.0:
            inverse[n] = np.float32(1.0 / np.sqrt(spread))
        if tilted:
            integrate_tilted(patches[n], sums)
            for p in range(entries):
                planes[entries + p, n] = sums.flat[p]
    return planes, inverse


@njit(cache=True, parallel=True, nogil=True)
def patch_responses(
    planes: NDArray[np.int32],
    inverse: NDArray[np.float32],
    points: NDArray[np.int32],
    weights: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Fill ``out`` (F, N) with normalised responses, in the very arithmetic of the scan.

    Args:
        planes: (P, N) from :func:`patch_planes`.
        inverse: (N,) likewise.
        points: (F, 12) rows of ``planes``, four corners of each of three rectangles.
        weights: (F, 3).
        out: (F, N) float32, overwritten.
    """
    count = planes.shape[1]
    for f in prange(len(points)):
        for start in range(0, count, TILE):
            end = min(start + TILE, count)
            row = out[f, start:end]
            for part in range(3):
                weight = weights[f, part]
                if part == 2 and weight == 0:
                    break
                a = planes[points[f, 4 * part], start:end]
                b = planes[points[f, 4 * part + 1], start:end]
                c = planes[points[f, 4 * part + 2], start:end]
                d = planes[points[f, 4 * part + 3], start:end]
                if part == 0:
                    for n in range(end - start):
                        row[n] = weight * np.float32(np.int32(a[n] - b[n] - c[n] + d[n]))
                else:
                    for n in range(end - start):
                        row[n] += weight * np.float32(np.int32(a[n] - b[n] - c[n] + d[n]))
            scale = inverse[start:end]
            for n in range(end - start):
                row[n] *= scale[n]


@njit(cache=True, nogil=True)
def _sorted_rows(
    values: NDArray[np.float32],
    keys: NDArray[np.uint32],
    rows: NDArray[np.uint32],
    spare_keys: NDArray[np.uint32],
    spare_rows: NDArray[np.uint32],
) -> None:
    """Sort by value, stably, into ``keys`` (bits that rise with the value) and ``rows``."""
    n = len(values)
    buckets = 1 << _DIGIT
    bits = values.view(np.uint32)
    for i in range(n):
        key = bits[i]
        if key == _SIGN:
            key = np.uint32(0)  # -0.0 equals 0.0
        spare_keys[i] = ~key if key & _SIGN else key | _SIGN
        spare_rows[i] = i
    counts = np.empty(buckets, np.int64)
    mask = np.uint32(buckets - 1)
    source, source_rows, target, target_rows = spare_keys, spare_rows, keys, rows
    for digit in range(3):
        shift = np.uint32(digit * _DIGIT)
        counts[:] = 0
        for i in range(n):
            counts[(source[i] >> shift) & mask] += 1
        total = 0
        for value in range(buckets):
            size = counts[value]
            counts[value] = total
            total += size
        for i in range(n):
            value = (source[i] >> shift) & mask
            to = counts[value]
            counts[value] = to + 1
            target[to] = source[i]
            target_rows[to] = source_rows[i]
        source, source_rows, target, target_rows = target, target_rows, source, source_rows


@njit(cache=True, parallel=True, nogil=True)
def sort_responses(values: NDArray[np.float32], flag: int, order: NDArray[Any], parts: int) -> None:
    """Fill ``order`` (F, N) with the patches of each feature by rising response.

    An entry carries ``flag`` (the highest bit of its type) when the next response is larger, that is
    where a threshold can stand.
    """
    count = values.shape[1]
    for part in prange(parts):
        keys, rows = np.empty(count, np.uint32), np.empty(count, np.uint32)
        spare_keys, spare_rows = np.empty(count, np.uint32), np.empty(count, np.uint32)
        for f in range(part, len(values), parts):
            _sorted_rows(values[f], keys, rows, spare_keys, spare_rows)
            for i in range(count):
                mark = flag if i + 1 < count and keys[i + 1] != keys[i] else 0
                order[f, i] = rows[i] | np.uint32(mark)


@njit(cache=True, parallel=True, nogil=True)
def bin_responses(
    values: NDArray[np.float32],
    edges: NDArray[np.float32],
    codes: NDArray[np.uint8],
    parts: int,
) -> None:
    """Quantise responses to at most 256 bins of about equal population.

    Args:
        values: (F, N).
        edges: (F, 255) output: bin ``b`` holds the responses below ``edges[b]`` and not below
            ``edges[b - 1]``; infinite where fewer bins suffice.
        codes: (F, N) output.
        parts: threads to share the features.
    """
    count = values.shape[1]
    for part in prange(parts):
        keys, rows = np.empty(count, np.uint32), np.empty(count, np.uint32)
        spare_keys, spare_rows = np.empty(count, np.uint32), np.empty(count, np.uint32)
        for f in range(part, len(values), parts):
            _sorted_rows(values[f], keys, rows, spare_keys, spare_rows)
            code, filled = 0, 0
            for i in range(count):
                full = filled * 256 >= count
                if i > 0 and full and keys[i] != keys[i - 1] and code < 255:
                    low, high = values[f, rows[i - 1]], values[f, rows[i]]
                    edge = np.float32(np.float64(low) * 0.5 + np.float64(high) * 0.5)
                    edges[f, code] = edge if edge > low else high
                    code += 1
                    filled = 0
                codes[f, rows[i]] = code
                filled += 1
            edges[f, code:] = np.inf
