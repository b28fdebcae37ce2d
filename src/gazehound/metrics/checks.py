"""What must hold of boxes and scores before they are evaluated; each fault is one line.

``where`` ends so that ``where[index]`` names an entry of the file.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gazehound.errors import DataError
from gazehound.kernels.box_checks import count_leaving, first_faulty

_EN_MASSE = 0.2  # share of boxes that leave the image before xyxy is suspected


def check_boxes(where: str, xywh: NDArray[np.float64]) -> None:
    """Raise DataError for the first box with a number that is not finite or a negative size."""
    row, negative = first_faulty(xywh)
    if row >= 0:
        raise DataError(f"{where}[{row}]: bbox must be finite numbers; got {xywh[row].tolist()}")
    if negative >= 0:
        raise DataError(
            f"{where}[{negative}]: bbox must be x, y, width, height with sizes of at least 0; "
            f"got {xywh[negative].tolist()}"
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


def check_xywh(
    where: str,
    xywh: NDArray[np.float64],
    image: NDArray[np.int32],
    sizes: NDArray[np.int64],
) -> None:
    """Raise DataError when the boxes look like xyxy: as xywh many leave their images, as xyxy none.

    Args:
        where: for the message.
        xywh: (N, 4) boxes.
        image: (N,) image of each.
        sizes: (I, 2) height and width of the images; zeros where unknown.
    """
    known, leaving, corners, row = count_leaving(xywh, image, sizes)
    if leaving >= max(2, _EN_MASSE * known) and corners > 0.98 * known:
        raise DataError(
            f"{where}[{row}]: bbox {xywh[row].tolist()} leaves its image, as do {leaving} of "
            f"{known} boxes; expected x, y, width, height, these look like x1, y1, x2, y2"
        )
