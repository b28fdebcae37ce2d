"""Small charts in the colours of the page: points in a square, and bars that may be logarithmic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

_WIDTH, _HEIGHT = 560, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 14, 14, 46


@dataclass(frozen=True)
class Dots:
    """Points of one kind.

    Attributes:
        x: places.
        y: values.
        colour: any SVG colour.
        name: for the tooltips.
        radius: pixels.
    """

    x: Sequence[float]
    y: Sequence[float]
    colour: str
    name: str
    radius: float = 3.5


def _place(x: float, y: float) -> tuple[float, float]:
    across, up = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    return _LEFT + x * across, _HEIGHT - _BOTTOM - y * up


def _text(x: float, y: float, text: str, anchor: str = "middle", turn: bool = False) -> str:
    turned = f' transform="rotate(-90 {x:.0f} {y:.0f})"' if turn else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="axis"{turned}>'
        f"{escape(text)}</text>"
    )


def _rule(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def _svg(parts: Sequence[str], alt: str) -> Markup:
    return Markup(
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(alt)}">{"".join(parts)}</svg>'
    )


def _frame(x_label: str, y_label: str) -> list[str]:
    left, bottom = _place(0, 0)
    right, top = _place(1, 1)
    return [
        _rule(left, bottom, right, bottom, "edge"),
        _text((left + right) / 2, _HEIGHT - 8, x_label),
        _text(14, (top + bottom) / 2, y_label, turn=True),
    ]


def unit_scatter(kinds: Sequence[Dots], x_label: str, y_label: str, alt: str) -> Markup:
    """Return points in the unit square.

    Args:
        kinds: drawn in this order; values 0..1.
        x_label: name of the horizontal axis.
        y_label: name of the vertical axis.
        alt: what the chart shows, for who cannot see it.
    """
    parts = _frame(x_label, y_label)
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, bottom = _place(tick, 0)
        left, y = _place(0, tick)
        parts += [_rule(x, bottom, x, _TOP, "grid"), _rule(left, y, _WIDTH - _RIGHT, y, "grid")]
        parts += [_text(x, bottom + 17, f"{tick:g}"), _text(left - 7, y + 4, f"{tick:g}", "end")]
    for kind in kinds:
        for x, y in zip(kind.x, kind.y, strict=True):
            cx, cy = _place(x, y)
            parts.append(
                f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="{kind.radius}" fill="{kind.colour}" '
                f'fill-opacity=".72"><title>{escape(kind.name)}: score {y:.2f}, IoU {x:.2f}'
                "</title></circle>"
            )
    return _svg(parts, alt)


def log_bars(
    values: Sequence[int], names: Sequence[str], x_label: str, y_label: str, alt: str, colour: str
) -> Markup:
    """Return bars of counts on a logarithmic scale; a count of 0 has no bar.

    Args:
        values: counts.
        names: below the bars; every other one is left out where there are many.
        x_label: name of the horizontal axis.
        y_label: name of the vertical axis.
        alt: what the chart shows, for who cannot see it.
        colour: of the bars.
    """
    decades = max(1, math.ceil(math.log10(max([*values, 10]))))
    parts = _frame(x_label, y_label)
    for decade in range(decades + 1):
        left, y = _place(0, decade / decades)
        parts += [
            _rule(left, y, _WIDTH - _RIGHT, y, "grid"),
            _text(left - 7, y + 4, f"{10**decade:,}" if decade < 5 else f"1e{decade}", "end"),
        ]
    step = 1 / max(len(values), 1)
    every = max(1, math.ceil(len(values) / 16))
    for k, (value, name) in enumerate(zip(values, names, strict=True)):
        x1, bottom = _place((k + 0.12) * step, 0)
        x2, top = _place((k + 0.88) * step, (math.log10(value) if value > 0 else 0) / decades)
        high = max(bottom - top, 1.5) if value else 0
        parts.append(
            f'<rect x="{x1:.1f}" y="{bottom - high:.1f}" width="{x2 - x1:.1f}" '
            f'height="{high:.1f}" rx="2" fill="{colour}"><title>{escape(name)}: {value:,}</title>'
            "</rect>"
        )
        if k % every == 0:
            parts.append(_text((x1 + x2) / 2, bottom + 17, name))
    return _svg(parts, alt)
