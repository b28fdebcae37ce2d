"""Objects as points: the heatmap and its peaks, which need no suppression."""

from __future__ import annotations

import numpy as np

from gazehound.explain.colours import colour_of, heat
from gazehound.explain.panels import Figure, Panel
from gazehound.explain.run import SHOWN, Run, host
from gazehound.nn.heatmaps import Peaks

MOST = 40  # peaks drawn


def panels(run: Run) -> list[Panel]:
    """Return the panel of a detector of points; none where no peaks were read."""
    steps = run.shown(Peaks)
    if not steps:
        return []
    step = steps[0]
    values, scores = host(step.heat)[0], host(step.scores)[0].astype(np.float64)
    cells, labels = host(step.cell)[0], host(step.labels)[0]
    boxes = run.to_image(step.boxes[0])
    width = values.shape[2]
    points = np.stack([cells % width, cells // width], axis=1) * step.stride + step.stride / 2
    places = run.to_image(np.tile(points, 2))[:, :2]
    strongest = int((scores >= SHOWN).sum()) or min(5, len(scores))
    best = values.max(axis=0)
    top = max(float(best.max(initial=0.0)), 1e-6)
    warm = run.canvas().photo().image(heat(best / top), run.input_box, opacity=0.8)
    read = run.canvas().photo(0.3)
    for row in range(min(strongest, MOST))[::-1]:
        colour = colour_of(row)
        title = f"{run.name(int(labels[row]))} {scores[row]:.2f}"
        warm.dot(places[row], colour, radius=1.1)
        read.box(boxes[row], colour, width=2.2, title=title).dot(places[row], colour, radius=0.9)
        read.line(places[row], boxes[row, :2], colour, width=1, opacity=0.7)
        read.line(places[row], boxes[row, 2:], colour, width=1, opacity=0.7)
    return [
        Panel(
            "peaks",
            "The heatmap and its peaks",
            "Each class has a map that says how likely a cell is the centre of an object; a cell that is "
            "no smaller than its eight neighbours is a peak, and a peak is a detection (Zhou et al. 2019, "
            "Objects as Points, section 4). Size and offset are read from that one cell, so nothing has "
            "to be suppressed afterwards.",
            (
                Figure(warm.svg("heatmap"), f"The heatmap, {width} x {values.shape[1]} cells",
                       f"The highest of all classes, at most {top:.2f} here; dots are peaks."),
                Figure(read.svg("peaks and what is read there"), "What is read at each peak",
                       f"{strongest} of {len(scores)} peaks are drawn, the best; "
                       "lines lead from the centre to the corners."),
            ),
            {"scores": scores, "cells": cells, "places": places, "boxes": boxes},
        )
    ]  # fmt: skip
