"""Everything that is worth knowing of an evaluation besides its headline number, in one record."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gazehound.metrics.bootstrap import Interval, bootstrap
from gazehound.metrics.calibration import Calibration, calibration
from gazehound.metrics.coco import evaluate_coco
from gazehound.metrics.confusion import Confusion, confusion
from gazehound.metrics.curves import Curve, curves
from gazehound.metrics.mistakes import Mistakes, mistakes
from gazehound.metrics.tables import Tables

SIDES = (0, 16, 32, 64, 96, 128, 256, 512)  # square roots of the areas between size bins, pixels


@dataclass(frozen=True)
class SizeBin:
    """AP of the truths of one size.

    Attributes:
        low: smallest side (square root of the annotated area), pixels.
        high: largest side; infinite in the last bin.
        truths: how many there are.
        precision: COCO's AP among them; None without any.
    """

    low: float
    high: float
    truths: int
    precision: float | None


@dataclass(frozen=True)
class Diagnosis:
    """Curves, errors, sizes, calibration and confusion at IoU 0.5, and the interval of AP.

    Attributes:
        tables: what was evaluated.
        curves: precision and recall of each class at IoU 0.5.
        curves_75: the same at IoU 0.75.
        pooled: all detections of all classes as if they were one class.
        best: score, precision, recall and F1 where the pooled F1 is highest; None without truths.
        mistakes: errors by kind and price.
        sizes: AP by object size.
        calibration: scores against precision.
        confusion: class against class, at the best score.
        interval: AP with its bootstrap interval; None when no draws were asked for.
    """

    tables: Tables
    curves: list[Curve]
    curves_75: list[Curve]
    pooled: Curve
    best: dict[str, float] | None
    mistakes: Mistakes
    sizes: list[SizeBin]
    calibration: Calibration
    confusion: Confusion
    interval: Interval | None


def diagnose(tables: Tables, draws: int = 0, seed: int = 0) -> Diagnosis:
    """Return the diagnosis of an evaluation.

    Args:
        tables: truths and detections.
        draws: of the bootstrap; 0 leaves the interval out.
        seed: of the draws.
    """
    at_half = curves(tables, 0.5)
    pooled = pool(at_half)
    best = pooled.best()
    return Diagnosis(
        tables=tables,
        curves=at_half,
        curves_75=curves(tables, 0.75),
        pooled=pooled,
        best=best,
        mistakes=mistakes(tables),
        sizes=by_size(tables),
        calibration=calibration(tables),
        confusion=confusion(tables, best["score"] if best else 0.5),
        interval=bootstrap(tables, draws, seed=seed) if draws else None,
    )


def pool(parts: list[Curve]) -> Curve:
    """Return the curve of all classes together, equal scores in the order of the classes."""
    if not parts:
        nothing = np.zeros(0, np.int64)
        return Curve(np.zeros(0), nothing, nothing, 0)
    scores = np.concatenate([part.scores for part in parts])
    hit = np.concatenate([np.diff(part.true, prepend=0) for part in parts])
    order = np.argsort(-scores, kind="stable")
    true: NDArray[np.int64] = np.cumsum(hit[order])
    false = np.arange(1, len(true) + 1) - true
    return Curve(scores[order], true, false, sum(part.positives for part in parts))


def by_size(tables: Tables, sides: tuple[float, ...] = SIDES) -> list[SizeBin]:
    """Return COCO's AP in bins of object size; bins without truths are there, undefined.

    Args:
        tables: truths and detections.
        sides: rising lower ends of the bins, as side of a square, pixels; the last is open.
    """
    ends = [*sides[1:], 1e5]
    areas = {"all": (0.0, 1e10)}
    # Both ends belong to a range, so each bin ends just below the next.
    for low, high in zip(sides, ends, strict=True):
        areas[f"{low:g}"] = (low**2, float(np.nextafter(high**2, 0)))
    result = evaluate_coco(tables, limits=(100,), areas=areas)
    counts = result.positives.sum(axis=0)
    return [
        SizeBin(
            low,
            high if high < 1e5 else np.inf,
            int(counts[i + 1]),
            result.average_precision(area=f"{low:g}"),
        )
        for i, (low, high) in enumerate(zip(sides, ends, strict=True))
    ]
