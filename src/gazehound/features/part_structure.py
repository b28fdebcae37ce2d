"""How the latent SVM sees a mixture: weight vectors of groups, and placements as feature vectors.

Components come in pairs: 2 g is what was learned, 2 g + 1 its mirror image; both have the weights of
group g. A placement of a mirrored component is described by mirrored features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gazehound.features.dpm_features import FeaturePyramid, mirror_filter
from gazehound.features.part_cascade import displacements, patch, quadratic
from gazehound.features.parts import Component, Mixture, Placements
from gazehound.kernels.dpm_features import CHANNELS

Vector = NDArray[np.float64]

BIAS_FEATURE = 10.0
DEFORMATION_PENALTY = 10.0  # how much more the deformation weights are regularised
SMALLEST_DEFORMATION = 1e-3  # lower bound of the quadratic terms, so that costs stay convex
NEUTRAL_SCALE = np.zeros(2)


@dataclass(frozen=True)
class Layout:
    """Where the weights of one group lie in its vector.

    The order is bias, two scale weights, root, part filters, deformations.

    Attributes:
        root: (h, w) of the root filter.
        parts: number of parts.
        part: (h, w) of a part filter.
    """

    root: tuple[int, int]
    parts: int
    part: tuple[int, int]

    @classmethod
    def of(cls, component: Component) -> Layout:
        """Return the layout of a component."""
        height, width = component.root.shape[:2]
        return cls((height, width), len(component.parts), component.parts.shape[1:3])

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """Return the lengths of biases, root, part filters and deformations."""
        root, part = (h * w * CHANNELS for h, w in (self.root, self.part))
        return 3, root, self.parts * part, 4 * self.parts

    def split(self, vector: Vector) -> list[Vector]:
        """Return the four pieces of a vector."""
        return np.split(vector, np.cumsum(self.sizes)[:-1])

    def multipliers(self) -> Vector:
        """Return how strongly each weight is regularised; the bias is not."""
        biases, root, parts, deformations = self.sizes
        ones = np.ones(biases + root + parts + deformations)
        ones[0] = 0
        ones[len(ones) - deformations :] = DEFORMATION_PENALTY
        return ones

    def lower(self) -> Vector:
        """Return the lower bounds: only quadratic deformation terms have one."""
        bounds = np.full(sum(self.sizes), -np.inf)
        if self.parts:
            bounds[-4 * self.parts :].reshape(-1, 4)[:, [0, 2]] = SMALLEST_DEFORMATION
        return bounds

    def fixed(self, learn_scale: bool) -> NDArray[np.bool_]:
        """Return which weights keep their values."""
        still = np.zeros(sum(self.sizes), bool)
        still[1:3] = not learn_scale
        return still

    def to_vector(self, component: Component) -> Vector:
        """Return the weights of an unmirrored component."""
        biases = [component.bias / BIAS_FEATURE, *component.scale_bias]
        pieces = (biases, component.root, component.parts, component.deformations)
        return np.concatenate([np.asarray(piece, np.float64).reshape(-1) for piece in pieces])

    def to_component(self, vector: Vector, anchors: NDArray[np.int64]) -> Component:
        """Return the unmirrored component of some weights."""
        biases, root, parts, deformations = self.split(vector)
        return Component(
            root.reshape(*self.root, CHANNELS).astype(np.float32),
            parts.reshape(self.parts, *self.part, CHANNELS).astype(np.float32),
            anchors,
            deformations.reshape(self.parts, 4),
            float(biases[0]) * BIAS_FEATURE,
            biases[1:].copy(),
        )


def with_mirrors(components: list[Component], cell: int, reach: int) -> Mixture:
    """Return the mixture of components and their mirror images."""
    pairs = [one for component in components for one in (component, component.mirrored())]
    return Mixture(tuple(pairs), cell, reach)


def describe(
    mixture: Mixture, pyramid: FeaturePyramid, found: Placements, row: int
) -> NDArray[np.float32]:
    """Return the features of one placement; their product with its group's weights is its score."""
    index, level = int(found.components[row]), int(found.levels[row])
    component, mirror = mixture.components[index], index % 2 == 1
    fine = pyramid.part_level(level)
    root = patch(pyramid.coarse[level], found.roots[row], component.root.shape[:2])
    size = component.parts.shape[1:3]
    parts = np.array([patch(fine, corner, size) for corner in found.parts[row]], np.float32)
    parts = parts.reshape(-1, *component.parts.shape[1:])
    away = displacements(component, pyramid, found.roots[row], found.parts[row])
    if mirror:
        root, parts = mirror_filter(root), mirror_filter(parts)
        away = away * np.array([-1, 1])
    first = level < pyramid.interval
    costs = [-quadratic(one) for one in away]
    pieces = ([BIAS_FEATURE, first, not first], root, parts, costs)
    return np.concatenate([np.asarray(piece, np.float32).reshape(-1) for piece in pieces])


def root_only(root: NDArray[np.float32]) -> Component:
    """Return a component without parts."""
    return Component(
        root,
        np.zeros((0, 6, 6, CHANNELS), np.float32),
        np.zeros((0, 2), np.int64),
        np.zeros((0, 4)),
        0.0,
        NEUTRAL_SCALE,
    )
