"""Draw on the explained picture, as SVG: sharp at every size, and the picture itself embedded once."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

Box = Sequence[float] | NDArray[Any]
Point = Sequence[float] | NDArray[Any]

LARGEST = 1000  # pixels of an embedded image; the explained picture itself may have more
TALLEST = 620  # pixels of the screen that an upright drawing is high at most


def data_url(pixels: NDArray[np.uint8], quality: int | None = None) -> str:
    """Return an image (H, W, 3 or 4) as a ``data:`` address: a JPEG of a quality, else a PNG."""
    buffer = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if quality is None:
        image.save(buffer, "PNG", optimize=True)
    else:
        image.save(buffer, "JPEG", quality=quality, subsampling=0)
    kind = "png" if quality is None else "jpeg"
    return f"data:image/{kind};base64,{b64encode(buffer.getvalue()).decode()}"


def _reduced(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image whose sides are at most ``LARGEST`` pixels."""
    height, width = pixels.shape[:2]
    shrink = LARGEST / max(height, width, 1)
    if shrink >= 1:
        return pixels
    size = (max(round(width * shrink), 1), max(round(height * shrink), 1))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))


def _number(value: float) -> str:
    return f"{float(value):.2f}".rstrip("0").rstrip(".")


def around(box: Box, share: float, size: tuple[int, int]) -> NDArray[np.float64]:
    """Return a box grown by a share of its sides, and cut off at the picture of (height, width)."""
    rows = np.asarray(box, np.float64)
    margin = np.tile((rows[2:] - rows[:2]) * share, 2) * (-1, -1, 1, 1)
    return np.asarray(np.clip(rows + margin, 0, np.tile(size[::-1], 2)))


class Canvas:
    """A drawing in pixels of the explained picture, or of a part of it.

    Args:
        size: (height, width) of the picture, pixels.
        view: ``xyxy`` of what is shown; default all of it.
    """

    def __init__(self, size: tuple[int, int], view: Box | None = None) -> None:
        x1, y1, x2, y2 = (float(v) for v in (view if view is not None else (0, 0, *size[::-1])))
        self.view = (x1, y1, max(x2 - x1, 1e-3), max(y2 - y1, 1e-3))
        self.size = size
        self.parts: list[str] = []

    @property
    def unit(self) -> float:
        """Return a hundredth of the drawing's width: lengths that should look alike everywhere."""
        return max(self.view[2], self.view[3]) / 100

    def photo(self, veil: float = 0.0) -> Canvas:
        """Put the picture down, darkened by ``veil`` (0..1)."""
        self.parts.append('<use href="#photo"/>')
        if veil:
            x, y, width, height = (_number(v) for v in self.view)
            self.parts.append(
                f'<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="#0b1020" '
                f'fill-opacity="{veil}"/>'
            )
        return self

    def image(
        self,
        pixels: NDArray[np.uint8],
        box: Box | None = None,
        *,
        opacity: float = 1.0,
        smooth: bool = False,
        quality: int | None = None,
    ) -> Canvas:
        """Lay an image (h, w, 3 or 4), reduced where it is very large, over a box; default all."""
        pixels = _reduced(pixels)
        x1, y1, x2, y2 = box if box is not None else (0, 0, *self.size[::-1])
        style = "" if smooth else ' style="image-rendering:pixelated"'
        self.parts.append(
            f'<image x="{_number(x1)}" y="{_number(y1)}" width="{_number(x2 - x1)}" '
            f'height="{_number(y2 - y1)}" preserveAspectRatio="none" opacity="{opacity}"{style} '
            f'href="{data_url(pixels, quality)}"/>'
        )
        return self

    def box(
        self,
        box: Box,
        colour: str,
        *,
        width: float = 2.0,
        opacity: float = 1.0,
        dash: str = "",
        fill: float = 0.0,
        title: str = "",
    ) -> Canvas:
        """Draw an ``xyxy`` box; ``width`` in pixels of the screen, ``fill`` the opacity inside."""
        x1, y1, x2, y2 = (float(v) for v in box)
        inside = f'fill="{colour}" fill-opacity="{fill}"' if fill else 'fill="none"'
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        hint = f"<title>{escape(title)}</title>" if title else ""
        self.parts.append(
            f'<rect x="{_number(x1)}" y="{_number(y1)}" width="{_number(max(x2 - x1, 0))}" '
            f'height="{_number(max(y2 - y1, 0))}" {inside} stroke="{colour}" '
            f'stroke-width="{_number(width)}" stroke-opacity="{_number(opacity)}"{dashes} '
            f'vector-effect="non-scaling-stroke">{hint}</rect>'
        )
        return self

    def filled(self, box: Box, colour: str, opacity: float = 1.0) -> Canvas:
        """Fill a box without an outline."""
        x1, y1, x2, y2 = (float(v) for v in box)
        self.parts.append(
            f'<rect x="{_number(x1)}" y="{_number(y1)}" width="{_number(x2 - x1)}" '
            f'height="{_number(y2 - y1)}" fill="{colour}" fill-opacity="{_number(opacity)}"/>'
        )
        return self

    def polygon(self, points: NDArray[Any], colour: str, opacity: float = 1.0) -> Canvas:
        """Fill a polygon of (N, 2) points."""
        text = " ".join(f"{_number(x)},{_number(y)}" for x, y in points)
        self.parts.append(f'<polygon points="{text}" fill="{colour}" fill-opacity="{opacity}"/>')
        return self

    def dot(self, place: Point, colour: str, *, radius: float = 0.8, ring: bool = True) -> Canvas:
        """Draw a dot at (x, y); ``radius`` in units."""
        x, y = place
        edge = (
            ' stroke="#0b1020" stroke-opacity=".55" stroke-width="1" '
            'vector-effect="non-scaling-stroke"'
            if ring
            else ""
        )
        self.parts.append(
            f'<circle cx="{_number(x)}" cy="{_number(y)}" r="{_number(radius * self.unit)}" '
            f'fill="{colour}"{edge}/>'
        )
        return self

    def line(
        self,
        start: Point,
        end: Point,
        colour: str,
        *,
        width: float = 2.0,
        opacity: float = 1.0,
    ) -> Canvas:
        """Draw a line from (x, y) to (x, y)."""
        self.parts.append(
            f'<line x1="{_number(start[0])}" y1="{_number(start[1])}" x2="{_number(end[0])}" '
            f'y2="{_number(end[1])}" stroke="{colour}" stroke-width="{_number(width)}" '
            f'stroke-opacity="{_number(opacity)}" stroke-linecap="round" '
            'vector-effect="non-scaling-stroke"/>'
        )
        return self

    def label(self, x: float, y: float, text: str, colour: str, *, size: float = 3.0) -> Canvas:
        """Write words at (x, y), their lower left corner, kept inside; ``size`` in units."""
        height = size * self.unit
        wide = 0.62 * height * len(text)
        left, top, width, _ = self.view
        x = min(max(float(x), left), max(left, left + width - wide))
        y = max(float(y), top + 1.25 * height)
        self.parts.append(
            f'<text x="{_number(x)}" y="{_number(y - 0.3 * height)}" font-size="{_number(height)}" '
            f'font-weight="600" fill="{colour}" stroke="#0b1020" stroke-opacity=".75" '
            f'stroke-width="{_number(0.22 * height)}" paint-order="stroke" '
            f'stroke-linejoin="round">{escape(text)}</text>'
        )
        return self

    def svg(self, alt: str = "") -> Markup:
        """Return the drawing."""
        view = " ".join(_number(v) for v in self.view)
        name = f' role="img" aria-label="{escape(alt)}"' if alt else ""
        width = TALLEST * self.view[2] / self.view[3]
        name += f' style="max-width:{width:.0f}px"' if self.view[3] > self.view[2] else ""
        body = "".join(self.parts)
        return Markup(f'<svg class="drawing" viewBox="{view}"{name}>{body}</svg>')
