"""Clusters of similar rectangles, by union-find."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def _root(parent: NDArray[np.int64], i: int) -> int:
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@njit(cache=True, nogil=True)
def similar_clusters(
    boxes: NDArray[np.int64], order: NDArray[np.int64], eps: float
) -> NDArray[np.int64]:
    """Label the connected components of similar rectangles.

    Two are similar when each of their four edges differs by at most
    ``eps * (smaller width + smaller height) / 2`` (OpenCV's ``SimilarRects``).

    Args:
        boxes: (N, 4) ``xywh``.
        order: (N,) rows by rising x, so that only near left edges are compared.
        eps: see above.

    Returns:
        (N,) labels 0..K-1 that rise with each component's first row.
    """
    n = len(boxes)
    parent = np.arange(n)
    for a in range(n):
        i = order[a]
        x, y, w, h = boxes[i]
        for b in range(a + 1, n):
            j = order[b]
            limit = eps * (min(w, boxes[j, 2]) + min(h, boxes[j, 3])) * 0.5
            apart = boxes[j, 0] - x
            if apart > eps * (w + h) * 0.5:
                break
            apart = max(apart, abs(boxes[j, 1] - y))
            apart = max(apart, abs(boxes[j, 0] + boxes[j, 2] - x - w))
            apart = max(apart, abs(boxes[j, 1] + boxes[j, 3] - y - h))
            if apart <= limit:
                first, second = _root(parent, i), _root(parent, j)
                parent[max(first, second)] = min(first, second)
    labels = np.empty(n, np.int64)
    count = 0
    for i in range(n):
        root = _root(parent, i)
        if root == i:
            labels[i] = count
            count += 1
        else:
            labels[i] = labels[root]
    return labels
