"""The colours of the explanations: a few that are told apart, and a scale from dark to light."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

OBJECTS = (
    "#ff385c", "#00b87a", "#2f86ff", "#ffab00", "#a45cff",
    "#00c2de", "#ff7628", "#9bd013", "#ff5cc8", "#f7dd4a",
)  # fmt: skip
"""One for each object, again from the start after ten."""

TRUTH, KEPT, DROPPED, QUIET = "#ffd43b", "#00d68f", "#ff4d6d", "#9aa5b4"

_SCALE = np.array(
    [
        (0, 0, 4), (40, 11, 84), (101, 21, 110), (159, 42, 99), (212, 72, 66),
        (245, 125, 21), (250, 193, 39), (252, 255, 164),
    ],
    np.float64,
)  # fmt: skip
_DIVERGING = np.array([(33, 102, 172), (146, 197, 222), (247, 247, 247), (244, 165, 130),
                       (178, 24, 43)], np.float64)  # fmt: skip


def colour_of(number: int) -> str:
    """Return the colour of the object with a number."""
    return OBJECTS[number % len(OBJECTS)]


def heat(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Return (..., 3) colours of values 0..1, from black over red to light yellow."""
    return _blended(values, _SCALE)


def signed(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Return (..., 3) colours of values -1..1, from blue over white to red."""
    return _blended((np.asarray(values) + 1) / 2, _DIVERGING)


def _blended(values: NDArray[Any], stops: NDArray[np.float64]) -> NDArray[np.uint8]:
    place = np.clip(np.nan_to_num(np.asarray(values, np.float64)), 0, 1) * (len(stops) - 1)
    low = np.minimum(place.astype(int), len(stops) - 2)
    share = (place - low)[..., None]
    return np.asarray(np.rint(stops[low] * (1 - share) + stops[low + 1] * share), np.uint8)


def stretched(values: NDArray[Any], top: float = 99.5) -> NDArray[np.float64]:
    """Return values brought to 0..1: 0 stays 0, the ``top`` percentile becomes 1."""
    finite = np.nan_to_num(np.asarray(values, np.float64), posinf=0, neginf=0)
    highest = float(np.percentile(finite, top)) if finite.size else 0.0
    share = finite / highest if highest > 0 else np.zeros_like(finite)
    return np.asarray(np.clip(share, 0, 1), np.float64)
