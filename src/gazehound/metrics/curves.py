"""Precision and recall along the score, per class, and what is read off the curve."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gazehound.kernels import averaging, matching
from gazehound.metrics.coco import RECALLS, rules_of, run_matching
from gazehound.metrics.tables import Tables

Floats = NDArray[np.float64]
_EVERY_SIZE = [(0.0, 1e10)]


@dataclass(frozen=True)
class Curve:
    """What happens to one class as the score threshold falls.

    Attributes:
        scores: (N,) falling scores of the detections that count.
        true: (N,) true positives at or above each score.
        false: (N,) false positives at or above each score.
        positives: truths that count.
    """

    scores: Floats
    true: NDArray[np.int64]
    false: NDArray[np.int64]
    positives: int

    @cached_property
    def precision(self) -> Floats:
        """True positives over detections, at each score."""
        return np.asarray(self.true / np.maximum(self.true + self.false, 1), np.float64)

    @cached_property
    def recall(self) -> Floats:
        """True positives over truths, at each score; zeros without truths."""
        return np.asarray(self.true / max(self.positives, 1), np.float64)

    @cached_property
    def f1(self) -> Floats:
        """Harmonic mean of precision and recall, at each score."""
        total = self.true + self.false + self.positives
        return np.asarray(2 * self.true / np.maximum(total, 1), np.float64)

    def best(self) -> dict[str, float] | None:
        """Return the score with the highest F1, with precision and recall there; None without any.

        Detections of the same score stand or fall together, so only the last of a run is asked.
        """
        if not self.positives or not len(self.scores):
            return None
        last = np.append(self.scores[1:] != self.scores[:-1], True)
        at = int(np.argmax(np.where(last, self.f1, -1.0)))
        return {
            "score": float(self.scores[at]),
            "precision": float(self.precision[at]),
            "recall": float(self.recall[at]),
            "F1": float(self.f1[at]),
        }

    def at(self, score: float) -> dict[str, Any]:
        """Return the counts, precision, recall and F1 of the detections with at least this score.

        A ratio with nothing below the line is None.
        """
        kept = int(np.searchsorted(-self.scores, -score, side="right"))
        true = int(self.true[kept - 1]) if kept else 0
        false = int(self.false[kept - 1]) if kept else 0
        return ratios(true, false, self.positives)

    def eleven_point(self) -> float | None:
        """Return VOC2007's mean of the best precision at or beyond recall 0, 0.1, ..., 1."""
        if not self.positives:
            return None
        levels = np.arange(0.0, 1.1, 0.1)  # the devkit's Python readers step like this, to the bit
        reached = [self.precision[self.recall >= level] for level in levels]
        return float(sum((best.max() if len(best) else 0.0) / 11.0 for best in reached))

    def area_under(self) -> float | None:
        """Return VOC2010's area under the curve, made monotone from the right."""
        if not self.positives:
            return None
        recall = np.concatenate([[0.0], self.recall, [1.0]])
        precision = np.concatenate([[0.0], self.precision, [0.0]])
        precision = np.maximum.accumulate(precision[::-1])[::-1]
        step = np.flatnonzero(recall[1:] != recall[:-1])
        return float(np.sum((recall[step + 1] - recall[step]) * precision[step + 1]))

    def at_recalls(self, levels: Floats = RECALLS) -> float | None:
        """Return COCO's mean of the best precision at or beyond each of 101 recalls."""
        if not self.positives:
            return None
        exact = self.true / (self.false + self.true + np.spacing(1))
        envelope = np.append(np.maximum.accumulate(exact[::-1])[::-1], 0.0)
        at = np.searchsorted(self.recall, levels, side="left")
        return float(np.mean(envelope[at]))


def ratios(true: int, false: int, positives: int) -> dict[str, Any]:
    """Return counts with precision, recall and F1; None where the divisor is zero."""
    found = true + false
    return {
        "true": true,
        "false": false,
        "missed": positives - true,
        "precision": true / found if found else None,
        "recall": true / positives if positives else None,
        "F1": 2 * true / (found + positives) if found + positives else None,
    }


def curves(tables: Tables, threshold: float = 0.5, limit: int = 100) -> list[Curve]:
    """Return one curve per class, matched as COCO does, all sizes.

    Args:
        tables: truths and detections.
        threshold: IoU threshold.
        limit: detections per image and class.
    """
    rules = rules_of([threshold], _EVERY_SIZE, limit)
    return curves_of(tables, run_matching(tables, rules), limit)


def curves_of(
    tables: Tables,
    matches: matching.Matches,
    limit: int,
    bit: int = 0,
    positives: NDArray[np.int64] | None = None,
) -> list[Curve]:
    """Return one curve per class from the masks of a matching pass.

    Args:
        tables: truths and detections.
        matches: the masks; the first area range is read.
        limit: detections per image and class that were looked at.
        bit: index of the IoU threshold.
        positives: (K,) truths that count; default those that are no crowd.
    """
    found, truths = tables.found_in_order, tables.truths_in_order
    if positives is None:
        positives = averaging.count_truths(
            truths.offsets, truths.area, truths.ignored, np.asarray(_EVERY_SIZE)
        )[:, 0]
    counts = (found.rank < limit) & ((matches.ignored[0] >> np.uint32(bit)) & 1 == 0)
    true = (matches.true[0] >> np.uint32(bit)) & 1 == 1
    scores = found.score[found.order]
    out = []
    for label in range(len(tables.classes)):
        run = slice(found.offsets[label], found.offsets[label + 1])
        hit = true[run][counts[run]]
        total = np.arange(1, len(hit) + 1)
        hits = np.cumsum(hit)
        out.append(Curve(scores[run][counts[run]], hits, total - hits, int(positives[label])))
    return out


def mean_of(values: list[float | None]) -> float | None:
    """Return the mean of the values that are defined, None when none is."""
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None
