"""Why do two protocols give two numbers? One rule is exchanged after the other, on this very data.

The ladder begins at the first protocol and ends at the second; every rung exchanges one rule, so the
changes add up to the whole difference. What a rule costs depends on those before it; the order is
fixed: averaging, cap, matching, ignored objects, thresholds, federation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np

from gazehound.errors import ConfigError, unknown_name
from gazehound.kernels import matching
from gazehound.metrics.coco import THRESHOLDS, rules_of, run_matching
from gazehound.metrics.curves import Curve, curves_of, mean_of
from gazehound.metrics.kitti import OVERLAPS, evaluate_kitti
from gazehound.metrics.lvis import LIMIT, Federation, federated
from gazehound.metrics.tables import Tables
from gazehound.metrics.voc import NO_LIMIT, match_voc, without_difficult

_AVERAGES: dict[str, tuple[str, Callable[[Curve], float | None]]] = {
    "eleven": ("precision read at 11 recalls", Curve.eleven_point),
    "area": ("the exact area under the curve", Curve.area_under),
    "101": ("precision read at 101 recalls", Curve.at_recalls),
    "40": (
        "precision read at 40 recalls above zero",
        lambda curve: curve.at_recalls(np.arange(1, 41) / 40),
    ),
}


@dataclass(frozen=True)
class _Rules:
    """A protocol, taken apart."""

    average: str = "101"
    limit: int = 100
    best_only: bool = False  # a detection means its best truth, free or not
    skip_difficult: bool = False
    thresholds: str = "ten"  # ten, half (0.5) or kitti
    federated: bool = False
    difficulty: bool = False  # KITTI's own: only objects of moderate difficulty, its own matching


_VOC = _Rules("area", NO_LIMIT, best_only=True, skip_difficult=True, thresholds="half")
PROTOCOLS = {
    "coco": _Rules(),
    "voc": _VOC,
    "voc07": replace(_VOC, average="eleven"),
    "lvis": _Rules(limit=NO_LIMIT, federated=True),
    "kitti": _Rules("40", NO_LIMIT, thresholds="kitti", difficulty=True),
}


@dataclass(frozen=True)
class Step:
    """One rule exchanged.

    Attributes:
        change: what was exchanged, in words.
        before: AP under the rules so far; None where undefined.
        after: AP with the rule exchanged.
    """

    change: str
    before: float | None
    after: float | None


@dataclass(frozen=True)
class Difference:
    """Two protocols on the same data, and the rules between them.

    Attributes:
        first: name of the first protocol.
        second: name of the second.
        start: AP under the first.
        end: AP under the second.
        steps: the rules in which they differ, in the order of exchange.
    """

    first: str
    second: str
    start: float | None
    end: float | None
    steps: tuple[Step, ...]

    @property
    def sentences(self) -> list[str]:
        """The difference in words and numbers, one line per rule."""

        def number(value: float | None) -> str:
            return "undefined" if value is None else f"{100 * value:.2f}"

        lines = [f"{self.first} gives {number(self.start)} AP."]
        for step in self.steps:
            if step.before is None or step.after is None:
                gap = f"now {number(step.after)}"
            elif step.before == step.after:
                gap = "no change here"
            else:
                gap = f"{100 * (step.after - step.before):+.2f}, now {number(step.after)}"
            lines.append(f"{step.change}: {gap}.")
        return [*lines, f"{self.second} gives {number(self.end)} AP."]


def explain_difference(
    tables: Tables, first: str, second: str, federation: Federation | None = None
) -> Difference:
    """Return the ladder of rules from one protocol to another.

    Args:
        tables: truths and detections.
        first: ``coco``, ``voc07``, ``voc``, ``lvis`` or ``kitti``.
        second: another of them.
        federation: the sets of an LVIS file, needed for ``lvis``.

    Raises:
        ConfigError: a protocol is unknown, or LVIS is asked for without its sets.
    """
    for name in (first, second):
        if name not in PROTOCOLS:
            raise unknown_name("protocol", name, PROTOCOLS)
        if PROTOCOLS[name].federated and federation is None:
            raise ConfigError("lvis needs an annotation file with the sets of LVIS")
    rules, goal = PROTOCOLS[first], PROTOCOLS[second]
    start = value = _precision(tables, rules, federation)
    steps = []
    for rule in fields(_Rules):
        wanted = getattr(goal, rule.name)
        if getattr(rules, rule.name) == wanted:
            continue
        words = _words(tables, rule.name, getattr(rules, rule.name), wanted)
        rules = replace(rules, **{rule.name: wanted})
        after = _precision(tables, rules, federation)
        steps.append(Step(words, value, after))
        value = after
    return Difference(first, second, start, value, tuple(steps))


def _words(tables: Tables, rule: str, old: object, new: object) -> str:
    if rule == "average":
        return f"{_AVERAGES[str(old)][0]} becomes {_AVERAGES[str(new)][0]}"
    if rule == "limit":
        rank = tables.found_in_order.rank
        cap = min(int(str(old)), int(str(new)))
        count = int((rank >= cap).sum())
        turn = "are left out" if new == cap else "come in"
        return f"the detections beyond the best {cap} of an image and class ({count}) {turn}"
    if rule == "best_only":
        if new:
            return "a detection whose best object is taken no longer gets the next best"
        return (
            "a detection whose best object is taken gets the next best, and IoU 0.5 itself suffices"
        )
    if rule == "skip_difficult":
        count = int(tables.truths.difficult.sum())
        return f"the difficult objects ({count}) {'no longer count' if new else 'count'}"
    if rule == "thresholds":
        names = {
            "ten": "the mean over IoU 0.50 to 0.95",
            "half": "IoU 0.5 alone",
            "kitti": "IoU 0.7 for cars and 0.5 for others",
        }
        return f"{names[str(old)]} becomes {names[str(new)]}"
    if rule == "federated":
        if new:
            return (
                "detections of classes that nobody checked in an image are left out, crowds are "
                f"objects like others, and an image keeps its best {LIMIT} detections"
            )
        return "every class is taken as checked in every image, and crowds are ignored regions"
    if new:
        return "only objects of moderate difficulty count, matched and averaged as the KITTI devkit"
    return "objects of every difficulty count, matched by the common rules"


def _precision(tables: Tables, rules: _Rules, federation: Federation | None) -> float | None:
    """Return mAP under a set of rules."""
    if rules.difficulty and rules.average == "40" and rules.thresholds == "kitti":
        return evaluate_kitti(tables).summary["AP"]
    if rules.federated and federation is not None:
        tables = federated(tables, federation)
    if rules.skip_difficult:
        tables = without_difficult(tables)
    thresholds = np.asarray(
        {"ten": THRESHOLDS, "half": [0.5], "kitti": [0.5, 0.7]}[rules.thresholds]
    )
    setting = rules_of(thresholds, [(0.0, 1e10)], rules.limit)
    matches = match_voc(tables, setting) if rules.best_only else run_matching(tables, setting)
    values = [_per_class(tables, matches, rules, bit) for bit in range(len(thresholds))]
    if rules.thresholds == "kitti":
        names = [name.lower() for name in tables.classes.names]
        return mean_of([values[OVERLAPS.get(n, 0.5) == 0.7][k] for k, n in enumerate(names)])
    return mean_of([value for row in values for value in row])


def _per_class(
    tables: Tables, matches: matching.Matches, rules: _Rules, bit: int
) -> list[float | None]:
    average = _AVERAGES[rules.average][1]
    return [average(curve) for curve in curves_of(tables, matches, rules.limit, bit)]
