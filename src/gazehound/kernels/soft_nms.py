"""Soft-NMS: one selection of the best box after another, the scores of the rest decaying."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def _iou(boxes: Any, i: int, j: int) -> float:
    """Return IoU(i, j) in float64; 0 for a pair without area or with a NaN."""
    x1, y1 = max(boxes[i, 0], boxes[j, 0]), max(boxes[i, 1], boxes[j, 1])
    x2, y2 = min(boxes[i, 2], boxes[j, 2]), min(boxes[i, 3], boxes[j, 3])
    if not (x2 > x1 and y2 > y1):
        return 0.0
    intersection = (x2 - x1) * (y2 - y1)
    union = -intersection
    for k in (i, j):
        union += (boxes[k, 2] - boxes[k, 0]) * (boxes[k, 3] - boxes[k, 1])
    return intersection / union if 0 < union < np.inf else 0.0


@njit(cache=True, nogil=True)
def soften(
    boxes: NDArray[np.float64],
    scores: NDArray[np.float64],
    labels: NDArray[np.int64],
    threshold: float,
    sigma: float,
    lowest: float,
    limit: int,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Soft-NMS (Bodla et al. 2017, figure 2), Gaussian where ``sigma`` > 0, else linear.

    Args:
        boxes: (N, 4) ``xyxy``.
        scores: (N,).
        labels: (N,); only boxes with the same label act on each other.
        threshold: linear: overlaps above it take effect.
        sigma: Gaussian: exp(-IoU^2 / sigma); 0 for the linear rule.
        lowest: boxes whose score falls below it are dropped.
        limit: stop after this many boxes.

    Returns:
        (K,) rows, best first, and (K,) their decayed scores.
    """
    left = np.flatnonzero(scores >= lowest)
    now = scores.copy()
    count, n = 0, left.size
    chosen = np.empty(n, np.int64)
    while n > 0 and count < limit:
        best = 0
        for k in range(1, n):  # the first of equal scores is the one with the lowest row
            if now[left[k]] > now[left[best]]:
                best = k
        i = left[best]
        chosen[count] = i
        count += 1
        m = 0
        for k in range(n):
            j = left[k]
            if j == i:
                continue
            if labels[j] == labels[i]:
                overlap = _iou(boxes, i, j)
                if sigma > 0:
                    now[j] *= math.exp(-(overlap * overlap) / sigma)
                elif overlap > threshold:
                    now[j] *= 1 - overlap
            if now[j] >= lowest:
                left[m] = j
                m += 1
        n = m
    chosen = chosen[:count]
    return chosen, now[chosen]
