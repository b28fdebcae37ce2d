"""Draw boxes with names and scores on a picture, so that one likes to look at it.

Every class has a colour of its own (hues a golden angle apart, so that neighbours in the list differ
most), lines and letters grow with the picture, labels stay inside it and keep clear of each other
where there is room. Predictions are drawn with solid lines, truths with dashed ones.
"""

from __future__ import annotations

import colorsys
import io
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from gazehound.errors import ConfigError
from gazehound.records import TRACK, UNTRACKED, Classes, Detections, FloatArray, Sample

Colour = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Rectangle = tuple[float, float, float, float]

_FIRST_COLOURS: tuple[Colour, ...] = (  # told apart by most eyes, on light and dark pictures
    (255, 56, 92), (0, 190, 120), (52, 132, 255), (255, 170, 0), (178, 92, 255), (0, 196, 222),
    (255, 118, 40), (160, 210, 20), (255, 92, 200), (250, 225, 90),
)  # fmt: skip


@dataclass(frozen=True)
class Layer:
    """Boxes that are drawn in one style.

    Attributes:
        boxes: (N, 4) ``xyxy`` in pixels of the picture.
        labels: (N,) 0-based.
        classes: their names.
        scores: (N,), or ``None`` for truths.
        dashed: draw dashed lines.
        colours: one for each box; default that of its class.
        ids: (N,) of the objects that boxes belong to, :data:`UNTRACKED` for none; written before the
            names.
    """

    boxes: FloatArray
    labels: NDArray[np.int64]
    classes: Classes
    scores: NDArray[np.float32] | None = None
    dashed: bool = False
    colours: Sequence[Colour] | None = None
    ids: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        count = len(self.boxes)
        for name in ("labels", "scores", "colours", "ids"):
            column = getattr(self, name)
            if column is not None and len(column) != count:
                raise ConfigError(
                    f"drawing needs one of {name} per box ({count}); got {len(column)}"
                )

    @classmethod
    def of_detections(cls, found: Detections) -> Layer:
        """Return predictions as solid boxes with scores; what is tracked has id and colour of its own."""
        ids = found.extras.get(TRACK)
        colours = None
        if ids is not None:
            colours = [
                colour_of(int(label if track == UNTRACKED else track - 1))
                for label, track in zip(found.labels, ids, strict=True)
            ]
        return cls(found.boxes, found.labels, found.classes, found.scores, colours=colours, ids=ids)

    @classmethod
    def of_truths(cls, sample: Sample, classes: Classes) -> Layer:
        """Return truths as dashed boxes."""
        return cls(sample.boxes, sample.labels, classes, dashed=True)


def colour_of(label: int) -> Colour:
    """Return the colour of a class: ten chosen ones, then hues a golden angle apart."""
    if label < len(_FIRST_COLOURS):
        return _FIRST_COLOURS[label]
    turn = (label * 0.61803398875) % 1
    rgb = colorsys.hls_to_rgb(turn, (0.48, 0.6, 0.4)[label % 3], 0.85)
    return round(255 * rgb[0]), round(255 * rgb[1]), round(255 * rgb[2])


def draw(
    image: NDArray[np.uint8], *layers: Layer, names: bool = True, bold: float = 1.0
) -> NDArray[np.uint8]:
    """Draw layers of boxes on a picture.

    Args:
        image: (H, W, 3) uint8 RGB; not changed.
        layers: drawn one over the other; within a layer the best score comes on top.
        names: write class names and scores.
        bold: how much thicker lines and larger letters are than usual, for pictures shown small.

    Returns:
        A new (H, W, 3) uint8 picture.
    """
    picture = Image.fromarray(image).convert("RGBA")
    pen = _Pen(picture, bold)
    for layer in layers:
        order = _back_to_front(layer)
        for k in order:
            pen.box(layer.boxes[k], _colour(layer, k), layer.dashed)
    if names:
        for layer in reversed(layers):
            for k in reversed(_back_to_front(layer)):
                pen.label(layer.boxes[k], _text(layer, k), _colour(layer, k))
    return np.asarray(pen.finish())


def draw_detections(image: NDArray[np.uint8], found: Detections) -> NDArray[np.uint8]:
    """Draw what a detector found; see :func:`draw`."""
    return draw(image, Layer.of_detections(found))


def _back_to_front(layer: Layer) -> list[int]:
    """Return large boxes before small ones, and low scores before high ones."""
    if layer.scores is not None:
        order: list[int] = np.argsort(layer.scores, kind="stable").tolist()
        return order
    sides = layer.boxes[:, 2:] - layer.boxes[:, :2]
    by_area: list[int] = np.argsort(-sides.prod(axis=1), kind="stable").tolist()
    return by_area


def _colour(layer: Layer, k: int) -> Colour:
    return layer.colours[k] if layer.colours is not None else colour_of(int(layer.labels[k]))


def _text(layer: Layer, k: int) -> str:
    name = layer.classes.names[int(layer.labels[k])]
    if layer.ids is not None and layer.ids[k] != UNTRACKED:
        name = f"#{layer.ids[k]} {name}"
    return name if layer.scores is None else f"{name} {100 * float(layer.scores[k]):.0f}%"


class _Pen:
    """Draws on one picture; labels go on a layer above all boxes."""

    def __init__(self, picture: Image.Image, bold: float) -> None:
        self.picture = picture
        self.lines = Image.new("RGBA", picture.size)
        self.words = Image.new("RGBA", picture.size)
        self.on_lines, self.on_words = ImageDraw.Draw(self.lines), ImageDraw.Draw(self.words)
        scale = bold * (picture.width * picture.height) ** 0.5
        self.width = max(1, round(scale / 280))
        self.letters = int(min(max(10, scale / 42), 44))
        self.taken: list[Rectangle] = []

    def box(self, box: NDArray[np.float32], colour: Colour, dashed: bool) -> None:
        """Draw a frame with a thin dark rim, which shows on pictures of its own colour."""
        corners = self._pixels(box)
        if corners is None:
            return
        x1, y1, x2, y2 = corners
        rim = (0, 0, 0, 90)
        for grow, width, ink in (
            (1, self.width + 2, rim),
            (0, self.width, (*colour, 255)),
        ):
            frame = (x1 - grow, y1 - grow, x2 + grow, y2 + grow)
            if dashed:
                self._dashes(frame, width, ink, max(2, self.width))
            else:
                self.on_lines.rectangle(frame, outline=ink, width=width)

    def _pixels(self, box: NDArray[np.float32]) -> tuple[int, int, int, int] | None:
        """Return the pixels of the frame, inside the picture; None when the box has none."""
        if not np.isfinite(box).all():
            return None
        right, bottom = self.picture.width - 1, self.picture.height - 1
        x1, y1 = (
            int(np.clip(np.floor(v), 0, e)) for v, e in zip(box[:2], (right, bottom), strict=True)
        )
        x2, y2 = (
            int(np.clip(np.ceil(v) - 1, 0, e))
            for v, e in zip(box[2:], (right, bottom), strict=True)
        )
        return (x1, y1, x2, y2) if x2 >= x1 and y2 >= y1 else None

    def _dashes(
        self, frame: tuple[int, int, int, int], width: int, ink: tuple[int, ...], unit: int
    ) -> None:
        x1, y1, x2, y2 = frame
        for low, high, along_x in ((x1, x2, True), (y1, y2, False)):
            count = max(1, round((high - low) / (7 * unit)))
            step = (high - low) / count
            for k in range(count):
                start, stop = low + k * step, low + (k + 0.62) * step + 1
                for edge in (y1, y2) if along_x else (x1, x2):
                    inward = edge if edge in (x1, y1) else edge - width + 1
                    part = (
                        (start, inward, stop, inward + width - 1)
                        if along_x
                        else (inward, start, inward + width - 1, stop)
                    )
                    self.on_lines.rectangle(part, fill=ink)

    def label(self, box: NDArray[np.float32], text: str, colour: Colour) -> None:
        """Write a name on a tab at the box, where there is room for it."""
        corners = self._pixels(box)
        if corners is None:
            return
        font = font_for(text, self.letters)
        pad = max(2, self.letters // 4)
        width = float(self.on_words.textlength(text, font=font)) + 2 * pad
        height = float(self.letters + 2 * pad - 1)
        place = self._place(corners, width, height)
        if place is None:
            return
        x, y = place
        tab = (x, y, x + width - 1, y + height - 1)
        self.taken.append(tab)
        self.on_words.rounded_rectangle(tab, radius=max(2, pad - 1), fill=(*colour, 235))
        ink = _ink_on(colour)
        middle = (x + width / 2, y + height / 2)
        self.on_words.text(middle, text, font=font, fill=(*ink, 255), anchor="mm")

    def _place(
        self, corners: tuple[int, int, int, int], width: float, height: float
    ) -> tuple[float, float] | None:
        """Return where a tab goes: above, inside, below; the first place without another tab."""
        room_x, room_y = self.picture.width - width, self.picture.height - height
        if room_x < 0 or room_y < 0:
            return None  # the picture is smaller than the word
        x1, y1, x2, y2 = corners
        lefts = (x1 - 1, x2 - width + 2)
        tops = (y1 - height, y1 + self.width, y2 + 2, y2 - self.width - height + 1)
        places = [(float(np.clip(x, 0, room_x)), float(y)) for y in tops for x in lefts]
        inside = [(x, y) for x, y in places if 0 <= y <= room_y]
        for x, y in inside:
            if not any(_touch((x, y, x + width, y + height), other) for other in self.taken):
                return x, y
        return inside[0] if inside else (places[0][0], float(np.clip(y1, 0, room_y)))

    def finish(self) -> Image.Image:
        """Return the picture with everything on it."""
        self.picture.alpha_composite(self.lines)
        self.picture.alpha_composite(self.words)
        return self.picture.convert("RGB")


def _touch(a: Rectangle, b: Rectangle) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _ink_on(colour: Colour) -> Colour:
    """Return black or white, whichever reads better (WCAG relative luminance, simplified)."""
    red, green, blue = colour
    return (16, 16, 20) if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else (255, 255, 255)


@cache
def _font(size: int, wide: bool) -> Font:
    if wide:
        spec = find_spec("matplotlib")
        if spec is not None and spec.origin is not None:
            file = Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
            if file.is_file():
                return ImageFont.truetype(file, size)
    return ImageFont.load_default(size)


def font_for(text: str, size: int) -> Any:
    """Return a font that has the letters of ``text``: Pillow's own for Latin, else DejaVu Sans."""
    return _font(size, wide=any(ord(letter) > 0x17F for letter in text))


def data_url(image: NDArray[np.uint8], longest: int = 640, quality: int = 82) -> str:
    """Return a picture as a ``data:`` address (JPEG, no larger than ``longest``), for HTML pages."""
    picture = Image.fromarray(image)
    picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality, optimize=True)
    return f"data:image/jpeg;base64,{b64encode(stream.getvalue()).decode('ascii')}"


def enlarged(image: NDArray[np.uint8], least: int) -> tuple[NDArray[np.uint8], float]:
    """Return a small picture enlarged to a longer side of ``least`` pixels, and by how much.

    Names drawn on it are then readable; a large picture comes back as it is, with 1.
    """
    height, width = image.shape[:2]
    scale = least / max(height, width)
    if scale <= 1:
        return image, 1.0
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)), scale
