"""Do scores mean what they say? Reliability curve and expected calibration error.

Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 2, with a detection counted
as right when it is a true positive at IoU 0.5; detections on crowds are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gazehound.errors import ConfigError
from gazehound.metrics.coco import rules_of, run_matching
from gazehound.metrics.tables import Tables

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """Scores against precision in bins of equal width.

    Attributes:
        edges: (B + 1,) ends of the bins, 0 to 1.
        counts: (B,) detections in each.
        score: (B,) mean score, NaN in an empty bin.
        precision: (B,) share of true positives, NaN in an empty bin.
        expected_error: mean gap between score and precision, over detections; None without any, or
            when scores leave 0..1.
        largest_error: the widest gap of a bin.
    """

    edges: Floats
    counts: NDArray[np.int64]
    score: Floats
    precision: Floats
    expected_error: float | None
    largest_error: float | None


def calibration(
    tables: Tables, bins: int = 15, threshold: float = 0.5, limit: int = 100
) -> Calibration:
    """Return the reliability of the scores.

    Args:
        tables: truths and detections.
        bins: number of bins of equal width.
        threshold: IoU threshold.
        limit: detections per image and class.

    Raises:
        ConfigError: there is no bin.
    """
    if bins < 1:
        raise ConfigError(f"calibration needs at least one bin; got {bins}")
    found = tables.found_in_order
    matches = run_matching(tables, rules_of([threshold], [(0.0, 1e10)], limit))
    counted = (found.rank < limit) & (matches.ignored[0] == 0)
    score = found.score[found.order][counted]
    true = matches.true[0][counted] == 1
    edges = np.linspace(0, 1, bins + 1)
    if len(score) and not (score.min() >= 0 and score.max() <= 1):
        gaps = np.full(bins, np.nan)
        return Calibration(edges, np.zeros(bins, np.int64), gaps, gaps, None, None)
    place = np.minimum((score * bins).astype(np.int64), bins - 1)
    counts = np.bincount(place, minlength=bins)
    filled = np.where(counts > 0, counts, np.nan)
    mean = np.bincount(place, score, bins) / filled
    right = np.bincount(place, true, bins) / filled
    gap = np.abs(mean - right)
    if not len(score):
        return Calibration(edges, counts, mean, right, None, None)
    expected = float(np.nansum(gap * counts) / len(score))
    return Calibration(edges, counts, mean, right, expected, float(np.nanmax(gap)))
