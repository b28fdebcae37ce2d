"""Orientation histograms as little stars: one stroke per bin, along the edge that the bin counts."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

FINE = 4  # strokes are drawn so many times larger and then averaged


def strokes(
    bins: int, side: int, signed: bool = False, first: float | None = None
) -> NDArray[np.float64]:
    """Return one stroke per orientation bin, (bins, side, side) of 0..1.

    Args:
        bins: over half a turn, or a whole one.
        side: of a glyph, pixels.
        signed: whether the bins go round a whole turn.
        first: angle of the first bin's gradient, radians; default half a bin.
    """
    turn = 2 * math.pi if signed else math.pi
    start = turn / bins / 2 if first is None else first
    out = np.zeros((bins, side, side))
    large = side * FINE
    for number in range(bins):
        angle = start + number * turn / bins + math.pi / 2  # the edge runs across its gradient
        reach = 0.47 * large
        across, down = reach * math.cos(angle), reach * math.sin(angle)
        image = Image.new("L", (large, large))
        middle = (large - 1) / 2
        ImageDraw.Draw(image).line(
            (middle - across, middle - down, middle + across, middle + down),
            255,
            max(large // 9, 1),
        )
        small = image.resize((side, side), Image.Resampling.BOX)
        out[number] = np.asarray(small, np.float64) / 255
    return out


def glyphs(
    histograms: NDArray[np.float64],
    side: int = 16,
    *,
    signed: bool = False,
    first: float | None = None,
    top: float | None = None,
) -> NDArray[np.uint8]:
    """Return histograms (rows, columns, bins) as an image (rows * side, columns * side), grey.

    Args:
        histograms: what is below 0 is left out.
        side: of a cell, pixels.
        signed: see :func:`strokes`.
        first: see :func:`strokes`.
        top: the value that is white; default the 99th percentile.
    """
    values = np.maximum(np.asarray(histograms, np.float64), 0)
    rows, columns, bins = values.shape
    highest = float(np.percentile(values.max(axis=2), 99)) if top is None else top
    values = np.clip(values / highest, 0, 1) if highest > 0 else values
    marks = strokes(bins, side, signed, first)
    drawn = np.zeros((rows, columns, side, side))
    for number in np.arange(bins):  # the strongest stroke wins where two cross
        drawn = np.maximum(drawn, values[:, :, number, None, None] * marks[number])
    tiled = drawn.transpose(0, 2, 1, 3).reshape(rows * side, columns * side)
    return np.rint(255 * np.clip(tiled, 0, 1) ** 0.8).astype(np.uint8)


def tinted(grey: NDArray[np.uint8], colour: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Return a grey image (H, W) as shades of one colour on near black, (H, W, 3)."""
    low = np.array((11, 16, 32), np.float64)
    share = grey[..., None].astype(np.float64) / 255
    return np.rint(low * (1 - share) + np.array(colour, np.float64) * share).astype(np.uint8)
