"""Detectors without anchors, and EfficientDet."""

from __future__ import annotations

from gazehound.catalog.entry import Entry

ROWS: tuple[Entry, ...] = ()  # fmt: skip
