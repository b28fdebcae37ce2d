"""Weighted box fusion (Solovyev, Wang, Gabruseva 2021): the boxes of several looks at one image, averaged."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gazehound.boxes.iou import pairwise
from gazehound.errors import ConfigError


def fuse(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    labels: NDArray[np.int64],
    looks: int,
    iou_threshold: float = 0.55,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Average the boxes that are one object (the paper's section 3).

    Boxes are taken by score. Each joins the cluster of its class whose fused box it overlaps most, if
    by more than the threshold, else it begins one. A fused box is the mean of its cluster, weighted by
    the scores. Its score is their mean times min(boxes, looks) / looks: what only one look saw counts
    less.

    Args:
        boxes: (N, 4) ``xyxy`` of all looks together.
        scores: (N,), above 0 where a box is to count.
        labels: (N,).
        looks: how many there were.
        iou_threshold: 0..1.

    Returns:
        (K, 4) boxes and (K,) scores, best first, and (K,) the row of each cluster's best box.

    Raises:
        ConfigError: the threshold or the number of looks is out of its range.
    """
    if looks < 1 or not 0 <= iou_threshold <= 1:
        raise ConfigError(
            f"fusing boxes needs at least 1 look and a threshold in 0..1; got {looks}, {iou_threshold}"
        )
    fused: list[NDArray[np.float64]] = []  # the mean box of each cluster
    members: list[list[int]] = []
    of_class: dict[int, list[int]] = {}  # its clusters
    for row in np.argsort(-scores, kind="stable").tolist():
        clusters = of_class.setdefault(int(labels[row]), [])
        cluster = _nearest(boxes[row], [fused[c] for c in clusters], iou_threshold)
        if cluster is None:
            clusters.append(len(fused))
            fused.append(boxes[row].astype(np.float64))
            members.append([row])
        else:
            chosen = clusters[cluster]
            members[chosen].append(row)
            weights = np.maximum(scores[members[chosen]].astype(np.float64), 1e-12)
            fused[chosen] = np.average(boxes[members[chosen]], axis=0, weights=weights)
    counts = np.array([min(len(rows), looks) for rows in members], np.float64)
    means = np.array([scores[rows].mean(dtype=np.float64) for rows in members], np.float64)
    final = (means * counts / looks).astype(np.float32)
    order = np.argsort(-final, kind="stable")
    means_of_boxes = np.asarray(fused, np.float32).reshape(-1, 4)
    best = np.asarray([rows[0] for rows in members], np.int64)
    return means_of_boxes[order], final[order], best[order]


def _nearest(
    box: NDArray[np.float32], fused: list[NDArray[np.float64]], threshold: float
) -> int | None:
    if not fused:
        return None
    overlaps = pairwise(box[None].astype(np.float64), np.stack(fused))[0]
    best = int(overlaps.argmax())
    return best if overlaps[best] > threshold else None
