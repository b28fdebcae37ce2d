"""The comparison's page: one table from Viola-Jones to the newest, and the pictures behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gazehound.data import Dataset
from gazehound.reports.comparison_charts import (
    COLOURS,
    progress_chart,
    recall_chart,
    speed_chart,
)  # fmt: skip
from gazehound.reports.comparison_gallery import gallery
from gazehound.reports.page import render
from gazehound.reports.standings import COLUMNS, Contender, Gain, Standing


def write_comparison(
    path: Path,
    rows: Sequence[Standing],
    dataset: Dataset,
    *,
    protocol: str = "coco",
    facts: Mapping[str, str] | None = None,
    command: str = "",
    failed: Mapping[str, str] | None = None,
    pictures: int = 12,
) -> None:
    """Write the page.

    Args:
        path: the HTML file.
        rows: of :func:`gazehound.reports.standings.rank`, best first.
        dataset: the split that all looked at.
        protocol: by which they were ranked.
        facts: further names and values for the head of the page.
        command: that made it, for its foot.
        failed: models that could not take part, and why.
        pictures: in the gallery; 0 for none.
    """
    shots = gallery(rows, dataset, pictures) if pictures else []
    page = render(
        "comparison.html",
        title=f"{len(rows)} detector{'s' if len(rows) != 1 else ''} on {dataset.name or 'the data'}",
        subtitle=_subtitle(rows),
        facts=[
            ("Images", f"{len(dataset):,}" + (f", split {dataset.split}" if dataset.split else "")),
            ("Truths", f"{len(rows[0].contender.tables.truths):,}" if rows else "–"),
            ("Classes", _few(dataset.classes.names)),
            *((facts or {}).items()),
        ],
        rows=[_row(place, row, rows[0].scores["AP"] or 1.0) for place, row in enumerate(rows)],
        command=command,
        columns=COLUMNS[1:],
        colours=COLOURS,
        coco=protocol == "coco",
        level=next((f"{100 * r.interval.level:g}" for r in rows if r.interval), ""),
        remarks=[row.contender.remark for row in rows if row.contender.remark],
        failed=failed or {},
        speed=speed_chart(rows),
        curves=recall_chart(rows),
        progress=progress_chart(rows),
        lineage=_lineage(rows),
        shots=shots,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")


def _subtitle(rows: Sequence[Standing]) -> str:
    """Return the outcome in a sentence."""
    if not rows or rows[0].scores["AP"] is None:
        return "There is no truth to find, so nobody is ahead."
    first = rows[0]
    text = f"{first.contender.name} is ahead with an AP of {100 * (first.scores['AP'] or 0):.1f}"
    if first.gain is None or first.gain.real is None:
        return f"{text}."
    if first.gain.real:
        return f"{text}; its lead over {first.gain.over} is more than chance."
    return f"{text}, but these images cannot tell it from {first.gain.over}."


def _row(place: int, row: Standing, best: float) -> dict[str, Any]:
    one, cost = row.contender, row.contender.cost
    return {
        "place": place,
        "name": one.name,
        "year": one.entry.year if one.entry else None,
        "origin": _origin(one),
        "share": (row.scores["AP"] or 0.0) / best,
        "partial": bool(one.remark),
        "scores": row.scores,
        "interval": row.interval,
        "threshold": row.threshold,
        "gain": row.gain and _gain(row.gain),
        "costs": [
            (cost.parameters, count(cost.parameters)),
            (cost.flops, count(cost.flops)),
            (cost.milliseconds, _milliseconds(cost.milliseconds)),
            (cost.memory, _bytes(cost.memory)),
            (cost.training, duration(cost.training)),
        ],
    }


def _gain(gain: Gain) -> dict[str, Any]:
    gap, p = gain.comparison.difference, gain.comparison.p_value
    verdict = "" if gain.real is None else "real" if gain.real else "may be chance"
    sure = "" if p is None else f", p {p:.3f}" if p >= 0.001 else ", p < 0.001"
    around = ""
    if gap.low is not None and gap.high is not None:
        level = f"{100 * gap.level:g} %"
        around = f"{level} interval {100 * gap.low:+.1f} to {100 * gap.high:+.1f}{sure}"
    return {
        "value": gap.value,
        "text": "–" if gap.value is None else f"{100 * gap.value:+.1f}",
        "verdict": verdict,
        "real": gain.real,
        "title": f"over {gain.over}, on {', '.join(gain.classes)}: {around}",
        "around": around,
        "over": gain.over,
    }


def _lineage(rows: Sequence[Standing]) -> list[dict[str, Any]]:
    """Return the papers by year, each with the detectors of the table that it brought."""
    papers: dict[tuple[int, str], dict[str, Any]] = {}
    for place, row in enumerate(rows):
        entry = row.contender.entry
        if entry is None:
            continue
        paper = papers.setdefault(
            (entry.year, entry.paper), {"year": entry.year, "paper": entry.paper, "models": []}
        )
        told = {"place": place, "name": row.contender.name, "summary": entry.summary}
        paper["models"].append({**told, "AP": row.scores["AP"]})
    return [papers[key] for key in sorted(papers)]


def _origin(one: Contender) -> str:
    """Return who wrote the paper, after the catalogue's name where the table shows another."""
    if one.entry is None:
        return ""
    authors = one.entry.paper.split(",")[0].split(" and ")[0].strip()
    return authors if one.entry.name == one.name else f"{one.entry.name}, {authors}"


def _few(names: Sequence[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def count(value: float | None) -> str:
    """Return a large number in three digits: 1.24 k, 36.3 M, 4.11 G; a dash for none."""
    if value is None:
        return "–"
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size * 0.9995:
            return f"{value / size:.3g} {letter}"
    return f"{value:.3g}"


def duration(seconds: float | None) -> str:
    """Return seconds in the unit that suits them; a dash for none."""
    if seconds is None:
        return "–"
    if seconds < 99.5:
        return f"{seconds:.0f} s" if seconds >= 9.95 else f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5970 else f"{seconds / 3600:.1f} h"


def _milliseconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _bytes(value: int | None) -> str:
    return "–" if value is None else f"{value / 2**20:,.0f} MiB"
