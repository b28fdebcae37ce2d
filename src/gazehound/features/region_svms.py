"""R-CNN's class-wise SVMs on region features, with hard negatives mined image by image (Girshick et al.
2014, section 2.3 and appendix B).

An image has some two thousand regions and nearly all are background, far too many to hold. A cache per
class keeps those that its SVM gets wrong or nearly wrong; after so many new ones the SVM is trained
again, and negatives that have become easy are dropped.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gazehound.errors import ConfigError
from gazehound.features.linear_svm import fit_linear_svm, fit_platt
from gazehound.features.region_models import Scorer
from gazehound.records import FloatArray


@dataclass(frozen=True)
class SvmRules:
    """How the SVMs are trained; the defaults are those of the published code.

    Attributes:
        c: weight of a negative's hinge loss.
        positive_weight: a positive's, relative to that.
        bias: multiplier of the constant feature.
        overlap: regions with a smaller IoU with every object of the class are its negatives.
        hard: margin from which a negative enters the cache.
        easy: margin under which it leaves.
        every: new negatives after which the SVM is trained again.
        first: negatives, drawn at random, that the first training needs.
        passes: over all images.

    Raises:
        ConfigError: a value is out of its range.
    """

    c: float = 0.001
    positive_weight: float = 2.0
    bias: float = 10.0
    overlap: float = 0.3
    hard: float = -1.0001
    easy: float = -1.2
    every: int = 2000
    first: int = 500
    passes: int = 1

    def __post_init__(self) -> None:
        if self.c <= 0 or self.positive_weight <= 0 or self.bias <= 0:
            raise ConfigError("the SVM rules c, positive_weight and bias must be above 0")
        if self.easy > self.hard:
            raise ConfigError(f"easy must not be above hard; got {self.easy} and {self.hard}")
        if min(self.every, self.first, self.passes) < 1:
            raise ConfigError("the SVM rules every, first and passes must be at least 1")


class MinedSvm:
    """One class's SVM and its cache of negatives.

    Args:
        positives: (P, D) features of its objects.
        rules: of the training.
        seed: of the solver and of the first negatives.

    Attributes:
        weights: (D,).
        bias: of the margin.
        negatives: (N, D), the cache.
    """

    def __init__(self, positives: FloatArray, rules: SvmRules, seed: int = 0) -> None:
        self.positives, self.rules, self.seed = positives, rules, seed
        self.weights = np.zeros(positives.shape[1], np.float32)
        self.bias = -1.0  # an SVM that has seen nothing says "background" to everything
        self.negatives: FloatArray = np.zeros((0, positives.shape[1]), np.float32)
        self._fresh = 0
        self._random = np.random.default_rng(seed)
        self._trained = False

    def margins(self, features: FloatArray) -> FloatArray:
        """Return the signed distance (N,) of features (N, D): positive for the class."""
        return np.asarray(features @ self.weights + self.bias, np.float32)

    def offer(self, features: FloatArray) -> int:
        """Take the hard ones of these negatives (N, D) into the cache; return how many they are.

        A class without positives learns nothing, and takes none.
        """
        if not len(self.positives):
            return 0
        if self._trained:
            chosen = features[self.margins(features) > self.rules.hard]
        else:
            rows = self._random.permutation(len(features))[: self.rules.first]
            chosen = features[np.sort(rows)]
        self.negatives = np.concatenate((self.negatives, chosen))
        self._fresh += len(chosen)
        if self._fresh >= (self.rules.every if self._trained else self.rules.first):
            self.train()
        return len(chosen)

    def train(self) -> None:
        """Fit the SVM to positives and cache, then drop the easy negatives; with neither, do nothing."""
        self._fresh = 0
        if len(self.positives) == 0 or len(self.negatives) == 0:
            return
        self.weights, self.bias = fit_linear_svm(
            self.positives,
            self.negatives,
            self.rules.c,
            self.seed,
            positive_weight=self.rules.positive_weight,
            bias=self.rules.bias,
        )
        self._trained = True
        self.negatives = self.negatives[self.margins(self.negatives) >= self.rules.easy]

    def scorer(self) -> Scorer:
        """Return the SVM with a sigmoid from margins to probabilities, fitted to positives and cache.

        The published code reports margins; the order within a class stays the same.
        """
        margins = np.concatenate((self.margins(self.positives), self.margins(self.negatives)))
        right = np.repeat([True, False], [len(self.positives), len(self.negatives)])
        return Scorer(self.weights, self.bias, fit_platt(margins, right))


def feature_scale(features: FloatArray, norm: float = 20.0) -> float:
    """Return the factor that brings the mean length of features (N, D) to ``norm``.

    The SVM's ``c`` means nothing without a scale; 20 is the published code's. Features without length
    keep theirs.
    """
    mean = float(np.linalg.norm(features, axis=1).mean()) if len(features) else 0.0
    return norm / mean if mean > 0 else 1.0
