"""Linear templates on HOG: the glyphs of the picture, the weights, the responses over the pyramid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from gazehound.explain.canvas import Canvas
from gazehound.explain.colours import KEPT, heat
from gazehound.explain.glyphs import glyphs, tinted
from gazehound.explain.panels import Figure, Panel
from gazehound.explain.run import Run
from gazehound.features.hog import Hog
from gazehound.features.window_scan import LevelScores, RasterScores, Template

LEVELS = 6  # of the pyramid, that are drawn
SIDE = 18  # pixels of a glyph
WARM, COOL, WHITE = (255, 196, 84), (104, 180, 255), (238, 242, 250)
LOWEST = -2.0  # margins below it are black


@runtime_checkable
class Templated(Protocol):
    """A detector of linear templates over a HOG."""

    hog: Hog
    templates: tuple[Template, ...]


def panels(run: Run) -> list[Panel]:
    """Return the panels of the template that responds most; none where no template was slid."""
    levels = sorted(run.shown(LevelScores), key=lambda step: step.level.scale)
    if not isinstance(run.detector, Templated) or not _tops(levels).size:
        return []
    hog = run.detector.hog
    label = int(_tops(levels).max(axis=0).argmax())
    template = run.detector.templates[label]
    return [
        _cells(run, hog, levels, template, _best_place(levels, label)),
        _weights(hog, template),
        _responses(run, levels, template, label),
    ]


def _tops(levels: Sequence[LevelScores]) -> NDArray[np.float64]:
    """Return the highest response (levels, templates)."""
    return np.array(
        [
            [
                max(float(part.scores.max(initial=-np.inf)) for part in parts)
                for parts in step.scores
            ]
            for step in levels
        ]
    )


def cell_histograms(grid: NDArray[Any], hog: Hog) -> NDArray[np.float64]:
    """Return (rows + block - 1, columns + block - 1, bins): per cell, the sum over its blocks.

    Blocks overlap, so most cells appear in several, each time normalised otherwise.
    """
    rows, columns = grid.shape[:2]
    step = max(hog.stride // hog.cell, 1)
    blocks = grid.reshape(rows, columns, hog.block, hog.block, hog.bins)  # cells x, then y
    height, width = (rows - 1) * step + hog.block, (columns - 1) * step + hog.block
    out = np.zeros((height, width, hog.bins))
    for x in range(hog.block):
        for y in range(hog.block):
            ends = y + (rows - 1) * step + 1, x + (columns - 1) * step + 1
            out[y : ends[0] : step, x : ends[1] : step] += blocks[:, :, x, y]
    return out


def _best_place(levels: Sequence[LevelScores], label: int) -> tuple[int, RasterScores, int, int]:
    """Return level, raster, row and column of the window that responds most."""
    number = int(_tops(levels)[:, label].argmax())
    raster = max(levels[number].scores[label], key=lambda part: part.scores.max(initial=-np.inf))
    row, column = np.unravel_index(raster.scores.argmax(), raster.scores.shape)
    return number, raster, int(row), int(column)


def _cells(
    run: Run,
    hog: Hog,
    levels: Sequence[LevelScores],
    template: Template,
    best: tuple[int, RasterScores, int, int],
) -> Panel:
    number, raster, row, column = best
    level = levels[number]
    scale, pad = level.level.scale, level.raster.pad
    step = raster.step // hog.stride
    rows, columns = template.weights.shape[:2]
    assert raster.grid is not None
    whole = cell_histograms(raster.grid, hog)
    side = int(np.clip(1400 // max(whole.shape[:2]), 4, SIDE // 2 + 2))
    top, left = (origin - pad for origin in raster.origin)
    box = np.array([left, top, left + whole.shape[1] * hog.cell, top + whole.shape[0] * hog.cell])
    picture = run.canvas().image(tinted(glyphs(whole, side), WHITE), box * scale)
    corner = np.array([left + column * raster.step, top + row * raster.step])
    sides = np.array([template.window[1], template.window[0]])
    window = np.concatenate([corner, corner + sides]) * scale
    picture.box(window, KEPT, width=2.5)
    part = raster.grid[row * step : row * step + rows, column * step : column * step + columns]
    grey = glyphs(cell_histograms(part, hog), SIDE)
    seen = Canvas(run.size, window).photo()
    close = Canvas((grey.shape[0], grey.shape[1])).image(tinted(grey, WHITE), smooth=True)
    return Panel(
        "hog-glyphs",
        "Histograms of oriented gradients",
        f"Every cell of {hog.cell} x {hog.cell} pixels counts how strongly the picture changes in each of "
        f"{hog.bins} directions; each stroke of a star is one bin, drawn along the edge that it counts. "
        "Blocks of neighbouring cells are normalised together, which takes light and contrast out and "
        "leaves shape (Dalal and Triggs 2005, sections 6.2 to 6.4).",
        (
            Figure(picture.svg("glyphs of a pyramid level"), f"The picture at {1 / scale:.0%} of its size",
                   "The level on which the template responds most; the frame is that window."),
            Figure(seen.svg("the best window"), "The window of highest response"),
            Figure(close.svg("its glyphs"), "What the template is given of it",
                   f"{part.size:,} numbers: {rows} x {columns} blocks of {part.shape[2]}."),
        ),
        {"window": window, "descriptor": part, "margin": float(raster.scores[row, column])},
        columns=3,
    )  # fmt: skip


def _weights(hog: Hog, template: Template) -> Panel:
    weights = cell_histograms(template.weights, hog)
    top = float(np.percentile(np.abs(weights).max(axis=2), 99))
    figures = []
    for sign, colour, words in (
        (1.0, WARM, "Edges that speak for the object"),
        (-1.0, COOL, "Edges that speak against it"),
    ):
        grey = glyphs(sign * weights, SIDE, top=top)
        canvas = Canvas((grey.shape[0], grey.shape[1])).image(tinted(grey, colour), smooth=True)
        figures.append(Figure(canvas.svg(words), words))
    return Panel(
        "svm-weights",
        "What the SVM has learned",
        "The classifier is a single weight per number, so it can be drawn as the descriptor is: a window's "
        "score is the sum of weight times value plus the bias. Positive weights draw the outline of the "
        "object, negative ones the edges that would contradict it (Dalal and Triggs 2005, figure 6).",
        tuple(figures),
        {"weights": template.weights, "bias": template.bias},
        f"Both are drawn to one scale; the bias is {template.bias:.2f}.",
        columns=4,
    )


def _responses(run: Run, levels: Sequence[LevelScores], template: Template, label: int) -> Panel:
    highest = _tops(levels)[:, label].tolist()
    ceiling = max(max(highest), 0.5)
    figures = []
    for number in _spread(highest):
        step = levels[number]
        canvas = run.canvas().photo(0.6)
        for raster in step.scores[label][:1]:
            _lay_response(canvas, raster, step, template, ceiling)
        size = template.window[0] * step.level.scale
        words = f"Windows {size:.0f} pixels high"
        figures.append(Figure(canvas.svg(words), words, f"Highest response {highest[number]:.2f}."))
    count = sum(r.scores.size for step in levels for r in step.scores[label])
    return Panel(
        "responses",
        "Responses over the pyramid",
        "The template has one size, so the picture is shrunk step by step and the same template slides over "
        f"each: here {count:,} windows on {len(levels)} levels. The lighter a place, the higher the margin "
        "of the window around it; an object lights up on the level where it has the template's size, and "
        "a little on the levels beside it.",
        tuple(figures),
        {"windows": count, "highest": highest},
        columns=3,
    )


def _spread(highest: Sequence[float]) -> list[int]:
    """Return the levels that are drawn: the best one of each part of the pyramid."""
    parts = np.array_split(np.arange(len(highest)), min(LEVELS, len(highest)))
    return [max(part.tolist(), key=highest.__getitem__) for part in parts]


def _lay_response(
    canvas: Canvas, raster: RasterScores, step: LevelScores, template: Template, ceiling: float
) -> None:
    scale, pad = step.level.scale, step.raster.pad
    rows, columns = raster.scores.shape
    top = raster.origin[0] - pad + template.window[0] / 2 - raster.step / 2
    left = raster.origin[1] - pad + template.window[1] / 2 - raster.step / 2
    box = np.array([left, top, left + columns * raster.step, top + rows * raster.step]) * scale
    values = np.clip((raster.scores - LOWEST) / (ceiling - LOWEST), 0, 1)
    alpha = np.rint(90 + 150 * values).astype(np.uint8)
    canvas.image(np.dstack([heat(values), alpha]), box)
