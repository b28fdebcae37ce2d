"""The two matching passes of the KITTI object benchmark, for one class at one difficulty.

The first pass finds the score of every object that is detected; from these the score thresholds are
chosen. The second counts true and false positives and misses at each threshold.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

USED, IGNORED, OTHER = 0, 1, -1  # what a truth or detection is to the class and difficulty


@njit(cache=True, nogil=True)
def _overlap(a: NDArray[np.float64], i: int, b: NDArray[np.float64], j: int, own: bool) -> float:
    """Return the IoU of ``xyxy`` boxes a[i] and b[j]; over the area of a[i] alone if ``own``."""
    w = min(a[i, 2], b[j, 2]) - max(a[i, 0], b[j, 0])
    h = min(a[i, 3], b[j, 3]) - max(a[i, 1], b[j, 1])
    if w <= 0 or h <= 0:
        return 0.0
    area = (a[i, 2] - a[i, 0]) * (a[i, 3] - a[i, 1])
    if own:
        return float(w * h / area)
    return float(w * h / (area + (b[j, 2] - b[j, 0]) * (b[j, 3] - b[j, 1]) - w * h))


@njit(cache=True, nogil=True)
def found_scores(
    truth_starts: NDArray[np.int64],
    truth_boxes: NDArray[np.float64],
    truth_state: NDArray[np.int8],
    starts: NDArray[np.int64],
    boxes: NDArray[np.float64],
    state: NDArray[np.int8],
    score: NDArray[np.float64],
    least: float,
) -> NDArray[np.float64]:
    """Return the scores of the detections that find an object that counts.

    Every truth takes the free detection of the highest score that overlaps it by more than ``least``.

    Args:
        truth_starts: (I + 1,) first truth of each image.
        truth_boxes: (M, 4) ``xyxy``.
        truth_state: (M,) USED, IGNORED or OTHER.
        starts: (I + 1,) first detection of each image.
        boxes: (N, 4) ``xyxy``.
        state: (N,) USED, IGNORED or OTHER.
        score: (N,).
        least: overlap that a match must exceed.
    """
    taken = np.zeros(len(score), np.bool_)
    out = np.empty(len(truth_boxes))
    count = 0
    for image in range(len(starts) - 1):
        for g in range(truth_starts[image], truth_starts[image + 1]):
            if truth_state[g] == OTHER:
                continue
            best = -1
            for d in range(starts[image], starts[image + 1]):
                if state[d] == OTHER or taken[d]:
                    continue
                if (best < 0 or score[d] > score[best]) and (
                    _overlap(boxes, d, truth_boxes, g, False) > least
                ):
                    best = d
            if best < 0:
                continue
            taken[best] = True
            if truth_state[g] == USED and state[best] == USED:
                out[count] = score[best]
                count += 1
    return out[:count]


@njit(cache=True, nogil=True)
def count_at(
    truth_starts: NDArray[np.int64],
    truth_boxes: NDArray[np.float64],
    truth_state: NDArray[np.int8],
    region_starts: NDArray[np.int64],
    regions: NDArray[np.float64],
    starts: NDArray[np.int64],
    boxes: NDArray[np.float64],
    state: NDArray[np.int8],
    score: NDArray[np.float64],
    least: float,
    threshold: float,
) -> tuple[int, int, int]:
    """Return true positives, false positives and misses of the detections at or above a score.

    Every truth takes the free detection of the highest overlap, one that counts before one that does
    not. A false positive whose box lies in a region that nobody labelled is taken back.

    Args:
        truth_starts: as in ``found_scores``, like all others of the same name.
        truth_boxes: (M, 4) ``xyxy``.
        truth_state: (M,).
        region_starts: (I + 1,) first region of each image.
        regions: (R, 4) ``xyxy`` of the DontCare regions.
        starts: (I + 1,).
        boxes: (N, 4) ``xyxy``.
        state: (N,).
        score: (N,).
        least: overlap that a match must exceed.
        threshold: the lowest score that takes part.
    """
    taken = np.zeros(len(score), np.bool_)
    true, false, missed = 0, 0, 0
    for image in range(len(starts) - 1):
        for g in range(truth_starts[image], truth_starts[image + 1]):
            if truth_state[g] == OTHER:
                continue
            best, most = -1, 0.0
            for d in range(starts[image], starts[image + 1]):
                if state[d] == OTHER or taken[d] or score[d] < threshold:
                    continue
                overlap = _overlap(boxes, d, truth_boxes, g, False)
                if overlap <= least:
                    continue
                spare = best >= 0 and state[best] == IGNORED
                if state[d] == USED and (overlap > most or spare):
                    best, most = d, overlap
                elif state[d] == IGNORED and best < 0:
                    best = d
            if best < 0:
                missed += truth_state[g] == USED
                continue
            taken[best] = True
            true += truth_state[g] == USED and state[best] == USED
        for d in range(starts[image], starts[image + 1]):
            if taken[d] or state[d] != USED or score[d] < threshold:
                continue
            false += 1
            for r in range(region_starts[image], region_starts[image + 1]):
                if _overlap(boxes, d, regions, r, True) > least:
                    false -= 1
                    break
    return true, false, missed
