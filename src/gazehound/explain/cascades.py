"""Cascades of Haar-like features: the integral image, the chosen features, who survives each stage."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gazehound.explain.canvas import LARGEST, Canvas
from gazehound.explain.colours import KEPT, colour_of, heat
from gazehound.explain.panels import Figure, Panel, Table
from gazehound.explain.plots import log_bars
from gazehound.explain.run import Run
from gazehound.features.cascade import Cascade
from gazehound.features.cascade_scan import Scanned

STAGES, FEATURES = 3, 3  # so many features of so many first stages are drawn
SCALES = 3  # maps of so many scales are drawn
LIGHT, DARK = "#ffffff", "#0b1020"


def panels(run: Run) -> list[Panel]:
    """Return the panels of the first class's cascade; none where no cascade was scanned."""
    scans = run.shown(Scanned)
    if not scans:
        return []
    scan = scans[0]
    window = _window(run, scan)
    return [
        _integral(run, scan, window),
        *([] if scan.cascade.is_lbp else [_features(run, scan, window)]),
        _survivors(run, scan),
    ]


def _window(run: Run, scan: Scanned) -> NDArray[np.float64]:
    """Return the ``xyxy`` window that responds most; where none passed, the one that came furthest."""
    if len(scan.hits.boxes):
        boxes = scan.hits.boxes.astype(np.float64)
        inside = _inside_best(run, boxes)
        rows = np.flatnonzero(inside) if inside.any() else np.arange(len(boxes))
        x, y, width, height = boxes[rows[scan.hits.response[rows].argmax()]]
        return np.array([x, y, x + width, y + height])
    furthest = [int(level.max(initial=0)) for level in scan.reached]
    level = int(np.argmax(furthest))
    row, column = np.unravel_index(scan.reached[level].argmax(), scan.reached[level].shape)
    height, width = scan.windows[level]
    x, y = column * scan.shifts[level], row * scan.shifts[level]
    return np.array([x, y, x + width, y + height], np.float64)


def _inside_best(run: Run, boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Say which ``xywh`` windows have their centre in the best detection."""
    if not len(run.found):
        return np.zeros(len(boxes), bool)
    centre = boxes[:, :2] + boxes[:, 2:] / 2
    best = run.found.boxes[0]
    return np.asarray(((centre >= best[:2]) & (centre <= best[2:])).all(axis=1))


def _integral(run: Run, scan: Scanned, window: NDArray[np.float64]) -> Panel:
    table = scan.integral.astype(np.int64)
    height, width = (side - 1 for side in table.shape)
    scale = np.array([width / run.size[1], height / run.size[0]] * 2)
    x1, y1, x2, y2 = np.rint(window * scale).astype(int).clip(0, [width, height, width, height])
    corners = {"A": table[y1, x1], "B": table[y1, x2], "C": table[y2, x1], "D": table[y2, x2]}
    total = int(corners["D"] - corners["B"] - corners["C"] + corners["A"])
    pixels = max((x2 - x1) * (y2 - y1), 1)
    step = -(-max(table.shape) // LARGEST)
    share = table[1::step, 1::step] / max(int(table[-1, -1]), 1)
    map_ = run.canvas().image(heat(share), smooth=True, quality=90)
    photo = run.canvas().photo(0.15)
    for canvas in (photo, map_):
        canvas.box(window, KEPT, width=2.5, fill=0.12)
        for name, (x, y) in zip("ABCD", _corners(window), strict=True):
            canvas.dot((x, y), KEPT).label(x + canvas.unit, y, name, "#ffffff", size=4)
    named = ", ".join(f"{name} = {int(value):,}" for name, value in corners.items())
    return Panel(
        "integral-image",
        "The integral image",
        "Each entry is the sum of all grey values above and to the left of it, so the sum of any "
        "rectangle takes four readings, D - B - C + A, however large it is (Viola and Jones 2001, "
        "section 2.1). It is computed once per image, and it makes features cost the same at every size.",
        (
            Figure(photo.svg("a window in the picture"), "A window of the picture",
                   f"{pixels:,} pixels, but four readings."),
            Figure(map_.svg("the integral image"), "The integral image",
                   f"{named}; D - B - C + A = {total:,}, a mean grey value of {total / pixels:.0f}."),
        ),
        {"sum": total, "pixels": int(pixels), "table": table},
    )  # fmt: skip


def _corners(box: NDArray[np.float64]) -> list[tuple[float, float]]:
    x1, y1, x2, y2 = (float(v) for v in box)
    return [(x1, y1), (x2, y1), (x1, y2), (x2, y2)]


def _features(run: Run, scan: Scanned, window: NDArray[np.float64]) -> Panel:
    cascade = scan.cascade
    figures, chosen = [], []
    for stage in range(min(STAGES, len(cascade))):
        first, end = (int(n) for n in cascade.tree_first[cascade.stage_first[stage : stage + 2]])
        for node in range(first, min(first + FEATURES, end)):
            feature = int(cascade.feature[node])
            chosen.append(feature)
            figures.append(
                Figure(
                    _feature(run, cascade, feature, window),
                    f"Stage {stage + 1}, feature {node - first + 1} of {end - first}",
                )
            )
    return Panel(
        "haar-features",
        "The features that boosting chose",
        "A Haar-like feature is the sum of the pixels under the white rectangles less the sum under the "
        "dark ones, over the window's contrast. Of all that fit into the window AdaBoost takes, round after "
        "round, the one that best separates objects from the rest (Viola and Jones 2001, section 3); in a "
        "face the first ones can be read: eyes are darker than cheeks and than the bridge of the nose.",
        tuple(figures),
        {"features": chosen, "window": window},
        "They are drawn on the window of this picture that the cascade likes most."
        if len(scan.hits.boxes)
        else "No window passed every stage; they are drawn on the one that came furthest.",
        columns=3,
    )


def _feature(run: Run, cascade: Cascade, feature: int, window: NDArray[np.float64]) -> Any:
    canvas = Canvas(run.size, window).photo()
    height, width = cascade.window
    unit = np.array([(window[2] - window[0]) / width, (window[3] - window[1]) / height])
    weights, rects = cascade.weights[feature], cascade.rects[feature].astype(np.float64)
    for (x, y, w, h), weight in zip(rects, weights, strict=True):
        if not weight:
            continue
        if cascade.tilted[feature]:
            points = np.array([(x, y), (x + w, y + w), (x + w - h, y + w + h), (x - h, y + h)])
        else:
            points = np.array([(x, y), (x + w, y), (x + w, y + h), (x, y + h)])
        canvas.polygon(window[:2] + points * unit, LIGHT if weight > 0 else DARK, 0.72)
    return canvas.svg("a feature on a window")


def _survivors(run: Run, scan: Scanned) -> Panel:
    survivors = scan.survivors
    total = survivors.sum(axis=0)
    stages = survivors.shape[1] - 1
    chart = log_bars(
        total.tolist(),
        ["in", *(str(stage + 1) for stage in range(stages))],
        "passed stage",
        "windows",
        "windows that survive each stage",
        "#2f86ff",
    )
    first = total[1] / max(int(total[0]), 1)
    maps = [_reach(run, scan, level) for level in _telling(scan)]
    return Panel(
        "survivors",
        "How many windows survive each stage",
        "The first stages ask few features and refuse most windows, so that nearly all of the work goes to "
        "the few places that deserve it: the attentional cascade (Viola and Jones 2001, section 4). "
        "Each stage may lose almost no face, but half of the rest, and the rates multiply.",
        (
            Figure(chart, f"{int(total[0]):,} windows go in, {int(total[-1]):,} come out",
                   f"The scale is logarithmic; the first stage alone lets {first:.0%} through."),
            *maps,
        ),
        {"survivors": survivors, "total": total},
        legend=(("#280b54", "refused early"), ("#d44842", "half way"), ("#fcffa4", "passed all")),
        table=_by_scale(scan, survivors),
    )  # fmt: skip


def _telling(scan: Scanned) -> list[int]:
    """Return the scales whose maps are drawn: those with the most hits, and the furthest others."""
    hits = np.array([int((level == len(scan.cascade) + 1).sum()) for level in scan.reached])
    furthest = np.array([int(level.max(initial=0)) for level in scan.reached])
    order = np.lexsort((-furthest, -hits))
    return sorted(int(level) for level in order[:SCALES])


def _reach(run: Run, scan: Scanned, level: int) -> Figure:
    reached, shift = scan.reached[level], scan.shifts[level]
    rows, columns = reached.shape
    height, width = scan.windows[level]
    x, y = width / 2 - shift / 2, height / 2 - shift / 2  # a window is drawn where its centre is
    box = (x, y, x + columns * shift, y + rows * shift)
    passed = np.maximum(reached.astype(np.float64) - 1, 0) / len(scan.cascade)
    canvas = run.canvas().photo(0.55)
    pixels = np.dstack([heat(np.sqrt(passed)), np.where(reached > 1, 235, 0).astype(np.uint8)])
    canvas.image(pixels, box)
    for number, hit in enumerate(scan.hits.boxes[scan.hits.cells[:, 0] == level][:12]):
        canvas.box((*hit[:2], *(hit[:2] + hit[2:])), colour_of(number), width=1.2)
    return Figure(
        canvas.svg("how far each window came"),
        f"Windows of {width} x {height} pixels",
        "A dot is a window's centre: the lighter, the further it came; boxes passed every stage.",
    )


def _by_scale(scan: Scanned, survivors: NDArray[np.int64]) -> Table:
    stages = survivors.shape[1] - 1
    asked = sorted({1, 2, 3, 5, 10, stages} & set(range(1, stages + 1)))
    return Table(
        ("scale", "window", "windows in", *(f"after {stage}" for stage in asked)),
        tuple(
            (
                f"{scale:.2f}",
                f"{window[1]} x {window[0]}",
                f"{own[0]:,}",
                *(f"{own[stage]:,}" for stage in asked),
            )
            for scale, window, own in zip(scan.scales, scan.windows, survivors, strict=True)
        ),
    )
