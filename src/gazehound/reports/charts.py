"""Small charts as inline SVG: no plotting library, sharp at any size, a few kilobytes each."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

COLOURS = ("#1d4ed8", "#c2410c", "#15803d", "#7e22ce", "#0e7490", "#be185d", "#a16207", "#475569")
_FONT = "ui-sans-serif, system-ui, sans-serif"
_INK, _SOFT, _GRID, _AXIS = "#16202e", "#5b6878", "#e8ecf1", "#b8c1cc"
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 16, 14, 44


@dataclass(frozen=True)
class Line:
    """One curve of a chart.

    Attributes:
        x: places along the horizontal axis.
        y: values; NaN leaves a gap.
        name: shown in the legend; empty for none.
        colour: any SVG colour; default the next of ``COLOURS``.
        faint: draw it thin and light, as background.
        dashed: draw it dashed.
        step: hold each value until the next place.
    """

    x: Sequence[float]
    y: Sequence[float]
    name: str = ""
    colour: str = ""
    faint: bool = False
    dashed: bool = False
    step: bool = False


@dataclass(frozen=True)
class _Frame:
    """The plot area: values to pixels."""

    width: int
    height: int
    x: tuple[float, float]
    y: tuple[float, float]

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Return the pixel of a value."""
        right, bottom = self.width - _RIGHT, self.height - _BOTTOM
        across = (x - self.x[0]) / ((self.x[1] - self.x[0]) or 1)
        up = (y - self.y[0]) / ((self.y[1] - self.y[0]) or 1)
        return _LEFT + across * (right - _LEFT), bottom - up * (bottom - _TOP)


def line_chart(
    lines: Sequence[Line],
    x_label: str,
    y_label: str,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    size: tuple[int, int] = (560, 340),
    marks: Sequence[tuple[float, float, str]] = (),
) -> Markup:
    """Return a chart of curves.

    Args:
        lines: the curves.
        x_label: name of the horizontal axis.
        y_label: name of the vertical axis.
        x_range: ends of the horizontal axis; default those of the data.
        y_range: ends of the vertical axis; default those of the data.
        size: width and height, pixels at scale 1.
        marks: (x, y, text) points to point out.
    """
    frame = _Frame(
        *size,
        x_range or _reach([v for line in lines for v in line.x]),
        y_range or _reach([v for line in lines for v in line.y]),
    )
    parts = [*_axes(frame, x_label, y_label)]
    for i, line in enumerate(lines):
        colour = line.colour or COLOURS[i % len(COLOURS)]
        style = f'stroke="{colour}" stroke-width="{0.8 if line.faint else 2}"'
        style += ' stroke-opacity=".28"' if line.faint else ""
        style += ' stroke-dasharray="5 4"' if line.dashed else ""
        for run in _runs(line):
            points = " ".join("{:.1f},{:.1f}".format(*frame.place(x, y)) for x, y in run)
            parts.append(
                f'<polyline points="{points}" fill="none" {style} stroke-linejoin="round"/>'
            )
    for x, y, text in marks:
        parts += _mark(frame, x, y, text)
    named = [
        (line.colour or COLOURS[i % len(COLOURS)], line.name)
        for i, line in enumerate(lines)
        if line.name
    ]
    drawn = [frame.place(x, y) for line in lines for run in _runs(line) for x, y in _between(run)]
    return _svg(size, parts + _legend(named, size, drawn))


def bar_chart(
    names: Sequence[str],
    values: Sequence[float],
    label: str,
    colours: Sequence[str] = (),
    texts: Sequence[str] = (),
    width: int = 560,
) -> Markup:
    """Return horizontal bars, one row each.

    Args:
        names: of the rows.
        values: lengths, not negative.
        label: what the length means.
        colours: of the bars; default the first of ``COLOURS``.
        texts: written at the end of each bar; default the value.
        width: pixels at scale 1.
    """
    left, row, top = 132, 30, 6
    reach = max([*values, 0.0]) or 1.0
    parts = []
    for i, (name, value) in enumerate(zip(names, values, strict=True)):
        y = top + i * row
        length = max(value, 0.0) / reach * (width - left - 80)
        colour = colours[i] if colours else COLOURS[0]
        text = texts[i] if texts else f"{value:g}"
        parts += [
            _text(left - 10, y + 19, name, "end", _INK),
            _rect(left, y + 6, length, row - 12, f'rx="3" fill="{colour}"'),
            _text(left + length + 8, y + 19, text, "start", _SOFT),
        ]
    height = top + len(names) * row + 26
    parts.append(_text(left, height - 6, label, "start", _SOFT))
    return _svg((width, height), parts)


def column_chart(
    edges: Sequence[float],
    heights: Sequence[float],
    x_label: str,
    y_label: str,
    lines: Sequence[Line] = (),
    y_range: tuple[float, float] | None = None,
    size: tuple[int, int] = (560, 340),
) -> Markup:
    """Return upright columns between ``edges`` (one more than ``heights``), with curves on top."""
    frame = _Frame(*size, (edges[0], edges[-1]), y_range or (0.0, max([*heights, 1e-9]) * 1.05))
    parts = [*_axes(frame, x_label, y_label)]
    for low, high, value in zip(edges[:-1], edges[1:], heights, strict=True):
        if math.isnan(value):
            continue
        x0, y0 = frame.place(low, value)
        x1, y1 = frame.place(high, frame.y[0])
        parts.append(
            _rect(
                x0 + 1, y0, x1 - x0 - 2, y1 - y0, f'rx="2" fill="{COLOURS[0]}" fill-opacity=".82"'
            )
        )
    for line in lines:
        points = " ".join(
            "{:.1f},{:.1f}".format(*frame.place(x, y)) for x, y in zip(line.x, line.y, strict=True)
        )
        dash = ' stroke-dasharray="5 4"' if line.dashed else ""
        colour = line.colour or _SOFT
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6"{dash}/>'
        )
    named = [(line.colour or _SOFT, line.name) for line in lines if line.name]
    drawn = [frame.place(x, y) for line in lines for x, y in zip(line.x, line.y, strict=True)]
    return _svg(size, parts + _legend(named, size, drawn))


def matrix_chart(
    cells: Sequence[Sequence[float]],
    rows: Sequence[str],
    columns: Sequence[str],
    row_title: str,
    column_title: str,
) -> Markup:
    """Return a matrix of counts, each row shaded by its share, with the counts where they fit."""
    cell = max(14, min(54, 760 // max(len(columns), 1)))
    left = 30 + max((7 * len(name) for name in rows), default=0)
    top = 34 + int(max((7 * len(name) for name in columns), default=0) * 0.72)
    parts = []
    for j, name in enumerate(columns):
        x, y = left + (j + 0.5) * cell, top - 8
        parts.append(
            f'<text x="{x:.1f}" y="{y}" transform="rotate(-45 {x:.1f} {y})" '
            f'font-size="12" fill="{_SOFT}">{escape(name)}</text>'
        )
    for i, name in enumerate(rows):
        y = top + i * cell
        parts.append(_text(left - 8, y + cell / 2 + 4, name, "end", _SOFT))
        total = sum(cells[i]) or 1.0
        for j, value in enumerate(cells[i]):
            parts += _cell(
                left + j * cell, y, cell, value, value / total, i == j, rows[i], columns[j]
            )
    width, height = left + cell * len(columns) + 60, top + cell * len(rows) + 30
    parts.append(
        _text(left, height - 8, f"rows: {row_title}; columns: {column_title}", "start", _SOFT)
    )
    return _svg((width, height), parts, natural=True)


def _cell(
    x: float, y: float, cell: int, value: float, share: float, diagonal: bool, row: str, column: str
) -> Iterator[str]:
    base = "29,78,216" if diagonal else "194,65,12"
    yield (
        f'<rect x="{x}" y="{y}" width="{cell - 1}" height="{cell - 1}" rx="2" '
        f'fill="rgba({base},{0.04 + 0.9 * share:.3f})">'
        f"<title>{escape(row)} → {escape(column)}: {value:g}</title></rect>"
    )
    if value and cell >= 24:
        ink = "#fff" if share > 0.5 else _INK
        size = 12 if cell >= 34 else 9.5
        yield (
            f'<text x="{x + cell / 2}" y="{y + cell / 2 + 4}" font-size="{size}" fill="{ink}" '
            f'text-anchor="middle">{value:g}</text>'
        )


def _axes(frame: _Frame, x_label: str, y_label: str) -> Iterator[str]:
    for y in ticks(*frame.y):
        x0, py = frame.place(frame.x[0], y)
        x1, _ = frame.place(frame.x[1], y)
        yield _line(x0, py, x1, py, _GRID)
        yield _text(x0 - 8, py + 4, f"{y:g}", "end", _SOFT)
    for x in ticks(*frame.x):
        px, y0 = frame.place(x, frame.y[0])
        yield _line(px, y0, px, y0 + 4, _AXIS)
        yield _text(px, y0 + 18, f"{x:g}", "middle", _SOFT)
    left, bottom = frame.place(frame.x[0], frame.y[0])
    right, _ = frame.place(frame.x[1], frame.y[0])
    yield _line(left, bottom, right, bottom, _AXIS)
    yield _text((left + right) / 2, frame.height - 8, x_label, "middle", _INK)
    middle = (_TOP + frame.height - _BOTTOM) / 2
    yield (
        f'<text x="13" y="{middle:.1f}" transform="rotate(-90 13 {middle:.1f})" font-size="12" '
        f'fill="{_INK}" text-anchor="middle">{escape(y_label)}</text>'
    )


def _runs(line: Line) -> Iterator[list[tuple[float, float]]]:
    """Yield the unbroken stretches of a curve."""
    run: list[tuple[float, float]] = []
    for x, y in zip(line.x, line.y, strict=True):
        if math.isnan(y):
            if run:
                yield run
            run = []
            continue
        if line.step and run:
            run.append((x, run[-1][1]))
        run.append((x, y))
    if run:
        yield run


def _mark(frame: _Frame, x: float, y: float, text: str) -> Iterator[str]:
    px, py = frame.place(x, y)
    yield f'<circle cx="{px:.1f}" cy="{py:.1f}" r="4" fill="{_INK}" stroke="#fff"/>'
    right = px < frame.width * 0.6
    yield _text(px + (9 if right else -9), py - 7, text, "start" if right else "end", _INK)


def _between(run: Sequence[tuple[float, float]], steps: int = 8) -> Iterator[tuple[float, float]]:
    """Yield the points of a stretch and some between each two."""
    for (x0, y0), (x1, y1) in itertools.pairwise(run):
        for k in range(steps):
            yield x0 + (x1 - x0) * k / steps, y0 + (y1 - y0) * k / steps
    yield from run[-1:]


def _legend(
    named: Sequence[tuple[str, str]], size: tuple[int, int], drawn: Sequence[tuple[float, float]]
) -> list[str]:
    """Return the legend, in the corner where it hides the fewest of the pixels ``drawn``."""
    if not named:
        return []
    width = max(7 * len(name) + 30 for _, name in named)
    height = 17 * len(named)
    right, bottom = size[0] - _RIGHT - 8 - width, size[1] - _BOTTOM - 6 - height
    corners = ((right, _TOP + 3), (right, bottom), (_LEFT + 8, _TOP + 3), (_LEFT + 8, bottom))

    def hidden(corner: tuple[int, int]) -> int:
        left, top = corner
        return sum(
            left - 6 <= x <= left + width + 6 and top - 6 <= y <= top + height + 6 for x, y in drawn
        )

    left, top = min(corners, key=hidden)
    parts = []
    for i, (colour, name) in enumerate(named):
        y = top + 9 + i * 17
        parts += [
            _rect(left, y - 9, 7 * len(name) + 30, 16, 'fill="#fff" fill-opacity=".85"'),
            _line(left + 4, y - 1, left + 20, y - 1, colour, 2.5),
            _text(left + 26, y + 3, name, "start", _INK),
        ]
    return parts


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return round numbers between two ends."""
    span = high - low
    if span <= 0 or not math.isfinite(span):
        return [low]
    raw = span / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def _reach(values: Sequence[float]) -> tuple[float, float]:
    finite = [v for v in values if math.isfinite(v)]
    if not finite:
        return (0.0, 1.0)
    low, high = min(finite), max(finite)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1) -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
        f'stroke="{colour}" stroke-width="{width:g}"/>'
    )


def _rect(x: float, y: float, width: float, height: float, style: str) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" '
        f'height="{max(height, 0):.1f}" {style}/>'
    )


def _text(x: float, y: float, text: str, anchor: str, colour: str) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="12" fill="{colour}" '
        f'text-anchor="{anchor}">{escape(text)}</text>'
    )


def _svg(size: tuple[int, int], parts: Sequence[str], natural: bool = False) -> Markup:
    """Wrap the parts; ``natural`` keeps the size instead of filling the column."""
    width, height = size
    style = f"max-width:{width}px" if natural else ""
    return Markup(  # every text in it was escaped when it was written
        f'<svg viewBox="0 0 {width} {height}" font-family="{_FONT}" role="img" style="{style}" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'
    )
