"""The Pascal VOC protocol: VOC2007's eleven points and VOC2010's area under the curve.

Everingham et al., "The Pascal Visual Object Classes (VOC) Challenge", IJCV 2010, section 4.2, and the
devkit's ``VOCevaldet``. gazehound's continuous boxes are the devkit's inclusive pixel corners with one
subtracted from the left and top, so widths and overlaps are the devkit's, without a plus-one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gazehound.kernels import matching
from gazehound.metrics.coco import rules_of
from gazehound.metrics.curves import Curve, curves_of, mean_of
from gazehound.metrics.tables import Tables
from gazehound.metrics.threads import Range, spread
from gazehound.records import Classes

NO_LIMIT = 1 << 30


@dataclass(frozen=True)
class VocResult:
    """Average precision of each class.

    Attributes:
        classes: names and ids.
        curves: one per class; difficult objects are left out.
        eleven_points: VOC2007's average; else the area under the curve.
        threshold: the IoU threshold.
    """

    classes: Classes
    curves: list[Curve]
    eleven_points: bool
    threshold: float

    @property
    def average_precisions(self) -> list[float | None]:
        """The average precision of each class; None where no object counts."""
        if self.eleven_points:
            return [curve.eleven_point() for curve in self.curves]
        return [curve.area_under() for curve in self.curves]

    @property
    def summary(self) -> dict[str, float | None]:
        """``AP``, the mean over classes, again by the name of its threshold (``AP50``)."""
        mean = mean_of(self.average_precisions)
        return {"AP": mean, f"AP{100 * self.threshold:g}": mean}

    @property
    def per_class(self) -> list[dict[str, Any]]:
        """One row per class: name, id, truths, detections, AP, and the highest recall."""
        rows: list[dict[str, Any]] = []
        for label, value in enumerate(self.average_precisions):
            curve = self.curves[label]
            reached = float(curve.recall[-1]) if len(curve.recall) else 0.0
            rows.append(
                {
                    "name": self.classes.names[label],
                    "id": self.classes.ids[label],
                    "truths": curve.positives,
                    "detections": len(curve.scores),
                    "AP": value,
                    "recall": reached if curve.positives else None,
                }
            )
        return rows


def evaluate_voc(
    tables: Tables,
    eleven_points: bool = False,
    threshold: float = 0.5,
    inclusive: bool = False,
    closed: bool = False,
) -> VocResult:
    """Evaluate the Pascal VOC protocol.

    Detections are taken by falling score, equal ones by image id and then as given (the devkit leaves
    that open). Each means the object it overlaps most; crowds count as difficult.

    Args:
        tables: truths and detections.
        eleven_points: VOC2007's average precision; else that of VOC2010 and later.
        threshold: IoU threshold.
        inclusive: widths are x2 - x1 + 1, as of tools that never shifted their boxes.
        closed: an overlap of exactly the threshold is enough, as in the Matlab devkit; its Python
            readers want more.
    """
    rules = rules_of([threshold], [(0.0, 1e10)], NO_LIMIT)
    easy = without_difficult(tables)
    matches = match_voc(easy, rules, float(inclusive), closed)
    return VocResult(tables.classes, curves_of(easy, matches, NO_LIMIT), eleven_points, threshold)


def without_difficult(tables: Tables) -> Tables:
    """Return the tables with the difficult objects ignored."""
    return replace(tables, truths=replace(tables.truths, ignored=tables.truths.difficult))


def match_voc(
    tables: Tables, rules: matching.Rules, margin: float = 0.0, closed: bool = False
) -> matching.Matches:
    """Run the devkit's matching rule over all classes; see ``match_best``."""
    found, truths = tables.found_in_order, tables.truths_in_order
    shape = (1, len(found.order))
    out = matching.Matches(
        np.zeros(shape, np.uint32), np.zeros(shape, np.uint32), np.zeros(0, np.int32)
    )

    def kernel(labels: Range, _: Range) -> None:
        matching.match_best(
            found, truths, rules, margin, closed, len(tables.image_ids), labels, out
        )

    spread(kernel, found.offsets, 1)
    return out
