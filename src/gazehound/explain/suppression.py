"""From many boxes to one per object: who dropped whom, and whether scores know about overlaps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gazehound.boxes.formats import area
from gazehound.boxes.iou import pairwise
from gazehound.explain.canvas import Canvas
from gazehound.explain.colours import DROPPED, KEPT, TRUTH, colour_of
from gazehound.explain.panels import Figure, Panel, Table
from gazehound.explain.plots import Dots, unit_scatter
from gazehound.explain.run import Run, host
from gazehound.nn.proposals import Proposals
from gazehound.watching import Merging, Suppression

MOST = 300  # boxes drawn
NAMED = 12  # boxes with a number beside them
ROWS = 12  # of the table


@dataclass(frozen=True)
class Drop:
    """A suppression in numbers; N candidates, pixels of the picture.

    Attributes:
        boxes: (N, 4) ``xyxy``.
        scores: (N,).
        groups: (N,) class of each.
        kept: (K,) rows that stayed, best first.
        by: (N,) the row that dropped each; -1 for those that stayed.
        overlap: (N,) with that row.
        threshold: above it a worse box is dropped.
        covered: the overlap is the share covered, not the IoU.
        returned: rows of ``kept`` that became detections.
    """

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    groups: NDArray[np.int64]
    kept: NDArray[np.int64]
    by: NDArray[np.int64]
    overlap: NDArray[np.float64]
    threshold: float
    covered: bool
    returned: int


def final_suppressions(run: Run) -> list[Suppression]:
    """Return the suppressions that made the detections: those after the last proposals, if any."""
    places = [k for k, step in enumerate(run.steps) if isinstance(step, Proposals)]
    tail = run.steps[places[-1] + 1 :] if places else run.steps
    found = [step for step in tail if isinstance(step, Suppression)]
    return found or run.shown(Suppression)[-1:]  # a proposal network's proposals are its detections


def explained(steps: Sequence[Suppression], run: Run) -> Drop:
    """Put suppressions together, one per class perhaps, and say who dropped whom.

    In greedy suppression a box is dropped by the first kept one, from the best down, that overlaps it
    above the threshold.
    """
    parts = [_with_droppers(step) for step in steps]
    start = np.cumsum([0, *(len(by) for by, _ in parts)])
    kept = np.concatenate([host(s.kept) + at for s, at in zip(steps, start, strict=False)])
    scores = np.concatenate([host(s.scores) for s in steps]).astype(np.float64)
    order = np.argsort(-scores[kept], kind="stable")
    cuts = [len(host(s.kept)) if s.cut is None else min(s.cut, len(host(s.kept))) for s in steps]
    return Drop(
        run.to_image(np.concatenate([host(s.boxes) for s in steps])),
        scores,
        np.concatenate([host(s.groups) for s in steps]).astype(np.int64),
        kept[order].astype(np.int64),
        np.concatenate(
            [np.where(by < 0, -1, by + at) for (by, _), at in zip(parts, start, strict=False)]
        ),
        np.concatenate([overlap for _, overlap in parts]),
        steps[0].overlap,
        steps[0].covered,
        sum(cuts),
    )


def _with_droppers(step: Suppression) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    boxes, groups, kept = host(step.boxes), host(step.groups), host(step.kept).astype(np.int64)
    by, overlap = np.full(len(boxes), -1), np.zeros(len(boxes))
    dropped = np.setdiff1d(np.arange(len(boxes)), kept)
    if len(dropped) and len(kept):
        shares = overlaps(boxes[dropped], boxes[kept], step.covered)
        worse = host(step.scores)[dropped, None] <= host(step.scores)[kept]
        takes = (shares > step.overlap) & (groups[dropped, None] == groups[kept]) & worse
        first = takes.argmax(axis=1)
        some = takes.any(axis=1)
        by[dropped[some]] = kept[first[some]]
        overlap[dropped] = shares[np.arange(len(dropped)), first] * some
    return by, overlap


def overlaps(boxes: NDArray[Any], others: NDArray[Any], covered: bool) -> NDArray[Any]:
    """Return the IoU (N, M), or the share of each box that each other one covers."""
    if not covered:
        return np.asarray(pairwise(boxes, others))
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return np.asarray(
        np.maximum(high - low, 0).prod(axis=2) / np.maximum(area(boxes), 1e-6)[:, None]
    )


def panels(run: Run) -> list[Panel]:
    """Return the panels on candidates and what became of them."""
    merges = run.shown(Merging)
    steps = final_suppressions(run)
    if merges:
        return [_merging(run, merges), *_judged_merges(run, merges)]
    if not steps:
        return _judged_detections(run)
    drop = explained(steps, run)
    return [_suppression(run, drop), *_judged(run, drop)]


def _suppression(run: Run, drop: Drop) -> Panel:
    dropped = int((drop.by >= 0).sum())
    rank = {int(row): number for number, row in enumerate(drop.kept)}
    rule = (
        f"a worse box goes when a better one covers more than {drop.threshold:g} of its area "
        "(Felzenszwalb et al. 2010, section 7.2)"
        if drop.covered
        else f"a worse box goes when its IoU with a better one of its class is above "
        f"{drop.threshold:g} (Girshick et al. 2014, R-CNN, section 2.2)"
    )
    return Panel(
        "suppression",
        "Boxes before and after suppression",
        "A detector answers many times for one object, because neighbouring windows, anchors or cells "
        f"see nearly the same. Greedy suppression goes from the best score down: {rule}.",
        (
            Figure(
                _all_candidates(run, drop),
                f"Before: {len(drop.boxes):,} candidates",
                f"The stronger the line, the higher the score{_most(len(drop.boxes))}.",
            ),
            Figure(
                _who_dropped(run, drop, rank),
                f"After: {len(drop.kept):,} stay",
                "Bold boxes stay; thin ones in the same colour are what each of them dropped. "
                "Point at a box to read its score and overlap.",
            ),
        ),
        {
            "candidates": len(drop.boxes),
            "kept": len(drop.kept),
            "dropped": dropped,
            "by": drop.by,
            "rows": drop.kept,
            "returned": drop.returned,
        },
        table=_table(run, drop, rank),
    )


def _most(count: int) -> str:
    return f"; the best {MOST} are drawn" if count > MOST else ""


def _all_candidates(run: Run, drop: Drop) -> Any:
    canvas = run.canvas().photo(0.35)
    order = np.argsort(-drop.scores, kind="stable")[:MOST]
    strength = _strength(drop.scores[order])
    for row, power in zip(order[::-1], strength[::-1], strict=True):
        canvas.box(drop.boxes[row], "#ffd43b", width=1.2, opacity=0.15 + 0.85 * power)
    return canvas.svg("all candidate boxes")


def _strength(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = (float(scores.min()), float(scores.max())) if len(scores) else (0.0, 1.0)
    return (scores - low) / (high - low) if high > low else np.ones_like(scores)


def _who_dropped(run: Run, drop: Drop, rank: dict[int, int]) -> Any:
    canvas = run.canvas().photo(0.25)
    drawn = drop.kept[: max(len(run.best), 1)]
    numbers = {int(row): rank[int(row)] for row in drawn}
    dropped = np.flatnonzero(drop.by >= 0)
    for row in dropped[np.argsort(-drop.scores[dropped], kind="stable")][:MOST][::-1]:
        if int(drop.by[row]) in numbers:
            number = numbers[int(drop.by[row])]
            title = (
                f"{run.name(int(drop.groups[row]))} {drop.scores[row]:.2f}: dropped by "
                f"#{number + 1}, overlap {drop.overlap[row]:.2f}"
            )
            canvas.box(drop.boxes[row], colour_of(number), width=0.9, opacity=0.55, title=title)
    for row in drawn[::-1]:
        number = numbers[int(row)]
        title = f"#{number + 1} {run.name(int(drop.groups[row]))} {drop.scores[row]:.2f}"
        canvas.box(drop.boxes[row], colour_of(number), width=3, title=title)
    for row in drawn[:NAMED]:
        x, y = drop.boxes[row, :2]
        canvas.label(x, y, f"#{numbers[int(row)] + 1}", colour_of(numbers[int(row)]))
    return canvas.svg("kept boxes and the boxes that each of them dropped")


def _table(run: Run, drop: Drop, rank: dict[int, int]) -> Table | None:
    """Return what each of the best kept boxes dropped."""
    if not (drop.by >= 0).any():
        return None
    rows = []
    for row in drop.kept[:ROWS]:
        own = np.flatnonzero(drop.by == row)
        best = own[drop.scores[own].argmax()] if len(own) else -1
        rows.append(
            (
                f"#{rank[int(row)] + 1}",
                run.name(int(drop.groups[row])),
                f"{drop.scores[row]:.3f}",
                f"{len(own):,}",
                f"{drop.scores[best]:.3f}" if len(own) else "–",
                f"{drop.overlap[best]:.2f}" if len(own) else "–",
                f"{drop.overlap[own].min():.2f}" if len(own) else "–",
            )
        )
    measure = "share covered" if drop.covered else "IoU"
    head = ("kept", "class", "score", "dropped", "the best of them", f"its {measure}", "lowest")
    return Table(head, tuple(rows))


def _merging(run: Run, merges: Sequence[Merging]) -> Panel:
    before = run.canvas().photo(0.35)
    after = run.canvas().photo(0.1)
    many = sum(len(m.boxes) for m in merges)
    few = sum(len(m.merged) for m in merges)
    for merge in merges:
        for box in run.to_image(merge.boxes)[:MOST]:
            before.box(box, "#ffd43b", width=1.1, opacity=0.6)
        for number, box in enumerate(run.to_image(merge.merged)):
            after.box(box, colour_of(number), width=3)
    return Panel(
        "grouping",
        "Windows before and after grouping",
        "Every object is found several times, in neighbouring places and at neighbouring scales. Windows "
        "that agree are averaged into one, and a group with too few members is taken for chance "
        "(Viola and Jones 2004, section 5.6).",
        (
            Figure(before.svg("all windows"), f"Before: {many:,} windows"),
            Figure(after.svg("one box per group"), f"After: {few:,} boxes"),
        ),
        {"candidates": many, "kept": few},
    )


def _judged_merges(run: Run, merges: Sequence[Merging]) -> list[Panel]:
    boxes = np.concatenate([run.to_image(m.boxes) for m in merges])
    scores = np.concatenate([host(m.scores) for m in merges]).astype(np.float64)
    labels = np.concatenate([np.full(len(m.boxes), m.label) for m in merges])
    return _scatter(run, boxes, scores, labels, np.zeros(len(boxes), bool), "averaged into a group")


def _judged_detections(run: Run) -> list[Panel]:
    boxes, scores = (np.asarray(v, np.float64) for v in (run.found.boxes, run.found.scores))
    return _scatter(run, boxes, scores, run.found.labels, np.ones(len(boxes), bool), "")


def _judged(run: Run, drop: Drop) -> list[Panel]:
    kept = np.zeros(len(drop.boxes), bool)
    kept[drop.kept] = True
    return _scatter(run, drop.boxes, drop.scores, drop.groups, kept, "dropped")


def _scatter(
    run: Run,
    boxes: NDArray[np.float64],
    scores: NDArray[np.float64],
    labels: NDArray[np.int64],
    kept: NDArray[np.bool_],
    otherwise: str,
) -> list[Panel]:
    truths, classes = run.objects
    if not len(truths) or not len(boxes):
        return []
    same = labels[:, None] == classes[None]
    best = np.where(same, pairwise(boxes.astype(np.float32), truths), 0.0).max(axis=1)
    sure = scores.min() >= 0 and scores.max() <= 1  # else they are margins
    heights = scores if sure else _strength(scores)
    rows = np.argsort(-scores, kind="stable")[: 4 * MOST]
    lost, stay = rows[~kept[rows]], rows[kept[rows]]
    chart = unit_scatter(
        (
            Dots(best[lost].tolist(), heights[lost].tolist(), DROPPED, otherwise, 3.2),
            Dots(best[stay].tolist(), heights[stay].tolist(), KEPT, "kept", 4.5),
        ),
        "IoU with the truth of its class"
        if run.truths is not None
        else "IoU with the final detection",
        "score" if sure else "margin, from the lowest to the highest",
        "score against overlap of every candidate",
    )
    canvas = _lost_truths(run, boxes, kept, labels)
    return [
        Panel(
            "score-iou",
            "Score against overlap",
            "Whoever keeps the best scores trusts that a score rises with the overlap; where it does not, "
            "the better placed box is lost. IoU-Net (Jiang et al. 2018, figure 2) drew this plot; the "
            "centre-ness of FCOS, the joint quality of GFL and PAA's IoU branch are answers to it.",
            (
                Figure(chart, "Each dot is a candidate", "Upper right: sure and right. Upper left: sure "
                       "and wrong. Lower right: well placed, but nobody "
                       f"will know.{_best_drawn(len(boxes))}"),
                Figure(canvas, "The candidate of highest overlap, whatever its score",
                       "Dashed: the truth. Solid: the best candidate there was for it."),
            ),
            {"iou": best, "score": scores, "kept": kept},
            run.objects_are,
            legend=((KEPT, "kept"), *(((DROPPED, otherwise),) if otherwise else ()), (TRUTH, "truth")),
        )
    ]  # fmt: skip


def _best_drawn(count: int) -> str:
    return f" The {4 * MOST:,} best of {count:,} are drawn." if count > 4 * MOST else ""


def _lost_truths(
    run: Run, boxes: NDArray[np.float64], kept: NDArray[np.bool_], labels: NDArray[np.int64]
) -> Any:
    truths, classes = run.objects
    canvas: Canvas = run.canvas().photo(0.25)
    overlap = pairwise(truths, boxes.astype(np.float32))
    overlap = np.where(classes[:, None] == labels[None], overlap, -1.0)
    for truth, row in zip(truths, overlap, strict=True):
        canvas.box(truth, TRUTH, width=2, dash="5 4")
        best = int(row.argmax())
        if row[best] > 0:
            title = f"IoU {row[best]:.2f}, {'kept' if kept[best] else 'not kept'}"
            canvas.box(boxes[best], KEPT if kept[best] else DROPPED, width=2.2, title=title)
    return canvas.svg("best candidate of each truth")
