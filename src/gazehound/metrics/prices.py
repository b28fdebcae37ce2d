"""Which single errors cost the most: an estimate of the AP that fixing each alone would give."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gazehound.metrics.curves import Curve
from gazehound.metrics.mistakes import Mistakes
from gazehound.metrics.tables import Tables

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Prices:
    """The price of each error, in AP at IoU 0.5 averaged over classes.

    Attributes:
        false: (F,) of each false positive, as ``Mistakes.rows``.
        missed: (U,) of each missed truth, as ``Mistakes.missed``.
        by_image: (I,) both, summed over each image.
    """

    false: Floats
    missed: Floats
    by_image: Floats


def price_errors(tables: Tables, errors: Mistakes, curves: list[Curve]) -> Prices:
    """Estimate the price of every error.

    Without a false positive, the precision at every true positive below it rises from t/n to
    t/(n - 1). A missed truth, and one that a wrong class or a loose box keeps from being found, is
    priced as if it had been found at the middle true positive's rank: it brings that precision once
    more, over the number of truths.

    Args:
        tables: truths and detections.
        errors: of ``mistakes`` on these tables.
        curves: of ``curves`` at the same threshold.
    """
    classes = max(1, sum(curve.positives > 0 for curve in curves))
    false = np.zeros(len(errors.rows))
    missed = np.zeros(len(errors.missed))
    label = tables.found.label[errors.rows]
    truth_label = tables.truths.label[errors.missed]
    meant_label = tables.truths.label[errors.target[errors.recovers]]
    recovered = np.zeros(len(meant_label))
    for k, curve in enumerate(curves):
        if not curve.positives:
            continue
        share = 1 / (curve.positives * classes)
        hit = np.diff(curve.true, prepend=0) > 0
        count = curve.true + curve.false
        gain = np.where(hit & (count > 1), curve.true / np.maximum(count - 1, 1), 0.0)
        gain = np.where(hit & (count > 1), gain - curve.true / np.maximum(count, 1), 0.0)
        below = np.cumsum(gain[::-1])[::-1]
        wrong = np.flatnonzero(~hit)
        false[label == k] = below[wrong] * share  # both fall by score, in the same order
        middle = curve.precision[hit]
        worth = share * (float(np.median(middle)) if len(middle) else 1.0)
        missed[truth_label == k] = worth
        recovered[meant_label == k] = worth
    false[errors.recovers] += recovered
    by_image = np.zeros(len(tables.image_ids))
    np.add.at(by_image, tables.found.image[errors.rows], false)
    np.add.at(by_image, tables.truths.image[errors.missed], missed)
    return Prices(false, missed, by_image)
