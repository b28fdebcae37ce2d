"""The COCO box protocol: the 12 numbers and their arrays, equal to pycocotools to the last digit.

Lin et al., "Microsoft COCO: Common Objects in Context", and ``pycocotools.cocoeval``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gazehound.errors import ConfigError
from gazehound.kernels import averaging, matching
from gazehound.metrics.tables import Tables
from gazehound.metrics.threads import Range, spread
from gazehound.records import Classes

Floats = NDArray[np.float64]

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
AREAS: dict[str, tuple[float, float]] = {
    "all": (0.0, 1e10),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}
LIMITS = (1, 10, 100)


@dataclass(frozen=True)
class CocoResult:
    """Precision and recall at every setting; -1 where there is no truth, as in pycocotools.

    Attributes:
        classes: names and ids of axis K.
        precision: (T, R, K, A, M) float64.
        recall: (T, K, A, M) float64, the highest recall.
        scores: (T, R, K, A, M) float64, the score at which each recall is reached.
        thresholds: (T,) IoU thresholds.
        recalls: (R,) recall levels.
        areas: names of axis A, the first is all sizes.
        limits: (M,) detections per image and class.
        positives: (K, A) truths that count.
        detections: (K,) detections of each class.
    """

    classes: Classes
    precision: Floats
    recall: Floats
    scores: Floats
    thresholds: Floats
    recalls: Floats
    areas: tuple[str, ...]
    limits: tuple[int, ...]
    positives: NDArray[np.int64]
    detections: NDArray[np.int64]

    def average_precision(
        self, threshold: float | None = None, area: str | None = None, label: int | None = None
    ) -> float | None:
        """Return the mean over thresholds, recalls and classes that have truths; None without any.

        Args:
            threshold: one IoU threshold; default all.
            area: name of an area range; default the first.
            label: one class; default all.
        """
        t, k = self._threshold(threshold), slice(None) if label is None else slice(label, label + 1)
        return _mean(self.precision[t, :, k, self._area(area), -1])

    def average_recall(
        self, limit: int | None = None, area: str | None = None, label: int | None = None
    ) -> float | None:
        """Return the highest recall averaged over thresholds and classes; None without truths.

        Args:
            limit: detections per image and class; default the largest.
            area: name of an area range; default the first.
            label: one class; default all.
        """
        k = slice(None) if label is None else slice(label, label + 1)
        m = len(self.limits) - 1 if limit is None else self.limits.index(limit)
        return _mean(self.recall[:, k, self._area(area), m])

    @property
    def summary(self) -> dict[str, float | None]:
        """The numbers by their usual names: AP, AP50, AP75, APs, APm, APl, AR1, AR10, AR100, ...

        A number without any truth behind it is None, never 0. ARs are named by the limits in use.
        """
        sizes = [(name[0], name) for name in self.areas[1:]]
        out = {"AP": self.average_precision()}
        for threshold, name in ((0.5, "AP50"), (0.75, "AP75")):
            if np.any(np.isclose(self.thresholds, threshold)):
                out[name] = self.average_precision(threshold)
        out |= {f"AP{letter}": self.average_precision(area=name) for letter, name in sizes}
        out |= {f"AR{limit}": self.average_recall(limit) for limit in self.limits}
        return out | {f"AR{letter}": self.average_recall(area=name) for letter, name in sizes}

    @property
    def per_class(self) -> list[dict[str, Any]]:
        """One row per class: name, id, truths, detections, AP, AP50, AP75, AP by size and AR."""
        rows = []
        for label, (name, id_) in enumerate(zip(self.classes.names, self.classes.ids, strict=True)):
            row: dict[str, Any] = {"name": name, "id": id_}
            row["truths"] = int(self.positives[label, 0])
            row["detections"] = int(self.detections[label])
            row["AP"] = self.average_precision(label=label)
            for threshold, key in ((0.5, "AP50"), (0.75, "AP75")):
                if np.any(np.isclose(self.thresholds, threshold)):
                    row[key] = self.average_precision(threshold, label=label)
            for area in self.areas[1:]:
                row[f"AP{area[0]}"] = self.average_precision(area=area, label=label)
            row[f"AR{self.limits[-1]}"] = self.average_recall(label=label)
            rows.append(row)
        return rows

    def _threshold(self, threshold: float | None) -> Any:
        if threshold is None:
            return slice(None)
        place = np.flatnonzero(np.isclose(self.thresholds, threshold))
        if not len(place):
            known = ", ".join(f"{t:g}" for t in self.thresholds)
            raise ConfigError(f"IoU threshold {threshold:g} was not evaluated; known: {known}")
        return place

    def _area(self, area: str | None) -> int:
        return 0 if area is None else self.areas.index(area)


def _mean(values: Floats) -> float | None:
    """Return the mean of the entries that are defined, None when none is."""
    defined = values[values > -1]
    return float(np.mean(defined)) if len(defined) else None


def rules_of(
    thresholds: Sequence[float] | Floats, areas: Sequence[tuple[float, float]], most: int
) -> matching.Rules:
    """Return checked matching rules.

    Raises:
        ConfigError: no threshold, too many, or one outside 0..1; a limit below one.
    """
    values = np.asarray(thresholds, np.float64).reshape(-1)
    if not 1 <= len(values) <= matching.MOST_THRESHOLDS:
        raise ConfigError(f"need 1..{matching.MOST_THRESHOLDS} IoU thresholds; got {len(values)}")
    if not np.all((values >= 0) & (values <= 1)):
        raise ConfigError(f"IoU thresholds must lie in 0..1; got {values.tolist()}")
    if most < 1:
        raise ConfigError(f"detections per image must be at least 1; got {most}")
    return matching.Rules(values, np.asarray(areas, np.float64).reshape(-1, 2), most)


def run_matching(tables: Tables, rules: matching.Rules, partner: bool = False) -> matching.Matches:
    """Run the matching pass over all classes.

    Args:
        tables: truths and detections.
        rules: thresholds, area ranges and limit.
        partner: also record which truth each detection met at the first threshold and area range.

    Returns:
        The masks, by place in ``tables.found_in_order``.
    """
    found, truths = tables.found_in_order, tables.truths_in_order
    shape = (len(rules.areas), len(found.order))
    out = matching.Matches(
        np.zeros(shape, np.uint32),
        np.zeros(shape, np.uint32),
        np.full(shape[1] if partner else 0, -1, np.int32),
    )

    def kernel(labels: Range, ranges: Range) -> None:
        matching.match(found, truths, rules, len(tables.image_ids), labels, ranges, out)

    spread(kernel, found.offsets, len(rules.areas))
    return out


def evaluate_coco(
    tables: Tables,
    thresholds: Sequence[float] | Floats = THRESHOLDS,
    limits: Sequence[int] = LIMITS,
    areas: dict[str, tuple[float, float]] | None = None,
    recalls: Sequence[float] | Floats = RECALLS,
) -> CocoResult:
    """Evaluate the COCO box protocol.

    Args:
        tables: truths and detections.
        thresholds: IoU thresholds, at most 32.
        limits: detections per image and class, in rising order.
        areas: name -> (low, high) square pixels, both included; the first must hold all sizes.
        recalls: recall levels at which precision is read.

    Raises:
        ConfigError: a threshold, limit or recall is out of its range.
    """
    named = AREAS if areas is None else areas
    rules = rules_of(thresholds, list(named.values()), max(limits, default=0))
    levels = np.sort(np.asarray(recalls, np.float64))
    caps = np.asarray(sorted(limits), np.int64)
    matches = run_matching(tables, rules)
    found, truths = tables.found_in_order, tables.truths_in_order
    positives = averaging.count_truths(truths.offsets, truths.area, truths.ignored, rules.areas)
    shape = (*positives.shape, len(caps), len(rules.thresholds))
    curves = averaging.Curves(
        np.full((*shape, len(levels)), -1.0),
        np.full((*shape, len(levels)), -1.0),
        np.full(shape, -1.0),
    )
    ranked = found.score[found.order]

    def kernel(labels: Range, ranges: Range) -> None:
        averaging.accumulate(
            found.offsets, ranked, found.rank, matches.true, matches.ignored,
            positives, levels, caps, labels, ranges, curves,
        )  # fmt: skip

    spread(kernel, found.offsets, len(rules.areas))
    return CocoResult(
        classes=tables.classes,
        precision=curves.precision.transpose(3, 4, 0, 1, 2),
        recall=curves.recall.transpose(3, 0, 1, 2),
        scores=curves.scores.transpose(3, 4, 0, 1, 2),
        thresholds=rules.thresholds,
        recalls=levels,
        areas=tuple(named),
        limits=tuple(int(cap) for cap in caps),
        positives=positives,
        detections=np.diff(found.offsets),
    )
