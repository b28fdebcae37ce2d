"""Anchors learned from a data set: k-means with the distance 1 - IoU, then an evolution.

Redmon and Farhadi 2017 (YOLO9000, section 2, "Dimension Clusters") cluster the widths and heights of
the boxes and keep the centres as anchors. YOLOv5 lets the centres mutate afterwards and keeps what
fits better; here both steps judge by the same number, the mean over boxes of the best IoU in shape.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gazehound.data.dataset import Dataset
from gazehound.data.preprocess import Preprocess
from gazehound.errors import ConfigError
from gazehound.records import FloatArray

MOST_BOXES = 10_000  # a larger set is judged by a fixed sample of this size while anchors evolve
ROUNDS = 300  # of k-means at most
STARTS = 5  # of k-means, of which the best is kept: one start may put two centres into one cluster
MUTATED = 0.9  # share of an anchor set's numbers that a mutation changes
SPREAD = 0.1  # standard deviation of a mutation's factors


@dataclass(frozen=True)
class LearnedAnchors:
    """Anchors and how well they fit.

    Attributes:
        shapes: (A, 2) float32, width and height in pixels of the network input, small ones first.
        clustered: mean best IoU after k-means.
        evolved: mean best IoU of ``shapes``.
    """

    shapes: FloatArray
    clustered: float
    evolved: float


def input_shapes(dataset: Dataset, preprocess: Preprocess) -> FloatArray:
    """Return (N, 2) width and height of every box at the network input, crowd regions left out."""
    sizes, owner = dataset.sizes, dataset.truths.owner()
    resized = np.array([preprocess.resized(int(h), int(w)) for h, w in sizes]).reshape(-1, 2)
    scale = (resized / sizes)[owner][:, ::-1]  # N x (x, y)
    shapes = (dataset.boxes[:, 2:] - dataset.boxes[:, :2]) * scale
    return shapes[~dataset.crowd].astype(np.float32)


def shape_iou(shapes: NDArray[np.floating], anchors: NDArray[np.floating]) -> FloatArray:
    """Return (N, A) IoU of boxes (N, 2) and anchors (A, 2) that share one centre."""
    shared = np.minimum(shapes[:, None, 0], anchors[None, :, 0])
    shared = shared * np.minimum(shapes[:, None, 1], anchors[None, :, 1])
    union = shapes.prod(axis=1)[:, None] + anchors.prod(axis=1)[None] - shared
    return np.asarray(shared / np.maximum(union, np.finfo(np.float32).tiny), np.float32)


def mean_best_iou(shapes: NDArray[np.floating], anchors: NDArray[np.floating]) -> float:
    """Return the mean over boxes of the IoU in shape with their best anchor."""
    return float(shape_iou(shapes, anchors).max(axis=1).mean())


def cluster(shapes: FloatArray, number: int, generator: np.random.Generator) -> FloatArray:
    """Return (number, 2) centres: k-means whose distance is 1 - IoU, the best of a few starts.

    It begins as k-means++ does. The centre of a cluster is the mean of its shapes; a centre without
    shapes moves to the shape that fits worst.
    """
    found = [_cluster_once(shapes, number, generator) for _ in range(STARTS)]
    return max(found, key=lambda centres: mean_best_iou(shapes, centres))


def _cluster_once(shapes: FloatArray, number: int, generator: np.random.Generator) -> FloatArray:
    centres = shapes[[int(generator.integers(len(shapes)))]]
    while len(centres) < number:
        distance = (1 - shape_iou(shapes, centres).max(axis=1).astype(np.float64)).clip(0) ** 2
        total = distance.sum()
        weight = distance / total if total > 0 else None
        centres = np.concatenate([centres, shapes[[int(generator.choice(len(shapes), p=weight))]]])
    nearest = np.full(len(shapes), -1)
    for _ in range(ROUNDS):
        overlap = shape_iou(shapes, centres)
        again = overlap.argmax(axis=1)
        if np.array_equal(again, nearest):
            break
        nearest = again
        centres = _means(shapes, nearest, number, overlap.max(axis=1))
    return centres


def _means(
    shapes: FloatArray, nearest: NDArray[np.int64], number: int, best: FloatArray
) -> FloatArray:
    counts = np.bincount(nearest, minlength=number)
    sums = np.stack([np.bincount(nearest, shapes[:, axis], number) for axis in (0, 1)], axis=1)
    means = sums / np.maximum(counts, 1)[:, None]
    empty = np.flatnonzero(counts == 0)
    means[empty] = shapes[np.argsort(best, kind="stable")[: len(empty)]]
    return means.astype(np.float32)


def evolve(
    shapes: FloatArray, anchors: FloatArray, generations: int, generator: np.random.Generator
) -> FloatArray:
    """Return anchors that fit at least as well: random mutations, of which improvements are kept."""
    best, fit = anchors.astype(np.float64), mean_best_iou(shapes, anchors)
    for _ in range(generations):
        factors = generator.normal(1, SPREAD, best.shape).clip(0.5, 2)
        factors = np.where(generator.random(best.shape) < MUTATED, factors, 1)
        child = np.maximum(best * factors, 1)
        score = mean_best_iou(shapes, child)
        if score > fit:
            best, fit = child, score
    return best.astype(np.float32)


def learn_anchors(
    shapes: FloatArray, number: int = 9, *, generations: int = 1000, seed: int = 0
) -> LearnedAnchors:
    """Learn anchors from the widths and heights of boxes.

    Args:
        shapes: (N, 2) pixels of the network input; boxes without area do not count.
        number: of anchors.
        generations: mutations tried.
        seed: of everything random.

    Raises:
        ConfigError: there are fewer different shapes than anchors.
    """
    shapes = shapes[(shapes > 0).all(axis=1)]
    different = len(np.unique(shapes, axis=0))
    if not 1 <= number <= different:
        raise ConfigError(
            f"the number of anchors must lie in 1..{different}, the number of different box shapes; "
            f"got {number}"
        )
    generator = np.random.default_rng(seed)
    sample = shapes
    if len(shapes) > MOST_BOXES:
        sample = shapes[generator.choice(len(shapes), MOST_BOXES, replace=False)]
    centres = cluster(sample, number, generator)
    evolved = evolve(sample, centres, generations, generator)
    before, after = mean_best_iou(shapes, centres), mean_best_iou(shapes, evolved)
    if after < before:  # better on the sample only
        evolved, after = centres, before
    order = np.argsort(evolved.prod(axis=1), kind="stable")
    return LearnedAnchors(evolved[order], before, after)
