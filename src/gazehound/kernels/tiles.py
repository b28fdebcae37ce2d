"""Suppression between the boxes of different tiles; see :mod:`gazehound.boxes.tiles`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, error_model="numpy")
def suppress_across(boxes: Any, labels: Any, seen_in: Any, cut: Any, threshold: float) -> Any:
    """Return which boxes stay.

    A box drops those behind it, of its class and of other tiles, whose IoU with it is above the
    threshold, and cut ones of which more than that share lies in it.

    Args:
        boxes: (N, 4) float32 ``xyxy``, in the order in which they are taken.
        labels: (N,) int64.
        seen_in: (N,) int64 tile of each; negative: of several, which differ from every other.
        cut: (N,) bool, touches an inner border of its tile.
        threshold: 0..1.

    Returns:
        (N,) bool.
    """
    count = boxes.shape[0]
    alive = np.ones(count, np.bool_)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    for i in range(count):
        if not alive[i]:
            continue
        x1, y1, x2, y2 = boxes[i]
        for j in range(i + 1, count):
            if not alive[j] or labels[j] != labels[i]:
                continue
            if seen_in[j] == seen_in[i] and seen_in[i] >= 0:
                continue
            width = min(x2, boxes[j, 2]) - max(x1, boxes[j, 0])
            height = min(y2, boxes[j, 3]) - max(y1, boxes[j, 1])
            if width <= 0 or height <= 0:
                continue
            both = width * height
            same = both > threshold * (areas[i] + areas[j] - both)
            if same or (cut[j] and both > threshold * areas[j]):
                alive[j] = False
    return alive
