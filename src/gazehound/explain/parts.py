"""Deformable part models: root and parts, where the parts went, what their freedom costs, who responds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gazehound.explain.canvas import Canvas, around
from gazehound.explain.colours import colour_of, heat
from gazehound.explain.glyphs import glyphs, tinted
from gazehound.explain.panels import Figure, Panel, Table
from gazehound.explain.run import Run
from gazehound.features.part_boxes import PartsPlaced
from gazehound.features.parts import Component, LevelScores, part_start

SIDE = 20  # pixels of a glyph of a root cell
ROOT = "#ff385c"
WARM = (255, 196, 84)
LOWEST = -2.0  # margins below it are black
MAPS = 4  # part responses that are drawn


def panels(run: Run) -> list[Panel]:
    """Return the panels of the best placement of a part model; none where nothing was placed."""
    steps = [step for step in run.shown(PartsPlaced) if len(step.found)]
    if not steps:
        return [_empty(run)] if run.shown(PartsPlaced) else []
    step = max(steps, key=lambda one: float(one.found.scores[0]))
    level = int(step.found.levels[0])
    scored = [one for one in _levels_of(run, step) if one.level == level]
    component = step.mixture.components[int(step.found.components[0])]
    return [
        _filters(component),
        _placement(run, step, component),
        *([_responses(run, step, scored[0])] if scored else []),
    ]


def _levels_of(run: Run, step: PartsPlaced) -> list[LevelScores]:
    """Return the scored levels of this class: those shown since the class before it."""
    levels: list[LevelScores] = []
    for shown in run.steps:
        if shown is step:
            return levels
        if isinstance(shown, PartsPlaced):
            levels = []
        elif isinstance(shown, LevelScores):
            levels.append(shown)
    return levels


def _empty(run: Run) -> Panel:
    scored = run.shown(LevelScores)
    levels = len(run.shown(PartsPlaced)[0].pyramid.coarse)
    best = max((float(one.scores.max(initial=-np.inf)) for one in scored), default=-np.inf)
    canvas = run.canvas().photo(0.4)
    return Panel(
        "part-placement",
        "No placement",
        "A placement counts when root, parts and bias together reach the model's threshold. "
        f"Here the best of all places on {levels} levels reaches {best:.2f}, which is too little.",
        (Figure(canvas.svg("the picture")),),
        {"best": best},
    )


def contours(weights: NDArray[Any]) -> NDArray[np.float64]:
    """Return (rows, columns, 9) strokes of filters (rows, columns, 32): what speaks for an edge.

    The 18 contrast-sensitive and the 9 insensitive orientations of one direction are added.
    """
    positive = np.maximum(np.asarray(weights, np.float64), 0)
    return positive[..., :9] + positive[..., 9:18] + positive[..., 18:27]


def _filters(component: Component) -> Panel:
    rows, columns = component.root.shape[:2]
    root = glyphs(contours(component.root), SIDE, first=0.0)
    size = root.shape
    seen = Canvas((size[0], size[1])).image(tinted(root, WARM), smooth=True)
    figures = [Figure(seen.svg("the root filter"), f"Root: {rows} x {columns} cells")]
    if len(component.parts):
        figures.append(Figure(_part_filters(component, size), "Parts, at twice the resolution"))
        figures.append(
            Figure(_deformations(component, size), "What a displacement costs",
                   "White is free; each part's cost grows with the distance from its middle.")
        )  # fmt: skip
    return Panel(
        "part-filters",
        "Root, parts and springs",
        "A component of the mixture is a coarse root filter and finer part filters, each with a place where "
        "it wants to be and a spring that holds it there. The cost of moving a part by (dx, dy) is "
        "a dx^2 + b dx + c dy^2 + d dy, learned together with the filters (Felzenszwalb et al. 2010, "
        "equations 2 to 4).",
        tuple(figures),
        {"root": component.root.shape[:2], "parts": len(component.parts)},
        columns=4,
    )


def _part_filters(component: Component, size: tuple[int, ...]) -> Any:
    canvas = Canvas((size[0], size[1]))
    canvas.filled((0, 0, size[1], size[0]), "#0b1020")
    half = SIDE / 2
    for number, (weights, anchor) in enumerate(
        zip(component.parts, component.anchors, strict=True)
    ):
        height, width = (side * half for side in weights.shape[:2])
        x, y = (float(v) * half for v in anchor)
        box = (x, y, x + width, y + height)
        canvas.image(tinted(glyphs(contours(weights), SIDE, first=0.0), WARM), box, smooth=True)
        canvas.box(box, colour_of(number + 1), width=2)
    return canvas.svg("the part filters at their places")


def _deformations(component: Component, size: tuple[int, ...]) -> Any:
    canvas = Canvas((size[0], size[1]))
    canvas.filled((0, 0, size[1], size[0]), "#0b1020")
    half = SIDE / 2
    sides = component.parts.shape[1:3]
    costs = [_cost(sides, deformation) for deformation in component.deformations]
    top = max(float(np.percentile(cost, 95)) for cost in costs) or 1.0
    for number, (cost, anchor) in enumerate(zip(costs, component.anchors, strict=True)):
        x, y = (float(v) * half for v in anchor)
        rows, columns = component.parts.shape[1:3]
        box = (x, y, x + columns * half, y + rows * half)
        grey = np.rint(255 * np.clip(1 - cost / top, 0, 1)).astype(np.uint8)
        canvas.image(np.repeat(grey[..., None], 3, axis=2), box, smooth=True)
        canvas.box(box, colour_of(number + 1), width=2)
    return canvas.svg("the cost of moving each part")


def _cost(sides: tuple[int, ...], deformation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the cost of a part's displacements over as many cells as it has."""
    ax, bx, ay, by = deformation
    dy, dx = (np.linspace(-side / 2, side / 2, 25) for side in sides)
    across, down = ax * dx**2 - bx * dx, ay * dy**2 - by * dy  # costs count from wanted to actual
    return np.asarray(down[:, None] + across[None])


def displacements(step: PartsPlaced, row: int) -> NDArray[np.int64]:
    """Return how far the parts of a placement stand from where they want to be, (P, 2) x and y."""
    found, component = step.found, step.mixture.components[int(step.found.components[row])]
    out = np.zeros((len(component.parts), 2), np.int64)
    for number, anchor in enumerate(component.anchors):
        start = np.array(part_start(anchor, step.pyramid.padding))
        out[number] = (found.parts[row, number] - (start + 2 * found.roots[row]))[::-1]
    return out


def _placement(run: Run, step: PartsPlaced, component: Component) -> Panel:
    filters = step.filters[0] / step.magnify
    moved = displacements(step, 0)
    cell = float(step.pyramid.cell_sizes()[int(step.found.levels[0])]) / step.magnify
    canvas = run.canvas().photo(0.15)
    close = Canvas(run.size, around(filters[0], 0.25, run.size)).photo(0.15)
    for drawing in (canvas, close):
        drawing.box(filters[0], ROOT, width=3, title="root")
        for number, (box, move) in enumerate(zip(filters[1:], moved, strict=True)):
            title = f"part {number + 1}: moved by {move[0]}, {move[1]} half cells"
            drawing.box(box, colour_of(number + 1), width=2, fill=0.12, title=title)
            middle = (box[:2] + box[2:]) / 2
            drawing.line(middle - move * cell / 2, middle, "#ffffff", width=2.5)
            drawing.dot(middle, colour_of(number + 1), radius=0.9)
    canvas.box(
        step.boxes[0] / step.magnify, "#ffffff", width=2, dash="5 4", title="the object's box"
    )
    costs = [float(ax * dx**2 + bx * -dx + ay * dy**2 + by * -dy)
             for (ax, bx, ay, by), (dx, dy) in zip(component.deformations, moved, strict=True)]  # fmt: skip
    return Panel(
        "part-placement",
        "Where the parts went",
        "At every place of the root each part stands where its filter's response less the cost of getting "
        "there is largest; a generalised distance transform finds all those places at once (Felzenszwalb et "
        "al. 2010, section 3.1). So the same model fits objects whose parts are not quite where they "
        "usually are.",
        (
            Figure(canvas.svg("the best placement"), f"The best placement, margin {step.found.scores[0]:.2f}",
                   "Frame: root; dashed: the box that is predicted from where root and parts stand."),
            Figure(close.svg("the best placement, close"), "Its parts",
                   "White lines lead from where a part wants to be to where it stands."),
        ),
        {"displacements": moved, "margin": float(step.found.scores[0]), "costs": costs},
        table=Table(
            ("part", "moved right", "moved down", "cost"),
            tuple(
                (f"{n + 1}", f"{dx:+d} half cells", f"{dy:+d} half cells", f"{cost:.3f}")
                for n, ((dx, dy), cost) in enumerate(zip(moved, costs, strict=True))
            ),
        ),
    )  # fmt: skip


def _responses(run: Run, step: PartsPlaced, scored: LevelScores) -> Panel:
    component = int(step.found.components[0])
    cell = float(step.pyramid.cell_sizes()[scored.level]) / step.magnify
    total = scored.scores[component]
    height, width = step.mixture.components[component].root.shape[:2]
    top = max(float(total.max(initial=0.0)), 0.5)
    values = (np.where(np.isfinite(total), total, LOWEST) - LOWEST) / (top - LOWEST)
    whole = run.canvas().photo(0.55)
    _lay(whole, values, step.pyramid.padding, cell, (height, width))
    figures = [Figure(whole.svg("scores of the whole model"), "Root, parts and springs together",
                      f"The lighter, the higher the margin of the root that is centred there; "
                      f"here it reaches {float(total.max(initial=-np.inf)):.2f}.")]  # fmt: skip
    count = step.mixture.part_count
    for number in range(min(count, MAPS)):
        response = scored.responses[component * count + number]
        if response.size:
            canvas = run.canvas().photo(0.55)
            low, high = (float(np.percentile(response, q)) for q in (50, 99.9))
            shown = (response - low) / max(high - low, 1e-6)
            _lay(canvas, shown, step.pyramid.padding, cell / 2,
                 step.mixture.components[component].parts.shape[1:3])  # fmt: skip
            figures.append(Figure(canvas.svg("response of a part"), f"Part {number + 1} alone"))
    return Panel(
        "part-responses",
        "Responses of the parts and of the whole",
        "A single part is a weak detector and responds all over the picture. Only where root and parts agree "
        "on one object do the sums stand out, on the level where the object has the model's size "
        "(Felzenszwalb et al. 2010, figure 4).",
        tuple(figures),
        {"level": scored.level, "best": float(total.max(initial=-np.inf))},
        columns=3,
    )


def _lay(
    canvas: Canvas,
    values: NDArray[Any],
    padding: tuple[int, int],
    cell: float,
    sides: tuple[int, ...],
) -> None:
    """Lay a response map over the picture, each place at the centre of its filter."""
    rows, columns = values.shape
    y = (sides[0] / 2 - 0.5 - padding[0]) * cell
    x = (sides[1] / 2 - 0.5 - padding[1]) * cell
    alpha = np.rint(60 + 180 * np.clip(values, 0, 1)).astype(np.uint8)
    box = (x, y, x + columns * cell, y + rows * cell)
    canvas.image(np.dstack([heat(values), alpha]), box)
