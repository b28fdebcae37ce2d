"""Faults of single boxes, found for all boxes at once: the first pass of every reader."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gazehound.data.faults import Fault, Parsed
from gazehound.records import BoolArray, FloatArray

EDGE_TOLERANCE = 0.01  # pixels; sums of decimals in float32 miss the edge by less


def box_faults(parsed: Parsed) -> Iterator[Fault]:
    """Yield every box that is not finite, inverted, without extent, outside or out of the frame.

    Each box gets at most one fault, the worst. Images of unknown size (0, 0) have no frame.
    """
    boxes = parsed.dataset.boxes
    frames = frames_of(parsed)
    for code, mask in box_masks(boxes, frames).items():
        for row in np.flatnonzero(mask).tolist():
            yield parsed.fault(code, _describe(boxes[row], frames[row]), row=row)


def frames_of(parsed: Parsed) -> FloatArray:
    """Return (N, 2) (width, height) of the image of each box; infinite where it is unknown."""
    dataset = parsed.dataset
    sizes = dataset.sizes[dataset.truths.owner()][:, ::-1].astype(np.float32)
    return np.where(sizes > 0, sizes, np.float32(np.inf))


def box_masks(boxes: FloatArray, frames: FloatArray) -> dict[str, BoolArray]:
    """Return one mask (N,) per code; they do not overlap.

    Args:
        boxes: (N, 4) ``xyxy``.
        frames: (N, 2) (width, height).
    """
    with np.errstate(invalid="ignore"):
        low, high = boxes[:, :2], boxes[:, 2:]
        finite = np.asarray(np.isfinite(boxes).all(axis=1))
        inverted = (high < low).any(1)
        degenerate = (high == low).any(1)
        outside = (np.maximum(low, high) <= 0).any(1) | (np.minimum(low, high) >= frames).any(1)
        over = (low < -EDGE_TOLERANCE).any(1) | (high > frames + EDGE_TOLERANCE).any(1)
    free: BoolArray = finite
    masks: dict[str, BoolArray] = {"box-not-finite": ~finite}
    for code, mask in (
        ("box-inverted", inverted),
        ("box-degenerate", degenerate),
        ("box-outside", outside),
        ("box-out-of-frame", over),
    ):
        masks[code] = mask & free
        free = free & ~mask
    return masks


def _describe(box: FloatArray, frame: FloatArray) -> str:
    corners = ", ".join(f"{value:g}" for value in box.tolist())
    if not np.isfinite(frame).all():
        return f"box (x1, y1, x2, y2) = ({corners})"
    return f"box (x1, y1, x2, y2) = ({corners}) in an image of {frame[0]:g}x{frame[1]:g}"
