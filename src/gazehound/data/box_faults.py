"""Faults of single boxes, found for all boxes at once: the first pass of every reader."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gazehound.data.dataset import Dataset
from gazehound.data.faults import Fault, Parsed
from gazehound.records import BoolArray, FloatArray, IntArray

EDGE_TOLERANCE = 0.01  # pixels; sums of decimals in float32 miss the edge by less
TINY, SMALL = 4.0, 8.0  # pixels at the input size, shorter side


def box_faults(parsed: Parsed) -> Iterator[Fault]:
    """Yield every box that is not finite, inverted, without extent, outside or out of the frame.

    Each box gets at most one fault, the worst. Images of unknown size (0, 0) have no frame.
    """
    boxes = parsed.dataset.boxes
    frames = frames_of(parsed)
    for code, mask in box_masks(boxes, frames).items():
        for row in np.flatnonzero(mask).tolist():
            yield parsed.fault(code, _describe(boxes[row], frames[row]), row=row)


def duplicate_rows(dataset: Dataset) -> tuple[IntArray, IntArray]:
    """Return the rows that repeat class and box of an earlier row of their image, and that row."""
    keys = np.column_stack(
        [
            dataset.truths.owner(),
            dataset.labels,
            dataset.crowd,
            dataset.boxes.view(np.int32).reshape(-1, 4),
        ]
    )
    _, first, group = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    earlier = first[group.reshape(-1)].astype(np.int64)
    rows = np.flatnonzero(earlier != np.arange(len(keys)))
    return rows, earlier[rows]


def duplicate_faults(parsed: Parsed) -> Iterator[Fault]:
    """Yield every box that repeats another of its image."""
    rows, earlier = duplicate_rows(parsed.dataset)
    for row, first in zip(rows.tolist(), earlier.tolist(), strict=True):
        name = parsed.dataset.classes.names[parsed.dataset.labels[row]]
        message = f"same '{name}' and box as {parsed.place(first)}"
        yield parsed.fault("box-duplicate", message, row=row)


def visibility_faults(parsed: Parsed, input_size: int) -> Iterator[Fault]:
    """Yield boxes whose shorter side is under 4 or 8 px once the image fits into ``input_size``.

    Crowd regions, boxes with another fault, and images of unknown size are passed over.
    """
    boxes, frames = parsed.dataset.boxes, frames_of(parsed)
    scale = np.float32(input_size) / frames.max(axis=1, initial=1)
    sides = (boxes[:, 2:] - boxes[:, :2]).min(axis=1, initial=np.inf) * scale
    with np.errstate(invalid="ignore"):
        seen = (sides > 0) & ~parsed.dataset.crowd
        rows = np.flatnonzero(seen & (sides < SMALL))
    for row in rows.tolist():
        code = "box-tiny" if sides[row] < TINY else "box-small"
        name = parsed.dataset.classes.names[parsed.dataset.labels[row]]
        width, height = (boxes[row, 2:] - boxes[row, :2]).tolist()
        message = f"'{name}' of {width:.4g}x{height:.4g} px is {sides[row]:.2g} px at {input_size}"
        yield parsed.fault(code, message, row=row)


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
