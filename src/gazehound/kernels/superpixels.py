"""Graph-based superpixels (Felzenszwalb & Huttenlocher 2004, *Efficient Graph-Based Image Segmentation*).

Pixels are nodes, neighbours are joined by an edge that weighs their difference in colour. Edges are
walked from light to heavy; two components grow together when the edge is no heavier than what holds
either of them together inside, plus ``k / size`` (section 3.1, equations 3 and 4). Then components
under a smallest size join a neighbour over the lightest edge. The scale ``k`` is the only preference:
larger makes larger components.

The order of the edges does not depend on ``k``: it is computed once per image and used for all.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

_DIGIT = 11  # bits per radix pass; three passes cover a float32
_DOWN, _RIGHT = (0, 1, 1, 1), (1, 0, 1, -1)  # the directions of edges


@njit(cache=True, nogil=True)
def _reflect(index: int, length: int) -> int:
    """Mirror an index into 0..length-1 without repeating the border: -1 is 1, as far as need be."""
    if length == 1:
        return 0
    period = 2 * (length - 1)
    index %= period
    return index if index < length else period - index


@njit(cache=True, nogil=True)
def correlate_separable(
    planes: NDArray[np.float32], down: NDArray[np.float32], across: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Correlate planes (C, H, W) with the outer product of two odd kernels; borders are mirrored.

    Args:
        planes: the image.
        down: (2r + 1,) weights along a column.
        across: (2s + 1,) weights along a row.
    """
    channels, height, width = planes.shape
    half_down, half_across = down.size // 2, across.size // 2
    out = np.empty_like(planes)
    padded = np.empty(width + 2 * half_across, np.float32)
    for c in range(channels):
        for y in range(height):
            middle = padded[half_across : half_across + width]
            middle[:] = 0
            for tap in range(down.size):
                row = planes[c, _reflect(y + tap - half_down, height)]
                weight = down[tap]
                for x in range(width):
                    middle[x] += weight * row[x]
            for x in range(half_across):
                padded[x] = middle[_reflect(x - half_across, width)]
                padded[half_across + width + x] = middle[_reflect(width + x, width)]
            target = out[c, y]
            target[:] = 0
            for tap in range(across.size):
                weight = across[tap]
                shifted = padded[tap : tap + width]
                for x in range(width):
                    target[x] += weight * shifted[x]
    return out


@njit(cache=True, nogil=True)
def edges_of(planes: NDArray[np.float32], directions: int) -> NDArray[np.uint64]:
    """Return the edges between neighbouring pixels, from light to heavy.

    An edge is one number: the bits of its weight, the Euclidean distance of the two colours as a
    float32, above ``pixel * directions + direction``. Bits of floats that are not negative sort as
    the floats do; equal weights sort by their pixels.

    Args:
        planes: (C, H, W), smoothed.
        directions: 2 joins each pixel with its right and lower neighbour (a 4-connected grid), 4
            with the lower two diagonal ones too (8-connected, as the paper's section 5).

    Returns:
        (E,) edges.
    """
    channels, height, width = planes.shape
    edges = np.empty(height * width * directions, np.uint64)
    weight = np.empty(1, np.float32)
    bits = weight.view(np.uint32)
    count = 0
    for y in range(height):
        for x in range(width):
            for direction in range(directions):
                other_y, other_x = y + _DOWN[direction], x + _RIGHT[direction]
                if other_y >= height or other_x < 0 or other_x >= width:
                    continue
                total = np.float32(0)
                for c in range(channels):
                    difference = planes[c, y, x] - planes[c, other_y, other_x]
                    total += difference * difference
                weight[0] = np.sqrt(total)
                place = (y * width + x) * directions + direction
                edges[count] = (np.uint64(bits[0]) << np.uint64(32)) | np.uint64(place)
                count += 1
    return _by_upper_half(edges[:count])


@njit(cache=True, nogil=True)
def _by_upper_half(items: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Sort numbers by their upper 32 bits, stably, in three radix passes."""
    buckets = 1 << _DIGIT
    mask = np.uint64(buckets - 1)
    items = items.copy()
    other = np.empty_like(items)
    for digit in range(3):
        shift = np.uint64(32 + digit * _DIGIT)
        starts = np.zeros(buckets + 1, np.int64)
        for item in items:
            starts[((item >> shift) & mask) + np.uint64(1)] += 1
        for bucket in range(buckets):
            starts[bucket + 1] += starts[bucket]
        for item in items:
            bucket = (item >> shift) & mask
            other[starts[bucket]] = item
            starts[bucket] += 1
        items, other = other, items
    return items


@njit(cache=True, nogil=True)
def _root(parent: NDArray[np.int32], node: int | np.int64) -> int | np.int64:
    while parent[node] != node:
        parent[node] = parent[parent[node]]  # halve the path for the next who walks it
        node = parent[node]
    return node


@njit(cache=True, nogil=True)
def _join(
    parent: NDArray[np.int32], size: NDArray[np.int32], a: int | np.int64, b: int | np.int64
) -> int | np.int64:
    """Hang the smaller of two roots under the larger, which is returned."""
    if size[a] < size[b]:
        a, b = b, a
    parent[b] = a
    size[a] += size[b]
    return a


@njit(cache=True, nogil=True)
def segment(
    edges: NDArray[np.uint64], shape: tuple[int, int], directions: int, k: float, smallest: int
) -> tuple[NDArray[np.int32], int]:
    """Grow components over sorted edges (Algorithm 1), then join those that are too small.

    Args:
        edges: (E,) of :func:`edges_of`.
        shape: (height, width).
        directions: what the edges were made with.
        k: scale of observation, in grey levels times pixels.
        smallest: pixels that a component must have.

    Returns:
        Labels (H, W), numbered in the order in which a row-major walk meets them, and their number.
    """
    width = shape[1]
    count = shape[0] * width
    parent = np.arange(count).astype(np.int32)
    size = np.ones(count, np.int32)
    scale = np.float32(k)
    limit = np.full(count, scale)
    weights = edges.view(np.float32)[1::2]  # the upper halves, on a little-endian machine
    left = np.empty((edges.size, 2), np.int32)  # ends of the edges that have joined nothing
    kept = 0
    for edge in range(edges.size):
        place = np.int64(edges[edge] & np.uint64(0xFFFFFFFF))
        pixel, direction = place // directions, place % directions
        a = _root(parent, pixel)
        b = _root(parent, pixel + _DOWN[direction] * width + _RIGHT[direction])
        if a == b:
            continue
        weight = weights[edge]
        if weight <= limit[a] and weight <= limit[b]:
            joined = _join(parent, size, a, b)
            limit[joined] = weight + scale / np.float32(size[joined])
        else:
            left[kept, 0], left[kept, 1] = a, b
            kept += 1
    for edge in range(kept):
        a, b = _root(parent, left[edge, 0]), _root(parent, left[edge, 1])
        if a != b and (size[a] < smallest or size[b] < smallest):
            _join(parent, size, a, b)
    return _numbered(parent, shape)


@njit(cache=True, nogil=True)
def _numbered(parent: NDArray[np.int32], shape: tuple[int, int]) -> tuple[NDArray[np.int32], int]:
    number = np.full(parent.size, -1, np.int32)
    labels = np.empty(parent.size, np.int32)
    known = 0
    for pixel in range(parent.size):
        root = _root(parent, pixel)
        if number[root] < 0:
            number[root] = known
            known += 1
        labels[pixel] = number[root]
    return labels.reshape(shape), known
