"""The star-cascade: which part to ask first, and below which score to give up.

Felzenszwalb, Girshick, McAllester, CVPR 2010. Thresholds are *probably approximately admissible*:
the lowest partial scores that placements on true objects ever had, so that (almost) no object of
the calibration set is lost. Their PCA stage, which asks cheap versions of all filters first, is
left out: here the root filters of a level cost one matrix product, less than a projected pyramid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gazehound.errors import TrainingError
from gazehound.features.dpm_features import FeaturePyramid
from gazehound.features.parts import (
    Component,
    LevelScores,
    Mixture,
    Placements,
    part_start,
    root_scores,
)
from gazehound.kernels.dpm_features import CHANNELS
from gazehound.kernels.part_cascade import run_cascade

SLACK = 1e-4  # thresholds are lowered by it: scores at run time are rounded to float32


@dataclass(frozen=True)
class Cascade:
    """Order and thresholds of the early exit.

    Attributes:
        order: (components, P) int64, parts from the first asked to the last.
        thresholds: (components, P, 2) float64: the lowest score before each part of the order, and
            the lowest one after its deformation cost.
    """

    order: NDArray[np.int64]
    thresholds: NDArray[np.float64]


def cascade_level(
    mixture: Mixture, cascade: Cascade, pyramid: FeaturePyramid, level: int
) -> LevelScores:
    """Score one root level with early exits; as ``score_level``, ``-inf`` where it gave up."""
    scores = root_scores(mixture, pyramid, level)
    fine = pyramid.part_level(level)
    _, height, width = mixture.components[0].parts.shape[:3]
    extent = mixture.extent(fine)
    places = (max(fine.shape[1] - height + 1, 0), max(fine.shape[2] - width + 1, 0))
    features = np.ascontiguousarray(fine.transpose(1, 2, 0)).reshape(fine.shape[1], -1)
    responses: list[NDArray[np.float32]] = []
    for index, component in enumerate(mixture.components):
        memory = np.full((mixture.part_count, *places), np.nan, np.float32)
        starts = np.array([part_start(a, pyramid.padding) for a in component.anchors])
        run_cascade(
            scores[index], features,
            component.parts.reshape(mixture.part_count, height, width * CHANNELS),
            component.deformations, mixture.reach, starts, extent,
            cascade.order[index], cascade.thresholds[index], memory,
        )  # fmt: skip
        responses.extend(memory)
    return LevelScores(level, scores, responses, extent)


def score_terms(
    component: Component, pyramid: FeaturePyramid, found: Placements
) -> NDArray[np.float64]:
    """Return what the score of each placement of one component is made of.

    Returns:
        (N, 1 + P, 2): the root's score and biases with a cost of zero, then every part's response
        and the cost of its deformation.
    """
    count = len(component.parts)
    terms = np.zeros((len(found), 1 + count, 2))
    for row in range(len(found)):
        level = int(found.levels[row])
        root = patch(pyramid.coarse[level], found.roots[row], component.root.shape[:2])
        terms[row, 0, 0] = np.vdot(root, component.root)
        terms[row, 0, 0] += component.level_bias(level, pyramid.interval)
        fine = pyramid.part_level(level)
        away = displacements(component, pyramid, found.roots[row], found.parts[row])
        for k in range(count):
            own = patch(fine, found.parts[row, k], component.parts.shape[1:3])
            terms[row, 1 + k, 0] = np.vdot(own, component.parts[k])
            terms[row, 1 + k, 1] = component.deformations[k] @ quadratic(away[k])
    return terms


def patch(
    level: NDArray[np.float32], corner: NDArray[np.int64], size: tuple[int, ...]
) -> NDArray[np.float32]:
    """Return the features (h, w, 32) under a filter of ``size`` at ``corner`` (y, x)."""
    y, x = (int(c) for c in corner)
    return level[:, y : y + size[0], x : x + size[1]].transpose(1, 2, 0)


def displacements(
    component: Component,
    pyramid: FeaturePyramid,
    root: NDArray[np.int64],
    parts: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Return (P, 2) (dx, dy), wanted minus actual places of the parts, in part cells."""
    starts = np.array([part_start(a, pyramid.padding) for a in component.anchors]).reshape(-1, 2)
    return (starts + 2 * root - parts)[:, ::-1]


def quadratic(away: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return (dx^2, dx, dy^2, dy), what the deformation (ax, bx, ay, by) multiplies."""
    dx, dy = away
    return np.array([dx * dx, dx, dy * dy, dy], np.float64)


def calibrate(terms: list[NDArray[np.float64]]) -> Cascade:
    """Choose order and thresholds from the terms of placements on true objects.

    Args:
        terms: per component (N, 1 + P, 2), see :func:`score_terms`.

    Raises:
        TrainingError: a component has no placement at all.
    """
    orders, thresholds = [], []
    for index, own in enumerate(terms):
        if not len(own):
            raise TrainingError(
                f"the cascade needs objects of every component; component {index} has none"
            )
        order = _order(own[:, 1:, 0] - own[:, 1:, 1])
        score = own[:, 0, 0].copy()
        lowest = np.zeros((len(order), 2))
        for step, part in enumerate(order):
            response, cost = own[:, 1 + part].T
            lowest[step] = score.min() - SLACK, (score - cost).min() - SLACK
            score += response - cost
        orders.append(order)
        thresholds.append(lowest)
    return Cascade(np.array(orders, np.int64), np.array(thresholds))


def _order(gains: NDArray[np.float64]) -> list[int]:
    """Return the parts, each chosen so that what is left unknown varies least (voc-release5)."""
    left = list(range(gains.shape[1]))
    order = []
    while left:
        unknown = [gains[:, [q for q in left if q != part]].sum(axis=1).var() for part in left]
        order.append(left.pop(int(np.argmin(unknown))))
    return order
