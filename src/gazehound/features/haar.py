"""Haar-like features: every one that fits a window, as weighted rectangles.

A feature is up to three rectangles in OpenCV's form: the whole with weight -1 and the bright part
with the weight that makes an even image give 0 (2, or 3 for the middle third of three). Tilted
rectangles start at their top corner and run ``width`` steps down to the right and ``height`` steps
down to the left (Lienhart and Maydt 2002). In a window of 24 x 24 pixels there are 162,336 upright
features of the five types of Viola and Jones 2001, Figure 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gazehound.errors import ConfigError

Rows = list[tuple[int, int, int, int, float]]  # x, y, width, height, weight

# Each type: (cells across, cells down) and the parts in cells, the whole being implied.
_SHAPES: dict[str, tuple[int, int, Rows]] = {
    "two across": (2, 1, [(1, 0, 1, 1, 2.0)]),
    "two down": (1, 2, [(0, 1, 1, 1, 2.0)]),
    "three across": (3, 1, [(1, 0, 1, 1, 3.0)]),
    "three down": (1, 3, [(0, 1, 1, 1, 3.0)]),
    "four": (2, 2, [(0, 0, 1, 1, 2.0), (1, 1, 1, 1, 2.0)]),
}
_TILTED = ("two across", "two down", "three across", "three down")


@dataclass(frozen=True, eq=False)
class HaarFeatures:
    """A list of Haar-like features of one window.

    Attributes:
        window: (height, width) in pixels.
        rects: (F, 3, 4) int16, x, y, width, height in the window; zeros where there are only two.
        weights: (F, 3) float32.
        tilted: (F,) bool, whether the rectangles stand on a corner.
    """

    window: tuple[int, int]
    rects: NDArray[np.int16]
    weights: NDArray[np.float32]
    tilted: NDArray[np.bool_]

    def __post_init__(self) -> None:
        count = len(self.rects)
        if self.rects.shape != (count, 3, 4) or self.weights.shape != (count, 3):
            raise ConfigError(
                "Haar-like features need rects (F, 3, 4) and weights (F, 3); "
                f"got {self.rects.shape} and {self.weights.shape}"
            )
        x, y = corner_points(self.rects, self.tilted)
        height, width = self.window
        used = np.repeat(self.weights != 0, 4, axis=1)
        outside = used & ((x < 0) | (y < 0) | (x > width) | (y > height))
        if outside.any():
            row = int(np.flatnonzero(outside.any(axis=1))[0])
            raise ConfigError(
                f"Haar-like feature {row} leaves the window of {height} x {width} pixels: "
                f"rects {self.rects[row].tolist()}"
            )

    def __len__(self) -> int:
        return len(self.rects)

    def take(self, rows: NDArray[Any]) -> HaarFeatures:
        """Return the list with only these features, in this order."""
        return HaarFeatures(self.window, self.rects[rows], self.weights[rows], self.tilted[rows])


def corner_points(
    rects: NDArray[np.int16], tilted: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return x and y (F, 12) of the integral-image entries whose signed sum is each rectangle's.

    The signs are + - - + for every rectangle, upright or tilted.
    """
    x, y, w, h = (rects[..., i].astype(np.int64) for i in range(4))
    lean = tilted[:, None]
    xs = np.stack([x, np.where(lean, x - h, x + w), np.where(lean, x + w, x)], axis=-1)
    ys = np.stack([y, np.where(lean, y + h, y), np.where(lean, y + w, y + h)], axis=-1)
    last_x = np.where(lean, x + w - h, x + w)
    last_y = np.where(lean, y + w + h, y + h)
    xs = np.concatenate([xs, last_x[..., None]], axis=-1)
    ys = np.concatenate([ys, last_y[..., None]], axis=-1)
    return xs.reshape(len(rects), 12), ys.reshape(len(rects), 12)


def haar_features(window: tuple[int, int] = (24, 24), tilted: bool = False) -> HaarFeatures:
    """Enumerate every feature that fits the window: 162,336 upright ones in 24 x 24.

    Args:
        window: (height, width), pixels.
        tilted: add the two- and three-rectangle types turned by 45 degrees (Lienhart and Maydt).

    Raises:
        ConfigError: the window has no room for a feature.
    """
    parts = list(_enumerate(window, _upright_places, _SHAPES, False))
    if tilted:
        parts += list(_enumerate(window, _tilted_places, _TILTED, True))
    if not sum(len(part) for part in parts):
        raise ConfigError(f"a window of {window[0]} x {window[1]} has no room for a feature")
    return HaarFeatures(
        window,
        np.concatenate([part.rects for part in parts]),
        np.concatenate([part.weights for part in parts]),
        np.concatenate([part.tilted for part in parts]),
    )


Places = Callable[[tuple[int, int], int, int], NDArray[np.int64]]


def _enumerate(
    window: tuple[int, int], places: Places, names: Any, lean: bool
) -> Iterator[HaarFeatures]:
    """Yield all features of each named type; ``places`` lists x, y, cell width, cell height."""
    for name in names:
        across, down, cells = _SHAPES[name]
        at = places(window, across, down)
        rects = np.zeros((len(at), 3, 4), np.int16)
        weights = np.zeros((len(at), 3), np.float32)
        for i, (cx, cy, cw, ch, weight) in enumerate([(0, 0, across, down, -1.0), *cells]):
            x, y, w, h = at.T
            right, below = cx * w, cy * h
            rects[:, i, 0] = x + right - (below if lean else 0)
            rects[:, i, 1] = y + below + (right if lean else 0)
            rects[:, i, 2], rects[:, i, 3] = cw * w, ch * h
            weights[:, i] = weight
        yield HaarFeatures(window, rects, weights, np.full(len(at), lean))


def _upright_places(window: tuple[int, int], across: int, down: int) -> NDArray[np.int64]:
    height, width = window
    found = [
        (x, y, w, h)
        for w in range(1, width // across + 1)
        for h in range(1, height // down + 1)
        for x in range(width - across * w + 1)
        for y in range(height - down * h + 1)
    ]
    return np.asarray(found, np.int64).reshape(-1, 4)


def _tilted_places(window: tuple[int, int], across: int, down: int) -> NDArray[np.int64]:
    height, width = window
    found = [
        (x, y, w, h)
        for w in range(1, width // across + 1)
        for h in range(1, height // down + 1)
        for x in range(down * h, width - across * w + 1)
        for y in range(height - across * w - down * h + 1)
    ]
    return np.asarray(found, np.int64).reshape(-1, 4)
