"""The matching pass: which detection meets which truth, at every IoU threshold at once.

Detections of one label are visited in falling score. For each, the truths of its image and label
that overlap enough are sorted by overlap once; a bit mask per truth remembers at which thresholds
it is taken, so all thresholds are matched together. The result is two bit masks per detection and
area range ("is a true positive", "does not count"), from which everything else follows.

The rules are those of ``COCOeval.evaluateImg`` of pycocotools, to the last digit.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

MOST_THRESHOLDS = 32  # one bit each
_MOST_IOU = 1 - 1e-10  # pycocotools lets an overlap of just below one pass a threshold of one


class Found(NamedTuple):
    """Detections in evaluation order: runs of one label, each run in falling score.

    Attributes:
        order: (N,) int32 rows of the columns below.
        offsets: (K + 1,) int64, where each label's run begins in ``order``.
        rank: (N,) int32, by place in ``order``: how many of its image and label come before it.
        image: (N,) int32 image of each row.
        xywh: (N, 4) float64 boxes, pixels.
        score: (N,) float64.
        lenient: (N,) bool or empty; True where an unmatched detection does not count (LVIS).
    """

    order: NDArray[np.int32]
    offsets: NDArray[np.int64]
    rank: NDArray[np.int32]
    image: NDArray[np.int32]
    xywh: NDArray[np.float64]
    score: NDArray[np.float64]
    lenient: NDArray[np.bool_]


class Truths(NamedTuple):
    """Truths in evaluation order: runs of one label, within it by image, then as they were given.

    Attributes:
        order: (M,) int32 rows of the columns below.
        offsets: (K + 1,) int64, where each label's run begins in ``order``.
        image: (M,) int32 image of each row.
        xywh: (M, 4) float64 boxes, pixels.
        area: (M,) float64 annotated area, square pixels.
        ignored: (M,) bool; neither finding nor missing it counts.
        crowd: (M,) bool; ignored, matched by intersection over detection, as often as one likes.
        phantom: (M,) bool; its match is no match (pycocotools' reading of annotation id 0).
    """

    order: NDArray[np.int32]
    offsets: NDArray[np.int64]
    image: NDArray[np.int32]
    xywh: NDArray[np.float64]
    area: NDArray[np.float64]
    ignored: NDArray[np.bool_]
    crowd: NDArray[np.bool_]
    phantom: NDArray[np.bool_]


class Rules(NamedTuple):
    """What ``match`` needs to know of a protocol.

    Attributes:
        thresholds: (T,) IoU thresholds, at most 32.
        areas: (A, 2) area ranges, square pixels, both ends included.
        most: detections per image and label that are looked at.
    """

    thresholds: NDArray[np.float64]
    areas: NDArray[np.float64]
    most: int


class Matches(NamedTuple):
    """What ``match`` writes.

    Attributes:
        true: (A, N) uint32 by place in ``Found.order``; bit t: a true positive at threshold t.
        ignored: (A, N) uint32; bit t: does not count at threshold t.
        partner: (N,) int32 or empty; the truth met at the first area range and threshold, or -1.
    """

    true: NDArray[np.uint32]
    ignored: NDArray[np.uint32]
    partner: NDArray[np.int32]


class _Near(NamedTuple):
    """The truths that overlap one detection enough, by falling overlap; the memory of a label."""

    place: NDArray[np.int32]  # in Truths.order
    iou: NDArray[np.float64]
    bits: NDArray[np.uint32]  # thresholds that the overlap passes
    taken: NDArray[np.uint32]  # A x places of the label: thresholds at which a truth is taken


@njit(cache=True, nogil=True)
def overlap_xywh(
    a: NDArray[np.float64], i: int, b: NDArray[np.float64], j: int, crowd: bool
) -> float:
    """Return the IoU of ``xywh`` boxes a[i] and b[j]; over the area of a[i] alone for a crowd."""
    w = min(a[i, 0] + a[i, 2], b[j, 0] + b[j, 2]) - max(a[i, 0], b[j, 0])
    if w <= 0:
        return 0.0
    h = min(a[i, 1] + a[i, 3], b[j, 1] + b[j, 3]) - max(a[i, 1], b[j, 1])
    if h <= 0:
        return 0.0
    inter = w * h
    area = a[i, 2] * a[i, 3]
    union = area if crowd else area + b[j, 2] * b[j, 3] - inter
    return float(inter / union)


@njit(cache=True, nogil=True)
def _look_around(
    found: Found, d: int, truths: Truths, begin: int, end: int, rules: Rules, near: _Near
) -> int:
    """List in ``near`` the truths that detection ``d`` overlaps enough; return how many."""
    least = 2.0
    for t in range(len(rules.thresholds)):
        least = min(least, min(rules.thresholds[t], _MOST_IOU))
    count = 0
    for j in range(begin, end):
        g = truths.order[j]
        iou = overlap_xywh(found.xywh, d, truths.xywh, g, truths.crowd[g])
        if iou < least:
            continue
        at = count  # a later truth with an equal overlap goes first
        while at > 0 and near.iou[at - 1] <= iou:
            near.place[at], near.iou[at] = near.place[at - 1], near.iou[at - 1]
            near.bits[at] = near.bits[at - 1]
            at -= 1
        bits = np.uint32(0)
        for t in range(len(rules.thresholds)):
            if iou >= min(rules.thresholds[t], _MOST_IOU):
                bits |= np.uint32(1 << t)
        near.place[at], near.iou[at], near.bits[at] = j, iou, bits
        count += 1
    return count


@njit(cache=True, nogil=True)
def _passed_over(truths: Truths, g: int, low: float, high: float) -> bool:
    """Return whether a truth does not count in this area range."""
    return bool(truths.ignored[g] or truths.area[g] < low or truths.area[g] > high)


@njit(cache=True, nogil=True)
def _take(
    found: Found,
    i: int,
    truths: Truths,
    base: int,
    rules: Rules,
    a: int,
    near: _Near,
    count: int,
    out: Matches,
) -> None:
    """Give the detection at place ``i`` its truths in area range ``a``, at every threshold."""
    d = found.order[i]
    low, high = rules.areas[a, 0], rules.areas[a, 1]
    area = found.xywh[d, 2] * found.xywh[d, 3]
    outside = area < low or area > high
    left = np.uint32((1 << len(rules.thresholds)) - 1)
    true, ignored = np.uint32(0), np.uint32(0)
    for late in range(2):  # truths that do not count only where no other is left
        for n in range(count):
            j = near.place[n]
            g = truths.order[j]
            if _passed_over(truths, g, low, high) != (late == 1):
                continue
            hit = near.bits[n] & left
            if not truths.crowd[g]:
                hit &= ~near.taken[a, j - base]
            if hit == 0:
                continue
            near.taken[a, j - base] |= hit
            left &= ~hit
            if late == 1 or (truths.phantom[g] and outside):
                ignored |= hit
            elif not truths.phantom[g]:
                true |= hit
            if len(out.partner) > 0 and a == 0 and hit & np.uint32(1):
                out.partner[i] = g
        if left == 0:
            break
    if outside or (len(found.lenient) > 0 and found.lenient[d]):
        ignored |= left
    out.true[a, i] = true
    out.ignored[a, i] = ignored


@njit(cache=True, nogil=True)
def match(
    found: Found,
    truths: Truths,
    rules: Rules,
    n_images: int,
    labels: tuple[int, int],
    ranges: tuple[int, int],
    out: Matches,
) -> None:
    """Match the detections of a range of labels with the truths, for a range of areas.

    Args:
        found: the detections.
        truths: the truths.
        rules: thresholds and limits.
        n_images: number of images.
        labels: first label and one past the last.
        ranges: first area range and one past the last.
        out: the masks to write; places beyond ``rules.most`` are left as they are.
    """
    begin, end = np.zeros(n_images, np.int32), np.zeros(n_images, np.int32)
    widest = 1
    for label in range(labels[0], labels[1]):
        widest = max(widest, truths.offsets[label + 1] - truths.offsets[label])
    near = _Near(
        np.empty(widest, np.int32),
        np.empty(widest, np.float64),
        np.empty(widest, np.uint32),
        np.empty((len(rules.areas), widest), np.uint32),
    )
    for label in range(labels[0], labels[1]):
        base, stop = truths.offsets[label], truths.offsets[label + 1]
        near.taken[:, : stop - base] = 0
        for j in range(base, stop):
            image = truths.image[truths.order[j]]
            if end[image] == 0:
                begin[image] = j
            end[image] = j + 1
        for i in range(found.offsets[label], found.offsets[label + 1]):
            if found.rank[i] >= rules.most:
                continue
            d = found.order[i]
            image = found.image[d]
            count = 0
            if end[image] > 0:
                count = _look_around(found, d, truths, begin[image], end[image], rules, near)
            for a in range(ranges[0], ranges[1]):
                _take(found, i, truths, base, rules, a, near, count, out)
        for j in range(base, stop):
            image = truths.image[truths.order[j]]
            begin[image] = end[image] = 0
