"""How far the windows of an image came in a cascade: what a scan shows to a watcher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gazehound.features.cascade import Cascade

if TYPE_CHECKING:
    from gazehound.features.scanning import Hits


@dataclass(frozen=True)
class Scanned:
    """The step that a scan of an image shows.

    Attributes:
        cascade: what was run.
        integral: (H + 1, W + 1) integral image of the first scale.
        scales: (L,).
        windows: (L, 2) (height, width) of the window of each scale, pixels of the image.
        shifts: (L,) pixels of the image between windows.
        reached: of each scale (rows, columns) of windows: 0 where no stage was asked (even areas, and
            positions that the scan skips), else 1 more than the stages passed.
        hits: what passed every stage.
    """

    cascade: Cascade
    integral: NDArray[Any]
    scales: NDArray[np.float32]
    windows: NDArray[np.int64]
    shifts: NDArray[np.float64]
    reached: list[NDArray[np.uint16]]
    hits: Hits

    @property
    def survivors(self) -> NDArray[np.int64]:
        """(L, S + 1) windows of each scale that entered the first stage, and that passed each."""
        stages = len(self.cascade)
        counts = [np.bincount(level.ravel(), minlength=stages + 2)[1:] for level in self.reached]
        return np.cumsum(np.stack(counts)[:, ::-1], axis=1)[:, ::-1]


def scanned(
    cascade: Cascade,
    integral: NDArray[Any],
    scales: NDArray[np.float32],
    windows: NDArray[np.int64],
    shifts: NDArray[Any],
    levels: NDArray[np.int64],
    reached: NDArray[np.uint16],
    hits: Hits,
) -> Scanned:
    """Cut the flat map of a scan into the maps of its scales.

    Args:
        cascade: what was run.
        integral: of the first scale.
        scales: (L,).
        windows: (L, 2).
        shifts: (L,) pixels of the image between windows.
        levels: (L, 7) of the kernel.
        reached: flat map of the kernel.
        hits: what passed every stage.
    """
    maps = [
        reached[first : first + rows * columns].reshape(rows, columns)
        for columns, rows, first in levels[:, 1:4]
    ]
    return Scanned(cascade, integral, scales, windows, np.asarray(shifts, np.float64), maps, hits)
