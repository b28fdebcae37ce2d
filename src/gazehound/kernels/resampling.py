"""Average precision of the same matches under other weights of the images, for the bootstrap."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gazehound.kernels.averaging import truths_needed

_EPSILON = 2.0**-52


@njit(cache=True, nogil=True)
def weighted_precision(
    offsets: NDArray[np.int64],
    image: NDArray[np.int32],
    true_bits: NDArray[np.uint32],
    ignored_bits: NDArray[np.uint32],
    truth_offsets: NDArray[np.int64],
    truth_image: NDArray[np.int32],
    recalls: NDArray[np.float64],
    n_thresholds: int,
    weights: NDArray[np.int64],
) -> float:
    """Return mAP when image i occurs ``weights[i]`` times; NaN where no truth is left.

    The copies of an image stand side by side in the order of scores, so one walk with weights gives
    the digits of a data set that holds the copies.

    Args:
        offsets: (K + 1,) where each label's run of detections begins.
        image: (N,) image of each detection, by falling score within its run.
        true_bits: (N,) bit t: a true positive at threshold t.
        ignored_bits: (N,) bit t: does not count at threshold t.
        truth_offsets: (K + 1,) where each label's run of truths begins.
        truth_image: (M,) image of each truth that counts.
        recalls: (R,) rising recall levels.
        n_thresholds: T.
        weights: (I,) how often each image occurs.
    """
    every = np.uint32((1 << n_thresholds) - 1)
    total, classes = 0.0, 0
    precision = np.empty((n_thresholds, len(recalls)))
    true, false = np.empty(n_thresholds, np.int64), np.empty(n_thresholds, np.int64)
    level = np.empty(n_thresholds, np.int64)
    for label in range(len(offsets) - 1):
        positives = 0
        for j in range(truth_offsets[label], truth_offsets[label + 1]):
            positives += weights[truth_image[j]]
        if positives == 0:
            continue
        need = truths_needed(recalls, positives)
        precision[:] = 0.0
        true[:] = 0
        false[:] = 0
        level[:] = 0
        false_everywhere = 0
        for i in range(offsets[label], offsets[label + 1]):
            weight = weights[image[i]]
            hits, skips = true_bits[i], ignored_bits[i]
            if weight == 0 or skips == every:
                continue
            if hits | skips == 0:
                false_everywhere += weight
                continue
            for t in range(n_thresholds):
                if (hits >> np.uint32(t)) & np.uint32(1):
                    true[t] += weight
                    while level[t] < len(recalls) and need[level[t]] <= true[t]:
                        level[t] += 1
                    if level[t] > 0:
                        found = float(false[t] + false_everywhere) + float(true[t]) + _EPSILON
                        now = true[t] / found
                        if now > precision[t, level[t] - 1]:
                            precision[t, level[t] - 1] = now
                elif not (skips >> np.uint32(t)) & np.uint32(1):
                    false[t] += weight
        for t in range(n_thresholds):
            best = 0.0
            for r in range(len(recalls) - 1, -1, -1):
                best = max(best, precision[t, r])
                total += best
        classes += 1
    return total / (classes * n_thresholds * len(recalls)) if classes else np.nan
