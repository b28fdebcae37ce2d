"""Who is best, and is it sure? Detectors that looked at the same images, put in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from gazehound.catalog.entry import Entry
from gazehound.errors import DataError
from gazehound.metrics import (
    Comparison,
    Curve,
    Found,
    Interval,
    Tables,
    Truths,
    bootstrap,
    compare,
    curves,
    evaluate_coco,
    evaluate_voc,
)
from gazehound.metrics.coco import THRESHOLDS
from gazehound.metrics.diagnosis import pool
from gazehound.records import Classes

Rows = TypeVar("Rows", Truths, Found)

PROTOCOLS = {
    "coco": "COCO (mean over IoU 0.50 to 0.95)",
    "voc07": "Pascal VOC 2007 (IoU 0.50, 11 points)",
    "voc": "Pascal VOC 2010+ (IoU 0.50, area under the curve)",
}
COLUMNS = ("AP", "AP50", "AP75", "APs", "APm", "APl")


@dataclass(frozen=True)
class Cost:
    """What a detector costs; None where it was not or cannot be measured.

    Attributes:
        parameters: learned numbers.
        flops: floating-point operations of one forward pass, a multiplication and an addition are two.
        milliseconds: median time from a decoded picture to its boxes, one picture at a time.
        memory: bytes of its weights and of the most that detection held besides.
        training: seconds of learning.
    """

    parameters: int | None = None
    flops: int | None = None
    milliseconds: float | None = None
    memory: int | None = None
    training: float | None = None


@dataclass(frozen=True)
class Contender:
    """A detector that has looked at every image of the split.

    Attributes:
        name: in the table.
        entry: its row of the catalogue; None for a detector that has none.
        tables: truths and its detections, over all classes of the data.
        judged: names of the classes that it is judged on; all of the data's, unless it knows fewer.
        cost: what it costs.
    """

    name: str
    entry: Entry | None
    tables: Tables
    judged: tuple[str, ...]
    cost: Cost

    @property
    def remark(self) -> str:
        """What has to be said of its numbers; empty where it is judged on all classes."""
        if len(self.judged) == len(self.tables.classes):
            return ""
        return (
            f"{self.name} knows {len(self.judged)} of the {len(self.tables.classes)} classes and is "
            f"judged on them alone: {', '.join(self.judged)}"
        )


@dataclass(frozen=True)
class Gain:
    """One detector against the next one in the table, on the same draws of images.

    Attributes:
        over: name of the other.
        comparison: first minus second, with its interval.
        classes: names of the classes that both are judged on.
    """

    over: str
    comparison: Comparison
    classes: tuple[str, ...]

    @property
    def real(self) -> bool | None:
        """Whether the interval leaves zero out; None where nothing can be said."""
        gap = self.comparison.difference
        if gap.low is None or gap.high is None:
            return None
        return not gap.low <= 0 <= gap.high


@dataclass(frozen=True)
class Standing:
    """A row of the table.

    Attributes:
        contender: whose.
        scores: ``AP`` by the protocol; the others by COCO's rules, None without truths.
        interval: of the mean over images; None when no draws were asked for.
        curves: precision and recall of each class at IoU 0.5.
        threshold: the score with the highest F1 over all classes together.
        gain: over the next row; None in the last.
    """

    contender: Contender
    scores: dict[str, float | None]
    interval: Interval | None
    curves: list[Curve]
    threshold: float
    gain: Gain | None = None


def rank(
    contenders: Sequence[Contender],
    protocol: str = "coco",
    draws: int = 1000,
    tell: Callable[[str], None] = lambda _: None,
) -> list[Standing]:
    """Score every contender by one protocol and put the best first.

    Args:
        contenders: they have seen the same images.
        protocol: a key of ``PROTOCOLS``.
        draws: of the bootstrap; 0 for no intervals.
        tell: is told what is computed next.

    Raises:
        DataError: two have not seen the same images.
    """
    for one in contenders[1:]:
        if not np.array_equal(one.tables.image_ids, contenders[0].tables.image_ids):
            raise DataError(
                f"{contenders[0].name} and {one.name} have not seen the same images; "
                f"compare them on one split"
            )
    rows = []
    for one in contenders:
        tell(f"scoring {one.name}")
        rows.append(_standing(one, protocol, draws))
    rows.sort(key=lambda row: (row.scores["AP"] is None, -(row.scores["AP"] or 0.0)))
    if not draws:
        return rows
    out = []
    for place, row in enumerate(rows):
        tell(f"comparing {row.contender.name}")
        last = place + 1 == len(rows)
        gain = None if last else _gain(row, rows[place + 1], protocol, draws)
        out.append(replace(row, gain=gain))
    return out


def _thresholds(protocol: str) -> NDArray[np.float64]:
    """Return the IoU thresholds whose mean the bootstrap draws: those of the protocol."""
    return THRESHOLDS if protocol == "coco" else THRESHOLDS[:1]


def _standing(one: Contender, protocol: str, draws: int) -> Standing:
    tables = restricted(one.tables, one.judged)
    coco = evaluate_coco(tables).summary
    scores = {name: coco[name] for name in COLUMNS}
    if protocol != "coco":
        voc = evaluate_voc(tables, eleven_points=protocol == "voc07")
        scores["AP"] = voc.summary["AP"]
    interval = bootstrap(tables, draws, thresholds=_thresholds(protocol)) if draws else None
    by_class = curves(tables)
    best = pool(by_class).best()
    return Standing(one, scores, interval, by_class, best["score"] if best else 0.5)


def _gain(row: Standing, following: Standing, protocol: str, draws: int) -> Gain | None:
    first, second = row.contender, following.contender
    common = tuple(name for name in first.judged if name in second.judged)
    if not common:
        return None
    before, after = (restricted(one.tables, common) for one in (second, first))
    compared = compare(before, after, draws=draws, thresholds=_thresholds(protocol))
    return Gain(second.name, compared, common)


def restricted(tables: Tables, names: Sequence[str]) -> Tables:
    """Return the tables with only the truths and detections of some classes, in this order.

    Args:
        tables: of all classes.
        names: of the classes that stay.
    """
    if tuple(names) == tables.classes.names:
        return tables
    labels = [tables.classes.names.index(name) for name in names]
    place = np.full(len(tables.classes), -1, np.int32)
    place[labels] = np.arange(len(labels))
    classes = Classes(tuple(names), tuple(tables.classes.ids[label] for label in labels))
    truths, found = _kept(tables.truths, place), _kept(tables.found, place)
    return replace(tables, classes=classes, truths=truths, found=found)


def _kept(table: Rows, place: NDArray[np.int32]) -> Rows:
    """Return the rows whose label has a new place, under that label."""
    keep = place[table.label] >= 0
    columns: dict[str, Any] = {}
    for one in fields(table):
        column = getattr(table, one.name)
        if isinstance(column, dict):
            columns[one.name] = {name: extra[keep] for name, extra in column.items()}
        else:
            columns[one.name] = column[keep] if len(column) else column
    columns["label"] = place[columns["label"]]
    return replace(table, **columns)


def as_record(row: Standing) -> dict[str, Any]:
    """Return a row of the table for JSON; what is not known is null."""
    one, entry = row.contender, row.contender.entry
    return {
        "name": one.name,
        "detector": entry and entry.name,
        "year": entry and entry.year,
        "classes": list(one.judged),
        **row.scores,
        "interval": row.interval
        and {name: getattr(row.interval, name) for name in ("value", "low", "high", "level")},
        "best_score": row.threshold,
        **{one_cost.name: getattr(one.cost, one_cost.name) for one_cost in fields(Cost)},
        "gain": row.gain and _gain_record(row.gain),
    }


def _gain_record(gain: Gain) -> dict[str, Any]:
    gap = gain.comparison.difference
    return {
        "over": gain.over,
        "difference": gap.value,
        "low": gap.low,
        "high": gap.high,
        "p_value": gain.comparison.p_value,
        "real": gain.real,
        "classes": list(gain.classes),
    }
