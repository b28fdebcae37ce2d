"""Box formats and clipping.

``xyxy`` corners, ``xywh`` top left corner and size, ``cxcywh`` centre and size; continuous pixels,
no plus-one. All functions take ``(..., 4)`` arrays (NumPy or torch) and return a new one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gazehound.boxes.arrays import Array, namespace
from gazehound.errors import ConfigError, unknown_name


def _columns(boxes: Array) -> tuple[Array, Array, Array, Array]:
    if boxes.shape[-1] != 4:
        raise ConfigError(f"boxes must have shape (..., 4); got {tuple(boxes.shape)}")
    return boxes[..., 0], boxes[..., 1], boxes[..., 2], boxes[..., 3]


def xyxy_to_xywh(boxes: Array) -> Array:
    """Corners to top left corner and size."""
    x1, y1, x2, y2 = _columns(boxes)
    return namespace(boxes).stack((x1, y1, x2 - x1, y2 - y1), axis=-1)


def xywh_to_xyxy(boxes: Array) -> Array:
    """Top left corner and size to corners."""
    x, y, w, h = _columns(boxes)
    return namespace(boxes).stack((x, y, x + w, y + h), axis=-1)


def xyxy_to_cxcywh(boxes: Array) -> Array:
    """Corners to centre and size."""
    x1, y1, x2, y2 = _columns(boxes)
    parts = ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1)
    return namespace(boxes).stack(parts, axis=-1)


def cxcywh_to_xyxy(boxes: Array) -> Array:
    """Centre and size to corners."""
    cx, cy, w, h = _columns(boxes)
    parts = (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2)
    return namespace(boxes).stack(parts, axis=-1)


_TO_XYXY: dict[str, Callable[[Array], Array]] = {
    "xyxy": lambda boxes: boxes,
    "xywh": xywh_to_xyxy,
    "cxcywh": cxcywh_to_xyxy,
}
_FROM_XYXY: dict[str, Callable[[Array], Array]] = {
    "xyxy": lambda boxes: boxes,
    "xywh": xyxy_to_xywh,
    "cxcywh": xyxy_to_cxcywh,
}


def convert(boxes: Array, source: str, target: str) -> Array:
    """Convert boxes between the formats ``xyxy``, ``xywh`` and ``cxcywh``.

    Raises:
        ConfigError: a format is unknown.
    """
    for name in (source, target):
        if name not in _TO_XYXY:
            raise unknown_name("box format", name, _TO_XYXY)
    return boxes if source == target else _FROM_XYXY[target](_TO_XYXY[source](boxes))


def area(boxes: Array) -> Array:
    """Return the area of ``xyxy`` boxes (..., 4) -> (...), square pixels."""
    x1, y1, x2, y2 = _columns(boxes)
    return (x2 - x1) * (y2 - y1)


def clip(boxes: Array, height: Array, width: Array) -> Array:
    """Clip ``xyxy`` boxes (..., 4) to an image.

    Args:
        boxes: (..., 4).
        height: a number, or an array that broadcasts against ``boxes[..., 0]``; pixels.
        width: likewise.
    """
    xp = namespace(boxes)
    x1, y1, x2, y2 = _columns(boxes)
    x1, x2 = (_between_zero_and(xp, x, width) for x in (x1, x2))
    y1, y2 = (_between_zero_and(xp, y, height) for y in (y1, y2))
    return xp.stack((x1, y1, x2, y2), axis=-1)


def _between_zero_and(xp: Array, values: Array, limit: Array) -> Array:
    positive = xp.clip(values, 0, None)
    if isinstance(limit, int | float | np.number):
        return xp.clip(positive, None, float(limit))
    return xp.minimum(positive, xp.asarray(limit, dtype=values.dtype))
