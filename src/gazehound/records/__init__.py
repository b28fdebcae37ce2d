"""The records that flow through the code: frozen, validated, no torch import.

A ``Sample`` comes out of a data set, a ``Batch`` with its ``Targets`` goes into a network, and
``Detections`` come out of a detector. Boxes are ``xyxy``, float32, in continuous pixels of the
original image, with no plus-one; labels are 0-based and there is no background label.
"""

from __future__ import annotations

from gazehound.records.arrays import BoolArray, FloatArray, IntArray
from gazehound.records.classes import Classes
from gazehound.records.detections import TRACK, UNTRACKED, Detections
from gazehound.records.samples import Batch, Geometry, Sample, Targets

__all__ = [
    "TRACK",
    "UNTRACKED",
    "Batch",
    "BoolArray",
    "Classes",
    "Detections",
    "FloatArray",
    "Geometry",
    "IntArray",
    "Sample",
    "Targets",
]
