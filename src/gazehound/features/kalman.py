"""A Kalman filter for boxes that move at constant velocity, many at once (Wojke et al. 2017, DeepSORT).

The state is (cx, cy, a, h) and its velocity per frame, a the aspect ratio w / h. Uncertainties are
relative to the height of the box, except those of the aspect ratio.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PLACE = 1 / 20  # standard deviation of a coordinate, in heights
SPEED = 1 / 160  # of its velocity
_MOTION = np.eye(8) + np.eye(8, k=4)  # a frame later: place plus velocity


def measured(boxes: NDArray[np.float32]) -> Floats:
    """Return boxes (N, 4) ``xyxy`` as (N, 4) cx, cy, w / h, h."""
    corners = boxes.astype(np.float64)
    sides = np.maximum(corners[:, 2:] - corners[:, :2], 1e-6)
    centres = corners[:, :2] + sides / 2
    return np.concatenate([centres, sides[:, :1] / sides[:, 1:], sides[:, 1:]], axis=1)


def boxes_of(means: Floats) -> NDArray[np.float32]:
    """Return the ``xyxy`` boxes (N, 4) of states (N, 8)."""
    half = np.stack([means[:, 2] * means[:, 3], means[:, 3]], axis=1) / 2
    return np.concatenate([means[:, :2] - half, means[:, :2] + half], axis=1).astype(np.float32)


def begin(measurements: Floats) -> tuple[Floats, Floats]:
    """Return states (N, 8) at rest and covariances (N, 8, 8) for first measurements (N, 4)."""
    height = measurements[:, 3:]
    ones = np.ones_like(height)
    deviation = np.concatenate(
        [
            2 * PLACE * height, 2 * PLACE * height, 1e-2 * ones, 2 * PLACE * height,
            10 * SPEED * height, 10 * SPEED * height, 1e-5 * ones, 10 * SPEED * height,
        ],
        axis=1,
    )  # fmt: skip
    return np.concatenate([measurements, np.zeros_like(measurements)], axis=1), _diagonal(deviation)


def predict(means: Floats, covariances: Floats) -> tuple[Floats, Floats]:
    """Move states (N, 8) and covariances (N, 8, 8) one frame on."""
    height = np.abs(means[:, 3:4])
    ones = np.ones_like(height)
    deviation = np.concatenate(
        [
            PLACE * height, PLACE * height, 1e-2 * ones, PLACE * height,
            SPEED * height, SPEED * height, 1e-5 * ones, SPEED * height,
        ],
        axis=1,
    )  # fmt: skip
    return means @ _MOTION.T, _MOTION @ covariances @ _MOTION.T + _diagonal(deviation)


def update(means: Floats, covariances: Floats, measurements: Floats) -> tuple[Floats, Floats]:
    """Correct states (N, 8) and covariances (N, 8, 8) by what was measured (N, 4)."""
    height = np.abs(means[:, 3:4])
    deviation = np.concatenate(
        [PLACE * height, PLACE * height, 0.1 * np.ones_like(height), PLACE * height], axis=1
    )
    expected = covariances[:, :4, :4] + _diagonal(deviation)
    gain = np.linalg.solve(expected, covariances[:, :4, :]).transpose(0, 2, 1)  # N x 8 x 4
    surprise = (measurements - means[:, :4])[..., None]
    corrected = covariances - gain @ expected @ gain.transpose(0, 2, 1)
    return means + (gain @ surprise)[..., 0], corrected


def _diagonal(deviation: Floats) -> Floats:
    return np.asarray(deviation[..., None] ** 2 * np.eye(deviation.shape[-1]))
