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
        order: (M,) int32, the row in the table that each place came from.
        offsets: (K + 1,) int64, where each label's run begins.
        image: (M,) int32 image.
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
        partner: (N,) int32 or empty; place in ``Truths`` of the one met at the first area range and
            threshold, or -1.
    """

    true: NDArray[np.uint32]
    ignored: NDArray[np.uint32]
    partner: NDArray[np.int32]


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
def _passed(iou: float, thresholds: NDArray[np.float64]) -> np.uint32:
    """Return the bits of the thresholds that an overlap passes."""
    bits = np.uint32(0)
    for t in range(len(thresholds)):
        if iou >= min(thresholds[t], _MOST_IOU):
            bits |= np.uint32(1 << t)
    return bits


@njit(cache=True, nogil=True)
def _put(
    place: NDArray[np.int32], iou: NDArray[np.float64], count: int, j: int, value: float
) -> None:
    """Insert a truth among ``count`` by falling overlap; a later truth goes before its equals."""
    at = count
    while at > 0 and iou[at - 1] <= value:
        place[at], iou[at] = place[at - 1], iou[at - 1]
        at -= 1
    place[at], iou[at] = j, value


@njit(cache=True, nogil=True, inline="always")
def _share_out(
    near: NDArray[np.int32],
    bits: NDArray[np.uint32],
    count: int,
    truths: Truths,
    taken: NDArray[np.uint32],
    base: int,
    low: float,
    high: float,
    every: np.uint32,
    outside: bool,
) -> tuple[np.uint32, np.uint32, np.uint32, int]:
    """Give one detection its truths in one area range, at every threshold at once.

    Args:
        near: places of the ``count`` truths that overlap enough, by falling overlap.
        bits: thresholds that each of them passes.
        count: how many they are.
        truths: all of them.
        taken: (places of the label,) thresholds at which a truth is taken; updated.
        base: first place of the label.
        low: smallest area of the range.
        high: largest area of the range.
        every: the bits of all thresholds.
        outside: the detection is outside the area range.

    Returns:
        Bits of true positives, of matches that do not count, of no match; and the place met at the
        first threshold, or -1.
    """
    left, true, ignored = every, np.uint32(0), np.uint32(0)
    first = -1
    for late in range(2):  # truths that do not count only where no other is left
        for n in range(count):
            j = near[n]
            skip = truths.ignored[j] or truths.area[j] < low or truths.area[j] > high
            if skip != (late == 1):
                continue
            hit = bits[n] & left
            if not truths.crowd[j]:
                hit &= ~taken[j - base]
            taken[j - base] |= hit
            left &= ~hit
            if late == 1 or (truths.phantom[j] and outside):
                ignored |= hit
            elif not truths.phantom[j]:
                true |= hit
            if hit & np.uint32(1):
                first = j
    return true, ignored, left, first


@njit(cache=True, nogil=True)
def _match_label(
    found: Found,
    truths: Truths,
    rules: Rules,
    label: int,
    ranges: tuple[int, int],
    begin: NDArray[np.int32],
    end: NDArray[np.int32],
    out: Matches,
) -> None:
    """Match one label; ``begin`` and ``end`` give the places of each image's truths."""
    base, stop = truths.offsets[label], truths.offsets[label + 1]
    taken = np.zeros((len(rules.areas), stop - base), np.uint32)
    near, near_iou = np.empty(stop - base, np.int32), np.empty(stop - base, np.float64)
    bits = np.empty(stop - base, np.uint32)
    every = np.uint32((1 << len(rules.thresholds)) - 1)
    least = min(rules.thresholds.min(), _MOST_IOU)
    for i in range(found.offsets[label], found.offsets[label + 1]):
        if found.rank[i] >= rules.most:
            continue
        d = found.order[i]
        image = found.image[d]
        count = 0
        for j in range(begin[image], end[image]):
            iou = overlap_xywh(found.xywh, d, truths.xywh, j, truths.crowd[j])
            if iou >= least:
                _put(near, near_iou, count, j, iou)
                count += 1
        for n in range(count):
            bits[n] = _passed(near_iou[n], rules.thresholds)
        area = found.xywh[d, 2] * found.xywh[d, 3]
        forgiven = len(found.lenient) > 0 and found.lenient[d]
        for a in range(ranges[0], ranges[1]):
            low, high = rules.areas[a, 0], rules.areas[a, 1]
            outside = area < low or area > high
            true, passed_over, left, first = np.uint32(0), np.uint32(0), every, -1
            if count > 0:
                true, passed_over, left, first = _share_out(
                    near, bits, count, truths, taken[a], base, low, high, every, outside
                )
            if outside or forgiven:
                passed_over |= left
            out.true[a, i], out.ignored[a, i] = true, passed_over
            if a == 0 and len(out.partner) > 0:
                out.partner[i] = first


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
    image = truths.image
    for label in range(labels[0], labels[1]):
        for j in range(truths.offsets[label], truths.offsets[label + 1]):
            if end[image[j]] == 0:
                begin[image[j]] = j
            end[image[j]] = j + 1
        _match_label(found, truths, rules, label, ranges, begin, end, out)
        for j in range(truths.offsets[label], truths.offsets[label + 1]):
            begin[image[j]] = end[image[j]] = 0


@njit(cache=True, nogil=True)
def match_best(
    found: Found,
    truths: Truths,
    rules: Rules,
    margin: float,
    closed: bool,
    n_images: int,
    labels: tuple[int, int],
    out: Matches,
) -> None:
    """Match by the rule of the Pascal VOC devkit: every detection looks at its best truth only.

    The truth with the highest overlap is the one meant, even if it is taken: then the detection is a
    duplicate and false. If that truth is ignored (difficult), so is the detection.

    Args:
        found: the detections.
        truths: the truths; ``crowd`` is not looked at.
        rules: thresholds and limit; the area ranges are not looked at.
        margin: added to widths and heights, 1 for corners that name whole pixels.
        closed: an overlap of exactly the threshold is enough.
        n_images: number of images.
        labels: first label and one past the last.
        out: the masks to write, of one area range.
    """
    begin, end = np.zeros(n_images, np.int32), np.zeros(n_images, np.int32)
    image = truths.image
    taken = np.zeros(len(truths.order), np.uint32)
    for label in range(labels[0], labels[1]):
        for j in range(truths.offsets[label], truths.offsets[label + 1]):
            if end[image[j]] == 0:
                begin[image[j]] = j
            end[image[j]] = j + 1
        for i in range(found.offsets[label], found.offsets[label + 1]):
            if found.rank[i] >= rules.most:
                continue
            d = found.order[i]
            best, at = -1.0, -1
            for j in range(begin[found.image[d]], end[found.image[d]]):
                iou = _overlap_with_margin(found.xywh, d, truths.xywh, j, margin)
                if iou > best:
                    best, at = iou, j
            for t in range(len(rules.thresholds)):
                limit = rules.thresholds[t]
                if at < 0 or not (best > limit or (closed and best == limit)):
                    continue
                bit = np.uint32(1 << t)
                if truths.ignored[at]:
                    out.ignored[0, i] |= bit
                elif not taken[at] & bit:
                    out.true[0, i] |= bit
                    taken[at] |= bit
                    if t == 0 and len(out.partner) > 0:
                        out.partner[i] = at
        for j in range(truths.offsets[label], truths.offsets[label + 1]):
            begin[image[j]] = end[image[j]] = 0


@njit(cache=True, nogil=True)
def _overlap_with_margin(
    a: NDArray[np.float64], i: int, b: NDArray[np.float64], j: int, margin: float
) -> float:
    """Return the IoU of ``xywh`` boxes whose widths and heights are ``margin`` more than written."""
    w = min(a[i, 0] + a[i, 2], b[j, 0] + b[j, 2]) - max(a[i, 0], b[j, 0]) + margin
    h = min(a[i, 1] + a[i, 3], b[j, 1] + b[j, 3]) - max(a[i, 1], b[j, 1]) + margin
    inter = max(w, 0.0) * max(h, 0.0)
    area = (a[i, 2] + margin) * (a[i, 3] + margin)
    union = area + (b[j, 2] + margin) * (b[j, 3] + margin) - inter
    return float(inter / union) if union > 0 else 0.0
