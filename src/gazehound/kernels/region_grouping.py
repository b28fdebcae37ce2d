"""Regions of a segmentation: what they look like, who touches whom, and how they grow together.

The loops of selective search (Uijlings et al. 2013, section 3): Algorithm 1 with the similarities of
equations 2 to 6.
"""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

AXES = 4  # orientations of a gradient; each has two signs: the paper's eight directions
TEXTURE_BINS = 10
_STEPS = 2 * TEXTURE_BINS - 1  # codes of one axis: nine negative, about none, nine positive


@njit(cache=True, nogil=True)
def measure_regions(
    labels: NDArray[np.int32], count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pixels (R,) and the ``xyxy`` boxes (R, 4) of regions; the far edges are exclusive."""
    height, width = labels.shape
    sizes = np.zeros(count, np.int64)
    boxes = np.empty((count, 4), np.int64)
    boxes[:, :2], boxes[:, 2:] = max(height, width), 0
    for y in range(height):
        for x in range(width):
            region = labels[y, x]
            sizes[region] += 1
            box = boxes[region]
            box[0], box[1] = min(box[0], x), min(box[1], y)
            box[2], box[3] = max(box[2], x + 1), max(box[3], y + 1)
    return sizes, boxes


@njit(cache=True, nogil=True)
def touching(labels: NDArray[np.int32], count: int) -> NDArray[np.int64]:
    """Return the pairs of regions that touch by a side, as keys ``low * count + high``; with repeats."""
    height, width = labels.shape
    keys = np.empty(2 * height * width, np.int64)
    found = 0
    for y in range(height):
        for x in range(width):
            own = labels[y, x]
            for other_y, other_x in ((y, x + 1), (y + 1, x)):
                if other_y == height or other_x == width:
                    continue
                other = labels[other_y, other_x]
                if other != own:
                    key = np.int64(min(own, other)) * count + max(own, other)
                    if found == 0 or keys[found - 1] != key:
                        keys[found] = key
                        found += 1
    return keys[:found]


@njit(cache=True, nogil=True)
def count_codes(
    codes: NDArray[np.uint8], labels: NDArray[np.int32], count: int, levels: int
) -> NDArray[np.float32]:
    """Return the histograms (R, M, levels) of small codes (M, H, W) in each region, as counts."""
    maps, height, width = codes.shape
    counts = np.zeros((count, maps, levels), np.float32)
    for m in range(maps):
        for y in range(height):
            for x in range(width):
                counts[labels[y, x], m, codes[m, y, x]] += 1
    return counts


@njit(cache=True, nogil=True)
def texture_codes(across: NDArray[np.float32], down: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the derivative along four axes, in ten steps per sign.

    Args:
        across: (C, H, W) derivative to the right.
        down: (C, H, W) derivative downwards.

    Returns:
        (C * 4, H, W): 9 where there is no slope, more where the image rises along the axis (0, 45,
        90, 135 degrees), less where it falls; the steepest slope of either sign takes the last step.
    """
    channels, height, width = across.shape
    codes = np.empty((channels * AXES, height, width), np.uint8)
    half = np.float32(np.sqrt(0.5))
    along = np.empty((height, width), np.float32)
    for m in range(channels * AXES):
        c, axis = m // AXES, m % AXES
        x_part = (np.float32(1), half, np.float32(0), -half)[axis]
        y_part = (np.float32(0), half, np.float32(1), half)[axis]
        rise, fall = np.float32(1e-6), np.float32(1e-6)
        for y in range(height):
            for x in range(width):
                slope = x_part * across[c, y, x] + y_part * down[c, y, x]
                along[y, x] = slope
                rise, fall = max(rise, slope), max(fall, -slope)
        up, below = np.float32(TEXTURE_BINS) / rise, np.float32(TEXTURE_BINS) / fall
        for y in range(height):
            for x in range(width):
                slope = along[y, x]
                step = int(slope * (up if slope > 0 else below))
                code = min(max(step, 1 - TEXTURE_BINS), TEXTURE_BINS - 1) + TEXTURE_BINS - 1
                codes[m, y, x] = code
    return codes


@njit(cache=True, nogil=True)
def texture_histograms(
    codes: NDArray[np.uint8], labels: NDArray[np.int32], count: int
) -> NDArray[np.float32]:
    """Return the counts (R, C * 8 * 10) of ten steps in eight directions; see :func:`texture_codes`.

    A slope against a direction counts as none in it, so each direction counts every pixel once.
    """
    steps = count_codes(codes, labels, count, _STEPS)  # R x M x 19
    regions, maps = steps.shape[:2]
    out = np.zeros((regions, maps, 2, TEXTURE_BINS), np.float32)
    for region in range(regions):
        for m in range(maps):
            for step in range(_STEPS):
                signed = step - (TEXTURE_BINS - 1)
                out[region, m, 0, max(signed, 0)] += steps[region, m, step]
                out[region, m, 1, max(-signed, 0)] += steps[region, m, step]
    return out.reshape(regions, maps * 2 * TEXTURE_BINS)


@njit(cache=True, nogil=True, fastmath={"reassoc", "nsz", "contract"})
def intersection(a: NDArray[np.float32], b: NDArray[np.float32]) -> np.float32:
    """Return the sum of the smaller of two histograms' bins (equations 2 and 4)."""
    total = np.float32(0)
    for i in range(a.size):
        total += min(a[i], b[i])
    return total


@njit(cache=True, nogil=True)
def similarity(
    a: int | np.int64,
    b: int | np.int64,
    sizes: NDArray[np.int64],
    boxes: NDArray[np.int64],
    colour: NDArray[np.float32],
    texture: NDArray[np.float32],
    parts: tuple[bool, ...],
    area: int,
) -> np.float32:
    """Return the similarity of two regions, the sum of the parts asked for (equation 6).

    Args:
        a: one region.
        b: the other.
        sizes: (N,) pixels.
        boxes: (N, 4) ``xyxy``.
        colour: (N, D) histograms that sum to 1.
        texture: (N, E) likewise.
        parts: whether colour, texture, size (equation 5) and fill count.
        area: pixels of the image.
    """
    total = np.float32(0)
    if parts[0]:
        total += intersection(colour[a], colour[b])
    if parts[1]:
        total += intersection(texture[a], texture[b])
    together = sizes[a] + sizes[b]
    if parts[2]:
        total += np.float32(1 - together / area)
    if parts[3]:
        width = max(boxes[a, 2], boxes[b, 2]) - min(boxes[a, 0], boxes[b, 0])
        height = max(boxes[a, 3], boxes[b, 3]) - min(boxes[a, 1], boxes[b, 1])
        total += np.float32(1 - (width * height - together) / area)
    return total


@njit(cache=True, nogil=True)
def group_regions(
    sizes: NDArray[np.int64],
    boxes: NDArray[np.int64],
    colour: NDArray[np.float32],
    texture: NDArray[np.float32],
    pairs: NDArray[np.int64],
    parts: tuple[bool, ...],
    area: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Join the two most similar neighbours until one region is left (Algorithm 1).

    Equal similarities are settled by the smaller region numbers, so the result is one.

    Args:
        sizes: (R,) pixels of each region.
        boxes: (R, 4) ``xyxy``.
        colour: (R, D) histograms that sum to 1; any width when the colour does not count.
        texture: (R, E) likewise.
        pairs: (P, 2) regions that touch, each pair once.
        parts: see :func:`similarity`.
        area: pixels of the image.

    Returns:
        The boxes (N, 4) of all regions, given ones first and then in the order of joining, and the
        two regions (N - R, 2) that each new one was made of.
    """
    given = sizes.size
    nodes = max(2 * given - 1, given)
    size, box = _grown(sizes, nodes), _grown(boxes, nodes)
    colours = _grown(colour, nodes if parts[0] else given)
    textures = _grown(texture, nodes if parts[1] else given)
    made = np.empty((nodes - given, 2), np.int64)
    owner = np.arange(nodes)  # union-find: which living region a given one has become part of
    head, tail, following, target = _neighbour_lists(pairs, nodes)
    seen = np.full(nodes, -1, np.int64)
    heap = [(np.float32(0), np.int64(0), np.int64(0)) for _ in range(0)]
    for a, b in pairs:
        heap.append((-similarity(a, b, size, box, colours, textures, parts, area), a, b))
    heapq.heapify(heap)
    count = given
    while heap:
        _, a, b = heapq.heappop(heap)
        if owner[a] != a or owner[b] != b:
            continue  # one of them has been joined since
        new = count
        count += 1
        made[new - given, 0], made[new - given, 1] = a, b
        owner[a] = owner[b] = new
        size[new] = size[a] + size[b]
        box[new, :2] = np.minimum(box[a, :2], box[b, :2])
        box[new, 2:] = np.maximum(box[a, 2:], box[b, 2:])
        for use, histograms in ((parts[0], colours), (parts[1], textures)):
            if use:
                _mix(histograms, a, b, new, size)
        following[tail[a]] = head[b]
        head[new], tail[new] = head[a], tail[b]
        # Walk the joined list: each living neighbour once; the rest is unlinked.
        last, entry = -1, head[new]
        while entry >= 0:
            other = _owner(owner, target[entry])
            if other != new and seen[other] != new:
                seen[other] = new
                target[entry] = other
                if last < 0:
                    head[new] = entry
                else:
                    following[last] = entry
                last = entry
                score = similarity(other, new, size, box, colours, textures, parts, area)
                heapq.heappush(heap, (-score, np.int64(other), np.int64(new)))
            entry = following[entry]
        if last >= 0:
            following[last] = -1
            tail[new] = last
    return box[:count], made[: count - given]


@njit(cache=True, nogil=True)
def _grown(rows: Any, length: int) -> Any:
    """Return a copy with room for ``length`` rows, at most twice as many; the new ones hold rubbish."""
    return np.concatenate((rows, rows[: length - len(rows)]))


@njit(cache=True, nogil=True)
def _owner(owner: NDArray[np.int64], node: int) -> int:
    while owner[node] != node:
        owner[node] = owner[owner[node]]
        node = owner[node]
    return node


@njit(cache=True, nogil=True)
def _mix(
    histograms: NDArray[np.float32],
    a: int | np.int64,
    b: int | np.int64,
    new: int,
    size: NDArray[np.int64],
) -> None:
    """Write the mean of two histograms, weighted by the pixels behind them (equation 3)."""
    share = np.float32(size[a] / (size[a] + size[b]))
    first, second, out = histograms[a], histograms[b], histograms[new]
    for i in range(out.size):
        out[i] = share * first[i] + (np.float32(1) - share) * second[i]


@njit(cache=True, nogil=True)
def _neighbour_lists(
    pairs: NDArray[np.int64], nodes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return linked lists of neighbours: first and last entry of each node; next and target of each entry.

    Two lists are put end to end in one step, whatever their lengths.
    """
    head, tail = np.full(nodes, -1, np.int64), np.full(nodes, -1, np.int64)
    following = np.full(2 * len(pairs), -1, np.int64)
    target = np.empty(2 * len(pairs), np.int64)
    for entry in range(2 * len(pairs)):
        own, other = pairs[entry // 2, entry % 2], pairs[entry // 2, 1 - entry % 2]
        target[entry] = other
        if head[own] < 0:
            head[own] = entry
        else:
            following[tail[own]] = entry
        tail[own] = entry
    return head, tail, following, target
