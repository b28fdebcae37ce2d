"""The array types of the records, and the check of their shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gazehound.errors import DataError

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


def need_shape(name: str, array: NDArray[Any], shape: Sequence[Any], where: str = "") -> None:
    """Raise DataError unless ``array`` has ``shape`` (None: any length; a last ...: any rest)."""
    wanted = list(shape)
    got: list[Any] = list(array.shape)
    if wanted and wanted[-1] is ...:
        wanted, got = wanted[:-1], got[: len(wanted) - 1]
    if len(wanted) != len(got) or any(w not in (None, g) for w, g in zip(wanted, got, strict=True)):
        text = ", ".join("N" if w is None else str(w) for w in wanted)
        place = f"{where}: " if where else ""
        raise DataError(f"{place}{name} must have shape ({text}); got {tuple(array.shape)}")
