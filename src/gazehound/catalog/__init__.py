"""The catalogue: every detector by name, in literal tables, each builder imported only when asked for.

A builder takes ``classes`` and its own keyword arguments and returns a detector.
"""

from __future__ import annotations

import re
from collections import Counter
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


def squeezed(name: str) -> str:
    """Return what the spellings of a name have in common.

    Case, dashes and underscores do not count; ``resnet`` is ``r``, and the pyramid goes without saying
    (``fasterrcnn-resnet50-fpn`` is ``faster_rcnn_r50``).
    """
    return re.sub(r"[^a-z0-9]|fpn", "", name.lower()).replace("resnet", "r")


_COUNTS = Counter(squeezed(name) for name in BY_NAME)
_BY_SPELLING = {squeezed(name): name for name in BY_NAME if _COUNTS[squeezed(name)] == 1}


def find(name: str) -> Entry:
    """Return the row of ``name``; ConfigError with near matches when there is none.

    The usual spellings mean the same; see :func:`squeezed`.
    """
    key = name if name in BY_NAME else _BY_SPELLING.get(squeezed(name))
    if key is None:
        raise unknown_name("model", name, BY_NAME)
    return BY_NAME[key]
