"""What can be said about data, input size and anchors before the first step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from gazehound.data import Dataset
from gazehound.data.anchor_shapes import input_shapes, shape_iou
from gazehound.data.preprocess import Preprocess
from gazehound.detectors.network import Network
from gazehound.records import FloatArray

TINY = 8.0  # pixels of the input; the finest map of most detectors has cells of this side
WORTH_SAYING = 0.02  # share of the boxes
COVERED = 0.4  # IoU in shape under which an anchor can hardly become positive


def findings(
    network: Network, train: Dataset, preprocess: Preprocess, smallest_size: int
) -> list[str]:
    """Return one line for each thing about the data that will cost accuracy.

    Args:
        network: the detector.
        train: what it will learn from.
        preprocess: of the run.
        smallest_size: smallest input size of the run, pixels.
    """
    shapes = input_shapes(train, preprocess.at_size(smallest_size))
    if not len(shapes):
        return ["the training split holds no box: nothing can be learned from it"]
    lines = [*_sizes(shapes, smallest_size)]
    anchors = anchor_shapes(network, smallest_size)
    if anchors is not None:
        lines += _fit(shapes, anchors)
    return lines


def _sizes(shapes: FloatArray, size: int) -> Iterator[str]:
    short = shapes.min(axis=1)
    tiny = float((short < TINY).mean())
    if tiny >= WORTH_SAYING:
        better = size * TINY / max(float(np.quantile(short, WORTH_SAYING)), 1e-3)
        yield (
            f"{100 * tiny:.0f} % of your boxes are under {TINY:g} px at an input of {size} px; "
            f"{_rounded(better)} px would keep all but {100 * WORTH_SAYING:.0f} % above it"
        )
    empty = float((short <= 0).mean())
    if empty > 0:
        yield f"{100 * empty:.1f} % of your boxes have no area (gazehound data check names them)"


def _rounded(size: float) -> int:
    return int(-(-size // 32) * 32)


def _fit(shapes: FloatArray, anchors: FloatArray) -> Iterator[str]:
    best = shape_iou(shapes, anchors).max(axis=1)
    poor = float((best < COVERED).mean())
    if poor >= WORTH_SAYING:
        yield (
            f"{100 * poor:.0f} % of your boxes have no anchor of their shape (IoU under {COVERED:g}; "
            f"mean best IoU {float(best.mean()):.2f}); 'gazehound data anchors' learns better ones"
        )


@torch.no_grad()
def anchor_shapes(network: Network, size: int) -> FloatArray | None:
    """Return (A, 2) the different widths and heights of a detector's anchors at an input size.

    The detector itself is asked, with an empty picture; ``None`` when its outputs hold no anchors.
    """
    training = network.training
    device = next(network.parameters()).device
    network.eval()
    try:
        outputs: Any = network(torch.zeros(1, 3, size, size, device=device))
    finally:
        network.train(training)
    for place in (outputs, getattr(outputs, "first", None)):
        anchors = getattr(place, "anchors", None)
        if isinstance(anchors, torch.Tensor) and anchors.ndim == 2 and anchors.shape[1] == 4:
            sides = (anchors[:, 2:] - anchors[:, :2]).float().cpu().numpy()
            return np.unique(sides.round(2), axis=0)
    return None
