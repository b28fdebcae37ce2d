"""What must hold of boxes and scores before they are evaluated; each fault is one line.

``where`` ends so that ``where[index]`` names an entry of the file.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gazehound.errors import DataError

_EN_MASSE = 0.2  # share of boxes that leave the image before xyxy is suspected


def check_boxes(where: str, xywh: NDArray[np.float64]) -> None:
    """Raise DataError for the first box with a number that is not finite or a negative size."""
    finite = np.isfinite(xywh).all(axis=1)
    if not finite.all():
        row = int(np.flatnonzero(~finite)[0])
        raise DataError(f"{where}[{row}]: bbox must be finite numbers; got {xywh[row].tolist()}")
    negative = (xywh[:, 2] < 0) | (xywh[:, 3] < 0)
    if negative.any():
        row = int(np.flatnonzero(negative)[0])
        raise DataError(
            f"{where}[{row}]: bbox must be x, y, width, height with sizes of at least 0; "
            f"got {xywh[row].tolist()}"
        )


def check_scores(where: str, score: NDArray[np.float64], any_score: bool = False) -> None:
    """Raise DataError for the first score that is not finite or, unless allowed, outside 0..1."""
    bad = ~np.isfinite(score) if any_score else ~((score >= 0) & (score <= 1))
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        wanted = "a finite number" if any_score else "a number in 0..1"
        raise DataError(
            f"{where}[{row}]: score must be {wanted}; got {score[row]:g} "
            f"({int(bad.sum())} such entries)"
        )


def check_xywh(where: str, xywh: NDArray[np.float64], sizes: NDArray[Any]) -> None:
    """Raise DataError when the boxes look like xyxy: as xywh many leave their images, as xyxy none.

    Args:
        where: for the message.
        xywh: (N, 4) boxes.
        sizes: (N, 2) height and width of each box's image; zeros where unknown.
    """
    known = (sizes > 0).all(axis=1)
    boxes, limit = xywh[known], sizes[known][:, ::-1] * 1.02 + 1
    if not len(boxes):
        return
    leaves = (boxes[:, :2] + boxes[:, 2:] > limit).any(axis=1)
    corners = (boxes[:, 2:] >= boxes[:, :2]).all(axis=1) & (boxes[:, 2:] <= limit).all(axis=1)
    if leaves.sum() >= max(2, _EN_MASSE * len(boxes)) and corners.mean() > 0.98:
        row = int(np.flatnonzero(known)[np.flatnonzero(leaves)[0]])
        raise DataError(
            f"{where}[{row}]: bbox {xywh[row].tolist()} leaves its image, as do "
            f"{int(leaves.sum())} of {len(boxes)} boxes; expected x, y, width, height, "
            "these look like x1, y1, x2, y2"
        )
