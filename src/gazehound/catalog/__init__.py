"""The catalogue: every detector by name, in literal tables, each builder imported only when asked for.

A builder takes ``classes`` and its own keyword arguments and returns a detector.
"""

from __future__ import annotations

from pathlib import Path

from gazehound.catalog import classical, dense, points, regions, yolo
from gazehound.catalog.entry import Entry
from gazehound.errors import unknown_name

WEIGHTS = Path(__file__).parent.parent / "weights"  # trained models that ship with the package
ENTRIES: tuple[Entry, ...] = (
    *classical.ROWS,
    *regions.ROWS,
    *dense.ROWS,
    *yolo.ROWS,
    *points.ROWS,
)
BY_NAME = {entry.name: entry for entry in ENTRIES}


def find(name: str) -> Entry:
    """Return the row of ``name``; ConfigError with near matches when there is none.

    Dashes and underscores are the same.
    """
    key = {known.replace("-", "_"): known for known in BY_NAME}.get(name.replace("-", "_"))
    if key is None:
        raise unknown_name("model", name, BY_NAME)
    return BY_NAME[key]
