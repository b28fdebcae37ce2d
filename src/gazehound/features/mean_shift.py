"""Fusing detections by mean shift in position and log scale (Dalal 2006, section 5.3).

Every detection is a Gaussian whose width grows with its scale, weighted by its response; each climbs
to a mode of the sum, and the modes are the objects. Widths, stopping rule and the weight of a mode
are those of OpenCV's HOG detector.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]

WIDTHS = np.array(
    [8.0, 16.0, np.log(1.3)]
)  # x and y in pixels of the window's scale, and log scale
STOP = 1e-5  # squared step, in widths, at which a climb ends; also how close equal modes are
MOST_STEPS = 100
SAME = 1.0


def _widths(points: Points) -> Points:
    """Return the kernel widths (..., 3) at points (x, y, log scale)."""
    growth = np.exp(points[..., 2])
    return np.stack([WIDTHS[0] * growth, WIDTHS[1] * growth, np.full_like(growth, WIDTHS[2])], -1)


def _pull(at: Points, points: Points, widths: Points, weights: Points) -> Points:
    """Return (M, N): the weight of every point in the density at each of (M, 3) places."""
    distance = (((points - at[:, None]) / widths) ** 2).sum(axis=-1)
    # OpenCV divides by the root of the sum of the widths, where a Gaussian has their product
    return np.asarray(weights * np.exp(-distance / 2) / np.sqrt(widths.sum(axis=-1)))


def modes(points: Points, weights: Points) -> tuple[Points, Points]:
    """Return the modes (M, 3) that the points climb to, and the density at each, (M,).

    Args:
        points: (N, 3), the centre (x, y) and the logarithm of the scale.
        weights: (N,), the responses.
    """
    if len(points) == 0:
        return np.zeros((0, 3)), np.zeros(0)
    widths = _widths(points)
    at = points.copy()
    moving = np.arange(len(at))
    for _ in range(MOST_STEPS):
        pull = _pull(at[moving], points, widths, weights)[:, :, None] / widths
        moved = (pull * points).sum(axis=1) / pull.sum(axis=1)
        step = (((at[moving] - moved) / _widths(at[moving])) ** 2).sum(axis=1)
        at[moving] = moved
        moving = moving[step > STOP]
        if len(moving) == 0:
            break
    found: list[Points] = []
    for place in at:
        near = [((((place - mode) / _widths(mode)) ** 2).sum()) < SAME for mode in found]
        if not any(near):
            found.append(place)
    unique = np.stack(found)
    return unique, _pull(unique, points, widths, weights).sum(axis=1)
