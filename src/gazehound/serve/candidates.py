"""The boxes that a detector has before it suppresses, so that a page can suppress them itself.

A slider for NMS is only honest when it starts from these. Greedy NMS is the same at every score
threshold, because a box is only ever dropped by a better one: whoever has the candidates from a low score
has the answer to every pair of thresholds. Whether a detector's answer really is plain per-class NMS over
its candidates is not declared anywhere but tried, once, on a picture (:func:`is_plain`).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gazehound.boxes.nms import batched_nms
from gazehound.detectors.detector import Detector
from gazehound.records import Detections

if TYPE_CHECKING:
    from gazehound.nn.postprocess import Limits

EVERYTHING = 100_000  # boxes of an image; no detector has as many
SAME = 0.5  # pixels between two boxes that are one
TOLERATED = 0.02  # of the boxes may differ: an IoU at the threshold may round either way


@dataclass(frozen=True)
class Suppression:
    """How a detector makes one box of many, as far as another program can do the same.

    Attributes:
        plain: greedy per-class NMS at ``iou``, then the best ``limit``, and nothing else.
        iou: a box is dropped when its IoU with a better one of its class is above it.
        limit: boxes kept per image.
    """

    plain: bool
    iou: float | None = None
    limit: int | None = None


def suppression_of(detector: Detector) -> Suppression:
    """Return the NMS that a detector says it ends with; not ``plain`` where it says none."""
    limits = _limits_of(detector)
    if limits is not None:
        return Suppression(True, limits.iou, limits.per_image)
    for option in ("fusion", "grouping"):  # classical detectors
        if getattr(detector, option, None) == "nms":
            return Suppression(True, *_numbers(detector, "overlap", "limit"))
    return Suppression(False)


def _limits_of(detector: Detector) -> Limits | None:
    """Return what a network's NMS keeps; None for other kinds of limits, and other detectors."""
    limits = getattr(detector, "limits", None)
    if limits is None:  # a classical detector: serving it never loads torch
        return None
    from gazehound.nn.postprocess import Limits

    return limits if isinstance(limits, Limits) else None


def _numbers(detector: Detector, overlap: str, limit: str) -> tuple[float, int]:
    return float(getattr(detector, overlap)), int(getattr(detector, limit))


def loosened(detector: Detector, score: float, limit: int) -> Detector:
    """Return a detector on the same weights that returns its candidates.

    Args:
        detector: one whose :func:`suppression_of` is ``plain``; it is not changed.
        score: candidates are kept from this score, where the detector's own limit is higher.
        limit: candidates kept per image, the best ones.
    """
    limits = _limits_of(detector)
    if limits is not None:
        lowest = min(limits.score, score)
        return _changed(
            detector, {"limits": replace(limits, iou=1.0, per_image=limit, score=lowest)}
        )
    option = "fusion" if hasattr(detector, "fusion") else "grouping"
    return _changed(detector, {option: "none", "limit": limit})


def is_plain(detector: Detector, picture: NDArray[np.uint8]) -> bool:
    """Say whether NMS over the candidates of a picture gives what the detector itself finds.

    Everything is compared down to score 0, so that even an untrained network has boxes to compare.
    """
    rule = suppression_of(detector)
    if not rule.plain or rule.iou is None:
        return False
    own = _all_of(detector).predict([picture], score=0.0)[0]
    rows = loosened(detector, 0.0, EVERYTHING).predict([picture], score=0.0)[0]
    kept = batched_nms(rows.boxes, rows.scores, rows.labels, rule.iou)
    return _agree(own, rows.select(kept))


def _all_of(detector: Detector) -> Detector:
    """Return the detector without a limit on score or count."""
    limits = _limits_of(detector)
    if limits is not None:
        return _changed(detector, {"limits": replace(limits, score=0.0, per_image=EVERYTHING)})
    return _changed(detector, {"limit": EVERYTHING})


def _changed(detector: Detector, attributes: Mapping[str, Any]) -> Detector:
    """Return a shallow copy with other attributes; weights are shared."""
    clone = copy.copy(detector)
    for name, value in attributes.items():
        setattr(clone, name, value)
    return clone


def _agree(own: Detections, other: Detections) -> bool:
    """Say whether two answers are the same but for a few boxes at the edge of the threshold."""
    allowed = TOLERATED * max(len(own), len(other), 1)
    if abs(len(own) - len(other)) > allowed:
        return False
    theirs = {label: other.boxes[other.labels == label] for label in set(other.labels.tolist())}
    missing = 0
    for box, label in zip(own.boxes, own.labels.tolist(), strict=True):
        rows = theirs.get(label)
        near = rows is not None and (np.abs(rows - box).max(axis=1) <= SAME).any()
        missing += not near
    return missing <= allowed
