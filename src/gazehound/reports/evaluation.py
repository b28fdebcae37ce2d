"""The evaluation report: one HTML file with the numbers, the curves and the worst errors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from gazehound.data.images import read_image
from gazehound.errors import ImageError
from gazehound.metrics import Comparison, Curve, Difference
from gazehound.metrics.diagnosis import Diagnosis
from gazehound.metrics.mistakes import KINDS
from gazehound.metrics.prices import Prices, price_errors
from gazehound.reports.charts import (
    COLOURS,
    Line,
    bar_chart,
    column_chart,
    line_chart,
    matrix_chart,
)  # fmt: skip
from gazehound.reports.drawing import Layer, data_url, draw
from gazehound.reports.page import percent, render

_PICTURES = 12
_FAINT_CURVES = 30
_MATRIX_CLASSES = 24
GRID = np.linspace(0, 1, 201)
_KIND_WORDS = {
    "classification": "wrong class",
    "localisation": "right class, loose box",
    "both": "wrong class, loose box",
    "duplicate": "found twice",
    "background": "nothing there",
    "missed": "not found",
}
_MEANINGS = {
    "AP": "mean over IoU 0.50 to 0.95",
    "AP50": "at IoU 0.50",
    "AP75": "at IoU 0.75",
    "APs": "small objects",
    "APm": "medium objects",
    "APl": "large objects",
    "APr": "rare classes",
    "APc": "common classes",
    "APf": "frequent classes",
}


class Scored(Protocol):
    """A protocol's result."""

    @property
    def summary(self) -> dict[str, float | None]:
        """The headline numbers by name."""
        ...

    @property
    def per_class(self) -> list[dict[str, Any]]:
        """One row per class."""
        ...


@dataclass(frozen=True)
class _Picture:
    """An image with its errors drawn."""

    data: str
    file: str
    price: float
    words: list[str]


def write_evaluation_report(
    path: Path,
    title: str,
    protocol: str,
    result: Scored,
    diagnosis: Diagnosis,
    difference: Difference | None = None,
    comparison: Comparison | None = None,
    images: Path | None = None,
) -> None:
    """Write the report.

    Args:
        path: the HTML file.
        title: what was evaluated.
        protocol: whose rules, in words.
        result: the protocol's numbers.
        diagnosis: curves, errors, calibration, confusion.
        difference: why two protocols differ, if that was asked.
        comparison: with another detector, if that was asked.
        images: folder of the pictures, where the file names of the data are relative.
    """
    tables = diagnosis.tables
    prices = price_errors(tables, diagnosis.mistakes, diagnosis.curves)
    pictures, absent = _gallery(diagnosis, prices, images)
    page = render(
        "evaluation.html",
        title=title,
        facts=[
            ("Protocol", protocol),
            ("Images", f"{len(tables.image_ids):,}"),
            ("Truths", f"{len(tables.truths):,}"),
            ("Detections", f"{len(tables.found):,}"),
            ("Classes", f"{len(tables.classes):,}"),
        ],
        numbers=_numbers(result, diagnosis),
        curve=_precision_recall(diagnosis),
        f1=_score_f1(diagnosis),
        best=diagnosis.best,
        mistakes=_mistakes(diagnosis),
        total=diagnosis.mistakes,
        sizes=_sizes(diagnosis),
        reliability=_reliability(diagnosis),
        calibration=diagnosis.calibration,
        confusion=_confusion(diagnosis),
        confusion_score=diagnosis.confusion.score,
        confused=diagnosis.confusion.mistakes[:10],
        columns=_columns(result),
        rows=_rows(result, diagnosis),
        pictures=pictures,
        absent=absent,
        difference=difference,
        comparison=comparison,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")


def _numbers(result: Scored, diagnosis: Diagnosis) -> list[dict[str, Any]]:
    out = []
    for name, value in result.summary.items():
        hint = _MEANINGS.get(name, "")
        if name == "AP" and "AP75" not in result.summary:
            hint = "mean over the classes"
        if name.startswith("AR") and name[2:].isdigit():
            hint = f"recall, {name[2:]} per image"
        elif name.startswith("AR"):
            hint = {"s": "recall, small", "m": "recall, medium", "l": "recall, large"}[name[2:]]
        out.append({"name": name, "value": percent(value), "hint": hint, "main": name == "AP"})
    interval = diagnosis.interval
    if out and interval and interval.low is not None and "AP75" in result.summary:
        level = f"{100 * interval.level:g}"
        out[0]["hint"] = f"{level} %: {percent(interval.low)} to {percent(interval.high)}"
    return out


def _precision_recall(diagnosis: Diagnosis) -> Markup:
    lines = [best_precision(curve) for curve in _largest(diagnosis.curves)]
    faint = [Line(GRID.tolist(), y.tolist(), colour="#64748b", faint=True) for y in lines]
    bold: list[Line] = []
    for name, curves in (("IoU 0.50", diagnosis.curves), ("IoU 0.75", diagnosis.curves_75)):
        known = [best_precision(curve) for curve in curves if curve.positives]
        if known:
            mean = np.mean(known, axis=0)
            bold.append(Line(GRID.tolist(), mean.tolist(), name, COLOURS[len(bold)]))
    return line_chart([*faint, *bold], "recall", "precision", (0, 1), (0, 1))


def _score_f1(diagnosis: Diagnosis) -> Markup:
    top = max([float(c.scores.max()) for c in diagnosis.curves if len(c.scores)] + [1.0])
    grid = np.linspace(0, top, 201)
    faint = [
        Line(grid.tolist(), _f1_at(curve, grid).tolist(), colour="#64748b", faint=True)
        for curve in _largest(diagnosis.curves)
    ]
    line = Line(grid.tolist(), _f1_at(diagnosis.pooled, grid).tolist(), "all classes", COLOURS[0])
    best = diagnosis.best
    marks = [(best["score"], best["F1"], f"best at {best['score']:.2f}")] if best else []
    return line_chart([*faint, line], "score threshold", "F1", (0, top), (0, 1), marks=marks)


def _largest(curves: list[Curve]) -> list[Curve]:
    """Return the curves of the classes with the most truths, as many as stay readable."""
    known = [curve for curve in curves if curve.positives]
    return sorted(known, key=lambda curve: -curve.positives)[:_FAINT_CURVES]


def best_precision(curve: Curve) -> NDArray[np.float64]:
    """Return the best precision at or beyond each recall of ``GRID``."""
    envelope = np.append(np.maximum.accumulate(curve.precision[::-1])[::-1], 0.0)
    return np.asarray(envelope[np.searchsorted(curve.recall, GRID, side="left")], np.float64)


def _f1_at(curve: Curve, grid: NDArray[np.float64]) -> NDArray[np.float64]:
    kept = np.searchsorted(-curve.scores, -grid, side="right")
    return np.asarray(np.append(0.0, curve.f1)[kept], np.float64)


def _mistakes(diagnosis: Diagnosis) -> Markup:
    errors = diagnosis.mistakes
    costs = [max(errors.cost[kind], 0.0) * 100 for kind in KINDS]
    texts = [f"{c:.1f}  ({errors.counts[k]:,})" for c, k in zip(costs, KINDS, strict=True)]
    colours = [COLOURS[1]] * 5 + [COLOURS[3]]
    return bar_chart(KINDS, costs, "AP50 gained if gone, points (how many)", colours, texts)


def _sizes(diagnosis: Diagnosis) -> Markup:
    names, values, texts = [], [], []
    for piece in diagnosis.sizes:
        wide = np.isinf(piece.high)
        names.append(f"from {piece.low:g} px" if wide else f"{piece.low:g} to {piece.high:g} px")
        values.append(100 * (piece.precision or 0.0))
        texts.append(f"{percent(piece.precision)}  ({piece.truths:,})")
    return bar_chart(names, values, "AP by side of the object (truths)", texts=texts)


def _reliability(diagnosis: Diagnosis) -> Markup:
    piece = diagnosis.calibration
    ideal = Line([0, 1], [0, 1], "ideal", "#5b6878", dashed=True)
    return column_chart(
        piece.edges.tolist(), piece.precision.tolist(), "score", "precision", [ideal], (0, 1)
    )


def _confusion(diagnosis: Diagnosis) -> Markup:
    counts = diagnosis.confusion.counts
    names = [*diagnosis.confusion.classes.names, "background"]
    last = len(names) - 1
    off = counts - np.diag(np.diag(counts))
    busy = (off.sum(axis=0) + off.sum(axis=1))[:last]
    chosen = np.sort(np.argsort(-busy, kind="stable")[:_MATRIX_CLASSES])
    chosen = np.append(chosen, last)
    shown = [names[k] for k in chosen]
    cells = counts[np.ix_(chosen, chosen)].tolist()
    return matrix_chart(cells, shown, shown, "truth", "detected as")


def _columns(result: Scored) -> list[str]:
    rows = result.per_class
    return [key for key in rows[0] if key not in ("name", "id")] if rows else []


def _rows(result: Scored, diagnosis: Diagnosis) -> list[dict[str, Any]]:
    best = {
        name: curve.best()
        for name, curve in zip(diagnosis.tables.classes.names, diagnosis.curves, strict=True)
    }
    return [{**row, "best": best[row["name"]]} for row in result.per_class]


def _gallery(
    diagnosis: Diagnosis, prices: Prices, folder: Path | None
) -> tuple[list[_Picture], str]:
    """Return the images whose errors cost most, and why there are none if there are none."""
    files = diagnosis.tables.files
    worst = np.argsort(-prices.by_image, kind="stable")
    worst = worst[prices.by_image[worst] > 0]
    out: list[_Picture] = []
    absent = ""
    for image in worst.tolist():
        if len(out) == _PICTURES:
            break
        name = files[image] if image < len(files) else ""
        file = (folder or Path()) / name
        if not name or not file.is_file():
            absent = absent or (str(file) if name else "the annotations name no image files")
            if not out and image == worst[min(len(worst) - 1, 50)]:
                break  # the folder is wrong: do not look for thousands of files
            continue
        try:
            out.append(_picture(diagnosis, prices, image, file))
        except ImageError as error:
            absent = absent or str(error)
    return out, absent


def _picture(diagnosis: Diagnosis, prices: Prices, image: int, file: Path) -> _Picture:
    """Draw the errors of one image: truths dashed, false positives solid, missed truths red."""
    tables, errors = diagnosis.tables, diagnosis.mistakes
    wrong = np.flatnonzero(tables.found.image[errors.rows] == image)
    wrong = wrong[np.argsort(-prices.false[wrong], kind="stable")][:6]
    wrong = wrong[prices.false[wrong] > 0]
    missed = errors.missed[tables.truths.image[errors.missed] == image]
    rows = errors.rows[wrong]
    truths = np.union1d(missed, errors.target[wrong][errors.target[wrong] >= 0]).astype(np.int64)
    red = np.isin(truths, missed)
    picture = draw(
        read_image(file),
        Layer(
            _corners(tables.truths.xywh[truths]), tables.truths.label[truths].astype(np.int64),
            tables.classes, dashed=True,
            colours=[(185, 28, 28) if one else (120, 130, 145) for one in red],
        ),
        Layer(
            _corners(tables.found.xywh[rows]), tables.found.label[rows].astype(np.int64),
            tables.classes, tables.found.score[rows].astype(np.float32),
        ),
    )  # fmt: skip
    names = tables.classes.names
    words = [
        f"{names[tables.found.label[errors.rows[w]]]} {tables.found.score[errors.rows[w]]:.2f}: "
        f"{_KIND_WORDS[KINDS[errors.kinds[w]]]}"
        + (
            f" ({names[tables.truths.label[errors.target[w]]]})"
            if KINDS[errors.kinds[w]] == "classification"
            else ""
        )
        for w in wrong[:3]
    ]
    if len(missed):
        words.append(f"missed: {_listed([names[k] for k in tables.truths.label[missed]])}")
    return _Picture(data_url(picture), file.name, float(prices.by_image[image]), words)


def _listed(names: list[str]) -> str:
    """Return names with how often each occurs."""
    counts = {name: names.count(name) for name in dict.fromkeys(names)}
    return ", ".join(name if count == 1 else f"{count} {name}" for name, count in counts.items())


def _corners(xywh: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1).astype(np.float32)
