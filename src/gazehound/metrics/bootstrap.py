"""How sure is an mAP, and is a gain real? Resampling the images with replacement.

Efron and Tibshirani, "An Introduction to the Bootstrap", chapters 13 (percentile interval) and 16
(paired comparison). The images are drawn, not the boxes, because boxes of one image are not
independent. The detections are matched once; a draw only changes how often each image counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gazehound.errors import ConfigError
from gazehound.kernels.resampling import weighted_precision
from gazehound.metrics.coco import RECALLS, THRESHOLDS, rules_of, run_matching
from gazehound.metrics.tables import Tables
from gazehound.metrics.threads import thread_count

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A value with its percentile interval.

    Attributes:
        value: on the images as they are; None without truths.
        low: lower end.
        high: upper end.
        level: share of the draws between the ends.
        samples: (B,) the value of each draw as it came, NaN where no truth was drawn.
    """

    value: float | None
    low: float | None
    high: float | None
    level: float
    samples: Floats


@dataclass(frozen=True)
class Comparison:
    """Two detectors on the same draws of images.

    Attributes:
        difference: second minus first, with its interval.
        p_value: two-sided share of draws on the other side of zero; small means the gain is real.
    """

    difference: Interval
    p_value: float | None

    @property
    def verdict(self) -> str:
        """The comparison in words."""
        gap = self.difference
        if gap.value is None or gap.low is None or gap.high is None:
            return "undefined: no truth counts"
        percent = f"{100 * gap.level:g} % interval {100 * gap.low:+.2f} to {100 * gap.high:+.2f}"
        if gap.low <= 0 <= gap.high:
            return (
                f"{100 * gap.value:+.2f} AP, {percent}: not told apart from chance on these images"
            )
        better = "better" if gap.value > 0 else "worse"
        return f"{100 * gap.value:+.2f} AP, {percent}: the second is {better}"


class _Resampler:
    """The matches of one detector, ready to be weighed."""

    def __init__(self, tables: Tables, thresholds: Floats, limit: int) -> None:
        matches = run_matching(tables, rules_of(thresholds, [(0.0, 1e10)], limit))
        found, truths = tables.found_in_order, tables.truths_in_order
        every = np.uint32((1 << len(thresholds)) - 1)
        counted = ~truths.ignored
        self.thresholds = thresholds
        self.offsets = found.offsets
        self.image = found.image[found.order]
        self.true = matches.true[0]
        self.ignored = np.where(found.rank < limit, matches.ignored[0], every)
        self.truth_image = truths.image[counted]
        self.truth_offsets = np.concatenate([[0], np.cumsum(counted)])[truths.offsets]

    def precision(self, weights: NDArray[np.int64]) -> float:
        """Return mAP under these weights of the images."""
        return float(
            weighted_precision(
                self.offsets, self.image, self.true, self.ignored, self.truth_offsets,
                self.truth_image, RECALLS, len(self.thresholds), weights,
            )
        )  # fmt: skip


def bootstrap(
    tables: Tables,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    thresholds: Sequence[float] | Floats = THRESHOLDS,
    limit: int = 100,
) -> Interval:
    """Return COCO's AP with a bootstrap interval over images.

    Args:
        tables: truths and detections.
        draws: how often the images are drawn.
        level: share of the draws inside the interval.
        seed: of the draws; the same seed gives the same digits on any number of threads.
        thresholds: IoU thresholds.
        limit: detections per image and class.

    Raises:
        ConfigError: draws or level is out of range.
    """
    one = _Resampler(tables, np.asarray(thresholds, np.float64), limit)
    n_images = len(tables.image_ids)
    samples = _draw([one], n_images, draws, level, seed)[:, 0]
    return _interval(one.precision(np.ones(n_images, np.int64)), samples, level)


def compare(
    first: Tables,
    second: Tables,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    thresholds: Sequence[float] | Floats = THRESHOLDS,
    limit: int = 100,
) -> Comparison:
    """Compare two detectors on the same images by a paired bootstrap.

    Args:
        first: truths and the detections of the first.
        second: the same truths and the detections of the second.
        draws: how often the images are drawn.
        level: share of the draws inside the interval.
        seed: of the draws.
        thresholds: IoU thresholds.
        limit: detections per image and class.

    Raises:
        ConfigError: the two do not hold the same images, or draws or level is out of range.
    """
    if not np.array_equal(first.image_ids, second.image_ids):
        raise ConfigError("a paired comparison needs the same images on both sides")
    both = [_Resampler(one, np.asarray(thresholds, np.float64), limit) for one in (first, second)]
    n_images = len(first.image_ids)
    samples = _draw(both, n_images, draws, level, seed)
    whole = [one.precision(np.ones(n_images, np.int64)) for one in both]
    gap = samples[:, 1] - samples[:, 0]
    difference = _interval(whole[1] - whole[0], gap, level)
    if difference.value is None:
        return Comparison(difference, None)
    known = gap[~np.isnan(gap)]
    known = known - known.mean() + difference.value
    tail = min((known <= 0).sum(), (known >= 0).sum())
    return Comparison(difference, float(min(1.0, 2 * (tail + 1) / (len(known) + 1))))


def _draw(sides: list[_Resampler], n_images: int, draws: int, level: float, seed: int) -> Floats:
    """Return the value of each side under each draw, (B, S)."""
    if draws < 1 or not 0 < level < 1:
        raise ConfigError(
            f"need at least one draw and a level between 0 and 1; got {draws}, {level}"
        )

    def one(index: int) -> list[float]:
        picked = np.random.default_rng([seed, index]).integers(0, max(n_images, 1), n_images)
        weights = np.bincount(picked, minlength=n_images).astype(np.int64)
        return [side.precision(weights) for side in sides]

    with ThreadPoolExecutor(thread_count()) as pool:
        return np.asarray(list(pool.map(one, range(draws))), np.float64)


def _interval(value: float, samples: Floats, level: float) -> Interval:
    """Return the percentile interval of the draws, moved so that their mean is the value.

    A draw repeats images, and interpolated precision of repeated images is a little too high.
    """
    known = samples[~np.isnan(samples)]
    if np.isnan(value) or not len(known):
        return Interval(None, None, None, level, samples)
    ends = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    low, high = ends - known.mean() + value
    return Interval(value, float(low), float(high), level, samples)
