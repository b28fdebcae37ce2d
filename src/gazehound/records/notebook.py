"""How records look in a notebook: plain HTML and SVG, made of strings.

The picture is drawn by the browser: the image lies below, reduced and embedded, and the boxes above it
in the pixels of the original image, sharp at any zoom.
"""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

LONGEST = 960  # pixels of an embedded picture
LEAST = 400  # to which a small one is enlarged
ROWS = 20  # of a table; what is left out is counted


def table(columns: Mapping[str, Sequence[Any]], limit: int = ROWS) -> str:
    """Return an HTML table of columns of one length, the first ``limit`` rows of it."""
    count = max((len(column) for column in columns.values()), default=0)
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join(
        f"<tr>{''.join(f'<td>{_cell(column[k])}</td>' for column in columns.values())}</tr>"
        for k in range(min(count, limit))
    )
    rest = f"<p>... and {count - limit} more</p>" if count > limit else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{rest}"


def facts(rows: Mapping[str, Any]) -> str:
    """Return an HTML table of names and values."""
    body = "".join(
        f"<tr><th style='text-align:left'>{escape(name)}</th>"
        f"<td style='text-align:left'>{_cell(value)}</td></tr>"
        for name, value in rows.items()
    )
    return f"<table><tbody>{body}</tbody></table>"


def picture(
    file: str,
    size: tuple[int, int],
    boxes: Iterable[Sequence[float]],
    labels: Iterable[int],
    words: Iterable[str],
) -> str | None:
    """Return an SVG of an image file with boxes on it.

    Args:
        file: its path.
        size: (height, width) that the boxes belong to, of the upright image.
        boxes: ``xyxy`` in its pixels.
        labels: one per box, for the colours.
        words: one per box, written at its corner.

    Returns:
        None when there is no such file, it is no image, or has another size.
    """
    embedded = _embedded(file, size)
    if embedded is None:
        return None
    height, width = size
    longer = max(height, width)
    line = longer / 300
    shown = width * min(LONGEST / longer, max(1.0, LEAST / longer))
    shapes = "".join(
        _box(box, f"hsl({label * 137.5 % 360:.0f}, 85%, 55%)", word, line)
        for box, label, word in zip(boxes, labels, words, strict=True)
    )
    return (
        f'<svg viewBox="0 0 {width} {height}" style="max-width:100%;width:{shown:.0f}px" '
        f'xmlns="http://www.w3.org/2000/svg"><image href="{embedded}" width="{width}" '
        f'height="{height}" preserveAspectRatio="none"/>{shapes}</svg>'
    )


def _box(box: Sequence[float], colour: str, word: str, line: float) -> str:
    x1, y1, x2, y2 = (float(value) for value in box)
    letters = 6 * line
    return (
        f'<rect x="{x1:g}" y="{y1:g}" width="{x2 - x1:g}" height="{y2 - y1:g}" fill="none" '
        f'stroke="{colour}" stroke-width="{line:.3g}"/>'
        f'<text x="{x1 + line:g}" y="{max(y1 - line, letters):g}" font-size="{letters:.3g}" '
        f'font-family="sans-serif" fill="{colour}" stroke="black" stroke-width="{line / 2:.3g}" '
        f'paint-order="stroke">{escape(word)}</text>'
    )


def _embedded(file: str, size: tuple[int, int]) -> str | None:
    """Return the image as a ``data:`` address, reduced to what a notebook shows."""
    from PIL import Image, ImageOps

    if not file or not Path(file).is_file():
        return None
    try:
        with Image.open(file) as opened:
            upright = ImageOps.exif_transpose(opened)
            if (upright.height, upright.width) != size:
                return None
            shown = upright.convert("RGB")
    except (OSError, ValueError):
        return None
    shown.thumbnail((LONGEST, LONGEST))
    stream = io.BytesIO()
    shown.save(stream, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{b64encode(stream.getvalue()).decode('ascii')}"


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else escape(str(value))
