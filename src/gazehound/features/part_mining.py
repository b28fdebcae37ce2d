"""Negatives of part models: random windows to begin with, hard ones mined by the model itself.

Felzenszwalb et al., PAMI 2010, section 4.3. Windows count as background when no object (nor anything
else to avoid) holds more than a given share of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gazehound.boxes.iou import pairwise
from gazehound.features.dpm_features import feature_pyramid
from gazehound.features.latent_svm import Cache
from gazehound.features.part_boxes import filter_boxes
from gazehound.features.part_cascade import patch
from gazehound.features.part_plan import Scene, TrainingPlan
from gazehound.features.part_structure import describe
from gazehound.features.parts import Mixture, find_placements
from gazehound.features.threads import in_threads

FloatArray = NDArray[np.float32]

MINING_THRESHOLD = -1.002  # a little outside the margin (voc-release5)
BATCH = 32  # images searched before their entries are added


@dataclass(frozen=True)
class Mined:
    """One hard negative.

    Attributes:
        group: of its component.
        features: what the group's weights are multiplied with.
        place: (image, level, y, x) of its root.
        placement: tells apart the placements of one place.
    """

    group: int
    features: FloatArray
    place: tuple[int, ...]
    placement: bytes


def random_windows(
    scenes: Sequence[Scene], size: tuple[int, int], plan: TrainingPlan, rng: np.random.Generator
) -> list[FloatArray]:
    """Return features (h, w, 32) of root windows anywhere in the background."""
    chosen = rng.permutation(len(scenes))[: plan.few_images]
    each = max(1, min(plan.per_image, plan.cache // 4 // max(len(chosen), 1)))
    seeds = rng.integers(2**32, size=len(chosen))

    def windows(item: tuple[int, int]) -> list[FloatArray]:
        return _windows_of(scenes[item[0]], size, plan, each, np.random.default_rng(item[1]))

    return [w for some in in_threads(windows, zip(chosen, seeds, strict=True)) for w in some]


def _windows_of(
    scene: Scene, size: tuple[int, int], plan: TrainingPlan, count: int, rng: np.random.Generator
) -> list[FloatArray]:
    pyramid = feature_pyramid(scene.load(), plan.cell, plan.negative_interval)
    cells = pyramid.cell_sizes()
    found = []
    for level in rng.integers(len(pyramid.coarse), size=count):
        coarse = pyramid.coarse[level]
        room = np.array(coarse.shape[1:]) - size
        if room.min() < 0:
            continue
        corner = rng.integers(room.astype(np.int64) + 1)
        first = corner + 1  # without padding the first cell of a map is the second of the image
        box = np.concatenate([first[::-1], (first + size)[::-1]]) * cells[level]
        if is_background(box[None], scene.avoid, plan.negative_overlap)[0]:
            found.append(patch(coarse, corner, size).copy())
    return found


def mine(
    cache: Cache, mixture: Mixture, scenes: Sequence[Scene], images: NDArray[np.int64],
    plan: TrainingPlan,
) -> bool:  # fmt: skip
    """Add hard negatives; return whether all images were searched before the cache was full."""

    def search(index: int) -> list[Mined]:
        return hard_negatives(mixture, scenes[index], index, plan)

    for first in range(0, len(images), BATCH):
        for some in in_threads(search, [int(i) for i in images[first : first + BATCH]]):
            for one in some:
                cache.add_negative(one.group, one.features, one.place, one.placement)
        if cache.negatives() >= plan.cache:
            return False
    return True


def hard_negatives(mixture: Mixture, scene: Scene, index: int, plan: TrainingPlan) -> list[Mined]:
    """Return the hardest background placements of one image that violate the margin."""
    pyramid = feature_pyramid(scene.load(), plan.cell, plan.negative_interval, mixture.padding)
    found = find_placements(mixture, pyramid, MINING_THRESHOLD)
    windows = filter_boxes(mixture, pyramid, found)[:, 0]
    background = is_background(windows, scene.avoid, plan.negative_overlap)
    found = found.select(np.flatnonzero(background)[: plan.per_image])
    return [
        Mined(
            int(found.components[row]) // 2,
            describe(mixture, pyramid, found, row),
            (index, int(found.levels[row]), *found.roots[row].tolist()),
            found.components[row].tobytes() + found.parts[row].tobytes(),
        )
        for row in range(len(found))
    ]


def is_background(
    boxes: NDArray[np.float64], avoid: FloatArray, overlap: float
) -> NDArray[np.bool_]:
    """Return which windows (N, 4) have at most a share of their area in each box to avoid (M, 4).

    The share, not the IoU: the half of a big person, or one of a crowd, looks like a person, and as
    a negative it would teach the model against its own positives.
    """
    if not len(avoid):
        return np.ones(len(boxes), bool)
    return np.asarray((pairwise(boxes, avoid.astype(np.float64), "ioa") <= overlap).all(axis=1))
