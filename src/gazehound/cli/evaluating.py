"""The work of ``gazehound evaluate``: read, score, print, and write what was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from gazehound.errors import ConfigError
from gazehound.export.passport import SUFFIXES
from gazehound.metrics import (
    Annotations,
    CocoResult,
    Comparison,
    Difference,
    Federation,
    KittiResult,
    LvisResult,
    Tables,
    VocResult,
    compare,
    evaluate_coco,
    evaluate_kitti,
    evaluate_lvis,
    evaluate_voc,
    explain_difference,
    read_coco_annotations,
    read_coco_results,
    read_text_results,
)  # fmt: skip
from gazehound.metrics.diagnosis import Diagnosis, diagnose

Result = CocoResult | VocResult | KittiResult | LvisResult

_MOST_ROWS = 30  # classes in the terminal's table
_REPORT_DRAWS = 500
_COMPARE_DRAWS = 1000
_TITLES = {
    "coco": "COCO",
    "voc07": "Pascal VOC 2007 (11 points)",
    "voc": "Pascal VOC 2010+ (area under the curve)",
    "lvis": "LVIS",
    "kitti": "KITTI 2D",
}


@dataclass(frozen=True)
class Options:
    """What the command was asked for; see ``gazehound evaluate --help``."""

    model: str | None
    annotations: Path | None
    data: str | None
    split: str | None
    detections: Path | None
    form: str | None
    protocol: str
    any_score: bool
    compare: Path | None
    explain: tuple[str, str] | None
    draws: int
    json: Path | None
    report: Path | None
    images: Path | None
    batch: int


def run(options: Options) -> None:
    """Evaluate and report.

    Raises:
        ConfigError: options are missing or do not go together.
        DataError: annotations or detections are wrong.
    """
    options = _as_model(options)
    _check(options)
    console = Console()
    truth, tables = _read(options)
    federation = _federation(options, truth)
    result = _score(options.protocol, tables, federation)
    difference = (
        explain_difference(tables, *options.explain, federation) if options.explain else None
    )
    draws = options.draws or (_REPORT_DRAWS if options.report else 0)
    diagnosis = diagnose(tables, draws) if options.json or options.report or draws else None
    comparison = None
    if options.compare:
        other = truth.with_found(_detections(options, options.compare, truth))
        comparison = compare(tables, other, options.draws or _COMPARE_DRAWS)
    _print(console, options, tables, result, diagnosis, difference, comparison)
    if options.json:
        numbers = as_json(options.protocol, tables, result, diagnosis, difference, comparison)
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_bytes(
            orjson.dumps(numbers, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY)
        )
        console.print(f"numbers: {options.json}", soft_wrap=True)
    if options.report and diagnosis:
        from gazehound.reports.evaluation import write_evaluation_report

        write_evaluation_report(
            options.report,
            title=_name_of(options),
            protocol=_TITLES[options.protocol],
            result=result,
            diagnosis=diagnosis,
            difference=difference,
            comparison=comparison,
            images=options.images,
        )
        console.print(f"report: {options.report}", soft_wrap=True)


def _as_model(options: Options) -> Options:
    """Take a checkpoint or an exported file that was given as --detections for the detector it is."""
    file = options.detections
    if file is None or file.suffix not in (".safetensors", *SUFFIXES) or options.model:
        return options
    return replace(options, model=str(file), detections=None)


def _check(options: Options) -> None:
    if (options.annotations is None) == (options.data is None):
        raise ConfigError("give the truths once: --annotations FILE or --data PATH")
    if (options.detections is None) == (options.model is None):
        raise ConfigError("give the detections once: --detections FILE or a MODEL")
    if options.model and options.data is None:
        raise ConfigError("a MODEL needs pictures: give --data PATH instead of --annotations")
    if options.split and options.data is None:
        raise ConfigError("--split belongs to --data")


def _name_of(options: Options) -> str:
    what = options.model or str(options.detections)
    return f"{Path(what).name} on {Path(str(options.annotations or options.data)).name}"


def _read(options: Options) -> tuple[Annotations, Tables]:
    if options.annotations:
        truth = read_coco_annotations(options.annotations)
    else:
        from gazehound.data import open_dataset

        dataset = open_dataset(str(options.data), options.split)
        truth = Annotations.from_dataset(dataset)
        if options.model:
            from gazehound import model

            detector = model.load(options.model)
            return truth, detector.evaluate(dataset, batch=options.batch, progress=True).tables
    return truth, truth.with_found(_detections(options, Path(str(options.detections)), truth))


def _detections(options: Options, path: Path, truth: Annotations) -> Any:
    if path.is_dir() or options.form not in (None, "coco"):
        form = options.form if options.form != "coco" else None
        return read_text_results(path, truth, form, options.any_score)
    return read_coco_results(path, truth, options.any_score)


def _federation(options: Options, truth: Annotations) -> Federation | None:
    if options.protocol != "lvis" and "lvis" not in (options.explain or ()):
        return None
    return Federation.of(truth.images, truth.categories, truth.name)


def _score(protocol: str, tables: Tables, federation: Federation | None) -> Result:
    if protocol == "lvis" and federation is not None:
        return evaluate_lvis(tables, federation)
    if protocol == "kitti":
        return evaluate_kitti(tables)
    if protocol in ("voc", "voc07"):
        return evaluate_voc(tables, eleven_points=protocol == "voc07")
    return evaluate_coco(tables)


def as_json(
    protocol: str,
    tables: Tables,
    result: Result,
    diagnosis: Diagnosis | None = None,
    difference: Difference | None = None,
    comparison: Comparison | None = None,
) -> dict[str, Any]:
    """Return the numbers of an evaluation as one JSON object; undefined ones are null."""
    out: dict[str, Any] = {"protocol": protocol}
    out |= result.summary
    out |= {
        "images": len(tables.image_ids),
        "truths": len(tables.truths),
        "detections": len(tables.found),
        "classes": result.per_class,
    }
    if diagnosis is not None:
        out |= _diagnosis_json(diagnosis)
        best = {
            name: curve.best()
            for name, curve in zip(tables.classes.names, diagnosis.curves, strict=True)
        }
        out["classes"] = [row | {"best": best[row["name"]]} for row in result.per_class]
    if difference is not None:
        out["difference"] = {
            "first": difference.first,
            "second": difference.second,
            "steps": [vars(step) for step in difference.steps],
            "sentences": difference.sentences,
        }
    if comparison is not None:
        gap = comparison.difference
        out["comparison"] = {
            "difference": gap.value,
            "low": gap.low,
            "high": gap.high,
            "p_value": comparison.p_value,
            "verdict": comparison.verdict,
        }
    return out


def _diagnosis_json(diagnosis: Diagnosis) -> dict[str, Any]:
    interval = diagnosis.interval
    reliability = diagnosis.calibration
    return {
        "best": diagnosis.best,
        "interval": interval and {key: getattr(interval, key) for key in ("low", "high", "level")},
        "mistakes": {"cost": diagnosis.mistakes.cost, "counts": diagnosis.mistakes.counts},
        "sizes": [
            {"low": b.low, "high": None if b.high == float("inf") else b.high, "truths": b.truths,
             "AP": b.precision}
            for b in diagnosis.sizes
        ],
        "calibration": {
            "expected_error": reliability.expected_error,
            "largest_error": reliability.largest_error,
            "edges": reliability.edges,
            "counts": reliability.counts,
            "score": reliability.score,
            "precision": reliability.precision,
        },
        "confusion": {
            "score": diagnosis.confusion.score,
            "names": [*diagnosis.confusion.classes.names, "background"],
            "counts": diagnosis.confusion.counts,
        },
    }  # fmt: skip


def _print(
    console: Console,
    options: Options,
    tables: Tables,
    result: Result,
    diagnosis: Diagnosis | None,
    difference: Difference | None,
    comparison: Comparison | None,
) -> None:
    console.print(
        f"[bold]{_TITLES[options.protocol]}[/bold]  {len(tables.image_ids)} images, "
        f"{len(tables.truths)} truths, {len(tables.found)} detections"
    )
    if not len(tables.truths):
        console.print("there is no truth, so every number is undefined")
    console.print(_summary_table(result.summary))
    console.print(_class_table(result.per_class))
    if len(result.per_class) > _MOST_ROWS:
        hidden = len(result.per_class) - _MOST_ROWS
        console.print(f"the {_MOST_ROWS} worst of {_MOST_ROWS + hidden} classes; --json has all")
    if diagnosis and diagnosis.interval and diagnosis.interval.low is not None:
        interval = diagnosis.interval
        console.print(
            f"AP (COCO) {_percent(interval.value)}, {100 * interval.level:g} % interval "
            f"{_percent(interval.low)} to {_percent(interval.high)}"
        )
    if diagnosis and diagnosis.best:
        best = diagnosis.best
        console.print(
            f"best score threshold {best['score']:.3f}: precision {_percent(best['precision'])}, "
            f"recall {_percent(best['recall'])}, F1 {_percent(best['F1'])}"
        )
    for sentence in difference.sentences if difference else ():
        console.print(sentence, soft_wrap=True, highlight=False)
    if comparison:
        console.print(f"{options.compare}: {comparison.verdict}", soft_wrap=True, highlight=False)


def _summary_table(summary: Mapping[str, float | None]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in summary:
        table.add_column(name, justify="right")
    table.add_row(*(_percent(value) for value in summary.values()))
    return table


def _class_table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    shown = [key for key in (rows[0] if rows else {}) if key not in ("id",)]
    for key in shown:
        table.add_column(
            "class" if key == "name" else key, justify="left" if key == "name" else "right"
        )
    worst = sorted(rows, key=lambda row: (row["AP"] is None, row["AP"] or 0.0))
    for row in worst[:_MOST_ROWS] if len(rows) > _MOST_ROWS else rows:
        table.add_row(*(_cell(row[key]) for key in shown))
    return table


def _cell(value: Any) -> str:
    if isinstance(value, str | int):
        return str(value)
    return _percent(value)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"
