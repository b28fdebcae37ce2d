"""The report of a training run: one HTML file with its facts, curves, tables and pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from gazehound.errors import DataError
from gazehound.metrics.coco import CocoResult
from gazehound.metrics.evaluation import Evaluation
from gazehound.records import Classes, Detections, Sample
from gazehound.reports.charts import COLOURS, Line, line_chart
from gazehound.reports.drawing import colour_of
from gazehound.reports.page import percent, render
from gazehound.reports.pictures import Judged, choose, judge, show

PICTURES = 16
NAMED_CURVES = 8  # classes with a curve in a colour of its own; more become a grey bundle
DEFAULT_SCORE = 0.3  # for the pictures, where no better one is known
_HINTS = {
    "AP": "mean over IoU 0.50 to 0.95",
    "AP50": "at IoU 0.50",
    "AP75": "at IoU 0.75",
    "APs": "objects under 32 px",
    "APm": "32 to 96 px",
    "APl": "over 96 px",
    "AR100": "recall, 100 per image",
}
_SECTIONS = {
    "all": ("Pictures", "Every picture that was looked at, from the best to the worst."),
    "typical": ("Pictures", "Evenly spread from the better to the worse ones."),
    "worst": (
        "Worst pictures",
        "Where most was missed or invented: look here for what to do next.",
    ),
    "best": ("Best pictures", "Where nearly everything was right."),
}


def write_run_report(
    out: str | Path,
    *,
    title: str,
    facts: Mapping[str, str],
    history: Sequence[Mapping[str, float]],
    evaluation: Evaluation | CocoResult | None = None,
    gallery: Sequence[tuple[Sample, Detections]] = (),
    steps: Sequence[Mapping[str, float]] = (),
    score: float | None = None,
) -> Path:
    """Write the report.

    Args:
        out: the HTML file.
        title: what was trained, such as ``RetinaNet on blood cells``.
        facts: name and value of what one wants to know later: model, data, seed, time, machine,
            command.
        history: a row per epoch: ``epoch`` and any of ``loss...``, ``lr``, ``AP``, ``AP50``, ...;
            a number that was not measured is absent.
        evaluation: of the validation split, by the best weights; ``None`` when there was none.
        gallery: samples with what was found in them; those worth showing are chosen. Pictures are
            read from their files where ``image`` is ``None``.
        steps: a row per optimiser step: ``step`` and the losses.
        score: threshold for the pictures; default the one with the best F1.

    Returns:
        The file.

    Raises:
        DataError: the file cannot be written.
    """
    result = evaluation.coco() if isinstance(evaluation, Evaluation) else evaluation
    limit = score if score is not None else best_score(result)
    judged = [judge(sample, found, limit) for sample, found in gallery]
    page = render(
        "run.html",
        title=title,
        subtitle=_in_words(history, result),
        facts=list(facts.items()),
        numbers=_numbers(result),
        losses=_loss_chart(history, steps),
        scores=_score_chart(history),
        rate=_rate_chart(history),
        curve=_precision_recall(result),
        columns=_columns(result),
        rows=_rows(result),
        score=limit,
        sections=_sections(judged),
    )
    path = Path(out)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror})") from None
    return path


def best_score(result: CocoResult | None) -> float:
    """Return the median over the classes of the score with the best F1 at IoU 0.5."""
    if result is None:
        return DEFAULT_SCORE
    known = [best["score"] for best in map(_best, _curves(result)) if best]
    return float(np.median(known)) if known else DEFAULT_SCORE


@dataclass(frozen=True)
class _Curve:
    """Precision and score at COCO's recall levels, of one class."""

    name: str
    truths: int
    precision: NDArray[np.float64]
    scores: NDArray[np.float64]
    recalls: NDArray[np.float64]


def _curves(result: CocoResult) -> list[_Curve]:
    """Return the curve at IoU 0.5 (or the lowest evaluated) of every class that has truths."""
    at = int(np.abs(result.thresholds - 0.5).argmin())
    out = []
    for label, name in enumerate(result.classes.names):
        if result.positives[label, 0] > 0:
            precision = result.precision[at, :, label, 0, -1]
            scores = result.scores[at, :, label, 0, -1]
            truths = int(result.positives[label, 0])
            out.append(_Curve(name, truths, precision, scores, result.recalls))
    return out


def _best(curve: _Curve) -> dict[str, float] | None:
    """Return score, precision and recall where F1 is highest."""
    total = curve.precision + curve.recalls
    f1 = 2 * curve.precision * curve.recalls / np.where(total > 0, total, 1.0)
    at = int(f1.argmax())
    if f1[at] <= 0:
        return None
    return {
        "score": float(curve.scores[at]),
        "precision": float(curve.precision[at]),
        "recall": float(curve.recalls[at]),
        "F1": float(f1[at]),
    }


def _in_words(history: Sequence[Mapping[str, float]], result: CocoResult | None) -> str:
    epochs = f"{len(history)} epoch{'s' if len(history) != 1 else ''}"
    summary = result.summary if result is not None else {}
    ap, ap50 = summary.get("AP"), summary.get("AP50")
    if ap is None:
        return f"Trained for {epochs}; there is no evaluation."
    text = f"After {epochs} the detector reaches AP {percent(ap)}"
    return f"{text} (AP50 {percent(ap50)}) on the validation images."


def _numbers(result: CocoResult | None) -> list[dict[str, Any]]:
    summary = result.summary if result is not None else {}
    return [
        {"name": name, "value": percent(summary[name]), "hint": hint, "main": name == "AP"}
        for name, hint in _HINTS.items()
        if name in summary
    ]


def _series(rows: Sequence[Mapping[str, float]], x: str, key: str) -> Line | None:
    """Return one column as a curve; rows without it are passed over."""
    points = [(row[x], row[key]) for row in rows if key in row and x in row]
    points = [(a, b) for a, b in points if math.isfinite(b)]
    if not points:
        return None
    return Line([a for a, _ in points], [b for _, b in points])


def _loss_chart(
    history: Sequence[Mapping[str, float]], steps: Sequence[Mapping[str, float]]
) -> Markup | None:
    """Draw the losses: by step where there are many, smoothed, else by epoch."""
    if len(steps) >= 20:
        names = _in_order([key for key in steps[0] if key not in ("step", "epoch", "lr")])
        lines = [_smooth(_series(steps, "step", key)) for key in names]
        label = "optimiser step"
    else:
        names = _in_order(list(dict.fromkeys(k for row in history for k in row if "loss" in k)))
        lines, label = [_series(history, "epoch", key) for key in names], "epoch"
    drawn = [
        Line(line.x, line.y, _plain(name), COLOURS[k % len(COLOURS)])
        for k, (name, line) in enumerate(zip(names, lines, strict=True))
        if line is not None
    ]
    if not drawn:
        return None
    top = _robust_top([value for line in drawn for value in line.y])
    return line_chart(drawn, label, "loss", y_range=(0.0, top))


def _in_order(names: Sequence[str]) -> list[str]:
    """Put the total first."""
    return sorted(names, key=lambda name: "total" not in name and name != "loss")


def _plain(name: str) -> str:
    return name.removeprefix("train_").removeprefix("loss_").replace("_", " ")


def _smooth(line: Line | None) -> Line | None:
    """Return the mean over windows, about 150 points in all."""
    if line is None:
        return None
    window = max(1, len(line.y) // 150)
    count = len(line.y) // window * window
    x, y = (
        np.asarray(values, np.float64)[:count].reshape(-1, window).mean(axis=1)
        for values in (line.x, line.y)
    )
    return Line(x.tolist(), y.tolist())


def _robust_top(values: Sequence[float]) -> float:
    """Return the upper end of an axis that a few early spikes do not stretch."""
    most, usual = max(values), float(np.quantile(values, 0.98))
    return 1.05 * (most if most <= 2 * usual else 1.5 * usual) or 1.0


def _score_chart(history: Sequence[Mapping[str, float]]) -> Markup | None:
    lines = []
    for k, name in enumerate(("AP", "AP50", "AP75")):
        line = _series(history, "epoch", name)
        if line is not None:
            values = [100 * value for value in line.y]
            lines.append(Line(line.x, values, name, COLOURS[k]))
    if not lines:
        return None
    best = int(np.argmax(lines[0].y))
    mark = (lines[0].x[best], lines[0].y[best], f"best {lines[0].y[best]:.1f}")
    ends = _ends(history)
    top = min(100.0, 1.12 * max(value for line in lines for value in line.y) or 1.0)
    return line_chart(lines, "epoch", "AP, percent", ends, (0.0, top), marks=[mark])


def _rate_chart(history: Sequence[Mapping[str, float]]) -> Markup | None:
    line = _series(history, "epoch", "lr")
    if line is None or max(line.y) <= 0:
        return None
    power = math.floor(math.log10(max(line.y)))
    scaled = Line(line.x, [value / 10.0**power for value in line.y], "", COLOURS[4])
    return line_chart(
        [scaled], "epoch", f"learning rate, 1e{power}", y_range=(0.0, 1.05 * max(scaled.y))
    )


def _ends(history: Sequence[Mapping[str, float]]) -> tuple[float, float] | None:
    epochs = [row["epoch"] for row in history if "epoch" in row]
    return (min(epochs), max(epochs)) if epochs and max(epochs) > min(epochs) else None


def _precision_recall(result: CocoResult | None) -> Markup | None:
    curves = _curves(result) if result is not None else []
    if not curves:
        return None
    ordered = sorted(curves, key=lambda curve: -curve.truths)
    recalls = ordered[0].recalls.tolist()
    if len(ordered) <= NAMED_CURVES:
        lines = [
            Line(recalls, curve.precision.tolist(), curve.name, COLOURS[k])
            for k, curve in enumerate(ordered)
        ]
    else:
        lines = [
            Line(recalls, curve.precision.tolist(), colour="#64748b", faint=True)
            for curve in ordered[:40]
        ]
        mean = np.mean([curve.precision for curve in ordered], axis=0)
        lines.append(Line(recalls, mean.tolist(), "mean of all classes", COLOURS[0]))
    return line_chart(lines, "recall", "precision", (0, 1), (0, 1.02))


def _columns(result: CocoResult | None) -> list[str]:
    rows = result.per_class if result is not None else []
    return [key for key in rows[0] if key not in ("name", "id")] if rows else []


def _rows(result: CocoResult | None) -> list[dict[str, Any]]:
    if result is None:
        return []
    best = {curve.name: _best(curve) for curve in _curves(result)}
    return [{**row, "best": best.get(row["name"])} for row in result.per_class]


def _sections(judged: Sequence[Judged]) -> list[dict[str, Any]]:
    out = []
    for kind, chosen in choose(judged, PICTURES).items() if judged else ():
        pairs = [pair for one in chosen if (pair := show(one)) is not None]
        if pairs:
            title, lead = _SECTIONS[kind]
            labels = sorted({label for pair in pairs for label in pair.labels})
            out.append(
                {
                    "id": f"pictures-{kind}",
                    "title": title,
                    "lead": lead,
                    "pairs": pairs,
                    "key": _key(labels, chosen[0].found.classes),
                }
            )
    return out


def _key(labels: Sequence[int], classes: Classes) -> list[tuple[str, str]]:
    """Return colour and name of each class."""
    colours = ["#{:02x}{:02x}{:02x}".format(*colour_of(label)) for label in labels]
    return list(zip(colours, [classes.names[label] for label in labels], strict=True))
