"""R-CNN's box regression: ridge regression from region features to box deltas (Girshick et al. 2014,
appendix C, equation 5).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gazehound.records import FloatArray

FLOOR = 1e-3  # added to the variances when targets are whitened, as the published code has it


@dataclass(frozen=True)
class BoxRidge:
    """A linear map from features to the four deltas.

    Attributes:
        weights: (D, 4).
        bias: (4,).
    """

    weights: FloatArray
    bias: FloatArray

    def __call__(self, features: FloatArray) -> FloatArray:
        """Return the deltas (N, 4) of features (N, D)."""
        return np.asarray(features @ self.weights + self.bias, np.float32)

    @classmethod
    def none(cls, length: int) -> BoxRidge:
        """Return the map that moves nothing, for a class without examples."""
        return cls(np.zeros((length, 4), np.float32), np.zeros(4, np.float32))


def fit_box_ridge(features: FloatArray, deltas: FloatArray, penalty: float = 1000.0) -> BoxRidge:
    """Minimise the squared error of whitened deltas plus ``penalty`` times the squared weights.

    The four deltas are centred and decorrelated to unit variance first, so that one penalty suits all;
    the bias is not penalised. With fewer examples than features the dual problem is solved, which is
    the smaller one.

    Args:
        features: (N, D) of regions.
        deltas: (N, 4) that would bring each region to its object.
        penalty: lambda.

    Returns:
        The map, the whitening undone; one that moves nothing when there are no examples.
    """
    if len(features) == 0:
        return BoxRidge.none(features.shape[1])
    x, y = features.astype(np.float64), deltas.astype(np.float64)
    x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
    x, y = x - x_mean, y - y_mean
    white, colour = _whitening(y)
    target = y @ white
    if len(x) <= x.shape[1]:
        kernel = x @ x.T + penalty * np.eye(len(x))
        weights = x.T @ np.linalg.solve(kernel, target)
    else:
        weights = np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ target)
    weights = weights @ colour
    bias = y_mean - x_mean @ weights
    return BoxRidge(weights.astype(np.float32), bias.astype(np.float32))


class RidgeExamples:
    """Collects what one class's regression learns from, up to a limit.

    Args:
        limit: the most examples; later ones are not taken.
    """

    def __init__(self, limit: int = 2000) -> None:
        self.limit = limit
        self._pairs: list[tuple[FloatArray, FloatArray]] = []

    @property
    def room(self) -> int:
        """Return how many more are taken."""
        return self.limit - sum(len(deltas) for _, deltas in self._pairs)

    def add(self, features: FloatArray, deltas: FloatArray) -> None:
        """Take features (N, D) and the deltas (N, 4) that go with them, as far as there is room."""
        room = self.room
        self._pairs.append((features[:room], deltas[:room]))

    def fit(self, penalty: float) -> BoxRidge:
        """Return the regression; see :func:`fit_box_ridge`."""
        features, deltas = (np.concatenate(column) for column in zip(*self._pairs, strict=True))
        return fit_box_ridge(features, deltas, penalty)


def _whitening(centred: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the matrix that whitens centred rows (N, 4), and its inverse."""
    values, vectors = np.linalg.eigh(centred.T @ centred / len(centred))
    spread = np.sqrt(values.clip(min=0) + FLOOR)
    return vectors / spread @ vectors.T, vectors * spread @ vectors.T
