"""SSD and the YOLO line."""

from __future__ import annotations

from gazehound.catalog.entry import Entry

ROWS: tuple[Entry, ...] = ()  # fmt: skip
