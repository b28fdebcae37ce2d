"""What an explanation is made of: panels that teach one step each, and the pictures on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from gazehound.errors import ConfigError
from gazehound.records import Detections, Sample


@dataclass(frozen=True)
class Figure:
    """One picture.

    Attributes:
        svg: inline SVG; ``<use href="#photo"/>`` in it stands for the explained picture.
        title: a few words above it.
        caption: what is to be seen, below it.
    """

    svg: Markup
    title: str = ""
    caption: str = ""


@dataclass(frozen=True)
class Table:
    """Numbers in rows.

    Attributes:
        head: names of the columns.
        rows: as many texts each.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Panel:
    """One step of a detector.

    Attributes:
        key: short name, unique on a page.
        title: of the panel.
        text: the sentences that teach.
        figures: side by side where there is room.
        values: the numbers behind the pictures, by name.
        note: what is special this time.
        legend: (colour, meaning) pairs.
        table: numbers below the pictures.
        columns: figures in a row, where the screen is wide.
    """

    key: str
    title: str
    text: str
    figures: tuple[Figure, ...]
    values: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""
    legend: tuple[tuple[str, str], ...] = ()
    table: Table | None = None
    columns: int = 2


@dataclass(frozen=True)
class Explanation:
    """A detector on one picture, step by step.

    Attributes:
        name: of the detector.
        image: (H, W, 3) uint8 RGB.
        found: what it detected.
        best: rows of ``found`` that are worth drawing.
        truths: what is there, if somebody said so.
        panels: the steps, in their order.
    """

    name: str
    image: NDArray[np.uint8]
    found: Detections
    best: NDArray[np.int64]
    truths: Sample | None
    panels: Sequence[Panel]

    @property
    def keys(self) -> list[str]:
        """Return the keys of the panels."""
        return [panel.key for panel in self.panels]

    def panel(self, key: str) -> Panel:
        """Return the panel of a key; ConfigError when there is none."""
        for panel in self.panels:
            if panel.key == key:
                return panel
        raise ConfigError(f"no panel '{key}' here; there are: {', '.join(self.keys)}")
