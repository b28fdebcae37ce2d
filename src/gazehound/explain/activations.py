"""What the layers of a network answer to the picture, level by level."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gazehound.explain.colours import heat, stretched
from gazehound.explain.panels import Figure, Panel
from gazehound.explain.run import Run, host, inference

MOST = 8  # maps of one part that are drawn


def panels(run: Run) -> list[Panel]:
    """Return a panel on the first part of a network that makes maps, and one on the last."""
    parts = {name: maps for name, maps in run.maps.items() if _many(maps)}
    if not parts:
        return []
    names = list(parts)
    first, *rest = names
    out = [_panel(run, first, parts[first], "activations", "What the backbone sees", _BACKBONE)]
    pyramids = [name for name in rest if not name[-1].isdigit()]
    if pyramids:
        last = parts[pyramids[-1]]
        title, text = _PYRAMID if len(last) > 1 else _MAP
        out.append(_panel(run, pyramids[-1], last, "pyramid", title, text))
    return out


_BACKBONE = (
    "Each map is the mean size of all channels' answers; the finest keeps edges and texture, the coarsest "
    "has seen most of the picture for each of its cells and answers to parts and wholes. What is bright "
    "is not yet an object: only what the later layers make of it decides."
)
_MAP = (
    "The map that the heads read",
    "Everything that follows is read from this one map, which must know what is there and where at once. "
    "Networks that predict at points bring coarse maps up to a fine one again, so that small objects keep "
    "centres of their own (Zhou et al. 2019, Objects as Points, section 5).",
)
_PYRAMID = (
    "The pyramid's activations",
    "A neck hands what the coarse maps know down to the fine ones, so that every level knows both what and "
    "where (Lin et al. 2017, Feature Pyramid Networks, figure 3). Small objects should now stand out on "
    "the fine levels and large ones on the coarse levels; one square is one cell.",
)


def _many(maps: list[Tensor]) -> bool:
    return any(min(m.shape[-2:]) > 1 for m in maps)


def strength(level: Tensor) -> NDArray[np.float64]:
    """Return the mean absolute activation (h, w) of the channels of a map (C, h, w)."""
    return np.asarray(np.abs(host(level)).mean(axis=0), np.float64)


def place_of(run: Run, rows: int, columns: int) -> tuple[NDArray[np.float64], float]:
    """Return the ``xyxy`` that a map covers in the picture, and how wide its cells are there, pixels.

    Padded convolutions round up: the last cells of a map reach beyond the network input where its
    sides are no multiples of the stride.
    """
    height, width = inference(run).batch.images.shape[-2:]
    stride = 2.0 ** round(np.log2(max(height / rows, width / columns)))
    if (int(np.ceil(height / stride)), int(np.ceil(width / stride))) != (rows, columns):
        return run.input_box, float(run.input_box[3] - run.input_box[1]) / rows
    box = run.to_image(np.array([[0, 0, columns * stride, rows * stride]])).reshape(4)
    return box, float(box[3] - box[1]) / rows


def _panel(run: Run, name: str, maps: list[Tensor], key: str, title: str, text: str) -> Panel:
    figures = []
    for level in maps[:MOST]:
        values = strength(level)
        rows, columns = values.shape
        shown = stretched(values - values.min())
        canvas = run.canvas().photo()
        box, stride = place_of(run, rows, columns)
        canvas.image(heat(shown), box, opacity=0.82)
        figures.append(
            Figure(
                canvas.svg(f"activations of {columns} x {rows} cells"),
                f"{columns} x {rows} cells, {len(level)} channels",
                f"A cell is {stride:.3g} pixels of the picture wide.",
            )
        )
    return Panel(
        key,
        title,
        text,
        tuple(figures),
        {"part": name, "shapes": [tuple(level.shape) for level in maps]},
        columns=3,
    )
