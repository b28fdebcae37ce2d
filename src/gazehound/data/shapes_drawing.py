"""How the procedural shapes look: outlines, shading, backgrounds, distractors. Pixels only."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from gazehound.records import FloatArray

SUPERSAMPLING = 4  # sub-pixels per side for the anti-aliasing of outlines
RIM = 0.84  # size of the bright inside relative to the outline
GRAIN_SIZE = 512

Outline = tuple[FloatArray, ...]  # polygons of the unit circle; all but the first are holes
Random = np.random.Generator
Colour = tuple[float, float, float]


def _turn(count: int, radius: float = 1.0, start: float = -90.0) -> FloatArray:
    """Return ``count`` points around a circle, (count, 2), the first at ``start`` degrees."""
    angles = np.deg2rad(start) + np.arange(count) * (2 * np.pi / count)
    return np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32) * np.float32(radius)


def _star() -> Outline:
    points = _turn(10)
    points[1::2] *= 0.45
    return (points,)


def _cross() -> Outline:
    arm, end = 0.3, 0.95
    half = [(-arm, -end), (arm, -end), (arm, -arm), (end, -arm), (end, arm), (arm, arm)]
    return (np.array([*half, *((-x, -y) for x, y in half)], np.float32),)


def _heart() -> Outline:
    t = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return (np.stack([x / 17, -(y + 2.5) / 17], 1).astype(np.float32),)


def _moon() -> Outline:
    outer = np.linspace(np.deg2rad(50), np.deg2rad(310), 40)
    inner = np.linspace(np.deg2rad(285), np.deg2rad(75), 32)
    arc = np.stack([np.cos(outer), np.sin(outer)], 1)
    tips = np.stack([np.cos(inner) * 0.82 + 0.43, np.sin(inner) * 0.795], 1)
    return (np.concatenate([arc, tips]).astype(np.float32),)


OUTLINES: dict[str, Callable[[], Outline]] = {
    "circle": lambda: (_turn(72),),
    "square": lambda: (_turn(4, start=45),),
    "triangle": lambda: (_turn(3),),
    "star": _star,
    "cross": _cross,
    "ring": lambda: (_turn(72), _turn(48, 0.55)),
    "heart": _heart,
    "moon": _moon,
}


@cache
def outline(name: str) -> Outline:
    """Return the polygons of a shape, inside the unit circle."""
    return OUTLINES[name]()


@dataclass(frozen=True)
class Stamp:
    """A drawn shape: how much of each pixel it covers.

    Attributes:
        cover: (h, h) uint8, 255 where the shape covers the whole pixel.
        x: column of the left edge in the image; may be negative.
        y: row of the top edge.
        centre: (x, y) of the circle around it, in pixels of ``cover``.
        polygons: its outline, relative to the centre; all but the first are holes.
        radius: of the circle around it, pixels.
    """

    cover: NDArray[np.uint8]
    x: int
    y: int
    centre: FloatArray
    polygons: tuple[FloatArray, ...]
    radius: float

    def inside(self) -> NDArray[np.uint8]:
        """Return (h, h) uint8, the coverage of the bright part inside the dark rim."""
        side = self.cover.shape[0]
        rim = max(self.radius * (1 - RIM), 1.0) / self.radius
        scales = [max(1 - rim, 0.1), *[1 + rim] * (len(self.polygons) - 1)]
        rimmed = [
            polygon * np.float32(scale) + self.centre
            for polygon, scale in zip(self.polygons, scales, strict=True)
        ]
        return _fill(rimmed, side)


def stamp(name: str, centre: tuple[float, float], radius: float, angle: float) -> Stamp:
    """Draw a shape with anti-aliased edges.

    Args:
        name: one of ``OUTLINES``.
        centre: (x, y) in pixels.
        radius: of the circle around it, pixels.
        angle: rotation, radians.
    """
    x, y = (int(np.floor(value - radius)) - 1 for value in centre)
    side = int(np.ceil(2 * radius)) + 4
    sine, cosine = np.sin(angle), np.cos(angle)
    rotation = np.array([[cosine, sine], [-sine, cosine]], np.float32) * np.float32(radius)
    offset = np.array([centre[0] - x, centre[1] - y], np.float32)
    polygons = tuple(points @ rotation for points in outline(name))
    cover = _fill([points + offset for points in polygons], side)
    return Stamp(cover, x, y, offset, polygons, radius)


def _fill(polygons: Sequence[FloatArray], side: int) -> NDArray[np.uint8]:
    """Rasterise polygons (the first filled, the others holes) to coverage (side, side)."""
    canvas = Image.new("L", (side * SUPERSAMPLING, side * SUPERSAMPLING))
    draw = ImageDraw.Draw(canvas)
    for place, points in enumerate(polygons):
        corners = (points * SUPERSAMPLING - 0.5).ravel().tolist()
        draw.polygon(corners, fill=0 if place else 255)
    return np.asarray(canvas.reduce(SUPERSAMPLING))


def colour(random: Random, away_from: Colour) -> Colour:
    """Return a lively colour (0..255) that stands out from another."""
    for _ in range(20):
        hue, saturation, value = random.random(), random.uniform(0.5, 1), random.uniform(0.35, 1)
        red, green, blue = (255 * c for c in colorsys.hsv_to_rgb(hue, saturation, value))
        distance = sum(abs(a - b) for a, b in zip((red, green, blue), away_from, strict=True))
        if distance > 170:
            break
    return red, green, blue


def paint(image: NDArray[np.uint8], drawn: Stamp, tint: Colour, light: float) -> None:
    """Blend a stamp into an image in place: a dark rim, inside lit from the direction ``light``.

    Args:
        image: (H, W, 3) uint8; changed.
        drawn: what to draw.
        tint: colour of the inside.
        light: direction of the light, radians.
    """
    rows, columns, patch_rows, patch_columns = crop(drawn, image.shape[0], image.shape[1])
    target = image[rows, columns]
    cover = drawn.cover[patch_rows, patch_columns, None].astype(np.float32) / 255
    inside = drawn.inside()[patch_rows, patch_columns, None].astype(np.float32) / 255
    side = drawn.cover.shape[0]
    axis = np.linspace(-1, 1, side, dtype=np.float32)
    slope = np.cos(light) * axis[None, :] + np.sin(light) * axis[:, None]
    shade = (1 + 0.28 * slope[patch_rows, patch_columns, None]) * (0.6 + 0.4 * inside)
    lit = np.minimum(np.asarray(tint, np.float32) * shade, 255)
    target[:] = target + cover * (lit - target)


def crop(drawn: Stamp, height: int, width: int) -> tuple[slice, slice, slice, slice]:
    """Return the rows and columns of the image that a stamp meets, then those of the stamp."""
    side = drawn.cover.shape[0]
    top, left = max(drawn.y, 0), max(drawn.x, 0)
    bottom = max(min(drawn.y + side, height), top)
    right = max(min(drawn.x + side, width), left)
    return (
        slice(top, bottom),
        slice(left, right),
        slice(top - drawn.y, bottom - drawn.y),
        slice(left - drawn.x, right - drawn.x),
    )


def background(random: Random, height: int, width: int) -> tuple[NDArray[np.uint8], Colour]:
    """Return a textured background (H, W, 3) uint8, and its mean colour."""
    base = np.clip(random.uniform(25, 230) + random.uniform(-45, 45, 3), 0, 255)
    other = np.clip(base + random.uniform(-70, 70) + random.uniform(-25, 25, 3), 0, 255)
    blend = _TEXTURES[int(random.integers(len(_TEXTURES)))](random, height, width)
    low, span = base.astype(np.float32), (other - base).astype(np.float32)
    image = blend[:, :, None] * span + low
    image += np.float32(random.uniform(2, 9)) * _grain(random, height, width)[:, :, None]
    red, green, blue = ((base + other) / 2).tolist()
    return np.clip(image, 0, 255, out=image).astype(np.uint8), (red, green, blue)


def _clouds(random: Random, height: int, width: int) -> FloatArray:
    """Return smooth noise of three octaves, about 0..1."""
    total = np.zeros((max(height // 4, 8), max(width // 4, 8)), np.float32)
    for cells, strength in ((3, 0.55), (8, 0.3), (24, 0.15)):
        grid = Image.fromarray(random.random((cells, cells), np.float32))
        total += strength * np.asarray(grid.resize(total.shape[::-1], Image.Resampling.BICUBIC))
    large = Image.fromarray(total).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(large)


def _stripes(random: Random, height: int, width: int) -> FloatArray:
    """Return soft stripes of any direction, 0..1."""
    angle, period = random.uniform(0, np.pi), random.uniform(0.08, 0.3) * min(height, width)
    x = np.arange(width, dtype=np.float32) * np.float32(2 * np.pi * np.cos(angle) / period)
    y = np.arange(height, dtype=np.float32) * np.float32(2 * np.pi * np.sin(angle) / period)
    waves = np.sin(x[None, :] + y[:, None])
    return np.asarray(0.4 + 0.3 * waves + 0.2 * _clouds(random, height, width))


def _gradient(random: Random, height: int, width: int) -> FloatArray:
    """Return a slope in any direction with a little noise, about 0..1."""
    angle = random.uniform(0, 2 * np.pi)
    x = np.linspace(-0.5, 0.5, width, dtype=np.float32) * np.float32(np.cos(angle))
    y = np.linspace(-0.5, 0.5, height, dtype=np.float32) * np.float32(np.sin(angle))
    return np.asarray(0.5 + x[None, :] + y[:, None] + 0.3 * (_clouds(random, height, width) - 0.5))


def _tiles(random: Random, height: int, width: int) -> FloatArray:
    """Return a mosaic of square tiles of random brightness, about 0..1."""
    side = max(int(random.uniform(0.06, 0.16) * min(height, width)), 4)
    cells = random.random((height // side + 2, width // side + 2), np.float32)
    rows, columns = (np.arange(n) + int(random.integers(side)) for n in (height, width))
    tiles = cells[rows[:, None] // side, columns[None, :] // side]
    return np.asarray(0.55 * tiles + 0.45 * _clouds(random, height, width), np.float32)


_TEXTURES: tuple[Callable[[Random, int, int], FloatArray], ...] = (
    _clouds, _clouds, _gradient, _stripes, _tiles,
)  # fmt: skip


@cache
def _grain_sheet() -> FloatArray:
    sheet = np.random.default_rng(0).standard_normal((GRAIN_SIZE, GRAIN_SIZE), np.float32)
    return np.tile(sheet, (2, 2))


def _grain(random: Random, height: int, width: int) -> FloatArray:
    """Return unit noise (H, W) cut from one fixed sheet, which is much faster than drawing it."""
    y, x = random.integers(GRAIN_SIZE, size=2)
    sheet = _grain_sheet()
    if max(height, width) > GRAIN_SIZE:
        repeats = (height // GRAIN_SIZE + 1, width // GRAIN_SIZE + 1)
        sheet = np.tile(sheet[:GRAIN_SIZE, :GRAIN_SIZE], (repeats[0] + 1, repeats[1] + 1))
    return sheet[y : y + height, x : x + width]


def distractors(
    random: Random, image: NDArray[np.uint8], count: int, ground: Colour
) -> NDArray[np.uint8]:
    """Return the image with lines, bars, arcs and dots that are no object of any class."""
    height, width = image.shape[:2]
    canvas = Image.fromarray(image)
    draw = ImageDraw.Draw(canvas)
    side = min(height, width)
    for _ in range(count):
        red, green, blue = (int(value) for value in colour(random, ground))
        x, y = random.uniform(0, width), random.uniform(0, height)
        kind = int(random.integers(len(_DISTRACTORS)))
        _DISTRACTORS[kind](random, draw, (x, y, side), (red, green, blue))
    return np.array(canvas)


def _line(random: Random, draw: Any, at: tuple[float, float, float], fill: Any) -> None:
    x, y, side = at
    angle, length = random.uniform(0, 2 * np.pi), random.uniform(0.15, 0.6) * side
    end = (x + np.cos(angle) * length, y + np.sin(angle) * length)
    draw.line((x, y, *end), fill=fill, width=int(random.integers(1, max(3, int(side / 60)))))


def _arc(random: Random, draw: Any, at: tuple[float, float, float], fill: Any) -> None:
    x, y, side = at
    radius, start = random.uniform(0.06, 0.25) * side, random.uniform(0, 360)
    sweep = start + random.uniform(40, 120)
    box = (x - radius, y - radius, x + radius, y + radius)
    draw.arc(box, start, sweep, fill=fill, width=max(1, int(side / 110)))


def _dots(random: Random, draw: Any, at: tuple[float, float, float], fill: Any) -> None:
    x, y, side = at
    for dx, dy in random.normal(0, 0.06 * side, (6, 2)):
        draw.point((x + dx, y + dy), fill=fill)


def _zigzag(random: Random, draw: Any, at: tuple[float, float, float], fill: Any) -> None:
    x, y, side = at
    steps = np.cumsum(random.uniform(-0.09, 0.09, (6, 2)) * side, axis=0) + np.array([x, y])
    draw.line(steps.ravel().tolist(), fill=fill, width=max(1, int(side / 120)))


_DISTRACTORS: tuple[Callable[..., None], ...] = (_line, _arc, _dots, _zigzag)
