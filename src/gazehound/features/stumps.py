"""The exact search for a boosting round's stump, over all features and all patches.

Every feature's patches are sorted once; an entry takes 2 bytes for up to 32,768 patches, 4 beyond.
162,336 features of 10,000 patches are 3.2 GB. Features are evaluated and sorted in blocks; blocks
beyond the memory limit are not kept but made anew in every round, which is slow and as exact. The
``histogram`` method keeps 1 byte per entry and only tries thresholds between 256 bins of equal
population.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numba import get_num_threads
from numpy.typing import NDArray

from gazehound.errors import ConfigError
from gazehound.features.haar import HaarFeatures, corner_points
from gazehound.kernels.boosting import NOWHERE, best_gentle, extremes, histograms
from gazehound.kernels.haar import bin_responses, patch_planes, patch_responses, sort_responses

Method = Literal["sorted", "histogram"]
Loss = Literal["discrete", "gentle"]

UNIT = float(1 << 60)  # the sum of all weights in fixed point
_BLOCK_BYTES = 256 << 20  # responses evaluated at a time


@dataclass(frozen=True, eq=False)
class Stumps:
    """T decision stumps.

    Attributes:
        feature: (T,) int64 rows of a feature list.
        threshold: (T,) float32.
        leaves: (T, 2) float64, the value below the threshold and not below it.
    """

    feature: NDArray[np.int64]
    threshold: NDArray[np.float32]
    leaves: NDArray[np.float64]

    @classmethod
    def empty(cls) -> Stumps:
        """Return no stumps."""
        return cls(np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros((0, 2)))

    def __len__(self) -> int:
        return len(self.feature)

    def then(self, feature: int, threshold: np.float32, leaves: tuple[float, float]) -> Stumps:
        """Return the stumps with one more."""
        return Stumps(
            np.append(self.feature, feature),
            np.append(self.threshold, np.float32(threshold)),
            np.vstack([self.leaves, leaves]),
        )


class Patches:
    """Grey patches of one size as integral images, ready to be asked features.

    Args:
        patches: (N, h, w) uint8.
        tilted: whether tilted features will be asked.
    """

    def __init__(self, patches: NDArray[np.uint8], tilted: bool = False) -> None:
        if patches.ndim != 3 or patches.dtype != np.uint8:
            raise ConfigError(
                f"patches must be (N, h, w) uint8; got {patches.shape} {patches.dtype}"
            )
        self.window = (patches.shape[1], patches.shape[2])
        self.planes, self.inverse = patch_planes(np.ascontiguousarray(patches), tilted)

    def __len__(self) -> int:
        return len(self.inverse)

    def responses(self, features: HaarFeatures) -> NDArray[np.float32]:
        """Return (F, N) normalised responses."""
        if features.window != self.window:
            raise ConfigError(
                f"features of a window of {features.window} cannot be asked of patches of "
                f"{self.window} pixels"
            )
        out = np.empty((len(features), len(self)), np.float32)
        patch_responses(self.planes, self.inverse, _plane_rows(features), features.weights, out)
        return out

    def values(self, features: HaarFeatures, stumps: Stumps) -> NDArray[np.float64]:
        """Return (T, N) the leaf that each patch reaches in each stump."""
        responses = self.responses(features.take(stumps.feature))
        below = responses < stumps.threshold[:, None]
        return np.where(below, stumps.leaves[:, :1], stumps.leaves[:, 1:])


def _plane_rows(features: HaarFeatures) -> NDArray[np.int32]:
    height, width = features.window
    xs, ys = corner_points(features.rects, features.tilted)
    upright = (height + 1) * (width + 1)
    rows = ys * (width + 1) + xs + features.tilted[:, None] * upright
    return rows.astype(np.int32)


@dataclass(frozen=True)
class Split:
    """The best stump of a round, before its leaves have values.

    Attributes:
        feature: row of the feature list.
        threshold: responses below it are on the left.
        left: (N,) bool.
    """

    feature: int
    threshold: np.float32
    left: NDArray[np.bool_]


class StumpSearch:
    """Finds the best stump for any weights; see the module.

    Args:
        features: the F candidates.
        patches: the N samples.
        method: ``sorted`` (exact) or ``histogram``.
        memory: bytes that the tables may take.
    """

    def __init__(
        self,
        features: HaarFeatures,
        patches: Patches,
        method: Method = "sorted",
        memory: int = 12 << 30,
    ) -> None:
        if method not in ("sorted", "histogram"):
            raise ConfigError(f"search method must be 'sorted' or 'histogram'; got '{method}'")
        self.features, self.patches, self.method = features, patches, method
        self._entry: type[Any] = np.uint8 if method == "histogram" else np.uint16
        if method == "sorted" and len(patches) > 1 << 15:
            self._entry = np.uint32
        self._flag = 1 << (8 * np.dtype(self._entry).itemsize - 1)
        per_feature = len(patches) * np.dtype(self._entry).itemsize
        self._block = max(1, min(len(features), _BLOCK_BYTES // (4 * max(1, len(patches)))))
        self._kept = max(0, memory // per_feature // self._block)
        self._tables: dict[int, tuple[NDArray[Any], NDArray[np.float32]]] = {}

    @property
    def table_bytes(self) -> int:
        """Bytes of the tables that are kept now."""
        return sum(table.nbytes + edges.nbytes for table, edges in self._tables.values())

    def best(self, weights: NDArray[np.float64], positive: NDArray[np.bool_], loss: Loss) -> Split:
        """Return the stump of least weighted error (``discrete``) or squared error (``gentle``).

        Ties go to the first feature and its first threshold.

        Args:
            weights: (N,) over 0.
            positive: (N,) the class.
            loss: which error.
        """
        fixed = np.rint(weights * (UNIT / weights.sum())).astype(np.int64)
        both = np.stack([np.where(positive, fixed, -fixed), fixed], axis=1)
        best: tuple[float, int, int] | None = None
        for first, table, edges in self._blocks():
            find = self._by_order if self.method == "sorted" else self._by_bins
            gain, feature, place = find(table, edges, both, loss)
            if place >= 0 and (best is None or gain > best[0]):
                best = gain, first + feature, place
        if best is None:
            raise ConfigError("no feature tells any two patches apart; there is nothing to learn")
        return self._split(best[1], best[2])

    def prepare(self) -> Iterator[int]:
        """Evaluate and sort the features block by block; yields the number done."""
        for first, table, _ in self._blocks():
            yield min(first + len(table), len(self.features))

    def _blocks(self) -> Iterator[tuple[int, NDArray[Any], NDArray[np.float32]]]:
        for number, first in enumerate(range(0, len(self.features), self._block)):
            made = self._tables.get(number)
            if made is None:
                made = self._make(first)
                if number < self._kept:
                    self._tables[number] = made
            yield first, *made

    def _make(self, first: int) -> tuple[NDArray[Any], NDArray[np.float32]]:
        rows = np.arange(first, min(first + self._block, len(self.features)))
        values = self.patches.responses(self.features.take(rows))
        table = np.empty(values.shape, self._entry)
        parts = get_num_threads()
        if self.method == "sorted":
            sort_responses(values, self._flag, table, parts)
            return table, np.zeros((0, 0), np.float32)
        edges = np.empty((len(rows), 255), np.float32)
        bin_responses(values, edges, table, parts)
        return table, edges

    def _by_order(
        self, table: NDArray[Any], _: NDArray[np.float32], both: NDArray[np.int64], loss: Loss
    ) -> tuple[float, int, int]:
        if loss == "gentle":
            places, gains = np.empty(len(table), np.int32), np.empty(len(table))
            best_gentle(table, self._flag, both, places, gains)
            feature = int(np.argmax(gains))
            return float(gains[feature]), feature, int(places[feature])
        sums = np.empty((len(table), 2), np.int64)
        signed = np.ascontiguousarray(both[:, 0])
        extremes(table, self._flag, signed, sums)
        gain, feature, side = _least_error(sums, signed)
        below = signed[table[feature] & (self._flag - 1)].cumsum()
        hits = (below == sums[feature, side]) & (table[feature] >= self._flag)
        return gain, feature, int(np.argmax(hits)) if hits.any() else -1

    def _by_bins(
        self, table: NDArray[Any], edges: NDArray[np.float32], both: NDArray[np.int64], loss: Loss
    ) -> tuple[float, int, int]:
        sums = np.empty((len(table), 256, 2), np.int64)
        histograms(table, both, sums, get_num_threads())
        below = sums.cumsum(axis=1)[:, :255]
        usable = np.isfinite(edges)
        if loss == "gentle":
            left, weight = below[..., 0].astype(np.float64), below[..., 1].astype(np.float64)
            right = float(both[:, 0].sum()) - left
            rest = float(both[:, 1].sum()) - weight
            usable &= (weight > 0) & (rest > 0)
            gain = left**2 / np.maximum(weight, 1) + right**2 / np.maximum(rest, 1)
            gain = np.where(usable, gain, -1.0)
            feature, place = (int(i) for i in np.unravel_index(np.argmax(gain), gain.shape))
            return float(gain[feature, place]), feature, place if gain[feature, place] >= 0 else -1
        least = np.where(usable, below[..., 0], NOWHERE).min(axis=1)
        greatest = np.where(usable, below[..., 0], -NOWHERE).max(axis=1)
        sums = np.stack([least, greatest], axis=1)
        error, row, side = _least_error(sums, both[:, 0])
        hits = (below[row, :, 0] == sums[row, side]) & usable[row]
        return error, row, int(np.argmax(hits)) if hits.any() else -1

    def _split(self, feature: int, place: int) -> Split:
        values = self.patches.responses(self.features.take(np.asarray([feature])))[0]
        if self.method == "histogram":
            edges = self._edges(feature)
            threshold = edges[place]
        else:
            ordered = np.sort(values)
            threshold = between(ordered[place], ordered[place + 1])
        return Split(feature, threshold, values < threshold)

    def _edges(self, feature: int) -> NDArray[np.float32]:
        number, row = divmod(feature, self._block)
        made = self._tables.get(number) or self._make(number * self._block)
        edges: NDArray[np.float32] = made[1][row]
        return edges


def _least_error(sums: NDArray[np.int64], signed: NDArray[np.int64]) -> tuple[float, int, int]:
    """Return minus the least error, its feature, and whether it lies at the least or greatest sum."""
    faces, others = signed[signed > 0].sum(), -signed[signed < 0].sum()
    errors = np.stack([others + sums[:, 0], faces - sums[:, 1]], axis=1)
    feature, side = (int(i) for i in np.unravel_index(np.argmin(errors), errors.shape))
    return -float(errors[feature, side]), feature, side


def between(low: np.float32, high: np.float32) -> np.float32:
    """Return the middle of two responses as a threshold: over ``low``, at most ``high``."""
    middle = np.float32(float(low) * 0.5 + float(high) * 0.5)
    return middle if middle > low else high
