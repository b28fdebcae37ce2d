"""Grouping of the many hits around one object into one box: OpenCV's rectangle grouping."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gazehound.kernels.rectangles import similar_clusters

SIMILARITY = 0.2  # OpenCV's eps: edges within this part of the smaller rectangle's mean side


def group_rectangles(
    boxes: NDArray[np.int64],
    scores: NDArray[Any],
    min_neighbors: int = 3,
    eps: float = SIMILARITY,
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
    """Average the clusters of similar rectangles, as OpenCV's ``groupRectangles`` does.

    Clusters of more than ``min_neighbors`` rectangles stay, unless they lie inside a stronger one.

    Args:
        boxes: (N, 4) whole ``xywh``.
        scores: (N,) of the rectangles.
        min_neighbors: 0 returns the rectangles as they are, each with one neighbour.
        eps: how far edges may lie apart, as a part of the smaller rectangle's mean side.

    Returns:
        (G, 4) ``xywh`` averages, the highest score (G,) and the number of members (G,) of each.
    """
    scores = np.asarray(scores, np.float32)
    if min_neighbors <= 0 or len(boxes) == 0:
        return boxes.copy(), scores.copy(), np.ones(len(boxes), np.int64)
    cluster = similar_clusters(boxes, np.argsort(boxes[:, 0], kind="stable"), eps)
    count = np.bincount(cluster)
    sums = np.stack([np.bincount(cluster, boxes[:, i]) for i in range(4)], axis=1)
    share = np.float32(1) / count.astype(np.float32)
    means = np.rint(sums.astype(np.float32) * share[:, None]).astype(np.int64)
    best = np.full(len(count), -np.inf, np.float32)
    np.maximum.at(best, cluster, scores)
    strong = np.flatnonzero(count > min_neighbors)
    kept = strong[~_nested(means[strong], count[strong], eps)]
    return means[kept], best[kept], count[kept]


def _nested(boxes: NDArray[np.int64], count: NDArray[np.int64], eps: float) -> NDArray[np.bool_]:
    """Return (G,) whether a cluster lies inside another that has more members (over three)."""
    margin = np.rint(boxes[:, 2:] * eps).astype(np.int64)
    low, high = boxes[:, :2] - margin, boxes[:, :2] + boxes[:, 2:] + margin
    inside = (boxes[:, None, :2] >= low[None]).all(axis=2)
    inside &= (boxes[:, None, :2] + boxes[:, None, 2:] <= high[None]).all(axis=2)
    stronger = count[None] > np.maximum(3, count)[:, None]
    np.fill_diagonal(inside, False)
    result: NDArray[np.bool_] = (inside & (stronger | (count < 3)[:, None])).any(axis=1)
    return result
