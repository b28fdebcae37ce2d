"""From the bit masks of the matching pass to precision at fixed recalls (COCOeval.accumulate).

Only the recall levels asked for are kept: within one level the first detection has the highest
precision, so one running maximum per level is enough and memory does not grow with the data.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

_EPSILON = 2.0**-52  # np.spacing(1)


class Curves(NamedTuple):
    """What ``accumulate`` writes; filled with -1 before, which stays where no truth counts.

    Attributes:
        precision: (K, A, M, T, R) float64, the highest precision at or beyond each recall level.
        scores: (K, A, M, T, R) float64, the score at which that level is reached, else 0.
        recall: (K, A, M, T) float64, the highest recall.
    """

    precision: NDArray[np.float64]
    scores: NDArray[np.float64]
    recall: NDArray[np.float64]


@njit(cache=True, nogil=True)
def count_truths(
    offsets: NDArray[np.int64],
    area: NDArray[np.float64],
    ignored: NDArray[np.bool_],
    areas: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Return how many truths count, (K, A): not ignored and inside the area range."""
    out = np.zeros((len(offsets) - 1, len(areas)), np.int64)
    for label in range(len(out)):
        for j in range(offsets[label], offsets[label + 1]):
            for a in range(len(areas)):
                if not ignored[j] and areas[a, 0] <= area[j] <= areas[a, 1]:
                    out[label, a] += 1
    return out


@njit(cache=True, nogil=True)
def truths_needed(recalls: NDArray[np.float64], positives: int) -> NDArray[np.int64]:
    """Return for each recall level the fewest true positives that reach it."""
    out = np.empty(len(recalls), np.int64)
    for r in range(len(recalls)):
        need = max(0, math.floor(recalls[r] * positives))
        while need > 0 and (need - 1) / positives >= recalls[r]:
            need -= 1
        while need / positives < recalls[r]:
            need += 1
        out[r] = need
    return out


@njit(cache=True, nogil=True, inline="always")
def _hit(
    true: int, false: int, s: float, need: NDArray[np.int64], at: int,
    precision: NDArray[np.float64], scores: NDArray[np.float64],
) -> int:  # fmt: skip
    """Note the ``true``-th true positive; return the next recall level to be reached."""
    while at < len(need) and need[at] <= true:
        scores[at] = s
        at += 1
    if at > 0:
        now = true / (float(false) + float(true) + _EPSILON)
        precision[at - 1] = max(precision[at - 1], now)
    return at


@njit(cache=True, nogil=True)
def _make_monotone(precision: NDArray[np.float64]) -> None:
    """Raise each level to the highest precision at or beyond it, in place."""
    for r in range(len(precision) - 2, -1, -1):
        precision[r] = max(precision[r], precision[r + 1])


@njit(cache=True, nogil=True)
def _accumulate_run(
    score: NDArray[np.float64], rank: NDArray[np.int32],
    true_bits: NDArray[np.uint32], ignored_bits: NDArray[np.uint32],
    need: NDArray[np.int64], limits: NDArray[np.int64], positives: int,
    precision: NDArray[np.float64], scores: NDArray[np.float64], recall: NDArray[np.float64],
) -> None:  # fmt: skip
    """Accumulate one label in one area range; the outputs are (M, T, R), (M, T, R) and (M, T)."""
    n_limits, n_thresholds = recall.shape
    every = np.uint32((1 << n_thresholds) - 1)
    true = np.zeros((n_limits, n_thresholds), np.int64)
    false = np.zeros((n_limits, n_thresholds), np.int64)
    false_everywhere = np.zeros(n_limits, np.int64)  # at all thresholds alike
    level = np.zeros((n_limits, n_thresholds), np.int64)
    for r in range(len(need)):
        if need[r] == 0 and len(score) > 0:
            scores[:, :, r] = score[0]
            level += 1
    for i in range(len(score)):
        if ignored_bits[i] == every:
            continue
        first = 0  # the smallest limit that lets this detection in
        while first < n_limits and rank[i] >= limits[first]:
            first += 1
        if true_bits[i] | ignored_bits[i] == 0:
            for m in range(first, n_limits):
                false_everywhere[m] += 1
            continue
        for m in range(first, n_limits):
            for t in range(n_thresholds):
                if (true_bits[i] >> np.uint32(t)) & np.uint32(1):
                    true[m, t] += 1
                    wrong = false[m, t] + false_everywhere[m]
                    level[m, t] = _hit(
                        true[m, t],
                        wrong,
                        score[i],
                        need,
                        level[m, t],
                        precision[m, t],
                        scores[m, t],
                    )
                elif not (ignored_bits[i] >> np.uint32(t)) & np.uint32(1):
                    false[m, t] += 1
    for m in range(n_limits):
        for t in range(n_thresholds):
            recall[m, t] = true[m, t] / positives
            _make_monotone(precision[m, t])


@njit(cache=True, nogil=True)
def accumulate(
    offsets: NDArray[np.int64],
    score: NDArray[np.float64],
    rank: NDArray[np.int32],
    true_bits: NDArray[np.uint32],
    ignored_bits: NDArray[np.uint32],
    positives: NDArray[np.int64],
    recalls: NDArray[np.float64],
    limits: NDArray[np.int64],
    labels: tuple[int, int],
    ranges: tuple[int, int],
    out: Curves,
) -> None:
    """Write the curves of a range of labels and of area ranges.

    Args:
        offsets: (K + 1,) where each label's run begins in the arrays below.
        score: (N,) falling within each run.
        rank: (N,) how many detections of the same image and label come before.
        true_bits: (A, N) bit t: a true positive at threshold t.
        ignored_bits: (A, N) bit t: does not count at threshold t.
        positives: (K, A) truths that count.
        recalls: (R,) rising recall levels.
        limits: (M,) rising numbers of detections per image and label.
        labels: first label and one past the last.
        ranges: first area range and one past the last.
        out: the curves to write.
    """
    for label in range(labels[0], labels[1]):
        run = slice(offsets[label], offsets[label + 1])
        for a in range(ranges[0], ranges[1]):
            if positives[label, a] == 0:
                continue
            out.precision[label, a] = 0.0
            out.scores[label, a] = 0.0
            _accumulate_run(
                score[run], rank[run], true_bits[a, run], ignored_bits[a, run],
                truths_needed(recalls, positives[label, a]), limits, positives[label, a],
                out.precision[label, a], out.scores[label, a], out.recall[label, a],
            )  # fmt: skip
