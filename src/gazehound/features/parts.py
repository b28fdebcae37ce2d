"""Mixtures of deformable part models: what they are, and how they are scored on a pyramid.

Felzenszwalb, Girshick, McAllester, Ramanan, PAMI 2010, section 3. A component is a root filter and
parts at twice its resolution; at root place p (in cells) it scores

    root(p) + sum over parts of max over places q of part(q) - cost(2 p + anchor - q)  + bias

with cost(d) = ax dx^2 + bx dx + ay dy^2 + by dy. Scores of whole levels come from the generalised
distance transform. Places count from the corner of the padded maps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gazehound.features.dpm_features import FeaturePyramid, mirror_filter
from gazehound.features.threads import in_threads
from gazehound.kernels.correlation import FilterBank, correlate, filter_bank
from gazehound.kernels.distance_transform import add_deformed, best_place, distance_transform
from gazehound.watching import is_watched, show

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Component:
    """One view of an object.

    Attributes:
        root: (h, w, 32) float32 filter; its size is the size of the detection window, in cells.
        parts: (P, ph, pw, 32) float32 filters at twice the resolution.
        anchors: (P, 2) int64, wanted (x, y) of each part relative to the root, in part cells.
        deformations: (P, 4) float64: ax, bx, ay, by.
        bias: added to every score.
        scale_bias: (2,) added to scores of the first octave, and of all others (the scale prior of
            voc-release5).
    """

    root: FloatArray
    parts: FloatArray
    anchors: IntArray
    deformations: NDArray[np.float64]
    bias: float
    scale_bias: NDArray[np.float64]

    def mirrored(self) -> Component:
        """Return the component that sees a mirrored image as this one sees the image."""
        anchors = self.anchors.copy()
        anchors[:, 0] = 2 * self.root.shape[1] - self.anchors[:, 0] - self.parts.shape[2]
        return replace(
            self,
            root=mirror_filter(self.root),
            parts=mirror_filter(self.parts),
            anchors=anchors,
            deformations=self.deformations * np.array([1.0, -1.0, 1.0, 1.0]),
        )

    def level_bias(self, level: int, interval: int) -> float:
        """Return what is added to every score of a root level."""
        return self.bias + float(self.scale_bias[0 if level < interval else 1])


@dataclass(frozen=True)
class Mixture:
    """Components that share the pyramid; the best of them at a place wins.

    Attributes:
        components: at least one; all with equally many parts of one size.
        cell: side of a root cell, pixels.
        reach: the largest displacement of a part per axis, part cells; negative for none.
    """

    components: tuple[Component, ...]
    cell: int = 8
    reach: int = 4

    @cached_property
    def padding(self) -> tuple[int, int]:
        """Return (rows, columns) of padding: the largest root."""
        sizes = [c.root.shape for c in self.components]
        return max(s[0] for s in sizes), max(s[1] for s in sizes)

    @cached_property
    def smallest(self) -> tuple[int, int]:
        """Return the smallest filter height and width: maps of responses are aligned to it."""
        sizes = [c.parts.shape[1:3] for c in self.components if len(c.parts)]
        sizes.append(self.smallest_root)
        return min(s[0] for s in sizes), min(s[1] for s in sizes)

    @cached_property
    def smallest_root(self) -> tuple[int, int]:
        """Return the smallest root height and width."""
        sizes = [c.root.shape for c in self.components]
        return min(s[0] for s in sizes), min(s[1] for s in sizes)

    def extent(self, level: FloatArray) -> tuple[int, int]:
        """Return (rows, columns) of places on a padded map (32, H, W)."""
        rows, columns = (n - s + 1 for n, s in zip(level.shape[1:], self.smallest, strict=True))
        return max(rows, 0), max(columns, 0)

    @cached_property
    def roots(self) -> FilterBank:
        """Return the bank of root filters."""
        return filter_bank([c.root for c in self.components])

    @cached_property
    def parts(self) -> FilterBank | None:
        """Return the bank of part filters, component after component; None without parts."""
        filters = [weights for c in self.components for weights in c.parts]
        return filter_bank(filters) if filters else None

    @property
    def part_count(self) -> int:
        """Return the number of parts of each component."""
        return len(self.components[0].parts)


@dataclass(frozen=True)
class Placements:
    """Where a mixture was found in one image; N rows, from the best.

    Attributes:
        scores: (N,) float32.
        components: (N,) int64.
        levels: (N,) int64 root levels.
        roots: (N, 2) int64 (y, x) of the root in its padded level.
        parts: (N, P, 2) int64 (y, x) of the parts in theirs.
    """

    scores: FloatArray
    components: IntArray
    levels: IntArray
    roots: IntArray
    parts: IntArray

    def __len__(self) -> int:
        return len(self.scores)

    def select(self, rows: NDArray[Any]) -> Placements:
        """Return only these rows."""
        columns = (self.scores, self.components, self.levels, self.roots, self.parts)
        return Placements(*(column[rows] for column in columns))

    @classmethod
    def joined(cls, found: list[Placements], parts: int) -> Placements:
        """Return the rows of all, sorted by score; of equals the first stays first."""
        if not found:
            empty = np.zeros(0, np.int64)
            pairs = np.zeros((0, 2), np.int64)
            return cls(
                empty.astype(np.float32), empty, empty, pairs, np.zeros((0, parts, 2), np.int64)
            )
        names = ("scores", "components", "levels", "roots", "parts")
        columns = [np.concatenate([getattr(p, name) for p in found]) for name in names]
        return cls(*columns).select(np.argsort(-columns[0], kind="stable"))


@dataclass(frozen=True)
class LevelScores:
    """The scores of all components on one root level, and the part responses behind them.

    Attributes:
        level: the root level.
        scores: (components, H, W) float32.
        responses: one (h, w) map per part filter, component after component.
        extent: (rows, columns) of wanted part places that count.
    """

    level: int
    scores: FloatArray
    responses: list[FloatArray]
    extent: tuple[int, int]


def part_start(anchor: IntArray, padding: tuple[int, int]) -> tuple[int, int]:
    """Return the (y, x) that root place (0, 0) wants for a part; both maps have equal padding."""
    return int(anchor[1]) - padding[0], int(anchor[0]) - padding[1]


def root_scores(mixture: Mixture, pyramid: FeaturePyramid, level: int) -> FloatArray:
    """Return the scores (components, H, W) of the roots with their biases on one root level.

    All maps have the size that the smallest filter gives; ``-inf`` where a root does not fit.
    """
    coarse = pyramid.coarse[level]
    scores = np.full((len(mixture.components), *mixture.extent(coarse)), -np.inf, np.float32)
    for scored, response, component in zip(
        scores, correlate(coarse, mixture.roots), mixture.components, strict=True
    ):
        rows, columns = response.shape
        scored[:rows, :columns] = response + component.level_bias(level, pyramid.interval)
    return scores


def score_level(mixture: Mixture, pyramid: FeaturePyramid, level: int) -> LevelScores:
    """Score every component at every place of one root level."""
    scores = root_scores(mixture, pyramid, level)
    if mixture.parts is None:
        return LevelScores(level, scores, [], (0, 0))
    fine = pyramid.part_level(level)
    responses = correlate(fine, mixture.parts)
    extent = mixture.extent(fine)
    maps = iter(responses)
    for scored, component in zip(scores, mixture.components, strict=True):
        for anchor, deformation in zip(component.anchors, component.deformations, strict=True):
            start = part_start(anchor, pyramid.padding)
            add_part(scored, next(maps), deformation, mixture.reach, start, extent)
    return LevelScores(level, scores, responses, extent)


def add_part(
    total: FloatArray,
    response: FloatArray,
    deformation: NDArray[np.float64],
    reach: int,
    start: tuple[int, int],
    extent: tuple[int, int],
) -> None:
    """Add one part's best scores to the root scores (H, W), in place; see ``add_deformed``."""
    if not response.size:
        total[:] = -np.inf
    elif reach >= 0:
        add_deformed(total, response, deformation, reach, start, extent)
    else:
        total += _sampled(distance_transform(_stretched(response, extent), deformation, -1)[0],
                          start, total.shape)  # fmt: skip


def _stretched(response: FloatArray, extent: tuple[int, int]) -> FloatArray:
    """Return the response on the whole extent, ``-inf`` where the filter does not fit."""
    out = np.full(extent, -np.inf, np.float32)
    out[: response.shape[0], : response.shape[1]] = response
    return out


def _sampled(values: FloatArray, start: tuple[int, int], shape: tuple[int, ...]) -> FloatArray:
    """Read a map at start + 2 (y, x) for all (y, x) of ``shape``; ``-inf`` outside."""
    y, x = (s + 2 * np.arange(n) for s, n in zip(start, shape, strict=True))
    inside_y, inside_x = (y >= 0) & (y < values.shape[0]), (x >= 0) & (x < values.shape[1])
    out = np.full(shape, -np.inf, np.float32)
    out[np.ix_(inside_y, inside_x)] = values[np.ix_(y[inside_y], x[inside_x])]
    return out


def place_parts(
    mixture: Mixture, pyramid: FeaturePyramid, scored: LevelScores, rows: NDArray[Any]
) -> Placements:
    """Return where the parts stand for chosen (component, y, x) rows (N, 3) of a level."""
    rows = np.asarray(rows, np.int64).reshape(-1, 3)
    count = mixture.part_count
    reach = mixture.reach if mixture.reach >= 0 else max(scored.extent, default=0)
    parts = np.zeros((len(rows), count, 2), np.int64)
    for row, (c, y, x) in enumerate(rows):
        component = mixture.components[c]
        for k in range(count):
            start = part_start(component.anchors[k], pyramid.padding)
            wanted = (start[0] + 2 * y, start[1] + 2 * x)
            response = scored.responses[c * count + k]
            parts[row, k] = best_place(response, component.deformations[k], reach, *wanted)[:2]
    scores = scored.scores[tuple(rows.T)]
    levels = np.full(len(rows), scored.level, np.int64)
    return Placements(scores, rows[:, 0], levels, rows[:, 1:], parts)


LevelScorer = Callable[[int], LevelScores]


def find_placements(
    mixture: Mixture,
    pyramid: FeaturePyramid,
    threshold: float,
    most: int | None = None,
    scorer: LevelScorer | None = None,
) -> Placements:
    """Return the placements that score above ``threshold``, at each place the best component's.

    Args:
        mixture: the model.
        pyramid: of one image, padded with ``mixture.padding``.
        threshold: scores must be greater.
        most: the largest number kept, the best ones; None for all.
        scorer: scores one root level; ``score_level`` unless given.
    """
    highest = -np.inf

    def one_level(level: int) -> Placements:
        nonlocal highest
        scored = scorer(level) if scorer else score_level(mixture, pyramid, level)
        if is_watched():  # all levels together can be far larger than the picture
            top = float(scored.scores.max(initial=-np.inf))
            if top >= highest:
                highest = top
                show(scored)
        return above(mixture, pyramid, scored, threshold, most)

    found = Placements.joined(in_threads(one_level, range(len(pyramid.coarse))), mixture.part_count)
    return found if most is None else found.select(np.arange(min(most, len(found))))


def above(
    mixture: Mixture,
    pyramid: FeaturePyramid,
    scored: LevelScores,
    threshold: float,
    most: int | None = None,
) -> Placements:
    """Return the placements of one level that score above ``threshold``, the best ``most``."""
    winner = scored.scores.argmax(axis=0)
    best = np.take_along_axis(scored.scores, winner[None], axis=0)[0]
    y, x = np.nonzero(best > threshold)
    if most is not None and len(y) > most:
        kept = np.sort(np.argsort(-best[y, x], kind="stable")[:most])
        y, x = y[kept], x[kept]
    return place_parts(mixture, pyramid, scored, np.stack([winner[y, x], y, x], axis=1))
