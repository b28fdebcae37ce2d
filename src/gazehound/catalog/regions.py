"""Detectors that look at regions: localizer, sliding window, the R-CNN line."""

from __future__ import annotations

from gazehound.catalog.entry import Entry

ROWS: tuple[Entry, ...] = ()  # fmt: skip
