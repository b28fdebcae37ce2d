"""The charts of a comparison, as inline SVG that the page's styles colour and its script lights up.

Everything that belongs to a detector carries ``data-model`` with its place in the table, and takes the
colour ``--m<place>`` of the page, so that light, dark and the legend agree.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from markupsafe import Markup

from gazehound.reports.charts import ticks
from gazehound.reports.evaluation import GRID, best_precision
from gazehound.reports.standings import Standing

COLOURS = 12  # of the page; then they begin again
WIDTH, HEIGHT = 560, 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 20, 16, 46
_LETTER = 6.8  # pixels of a letter of a label

Rectangle = tuple[float, float, float, float]


@dataclass(frozen=True)
class Dot:
    """A detector as a point.

    Attributes:
        model: its place in the table.
        name: written beside it.
        x: along the horizontal axis.
        y: its value.
        ends: of its interval; None for none.
    """

    model: int
    name: str
    x: float
    y: float
    ends: tuple[float, float] | None = None


@dataclass(frozen=True)
class _Frame:
    """Values to pixels; the horizontal axis may be logarithmic."""

    x: tuple[float, float]
    y: tuple[float, float]
    log: bool = False

    def across(self, x: float) -> float:
        low, high, at = (math.log(v) if self.log else v for v in (*self.x, x))
        return _LEFT + (at - low) / ((high - low) or 1) * (WIDTH - _RIGHT - _LEFT)

    def up(self, y: float) -> float:
        low, high = self.y
        return HEIGHT - _BOTTOM - (y - low) / ((high - low) or 1) * (HEIGHT - _BOTTOM - _TOP)


def speed_chart(rows: Sequence[Standing]) -> Markup:
    """Return AP over milliseconds per image, on a logarithmic axis: up and to the left is better."""
    dots = [
        dot for dot in _dots(rows, [row.contender.cost.milliseconds for row in rows]) if dot.x > 0
    ]
    low = min((dot.x for dot in dots), default=1.0)
    high = max((dot.x for dot in dots), default=10.0)
    frame = _Frame((low / 1.6, high * 1.9), (0.0, _top(dots)), log=True)
    edge = sorted(_frontier(dots), key=lambda dot: dot.x)
    front = " ".join(f"{frame.across(dot.x):.1f},{frame.up(dot.y):.1f}" for dot in edge)
    parts = [
        *_axes(frame, "milliseconds per image", "AP", log_ticks(*frame.x)),
        f'<polyline class="front" points="{front}"/>' if len(edge) > 1 else "",
        *_marks(frame, dots),
    ]
    return _svg("accuracy against speed", parts)


def progress_chart(rows: Sequence[Standing]) -> Markup | None:
    """Return AP over the year of the paper, with the best so far; None where no year is known."""
    entries = [row.contender.entry for row in rows]
    dots = _dots(rows, [e.year if e else None for e in entries])
    if not dots:
        return None
    years = [dot.x for dot in dots]
    frame = _Frame((min(years) - 1, max(years) + 2), (0.0, _top(dots)))
    steps, best = [], -1.0
    for dot in sorted(dots, key=lambda dot: (dot.x, -dot.y)):
        if dot.y > best:
            steps += [(dot.x, max(best, 0.0)), (dot.x, dot.y)]
            best = dot.y
    steps.append((frame.x[1], best))
    line = " ".join(f"{frame.across(x):.1f},{frame.up(y):.1f}" for x, y in steps[1:])
    whole = [year for year in ticks(*frame.x) if year == int(year)]
    parts = [
        *_axes(frame, "year of the paper", "AP", whole),
        f'<polyline class="front" points="{line}"/>',
        *_marks(frame, dots),
    ]
    return _svg("accuracy by year", parts)


def recall_chart(rows: Sequence[Standing]) -> Markup:
    """Return precision over recall at IoU 0.5, one curve per detector, the mean over its classes."""
    frame = _Frame((0.0, 1.0), (0.0, 1.0))
    parts = [*_axes(frame, "recall", "precision", ticks(0, 1))]
    for model, row in reversed(list(enumerate(rows))):
        known = [best_precision(curve) for curve in row.curves if curve.positives]
        if not known:
            continue
        height = np.mean(known, axis=0)
        last = int(np.flatnonzero(height)[-1]) + 1 if height.any() else 1
        points = " ".join(
            f"{frame.across(x):.1f},{frame.up(y):.1f}"
            for x, y in zip(GRID[:last].tolist(), height[:last].tolist(), strict=True)
        )
        parts.append(
            f"<g {_of(model)}><title>{escape(row.contender.name)}</title>"
            f'<polyline class="curve" points="{points}"/></g>'
        )
    return _svg("precision and recall", parts)


def log_ticks(low: float, high: float) -> list[float]:
    """Return at least three round numbers between two positive ends, if there are: powers of ten first."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found: list[float] = []
    for steps in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7)):
        every = [step * 10.0**k for k in powers for step in steps]
        found = [value for value in every if low <= value <= high]
        if len(found) >= 3:
            break
    return found


def _dots(rows: Sequence[Standing], places: Sequence[float | None]) -> list[Dot]:
    """Return the detectors that have both numbers, AP in percent."""
    out = []
    for model, (row, x) in enumerate(zip(rows, places, strict=True)):
        value, around = row.scores["AP"], row.interval
        if value is None or x is None:
            continue
        ends = None
        if around is not None and around.value is not None and around.low is not None:
            low, high = (value + end - around.value for end in (around.low, around.high or 0.0))
            ends = (100 * max(low, 0.0), 100 * high)
        out.append(Dot(model, row.contender.name, x, 100 * value, ends))
    return out


def _top(dots: Sequence[Dot]) -> float:
    highest = max([dot.ends[1] if dot.ends else dot.y for dot in dots] + [1.0])
    return min(highest * 1.14, 104.0) if highest > 1 else 1.2


def _frontier(dots: Sequence[Dot]) -> Iterator[Dot]:
    """Yield the dots that no other one beats in both accuracy and speed."""
    for dot in dots:
        if not any(o.x <= dot.x and o.y >= dot.y and (o.x, o.y) != (dot.x, dot.y) for o in dots):
            yield dot


def _axes(frame: _Frame, x_label: str, y_label: str, marks: Sequence[float]) -> Iterator[str]:
    right, bottom = WIDTH - _RIGHT, HEIGHT - _BOTTOM
    for y in ticks(*frame.y):
        at = frame.up(y)
        yield f'<line class="grid" x1="{_LEFT}" y1="{at:.1f}" x2="{right}" y2="{at:.1f}"/>'
        yield f'<text class="axis" x="{_LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{y:g}</text>'
    for x in marks:
        at = frame.across(x)
        yield f'<line class="edge" x1="{at:.1f}" y1="{bottom}" x2="{at:.1f}" y2="{bottom + 4}"/>'
        yield (
            f'<text class="axis" x="{at:.1f}" y="{bottom + 18}" text-anchor="middle">{x:g}</text>'
        )
    yield f'<line class="edge" x1="{_LEFT}" y1="{bottom}" x2="{right}" y2="{bottom}"/>'
    yield (
        f'<text class="name" x="{(_LEFT + right) / 2}" y="{HEIGHT - 8}" '
        f'text-anchor="middle">{escape(x_label)}</text>'
    )
    middle = (_TOP + bottom) / 2
    yield (
        f'<text class="name" x="13" y="{middle}" transform="rotate(-90 13 {middle})" '
        f'text-anchor="middle">{escape(y_label)}</text>'
    )


def _marks(frame: _Frame, dots: Sequence[Dot]) -> Iterator[str]:
    """Yield each dot with its interval and its name, where it covers nothing else if possible."""
    places = [(frame.across(dot.x), frame.up(dot.y)) for dot in dots]
    taken: list[Rectangle] = [(x - 7, y - 7, x + 7, y + 7) for x, y in places]
    for dot, (x, y) in zip(dots, places, strict=True):
        anchor, tx, ty, box = _label_place(x, y, dot.name, taken)
        taken.append(box)
        whisker = ""
        if dot.ends:
            low, high = (frame.up(end) for end in dot.ends)
            whisker = (
                f'<line class="whisker" x1="{x:.1f}" y1="{low:.1f}" x2="{x:.1f}" y2="{high:.1f}"/>'
            )
        yield (
            f"<g {_of(dot.model)}><title>{escape(dot.name)}: AP {dot.y:.1f}, {dot.x:.4g}</title>"
            f'{whisker}<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="6.5"/>'
            f'<text class="tag" x="{tx:.1f}" y="{ty:.1f}" text-anchor="{anchor}">'
            f"{escape(dot.name)}</text></g>"
        )


def _label_place(
    x: float, y: float, name: str, taken: Sequence[Rectangle]
) -> tuple[str, float, float, Rectangle]:
    """Return anchor, place and rectangle of a name: the side of the dot where the fewest are hidden."""
    wide = _LETTER * len(name)
    sides = [
        ("start", x + 11, y + 4, (x + 11, y - 7, x + 11 + wide, y + 7)),
        ("end", x - 11, y + 4, (x - 11 - wide, y - 7, x - 11, y + 7)),
        ("start", x + 9, y - 9, (x + 9, y - 20, x + 9 + wide, y - 6)),
        ("start", x + 9, y + 18, (x + 9, y + 7, x + 9 + wide, y + 21)),
        ("end", x - 9, y - 9, (x - 9 - wide, y - 20, x - 9, y - 6)),
        ("end", x - 9, y + 18, (x - 9 - wide, y + 7, x - 9, y + 21)),
        ("middle", x, y - 13, (x - wide / 2, y - 24, x + wide / 2, y - 10)),
        ("middle", x, y + 22, (x - wide / 2, y + 11, x + wide / 2, y + 25)),
    ]

    def price(box: Rectangle) -> float:
        left, top, right, bottom = box
        outside = left < _LEFT or right > WIDTH - 2 or top < 2 or bottom > HEIGHT - _BOTTOM
        hits = sum(left < c and a < right and top < d and b < bottom for a, b, c, d in taken)
        return hits + 10 * outside

    return min(sides, key=lambda side: price(side[3]))


def _of(model: int) -> str:
    return f'data-model="{model}" style="--c:var(--m{model % COLOURS})"'


def _svg(title: str, parts: Sequence[str]) -> Markup:
    return Markup(  # every text in it was escaped when it was written
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'
    )
