"""Anchors, and who learns what: the same picture divided up by several assigners side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gazehound.explain.canvas import Canvas
from gazehound.explain.colours import QUIET, colour_of, heat
from gazehound.explain.matching import Matched, matched
from gazehound.explain.panels import Figure, Panel, Table
from gazehound.explain.run import Run, host, no_gradient
from gazehound.nn.assigners.assigner import Assigner
from gazehound.nn.assigners.assignment import Assignment, State
from gazehound.nn.assigners.atss import ATSSAssigner
from gazehound.nn.assigners.max_iou import MaxIoUAssigner
from gazehound.nn.assigners.ota import OTAAssigner
from gazehound.nn.assigners.simota import SimOTAAssigner

SHOWN = 120  # boxes of a level
DOTS = 1500  # of an assignment
SIDE_BY_SIDE: tuple[tuple[str, Callable[[], Assigner], bool, str], ...] = (
    (
        "max-IoU",
        MaxIoUAssigner,
        False,
        "IoU of 0.5 and more, and each object's best (Ren et al. 2015).",
    ),
    (
        "ATSS",
        ATSSAssigner,
        False,
        "IoU above the mean plus deviation of the nearest (Zhang et al. 2020).",
    ),
    ("SimOTA", SimOTAAssigner, True, "The cheapest few of each object (Ge et al. 2021, YOLOX)."),
    ("OTA", OTAAssigner, True, "The cheapest transport of all supplies (Ge et al. 2021)."),
)
"""Name, the assigner, whether it reads predictions, and what it does."""


def panels(run: Run) -> list[Panel]:
    """Return the panels on candidates and their truths; none for what assigns nothing."""
    match = matched(run)
    if match is None:
        return []
    return [
        *_confidence(run, match),
        _levels(run, match),
        _side_by_side(run, match),
    ]


def grid_of(match: Matched, level: int) -> tuple[int, int]:
    """Return (rows, columns) of the cells of a level."""
    start = sum(match.candidates.lengths[:level])
    centres = host(match.candidates.centres)[start : start + match.candidates.lengths[level]]
    columns = len(np.unique(np.round(centres[:, 0])))
    rows = len(np.unique(np.round(centres[:, 1])))
    return rows, columns


def _confidence(run: Run, match: Matched) -> list[Panel]:
    """Draw the highest class probability of each cell, level by level."""
    if match.predictions is None or not match.even:
        return []
    logits = host(match.predictions.logits)[0].astype(np.float64).max(axis=1)
    scores = 1 / (1 + np.exp(-logits))
    if match.predictions.quality is not None:
        scores = scores / (1 + np.exp(-host(match.predictions.quality)[0].astype(np.float64)))
    figures, start, per_level = [], 0, []
    for level, length in enumerate(match.candidates.lengths):
        rows, columns = grid_of(match, level)
        own, first = scores[start : start + length], start
        start += length
        per_level.append(float(own.max(initial=0)))
        if own.size % (rows * columns):
            continue
        cells = own.reshape(rows, columns, -1).max(axis=2)
        canvas = run.canvas().photo()
        alpha = np.full(cells.shape, 215, np.uint8)
        canvas.image(np.dstack([heat(cells), alpha]), _grid_box(run, match, level, first))
        figures.append(Figure(canvas.svg("highest score of each cell"),
                              f"Level {level + 1}: {columns} x {rows} cells",
                              f"Highest {cells.max():.2f}; a cell is "
                              f"{_stride(run, match, level):.3g} pixels wide."))  # fmt: skip
    return [
        Panel(
            "confidence",
            "Where the head says yes",
            "For every cell, the highest probability over classes and anchors, times objectness or quality "
            "where a branch says that: what the network believes before anything is decoded or suppressed. "
            "An object should light up on the level of its size; nearly all cells are background and must "
            "stay dark, the imbalance that the focal loss was made for (Lin et al. 2017, section 3).",
            tuple(figures),
            {"highest": per_level},
            columns=3,
        )
    ]


def _grid_box(run: Run, match: Matched, level: int, first: int) -> NDArray[np.float64]:
    """Return the ``xyxy`` of a level's cells in the picture, each around its candidates' centre."""
    rows, columns = grid_of(match, level)
    stride = match.candidates.strides[level]
    corner = host(match.candidates.centres)[first].astype(np.float64) - stride / 2
    far = corner + stride * np.array([columns, rows])
    return run.to_image(np.concatenate([corner, far])[None]).reshape(4)


def _stride(run: Run, match: Matched, level: int) -> float:
    return match.candidates.strides[level] / float(run.geometry.scale[0])


def _levels(run: Run, match: Matched) -> Panel:
    truth, state = host(match.result.truth)[0], host(match.result.state)[0]
    boxes = run.to_image(match.candidates.boxes)
    positive = state == State.POSITIVE
    figures, counts, start = [], [], 0
    for level, length in enumerate(match.candidates.lengths):
        rows = np.arange(start, start + length)
        start += length
        own = rows[positive[rows]]
        counts.append(len(own))
        canvas = run.canvas().photo(0.35)
        sample = _one_cell(match, boxes, rows)
        for row in sample:
            canvas.box(boxes[row], "#ffffff", width=1.2, opacity=0.9, dash="3 3")
        for row in own[:SHOWN]:
            colour = colour_of(int(truth[row]))
            title = f"matched to object {int(truth[row]) + 1}"
            canvas.box(boxes[row], colour, width=1.3, opacity=0.85, title=title)
        _objects(run, canvas)
        figures.append(
            Figure(canvas.svg("anchors of a level"),
                   f"Level {level + 1}: {length:,} candidates, stride {match.candidates.strides[level]}",
                   f"{len(own):,} learn an object; dashed white: those of one cell.")
        )  # fmt: skip
    return Panel(
        "anchors",
        "Anchors by level and the object each would learn",
        "Every cell of every level has a few boxes, from which the network predicts by moving them; which of "
        "them is responsible for which object decides what it learns (Ren et al. 2015, section 3.1). "
        f"Here the detector's own assigner, {match.name}, has been asked about this picture; anchors have "
        "the colour of their object.",
        tuple(figures),
        {"per_level": counts, "positive": int(positive.sum()), "assignment": match.result},
        run.objects_are,
        columns=3,
    )


def _one_cell(
    match: Matched, boxes: NDArray[np.float64], rows: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the candidates of the cell nearest to the middle of the level."""
    centres = (boxes[rows, :2] + boxes[rows, 2:]) / 2
    middle = np.median(centres, axis=0)
    away = np.abs(centres - middle).sum(axis=1)
    nearest = centres[away.argmin()]
    return np.asarray(rows[np.abs(centres - nearest).max(axis=1) < 0.5])


def _objects(run: Run, canvas: Canvas) -> None:
    for number, box in enumerate(run.objects[0]):
        canvas.box(box, colour_of(number), width=2.6)


def compared(match: Matched) -> list[tuple[str, Assignment | None, str, bool]]:
    """Return name, assignment, what it does and whether it is the detector's own, of all assigners.

    No assignment where the assigner weighs predictions that this detector has none of.
    """
    out: list[tuple[str, Assignment | None, str, bool]] = []
    with no_gradient():
        for name, make, reads, words in SIDE_BY_SIDE:
            assigner = make()
            if type(match.assigner) is type(assigner):
                out.append((name, match.result, _own_words(match, words), True))
            elif not match.even or (reads and match.predictions is None):
                out.append((name, None, words, False))
            else:
                found = assigner(match.candidates, match.targets, match.predictions)  # type: ignore[arg-type]
                out.append((name, found, words, False))
    if not any(own for *_, own in out):
        out.insert(0, (match.name, match.result, "The rule that this detector learns by.", True))
    return out


def _own_words(match: Matched, words: str) -> str:
    """Return what the detector's own assigner does; of thresholds, its own ones."""
    if not isinstance(match.assigner, MaxIoUAssigner):
        return words
    best = ", and each object's best" if match.assigner.keep_best else ""
    return (
        f"IoU of {match.assigner.positive:g} and more{best}; background under "
        f"{match.assigner.negative:g} (Ren et al. 2015)."
    )


def _side_by_side(run: Run, match: Matched) -> Panel:
    centres = run.to_image(np.tile(host(match.candidates.centres), 2))[:, :2]
    stride = host(match.candidates.stride)
    rows = compared(match)
    figures, table, values = [], [], {}
    for name, assignment, words, own in rows:
        if assignment is None:
            continue
        truth, state = host(assignment.truth)[0], host(assignment.state)[0]
        positive = state == State.POSITIVE
        values[name] = int(positive.sum())
        title = f"{name}: {values[name]:,} positive" + (" (its own)" if own else "")
        figures.append(Figure(_map(run, centres, stride, truth, state), title, words))
        of_each = np.bincount(truth[positive], minlength=len(run.objects[0]))
        table.append((name, f"{values[name]:,}", f"{int((state == State.IGNORED).sum()):,}",
                      f"{of_each.min()}", f"{np.median(of_each):g}", f"{of_each.max()}"))  # fmt: skip
    left_out = [name for name, assignment, *_ in rows if assignment is None]
    notes = [run.objects_are] if run.objects_are else []
    if left_out:
        notes.append(
            f"{' and '.join(left_out)} need what this detector does not have: predictions of each "
            "candidate at assignment time, or equally many candidates in all cells."
        )
    return Panel(
        "assignments",
        "The same picture, divided by four assigners",
        "Each dot is a candidate that would learn the object of its colour, small dots on fine levels and "
        "large ones on coarse; grey ones are left out of the loss. Fixed thresholds favour objects that "
        "happen to fit an anchor, ATSS adapts the threshold to each object, and SimOTA and OTA also ask "
        "what the network already predicts there (Ge et al. 2021, OTA, section 3).",
        tuple(figures),
        values,
        " ".join(notes),
        legend=((QUIET, "ignored"),),
        table=Table(
            ("assigner", "positive", "ignored", "least per object", "median", "most"), tuple(table)
        ),
    )


def _map(
    run: Run,
    centres: NDArray[np.float64],
    stride: NDArray[Any],
    truth: NDArray[np.int64],
    state: NDArray[Any],
) -> Any:
    canvas = run.canvas().photo(0.45)
    size = 0.35 + 0.28 * np.log2(np.maximum(stride / stride.min(), 1))
    generator = np.random.default_rng(0)
    ignored = np.flatnonzero(state == State.IGNORED)
    if len(ignored) > DOTS:
        ignored = generator.choice(ignored, DOTS, replace=False)
    for row in _inside(run, centres, ignored):
        canvas.dot(centres[row], QUIET, radius=0.3, ring=False)
    _objects(run, canvas)
    positive = np.flatnonzero(state == State.POSITIVE)
    if len(positive) > DOTS:
        positive = np.sort(generator.choice(positive, DOTS, replace=False))
    for row in positive[::-1]:  # coarse levels first, so that fine ones stay visible
        canvas.dot(centres[row], colour_of(int(truth[row])), radius=float(size[row]))
    return canvas.svg("which places learn which object")


def _inside(run: Run, centres: NDArray[np.float64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    height, width = run.size
    own = centres[rows]
    return rows[((own >= 0) & (own <= (width, height))).all(axis=1)]
