"""From the many windows around an object to one box, as OpenCV's HOG detector does it.

Windows become whole rectangles of the image first; they are then grouped by similarity, or fused by
mean shift in position and log scale.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gazehound.features.grouping import group_rectangles
from gazehound.features.mean_shift import modes
from gazehound.features.pyramid import Level
from gazehound.features.window_scan import Hits
from gazehound.records import FloatArray


def whole_windows(
    hits: Hits, levels: Sequence[Level], window: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the windows as whole ``xywh`` (N, 4) in pixels of the image, and their scales (N,).

    Corner and size are rounded separately, half to even.
    """
    scale = np.array([level.scale for level in levels])[hits.level] if levels else np.zeros(0)
    sides = np.array([window[1], window[0]])
    corners = np.rint(hits.corner * scale[:, None])
    return np.concatenate([corners, np.rint(scale[:, None] * sides)], 1).astype(np.int64), scale


def fuse_by_grouping(
    windows: NDArray[np.int64], margin: FloatArray, threshold: float
) -> tuple[FloatArray, FloatArray]:
    """Return ``xyxy`` boxes and best margins of the groups of more than ``threshold`` windows."""
    boxes, best, _ = group_rectangles(windows, margin, int(threshold))
    return _corners(boxes), best


def fuse_by_mean_shift(
    windows: NDArray[np.int64],
    scale: NDArray[np.float64],
    margin: FloatArray,
    window: tuple[int, int],
    threshold: float,
) -> tuple[FloatArray, FloatArray]:
    """Return ``xyxy`` boxes and densities of the modes whose density is above ``threshold``.

    Windows whose margin is not positive have no weight in the density and are left out (Dalal 2006,
    section 5.2, clips them to 0).
    """
    counted = margin > 0
    windows, scale, margin = windows[counted], scale[counted], margin[counted]
    centres = np.rint(windows[:, :2] + windows[:, 2:] / 2)  # whole points, as OpenCV halves them
    points = np.concatenate([centres, np.log(scale)[:, None]], axis=1)
    found, density = modes(points, margin.astype(np.float64))
    growth = np.exp(found[:, 2:])
    sides = (np.array([window[1], window[0]]) * growth).astype(np.int64)
    corners = (found[:, :2] - sides // 2).astype(np.int64)  # towards zero, as C casts
    kept = density > threshold
    boxes = np.concatenate([corners, sides], axis=1)[kept]
    return _corners(boxes), density[kept].astype(np.float32)


def _corners(boxes: NDArray[np.int64]) -> FloatArray:
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    return corners.astype(np.float32)
