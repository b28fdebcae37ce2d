"""A row of the catalogue."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Entry:
    """One row of the catalogue.

    Attributes:
        name: what a user types.
        builder: ``module:function``; imported only when asked for.
        year: of the paper.
        paper: authors and short title.
        kind: ``network`` (Trainable) or ``classical`` (Fittable).
        parameters: millions of weights at 80 classes; None for classical detectors.
        summary: one line.
        weights: file name of a bundled model in ``gazehound/weights``, if any.
        tiny: builder arguments that make it small enough to learn eight images in a test; None for
            a row that differs from another one only in size, and is tested through that one.
        lesson: arguments of :func:`gazehound.data.shapes.shapes` for those eight images.
    """

    name: str
    builder: str
    year: int
    paper: str
    kind: str
    parameters: float | None
    summary: str
    weights: str | None = None
    tiny: Mapping[str, Any] | None = None
    lesson: Mapping[str, Any] = field(default_factory=dict)

    def resolve(self) -> Callable[..., Any]:
        """Import and return the builder."""
        module, function = self.builder.split(":")
        builder: Callable[..., Any] = getattr(import_module(module), function)
        return builder
