"""The page of an explanation: the picture with what was found, then step after step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from gazehound.explain.canvas import Canvas, data_url
from gazehound.explain.colours import TRUTH, colour_of
from gazehound.explain.panels import Explanation, Figure
from gazehound.reports.page import render

LONGEST = 1600  # pixels of the embedded picture
NAMED = 30  # with more detections names would hide the picture


def page(explained: Explanation, *, file: str = "") -> str:
    """Return an explanation as one self-contained HTML page.

    Args:
        explained: what to show.
        file: name of the picture, for the page.
    """
    found = explained.found
    height, width = explained.image.shape[:2]
    facts = [
        ("Detector", explained.name),
        *([("Picture", file)] if file else []),
        ("Size", f"{width} x {height} pixels"),
        ("Detections", f"{len(found)}"),
        ("Truths", "none given" if explained.truths is None else f"{len(explained.truths)}"),
    ]
    return render(
        "explanation.html",
        name=explained.name,
        facts=facts,
        photo=_photo(explained.image),
        hero=_hero(explained),
        panels=explained.panels,
    )


def write(explained: Explanation, out: str | Path, *, file: str = "") -> Path:
    """Write the page of an explanation to a file, and return its path."""
    path = Path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(explained, file=file), encoding="utf-8")
    return path


def _photo(image: NDArray[np.uint8]) -> Markup:
    """Return the picture as an SVG definition that all drawings use."""
    height, width = image.shape[:2]
    shrink = min(1.0, LONGEST / max(height, width))
    if shrink < 1:
        size = (max(round(width * shrink), 1), max(round(height * shrink), 1))
        image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))
    return Markup(
        '<svg width="0" height="0" style="position:absolute" aria-hidden="true"><defs>'
        f'<image id="photo" width="{width}" height="{height}" preserveAspectRatio="none" '
        f'href="{data_url(image, 90)}"/></defs></svg>'
    )


def _hero(explained: Explanation) -> Figure:
    found, rows = explained.found, explained.best
    canvas = Canvas((explained.image.shape[0], explained.image.shape[1])).photo()
    if explained.truths is not None:
        for box in explained.truths.boxes:
            canvas.box(box, TRUTH, width=2, dash="6 4", title="truth")
    for row in rows[::-1]:
        label = int(found.labels[row])
        text = f"{found.classes.names[label]} {found.scores[row]:.2f}"
        canvas.box(found.boxes[row], colour_of(label), width=3, title=text)
    if len(rows) <= NAMED:
        for row in rows:
            label = int(found.labels[row])
            text = f"{found.classes.names[label]} {found.scores[row]:.2f}"
            x, y = found.boxes[row, :2]
            canvas.label(x, y, text, colour_of(label), size=1.9)
    if not len(found):
        words = "Nothing was found in this picture; the panels below show why."
    elif len(rows) == len(found):
        words = ""
    else:
        words = f"The {len(rows)} best of {len(found)} detections are drawn."
    return Figure(canvas.svg("the picture with its detections"), "", words)
