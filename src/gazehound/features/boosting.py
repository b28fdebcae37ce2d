"""AdaBoost with decision stumps: discrete as in Viola and Jones, and Gentle.

Discrete (Viola and Jones 2001, Table 1): weights start at 1/2m and 1/2l; each round normalises them,
takes the stump of least weighted error e, and multiplies the weights of the patches it gets right by
beta = e / (1 - e). A stump votes alpha = log(1 / beta) for a face; the strong classifier asks half
the sum of the alphas.

Gentle (Friedman, Hastie and Tibshirani 2000, Algorithm 4): each round fits a two-valued function by
weighted least squares; weights are multiplied by exp(-y f). The strong classifier asks 0.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gazehound.errors import ConfigError, TrainingError
from gazehound.features.stumps import Loss, Split, Stumps, StumpSearch

_LEAST_ERROR = 1e-10  # a stump without error would have an infinite vote


class Boosting:
    """A strong classifier in the making: one stump per :meth:`step`.

    Args:
        search: candidates and patches.
        positive: (N,) bool, the class of each patch.
        loss: ``discrete`` or ``gentle``.

    Raises:
        ConfigError: a class is empty, or the loss is unknown.
    """

    def __init__(
        self, search: StumpSearch, positive: NDArray[np.bool_], loss: Loss = "discrete"
    ) -> None:
        if loss not in ("discrete", "gentle"):
            raise ConfigError(f"boosting must be 'discrete' or 'gentle'; got '{loss}'")
        faces = int(positive.sum())
        if not 0 < faces < len(positive) == len(search.patches):
            raise ConfigError(
                f"boosting needs patches of both classes, one label each; got {faces} positive of "
                f"{len(positive)} labels for {len(search.patches)} patches"
            )
        self.search, self.positive, self.loss = search, positive, loss
        self.weights = np.where(positive, 0.5 / faces, 0.5 / (len(positive) - faces))
        self.scores = np.zeros(len(positive))
        self.stumps = Stumps.empty()

    @property
    def threshold(self) -> float:
        """The strong classifier's own threshold: half the sum of the votes, or 0 for gentle."""
        return float(self.stumps.leaves.sum()) / 2 if self.loss == "discrete" else 0.0

    def step(self) -> None:
        """Add one stump."""
        self.weights = self.weights / self.weights.sum()
        split = self.search.best(self.weights, self.positive, self.loss)
        self._add(split, self._leaves(split))

    def replay(self, stumps: Stumps) -> None:
        """Take stumps of an earlier run, in their order; weights end up as they were then."""
        for feature, threshold, leaves in zip(
            stumps.feature, stumps.threshold, stumps.leaves, strict=True
        ):
            self.weights = self.weights / self.weights.sum()
            row = self.search.features.take(np.asarray([feature]))
            values = self.search.patches.responses(row)[0]
            split = Split(int(feature), threshold, values < threshold)
            self._add(split, (float(leaves[0]), float(leaves[1])))

    def _leaves(self, split: Split) -> tuple[float, float]:
        if self.loss == "gentle":
            signed = np.where(self.positive, self.weights, -self.weights)
            sides = split.left, ~split.left
            left, right = (float(signed[s].sum() / self.weights[s].sum()) for s in sides)
            return left, right
        wrong = self.weights[split.left == self.positive].sum()  # when the upper side is a face
        faces_below = wrong > 0.5
        error = max(float(1.0 - wrong if faces_below else wrong), _LEAST_ERROR)
        vote = float(np.log((1 - error) / error))
        return (vote, 0.0) if faces_below else (0.0, vote)

    def _add(self, split: Split, leaves: tuple[float, float]) -> None:
        value = np.where(split.left, *leaves)
        if self.loss == "gentle":
            self.weights = self.weights * np.exp(np.where(self.positive, -value, value))
        else:
            right = (value > 0) == self.positive
            self.weights = np.where(right, self.weights * np.exp(-max(leaves)), self.weights)
        self.scores = self.scores + value
        self.stumps = self.stumps.then(split.feature, split.threshold, leaves)


def save_stumps(file: Path, stages: list[Stumps], thresholds: list[float], job: str) -> None:
    """Write finished stages and the one under way (the last), whole or not at all."""
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as stream:
            np.savez(
                stream,
                job=np.asarray(job),
                sizes=np.asarray([len(stage) for stage in stages], np.int64),
                thresholds=np.asarray(thresholds, np.float64),
                feature=np.concatenate([stage.feature for stage in stages]),
                threshold=np.concatenate([stage.threshold for stage in stages]),
                leaves=np.concatenate([stage.leaves for stage in stages]),
            )
        part.replace(file)
    except OSError as error:
        raise TrainingError(f"{file}: cannot be written ({error.strerror})") from None
    finally:
        part.unlink(missing_ok=True)


def load_stumps(file: Path, job: str) -> tuple[list[Stumps], list[float]]:
    """Read what :func:`save_stumps` wrote.

    Raises:
        TrainingError: the file is damaged, or of a training with other data or options.
    """
    try:
        with np.load(file, allow_pickle=False) as state:
            if str(state["job"]) != job:
                raise TrainingError(
                    f"{file}: saved by a training with other data or options; delete it to start anew"
                )
            ends = np.cumsum(state["sizes"])[:-1]
            columns = [np.split(state[name], ends) for name in ("feature", "threshold", "leaves")]
            stages = [Stumps(*parts) for parts in zip(*columns, strict=True)]
            return stages, [float(value) for value in state["thresholds"]]
    except (OSError, KeyError, ValueError) as error:
        raise TrainingError(f"{file}: cannot be resumed from ({error})") from None
