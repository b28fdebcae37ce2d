"""Boxes written in another convention than their format has: recognised by their numbers.

Each test looks at all boxes of a split together and needs evidence that a sound data set never
gives. An error convention is also undone, so that the tests of single boxes speak of the boxes as
they were meant.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gazehound.boxes.formats import area, cxcywh_to_xyxy, xywh_to_xyxy
from gazehound.data.box_faults import box_faults, frames_of
from gazehound.data.faults import Fault, Parsed
from gazehound.data.rows import Raw
from gazehound.records import FloatArray

SHARE = 0.3  # of boxes that must leave the frame, or be inverted, before the numbers are doubted
FEWEST = 3  # boxes that must do so, and fewest from which a convention is judged
EDGE_BOXES = 3  # boxes that must touch the first row or column


@dataclass(frozen=True)
class Convention:
    """One way to misread boxes.

    Attributes:
        code: of its fault.
        formats: the formats it can happen to.
        seen: tells from the numbers as written (N, 4) and (width, height) (N, 2) whether it did.
        boxes: what was meant, ``xyxy`` in pixels.
    """

    code: str
    formats: tuple[str, ...]
    seen: Callable[[Raw, Raw], bool]
    boxes: Callable[[Raw, Raw], Raw]


def examine(parsed: Parsed) -> tuple[Parsed, list[Fault]]:
    """Find the faults of a parsed split that stop a reader, and the warnings met on the way.

    Returns:
        The split, with boxes of a wrong convention as they were meant, and all faults so far.
    """
    faults = list(parsed.faults)
    parsed, wrong = as_meant(parsed)
    faults += wrong
    suspected = _off_by_one(parsed)
    faults += suspected
    singles = list(box_faults(parsed))
    if suspected:  # the one pixel too far is what the suspicion is about
        singles = [f for f in singles if f.code != "box-out-of-frame" or _overshoot(parsed, f) > 1]
    return parsed, faults + singles


def as_meant(parsed: Parsed) -> tuple[Parsed, list[Fault]]:
    """Return the split with its boxes as they were meant, and the fault if they were written so."""
    dataset = parsed.dataset
    frames = frames_of(parsed).astype(np.float64)
    known = np.isfinite(parsed.raw).all(axis=1) & np.isfinite(frames).all(axis=1)
    if known.sum() < FEWEST:
        return parsed, []
    for convention in CONVENTIONS:
        if dataset.format in convention.formats and convention.seen(
            parsed.raw[known], frames[known]
        ):
            boxes = dataset.boxes.copy()
            boxes[known] = convention.boxes(parsed.raw[known], frames[known])
            truths = replace(dataset.truths, boxes=boxes, area=_areas(parsed, boxes))
            first = int(np.flatnonzero(known)[0])
            numbers = ", ".join(f"{value:g}" for value in parsed.raw[first])
            message = f"all {known.sum()} boxes, such as ({numbers})"
            fault = replace(parsed.fault(convention.code, message, row=first), row=-1, image=-1)
            return replace(parsed, dataset=replace(dataset, truths=truths)), [fault]
    return parsed, []


def _areas(parsed: Parsed, boxes: FloatArray) -> FloatArray:
    """Return the areas of new boxes, except where the old area was not that of the box."""
    old = parsed.dataset
    own = np.isclose(old.area, area(old.boxes), rtol=1e-3)
    return np.where(own, area(boxes), old.area).astype(np.float32)


def _many(flags: Any) -> bool:
    return bool(flags.sum() >= FEWEST and flags.mean() >= SHARE)


def _corner_as_size(raw: Raw, frames: Raw) -> bool:
    beyond = (raw[:, :2] + raw[:, 2:] > frames + 1).any(axis=1)
    corner = (raw[:, 2:] > raw[:, :2]).all() and (raw[:, 2:] <= frames + 1).all()
    return bool(corner and _many(beyond))


def _corner_as_size_in_fractions(raw: Raw, frames: Raw) -> bool:
    beyond = (raw[:, :2] + raw[:, 2:] / 2 > 1.01).any(axis=1)
    corner = (raw[:, 2:] > raw[:, :2]).all() and (np.abs(raw) <= 1.001).all()
    return bool(corner and _many(beyond))


def _size_as_corner(raw: Raw, frames: Raw) -> bool:
    inverted = (raw[:, 2:] < raw[:, :2]).any(axis=1)
    size = (raw > 0).all() and (raw[:, :2] + raw[:, 2:] <= frames + 2).all()
    return bool(size and _many(inverted))


def _fractions(raw: Raw, frames: Raw) -> bool:
    return bool((raw >= 0).all() and (raw <= 1.001).all() and (raw != np.round(raw)).any())


def _pixels(raw: Raw, frames: Raw) -> bool:
    return bool((raw.max(axis=1) > 2).mean() >= 0.5)


def _scale(frames: Raw) -> Raw:
    return np.tile(frames, 2)


CONVENTIONS: tuple[Convention, ...] = (
    Convention("boxes-normalised", ("coco",), _fractions, lambda r, f: xywh_to_xyxy(r) * _scale(f)),
    Convention("boxes-normalised", ("voc", "kitti"), _fractions, lambda r, f: r * _scale(f)),
    Convention("boxes-in-pixels", ("yolo",), _pixels, lambda r, f: cxcywh_to_xyxy(r)),
    Convention("boxes-xyxy-as-xywh", ("coco",), _corner_as_size, lambda r, f: r),
    Convention(
        "boxes-xyxy-as-xywh", ("yolo",), _corner_as_size_in_fractions, lambda r, f: r * _scale(f)
    ),
    Convention(
        "boxes-xywh-as-xyxy", ("voc", "kitti"), _size_as_corner, lambda r, f: xywh_to_xyxy(r)
    ),
)


def _off_by_one(parsed: Parsed) -> list[Fault]:
    """Return the suspicion that pixels are counted from 1 (COCO) or from 0 (VOC)."""
    raw = parsed.raw[:, :2]
    if parsed.dataset.format == "coco":
        edge, ruled_out, code = (raw == 1).any(axis=1), bool((raw < 1).any()), "boxes-one-based"
        text = "{} boxes begin exactly at 1 and none before; COCO counts from 0"
    elif parsed.dataset.format == "voc":
        edge, ruled_out, code = (raw == 0).any(axis=1), False, "boxes-zero-based"
        text = "{} boxes begin at 0; VOC counts pixels from 1, so they reach 1 px over the edge"
    else:
        return []
    if edge.sum() < EDGE_BOXES or ruled_out:
        return []
    fault = parsed.fault(code, text.format(edge.sum()), row=int(np.flatnonzero(edge)[0]))
    return [replace(fault, row=-1, image=-1)]


def _overshoot(parsed: Parsed, fault: Fault) -> float:
    """Return how many pixels a box reaches over the edge."""
    box = parsed.dataset.boxes[fault.row]
    height, width = parsed.dataset.sizes[fault.image].tolist()
    return float(max(-box[0], -box[1], box[2] - width, box[3] - height))
