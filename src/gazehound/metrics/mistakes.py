"""What the mistakes cost: each kind of error as the AP that fixing it alone would give.

Bolya et al., "TIDE: A General Toolbox for Identifying Object Detection Errors", ECCV 2020, sections
2.1 (the six kinds) and 2.2 (the oracles that fix them), on AP at IoU 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gazehound.kernels.grouping import counting_order
from gazehound.kernels.overlaps import nearest_truths
from gazehound.metrics.coco import rules_of, run_matching
from gazehound.metrics.curves import Curve, mean_of
from gazehound.metrics.tables import Tables

Rows = NDArray[np.int64]

CLASSIFICATION, LOCALISATION, BOTH, DUPLICATE, BACKGROUND = range(5)
KINDS = ("classification", "localisation", "both", "duplicate", "background", "missed")


@dataclass(frozen=True)
class Mistakes:
    """The errors of a detector by kind.

    Attributes:
        base: AP at the threshold; None without truths.
        cost: AP that would be gained if the kind did not exist, by name of ``KINDS``; and of all
            ``false positives`` and all ``misses``.
        counts: how many there are of each kind.
        rows: (F,) false positives, rows of the detection table, by falling score.
        kinds: (F,) index into ``KINDS`` of each.
        target: (F,) truth row that a localisation or classification error meant, else -1.
        overlap: (F,) overlap with that truth, else with the nearest.
        recovers: (F,) bool; fixing this one would find a truth that nothing else finds.
        missed: truth rows that nothing found or nearly found.
    """

    base: float | None
    cost: dict[str, float]
    counts: dict[str, int]
    rows: Rows
    kinds: NDArray[np.int64]
    target: Rows
    overlap: NDArray[np.float64]
    recovers: NDArray[np.bool_]
    missed: Rows


@dataclass(frozen=True)
class _Verdicts:
    """Detections that count, by falling score, and what became of them."""

    rows: Rows
    label: Rows
    score: NDArray[np.float64]
    true: NDArray[np.bool_]
    truth: Rows  # found or meant, -1 for none


def mistakes(
    tables: Tables, threshold: float = 0.5, background: float = 0.1, limit: int = 100
) -> Mistakes:
    """Sort the errors into kinds and price each.

    A false positive is a localisation error when its overlap with a truth of its class lies between
    ``background`` and ``threshold``; a classification error when it overlaps a truth of another class
    by ``threshold``; a duplicate when its truth has a better detection; background when it overlaps
    nothing by ``background``; and both otherwise, asked in this order. A missed truth is one that
    no detection found and no localisation or classification error meant.

    Args:
        tables: truths and detections.
        threshold: overlap of a true positive.
        background: overlap below which a detection shows background.
        limit: detections per image and class.
    """
    verdicts = _verdicts(tables, threshold, limit)
    counts_truth = ~tables.truths.crowd
    wrong = np.flatnonzero(~verdicts.true)
    order, starts = counting_order(
        tables.truths.image, np.arange(len(tables.truths), dtype=np.int32), len(tables.image_ids)
    )
    iou, at = nearest_truths(
        verdicts.rows[wrong], tables.found.image, tables.found.label, tables.found.xywh,
        order, starts, tables.truths.label, tables.truths.xywh, counts_truth,
    )  # fmt: skip
    kinds = _kinds(iou, threshold, background)
    target = np.where(kinds == LOCALISATION, at[:, 0], -1).astype(np.int64)
    target = np.where(kinds == CLASSIFICATION, at[:, 1], target)
    found = np.zeros(len(tables.truths), bool)
    found[verdicts.truth[verdicts.true]] = True
    meant = found.copy()
    meant[target[target >= 0]] = True
    missed = np.flatnonzero(counts_truth & ~meant)
    recovers = np.zeros(len(target), bool)
    lost = np.flatnonzero((target >= 0) & ~found[target]) if len(found) else np.zeros(0, np.int64)
    recovers[lost[np.unique(target[lost], return_index=True)[1]]] = True
    positives = np.bincount(tables.truths.label[counts_truth], minlength=len(tables.classes))
    cost = _prices(tables, verdicts, wrong, kinds, target, missed, positives)
    counts = np.bincount(kinds, minlength=5).tolist()
    return Mistakes(
        base=_mean_precision(verdicts, positives),
        cost=cost,
        counts=dict(zip(KINDS, [*counts, len(missed)], strict=True)),
        rows=verdicts.rows[wrong],
        kinds=kinds,
        target=target,
        overlap=np.where(kinds == CLASSIFICATION, iou[:, 1], iou.max(axis=1)),
        recovers=recovers,
        missed=missed,
    )


def _verdicts(tables: Tables, threshold: float, limit: int) -> _Verdicts:
    found, truths = tables.found_in_order, tables.truths_in_order
    matches = run_matching(tables, rules_of([threshold], [(0.0, 1e10)], limit), partner=True)
    counted = np.flatnonzero((found.rank < limit) & (matches.ignored[0] == 0))
    counted = counted[np.argsort(-found.score[found.order[counted]], kind="stable")]
    rows = found.order[counted].astype(np.int64)
    true = matches.true[0][counted] == 1
    partner = matches.partner[counted]
    if len(truths.order):
        truth = np.where(true, truths.order[partner], -1).astype(np.int64)
    else:
        truth = np.full(len(rows), -1, np.int64)
    label = tables.found.label[rows].astype(np.int64)
    return _Verdicts(rows, label, tables.found.score[rows], true, truth)


def _kinds(iou: NDArray[np.float64], threshold: float, background: float) -> NDArray[np.int64]:
    own, other = iou[:, 0], iou[:, 1]
    tests = [
        (background <= own) & (own < threshold),
        other >= threshold,
        own >= threshold,
        np.maximum(own, other) < background,
    ]
    return np.select(tests, [LOCALISATION, CLASSIFICATION, DUPLICATE, BACKGROUND], BOTH)


def _prices(
    tables: Tables,
    verdicts: _Verdicts,
    wrong: Rows,
    kinds: NDArray[np.int64],
    target: Rows,
    missed: Rows,
    positives: Rows,
) -> dict[str, float]:
    base = _mean_precision(verdicts, positives)
    if base is None:
        return dict.fromkeys((*KINDS, "false positives", "misses"), 0.0)
    cost = {}
    for kind in range(5):
        mine = wrong[kinds == kind]
        if kind in (CLASSIFICATION, LOCALISATION):
            fixed = _moved(tables, verdicts, mine, target[kinds == kind])
        else:
            fixed = _without(verdicts, mine)
        cost[KINDS[kind]] = (_mean_precision(fixed, positives) or 0.0) - base
    n_labels = len(tables.classes)
    fewer = positives - np.bincount(tables.truths.label[missed], minlength=n_labels)
    cost["missed"] = (_mean_precision(verdicts, fewer) or 0.0) - base
    cost["false positives"] = (_mean_precision(_without(verdicts, wrong), positives) or 0.0) - base
    hits = np.bincount(verdicts.label[verdicts.true], minlength=n_labels)
    cost["misses"] = (_mean_precision(verdicts, hits) or 0.0) - base
    return cost


def _without(verdicts: _Verdicts, places: Rows) -> _Verdicts:
    keep = np.ones(len(verdicts.rows), bool)
    keep[places] = False
    return _Verdicts(
        verdicts.rows[keep], verdicts.label[keep], verdicts.score[keep], verdicts.true[keep],
        verdicts.truth[keep],
    )  # fmt: skip


def _moved(tables: Tables, verdicts: _Verdicts, places: Rows, target: Rows) -> _Verdicts:
    """Give these detections the truth they meant; of several for one truth the highest score stays."""
    truth, true, label = verdicts.truth.copy(), verdicts.true.copy(), verdicts.label.copy()
    truth[places], true[places] = target, True
    label[places] = tables.truths.label[target]
    claims = np.flatnonzero(true)
    _, first = np.unique(truth[claims], return_index=True)  # the places fall by score
    lost = np.setdiff1d(claims, claims[first])
    return _without(_Verdicts(verdicts.rows, label, verdicts.score, true, truth), lost)


def _mean_precision(verdicts: _Verdicts, positives: Rows) -> float | None:
    values = []
    for label in range(len(positives)):
        mine = verdicts.true[verdicts.label == label]
        hits = np.cumsum(mine)
        scores = verdicts.score[verdicts.label == label]
        curve = Curve(scores, hits, np.arange(1, len(mine) + 1) - hits, int(positives[label]))
        values.append(curve.at_recalls())
    return mean_of(values)
