"""The latent SVM of part models: examples in a cache, one convex problem, L-BFGS with bounds.

Felzenszwalb et al., PAMI 2010, sections 4 and 5, with the objective of voc-release5:

    softmax over components of  1/2 |w_c|^2   +   C * sum over examples of hinge losses

A positive example has one entry: its best placement under the last model. A negative example is one
root place of one image and may have several entries, one for every placement it was ever mined
with; the best of them counts. Weights are shared between a component and its mirror image, so there
is one weight vector per *group* (pair), and every entry is described from the unmirrored side.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

FloatArray = NDArray[np.float32]
Vector = NDArray[np.float64]

SHARPNESS = 1000.0  # of the softmax over components (voc-release5)


@dataclass
class Entries:
    """The entries of one group: a matrix that grows, with the example each row belongs to.

    Attributes:
        features: (capacity, dimension) float32, the first ``count`` rows are in use.
        examples: (capacity,) int64 number of the example.
        count: rows in use.
    """

    features: FloatArray
    examples: NDArray[np.int64]
    count: int = 0

    @classmethod
    def empty(cls, dimension: int) -> Entries:
        """Return no entries of a dimension."""
        return cls(np.empty((64, dimension), np.float32), np.empty(64, np.int64))

    def add(self, features: FloatArray, example: int) -> None:
        """Append one entry."""
        if self.count == len(self.features):
            self.features = np.concatenate([self.features, np.empty_like(self.features)])
            self.examples = np.concatenate([self.examples, np.empty_like(self.examples)])
        self.features[self.count] = features
        self.examples[self.count] = example
        self.count += 1

    def keep(self, rows: NDArray[np.bool_]) -> None:
        """Drop all entries but these (count,)."""
        kept = int(rows.sum())
        for array in (self.features, self.examples):
            array[:kept] = array[: self.count][rows]
        self.count = kept

    @property
    def used(self) -> FloatArray:
        """Return the features (count, dimension)."""
        return self.features[: self.count]


@dataclass
class Cache:
    """Examples of both signs for a fixed model structure.

    Attributes:
        groups: the entries of each group.
        positive: per example, whether it is one.
        weight: per example, how often its loss counts.
    """

    groups: list[Entries]
    positive: list[bool] = field(default_factory=list)
    weight: list[float] = field(default_factory=list)
    _number: dict[Hashable, int] = field(default_factory=dict)
    _seen: set[Hashable] = field(default_factory=set)

    @classmethod
    def empty(cls, dimensions: Sequence[int]) -> Cache:
        """Return a cache for groups of these dimensions."""
        return cls([Entries.empty(dimension) for dimension in dimensions])

    def add_positive(self, group: int, features: FloatArray, weight: float = 1.0) -> None:
        """Add a positive example with its one entry."""
        self.groups[group].add(features, self._new(True, weight))

    def add_negative(
        self, group: int, features: FloatArray, place: Hashable, placement: Hashable
    ) -> None:
        """Add an entry to the negative example at a place; one that is there already is left out.

        Args:
            group: of the entry.
            features: (dimension,) of the group.
            place: names the example: image, level and root place.
            placement: tells apart the entries of one example.
        """
        if (place, placement) in self._seen:
            return
        self._seen.add((place, placement))
        if place not in self._number:
            self._number[place] = self._new(False, 1.0)
        self.groups[group].add(features, self._number[place])

    def _new(self, positive: bool, weight: float) -> int:
        self.positive.append(positive)
        self.weight.append(weight)
        return len(self.positive) - 1

    def drop_positives(self) -> None:
        """Forget all positive examples, before they are placed anew."""
        positive = np.array(self.positive, bool)
        for entries in self.groups:
            entries.keep(~positive[entries.examples[: entries.count]])

    def drop_easy(self, vectors: Sequence[Vector], room: int) -> None:
        """Keep every negative example on or inside the margin, and of the others the hardest.

        Args:
            vectors: the weights of each group.
            room: negatives to keep in all, unless more lie inside the margin.
        """
        margin = -1 - self.example_scores(vectors)  # negative: inside
        positive = np.array(self.positive, bool)
        alive = np.isfinite(margin) & ~positive
        order = np.argsort(np.where(alive, margin, np.inf), kind="stable")
        kept = positive.copy()
        kept[order[: max(room, int((margin[alive] <= 1e-4).sum()))]] = True
        kept &= alive | positive
        for entries in self.groups:
            entries.keep(kept[entries.examples[: entries.count]])
        self._seen = {key for key in self._seen if kept[self._number[key[0]]]}  # type: ignore[index]
        self._number = {key: number for key, number in self._number.items() if kept[number]}

    def example_scores(self, vectors: Sequence[Vector]) -> NDArray[np.float64]:
        """Return each example's best score, ``-inf`` for those without entries."""
        scores = np.full(len(self.positive), -np.inf)
        for entries, vector in zip(self.groups, vectors, strict=True):
            own = entries.used @ vector.astype(np.float32)
            np.maximum.at(scores, entries.examples[: entries.count], own)
        return scores

    def positive_loss(self, vectors: Sequence[Vector]) -> float:
        """Return the sum of the hinge losses of the positive examples."""
        scores = self.example_scores(vectors)[np.array(self.positive, bool)]
        return float(np.maximum(0, 1 - scores[np.isfinite(scores)]).sum())

    def negatives(self) -> int:
        """Return the number of negative examples with entries."""
        return len(self._number)


@dataclass(frozen=True)
class Problem:
    """The convex problem on a cache.

    Attributes:
        cache: the examples.
        multipliers: per group (dimension,), how strongly each weight is regularised.
        lower: per group (dimension,), lower bounds; ``-inf`` for none.
        fixed: per group (dimension,) bool, weights that keep their values.
        c: weight of the losses.
    """

    cache: Cache
    multipliers: list[Vector]
    lower: list[Vector]
    fixed: list[NDArray[np.bool_]]
    c: float = 0.001

    def solve(self, start: Sequence[Vector], iterations: int = 1000) -> list[Vector]:
        """Minimise from a start; weights outside their bounds are moved to them first."""
        sizes = np.cumsum([len(vector) for vector in start])[:-1]
        x = np.concatenate(start)
        lower, fixed = np.concatenate(self.lower), np.concatenate(self.fixed)
        x = np.maximum(x, lower)
        upper = np.where(fixed, x, np.inf)
        signs, owners, order, starts = self._example_order()

        def value(point: Vector) -> tuple[float, Vector]:
            vectors = np.split(point, sizes)
            return self._value(vectors, signs, owners, order, starts)

        result = minimize(
            value, x, jac=True, method="L-BFGS-B",
            bounds=np.stack([np.where(fixed, x, lower), upper], axis=1),
            options={"maxiter": iterations, "maxfun": 2 * iterations, "ftol": 1e-7, "gtol": 1e-6},
        )  # fmt: skip
        return np.split(result.x, sizes)

    def objective(self, vectors: Sequence[Vector]) -> float:
        """Return the value at some weights."""
        return self._value(list(vectors), *self._example_order())[0]

    def _example_order(self) -> tuple[Vector, Vector, NDArray[np.int64], NDArray[np.int64]]:
        """Return, for entries of all groups: sign and weight of examples, their order, their starts.

        Entries are put in the order of their examples, so that a running maximum per example is one
        ``reduceat``.
        """
        groups = self.cache.groups
        examples = np.concatenate([entries.examples[: entries.count] for entries in groups])
        order = np.argsort(examples, kind="stable")
        present, starts = np.unique(examples[order], return_index=True)
        positive = np.array(self.cache.positive, bool)[present]
        weight = np.array(self.cache.weight)[present]
        return np.where(positive, 1.0, -1.0), weight, order, starts

    def _value(
        self,
        vectors: list[Vector],
        signs: Vector,
        weights: Vector,
        order: NDArray[np.int64],
        starts: NDArray[np.int64],
    ) -> tuple[float, Vector]:
        """Return value and gradient."""
        groups = self.cache.groups
        pairs = zip(groups, vectors, strict=True)
        own = [entries.used @ vector.astype(np.float32) for entries, vector in pairs]
        scores = np.concatenate(own).astype(np.float64)
        sorted_scores = scores[order]
        best = np.maximum.reduceat(sorted_scores, starts)
        hinge = np.maximum(0, 1 - signs * best)
        # The first entry that reaches the maximum of its example carries the gradient.
        run = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(order))))
        winners = np.flatnonzero(sorted_scores == best[run])
        winners = winners[np.unique(run[winners], return_index=True)[1]]
        pull = np.zeros(len(order))
        pull[order[winners]] = -self.c * signs * weights * (hinge > 0)
        cut = np.cumsum([entries.count for entries in groups])[:-1]
        gradients = [
            _pulled(entries.used, part)
            for entries, part in zip(groups, np.split(pull, cut), strict=True)
        ]
        penalty, shares = self._regulariser(vectors)
        for gradient, vector, multiplier, share in zip(
            gradients, vectors, self.multipliers, shares, strict=True
        ):
            gradient += share * multiplier * vector
        return penalty + self.c * float(weights @ hinge), np.concatenate(gradients)

    def _regulariser(self, vectors: list[Vector]) -> tuple[float, Vector]:
        """Return the smooth maximum of the groups' halved squared norms, and each one's share."""
        norms = np.array(
            [(m * v * v).sum() / 2 for v, m in zip(vectors, self.multipliers, strict=True)]
        )
        powers = np.exp(SHARPNESS * (norms - norms.max()))
        return float(norms.max() + np.log(powers.sum()) / SHARPNESS), powers / powers.sum()


def _pulled(features: FloatArray, pull: Vector) -> Vector:
    """Return the sum of rows (N, D), each times its pull (N,); most rows are not pulled at all."""
    active = np.flatnonzero(pull)
    rows = features if 2 * len(active) > len(pull) else features[active]
    weights = pull if rows is features else pull[active]
    return np.asarray(weights.astype(np.float32) @ rows, np.float64)
