"""Write numbers with as few decimals as give the same float32 boxes back."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gazehound.records import FloatArray

Numbers = NDArray[np.float64]
PLACES = (0, 1, 2, 3, 4, 6, 8, 10, 12)


def shortest(numbers: Numbers, decode: Callable[[Numbers], Numbers], boxes: FloatArray) -> Numbers:
    """Round each row as far as it still decodes to its box.

    Args:
        numbers: (N, 4) what would be written with all its digits.
        decode: how a reader turns what is written into ``xyxy`` (N, 4).
        boxes: (N, 4) float32, what it has to give.

    Returns:
        (N, 4) rounded numbers; a row that no rounding keeps stays as it is.
    """
    rounded = numbers.copy()
    open_rows = np.ones(len(numbers), bool)
    for places in PLACES:
        trial = np.where(open_rows[:, None], np.round(numbers, places), rounded)
        fits = (decode(trial).astype(np.float32) == boxes).all(axis=1) & open_rows
        rounded[fits] = trial[fits]
        open_rows &= ~fits
        if not open_rows.any():
            break
    return rounded


def as_text(number: float) -> str:
    """Return a number with all its digits, whole ones without a point."""
    return repr(float(number)).removesuffix(".0")


def two_places(number: float) -> str:
    """Return a number with two decimals, as KITTI writes them, or with all it needs."""
    short = f"{number:.2f}"
    return short if float(short) == number else repr(float(number))
