"""Pairwise IoU without temporaries: one pass, one write per pair."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, error_model="numpy")
def pairwise_iou(a: Any, b: Any, epsilon: Any, out: Any) -> None:
    """Write IoU of every box of ``a`` (N, 4) with every box of ``b`` (5, M) into ``out`` (N, M).

    Operation by operation what ``boxes.iou`` computes with arrays, so the results are bit-equal.

    Args:
        a: ``xyxy`` rows, float32 or float64.
        b: columns x1, y1, x2, y2 and area, contiguous, in the dtype of ``a``.
        epsilon: the lowest denominator.
        out: written.
    """
    lefts, tops, rights, bottoms, areas = b[0], b[1], b[2], b[3], b[4]
    zero = epsilon - epsilon
    for i in range(a.shape[0]):
        x1, y1, x2, y2 = a[i, 0], a[i, 1], a[i, 2], a[i, 3]
        area = (x2 - x1) * (y2 - y1)
        row = out[i]
        for j in range(areas.size):
            left = lefts[j] if lefts[j] > x1 else x1
            top = tops[j] if tops[j] > y1 else y1
            right = rights[j] if rights[j] < x2 else x2
            bottom = bottoms[j] if bottoms[j] < y2 else y2
            width, height = right - left, bottom - top
            width = width if width > zero else zero
            height = height if height > zero else zero
            intersection = width * height
            union = area + areas[j] - intersection
            row[j] = intersection / (epsilon if union < epsilon else union)


@njit(cache=True, nogil=True)
def with_areas(boxes: Any) -> Any:
    """Return boxes (M, 4) as contiguous columns (5, M): x1, y1, x2, y2 and area."""
    columns = np.empty((5, boxes.shape[0]), boxes.dtype)
    for j in range(boxes.shape[0]):
        for side in range(4):
            columns[side, j] = boxes[j, side]
        columns[4, j] = (boxes[j, 2] - boxes[j, 0]) * (boxes[j, 3] - boxes[j, 1])
    return columns
