"""Which class is taken for which: counts of truths and detections, with a background row and column."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gazehound.kernels.grouping import counting_order
from gazehound.kernels.overlaps import pair_rest
from gazehound.metrics.coco import rules_of, run_matching
from gazehound.metrics.tables import Tables
from gazehound.records import Classes


@dataclass(frozen=True)
class Confusion:
    """Counts of pairs at one score and one IoU threshold.

    Attributes:
        classes: names of the first K rows and columns.
        counts: (K + 1, K + 1) int64; rows are truths, columns detections, the last of each is
            background: a missed truth counts in the last column, a detection of nothing in the last row.
        score: lowest score of the detections that were counted.
        threshold: IoU threshold.
    """

    classes: Classes
    counts: NDArray[np.int64]
    score: float
    threshold: float

    @property
    def mistakes(self) -> list[tuple[str, str, int]]:
        """Pairs of true and detected class with their counts, most frequent first."""
        names = (*self.classes.names, "background")
        rows, columns = np.nonzero(self.counts)
        pairs = [
            (names[r], names[c], int(self.counts[r, c]))
            for r, c in zip(rows.tolist(), columns.tolist(), strict=True)
            if r != c
        ]
        return sorted(pairs, key=lambda pair: -pair[2])


def confusion(tables: Tables, score: float, threshold: float = 0.5, limit: int = 100) -> Confusion:
    """Return the confusion matrix.

    Detections and truths of the same class are paired first, as COCO does, so the diagonal holds the
    true positives. What is left is paired across classes: by falling score, each detection takes the
    free truth that it overlaps most. Crowds, and detections that fall on them, are left out.

    Args:
        tables: truths and detections.
        score: lowest score that counts.
        threshold: IoU threshold.
        limit: detections per image and class.
    """
    found, truths = tables.found_in_order, tables.truths_in_order
    matches = run_matching(tables, rules_of([threshold], [(0.0, 1e10)], limit), partner=True)
    shown = (found.rank < limit) & (found.score[found.order] >= score)
    true = (matches.true[0] == 1) & shown
    rest = shown & ~true & (matches.ignored[0] == 0)
    n_labels = len(tables.classes)
    counts = np.zeros((n_labels + 1, n_labels + 1), np.int64)
    labels = tables.found.label[found.order]
    np.add.at(counts, (labels[true], labels[true]), 1)

    free = np.zeros(len(tables.truths), bool)
    free[truths.order[~truths.ignored]] = True
    free[truths.order[matches.partner[true]]] = False
    rows = found.order[rest]
    rows = rows[np.argsort(-tables.found.score[rows], kind="stable")].astype(np.int64)
    by_image, starts = counting_order(
        tables.truths.image, np.arange(len(tables.truths), dtype=np.int32), len(tables.image_ids)
    )
    partner = pair_rest(
        rows, tables.found.image, tables.found.xywh, by_image, starts, tables.truths.xywh, free,
        min(threshold, 1 - 1e-10),
    )  # fmt: skip
    of_truth = np.full(len(rows), n_labels)
    of_truth[partner >= 0] = tables.truths.label[partner[partner >= 0]]
    np.add.at(counts, (of_truth, tables.found.label[rows]), 1)
    counts[:, n_labels] += np.bincount(tables.truths.label[free], minlength=n_labels + 1)
    return Confusion(tables.classes, counts, score, threshold)
