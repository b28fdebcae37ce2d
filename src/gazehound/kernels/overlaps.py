"""Overlaps of detections with truths of any class, for the confusion matrix and the error analysis."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gazehound.kernels.matching import overlap_xywh


@njit(cache=True, nogil=True)
def nearest_truths(
    rows: NDArray[np.int64],
    image: NDArray[np.int32],
    label: NDArray[np.int32],
    xywh: NDArray[np.float64],
    truth_order: NDArray[np.int32],
    truth_starts: NDArray[np.int64],
    truth_label: NDArray[np.int32],
    truth_xywh: NDArray[np.float64],
    truth_counts: NDArray[np.bool_],
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Return for each detection its best truth of its own class, and of any other class.

    Args:
        rows: (D,) detections to look at.
        image: (N,) image of each detection.
        label: (N,) class of each detection.
        xywh: (N, 4) boxes.
        truth_order: (M,) truths grouped by image.
        truth_starts: (I + 1,) where each image's run begins.
        truth_label: (M,) by row.
        truth_xywh: (M, 4) by row.
        truth_counts: (M,) by row; the others are not looked at.

    Returns:
        Overlaps (D, 2) and rows of the truths (D, 2), -1 for none; own class first.
    """
    iou = np.zeros((len(rows), 2))
    at = np.full((len(rows), 2), -1, np.int32)
    for n in range(len(rows)):
        d = rows[n]
        for j in range(truth_starts[image[d]], truth_starts[image[d] + 1]):
            g = truth_order[j]
            if not truth_counts[g]:
                continue
            value = overlap_xywh(xywh, d, truth_xywh, g, False)
            other = 0 if truth_label[g] == label[d] else 1
            if value > iou[n, other]:
                iou[n, other], at[n, other] = value, g
    return iou, at


@njit(cache=True, nogil=True)
def pair_rest(
    rows: NDArray[np.int64],
    image: NDArray[np.int32],
    xywh: NDArray[np.float64],
    truth_order: NDArray[np.int32],
    truth_starts: NDArray[np.int64],
    truth_xywh: NDArray[np.float64],
    free: NDArray[np.bool_],
    least: float,
) -> NDArray[np.int32]:
    """Pair detections with the free truths they overlap most, whatever the class.

    Args:
        rows: (D,) detections, by falling score.
        image: (N,) image of each detection.
        xywh: (N, 4) boxes.
        truth_order: (M,) truths grouped by image.
        truth_starts: (I + 1,) where each image's run begins.
        truth_xywh: (M, 4) by row.
        free: (M,) by row; cleared where a truth is taken.
        least: overlap that is enough.

    Returns:
        The truth of each detection (D,), -1 for none.
    """
    out = np.full(len(rows), -1, np.int32)
    for n in range(len(rows)):
        d = rows[n]
        best = least
        for j in range(truth_starts[image[d]], truth_starts[image[d] + 1]):
            g = truth_order[j]
            if not free[g]:
                continue
            value = overlap_xywh(xywh, d, truth_xywh, g, False)
            if value >= best and (out[n] < 0 or value > best):
                best, out[n] = value, g
        if out[n] >= 0:
            free[out[n]] = False
    return out
