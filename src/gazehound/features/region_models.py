"""What R-CNN learns on top of its network's features: a scored SVM and a box regression per class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gazehound.features.box_ridge import BoxRidge
from gazehound.features.linear_svm import Platt
from gazehound.records import FloatArray


@dataclass(frozen=True)
class Scorer:
    """The SVM of a class and the sigmoid over its margins.

    Attributes:
        weights: (D,), of scaled features.
        bias: of the margin.
        platt: from margins to probabilities.
    """

    weights: FloatArray
    bias: float
    platt: Platt

    def __call__(self, features: FloatArray) -> FloatArray:
        """Return the probability (N,) of the class for scaled features (N, D)."""
        return self.platt.probability(features @ self.weights + self.bias)


@dataclass(frozen=True)
class RegionModels:
    """The models of all classes.

    Attributes:
        scale: of the features that the SVMs see.
        scorers: one per class; none where the network's own softmax scores.
        ridges: one per class.
    """

    scale: float
    scorers: tuple[Scorer, ...]
    ridges: tuple[BoxRidge, ...]

    def probabilities(self, features: FloatArray) -> FloatArray:
        """Return the score (N, K) of every class for features (N, D)."""
        scaled = features * np.float32(self.scale)
        return np.stack([scorer(scaled) for scorer in self.scorers], axis=1)

    def deltas(self, features: FloatArray) -> FloatArray:
        """Return the box deltas (N, K, 4) of every class for features (N, E)."""
        return np.stack([ridge(features) for ridge in self.ridges], axis=1)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the state by name: ``scale``, and per class ``<label>.svm.*`` and ``<label>.box.*``."""
        out: dict[str, NDArray[Any]] = {"scale": np.array([self.scale])}
        for label, scorer in enumerate(self.scorers):
            numbers = (scorer.bias, scorer.platt.slope, scorer.platt.offset)
            out[f"{label}.svm.weights"] = scorer.weights
            out[f"{label}.svm.numbers"] = np.array(numbers)
        for label, ridge in enumerate(self.ridges):
            out[f"{label}.box.weights"], out[f"{label}.box.bias"] = ridge.weights, ridge.bias
        return out

    @classmethod
    def of_arrays(
        cls, arrays: Mapping[str, NDArray[Any]], classes: int, *, scorers: bool
    ) -> RegionModels:
        """Rebuild from :meth:`arrays`; KeyError names what is missing."""
        found, ridges = [], []
        for label in range(classes):
            if scorers:
                bias, slope, offset = arrays[f"{label}.svm.numbers"].tolist()
                weights = arrays[f"{label}.svm.weights"]
                found.append(Scorer(weights, bias, Platt(slope, offset)))
            ridges.append(BoxRidge(arrays[f"{label}.box.weights"], arrays[f"{label}.box.bias"]))
        return cls(float(arrays["scale"][0]), tuple(found), tuple(ridges))
