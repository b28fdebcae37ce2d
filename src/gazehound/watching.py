"""What a detector shows of its own steps while somebody watches; nothing at all while nobody does.

A step is a record of values that the detector computed anyway: windows before suppression, a pyramid's
responses, the boxes that regions were pooled from. Code that computes one says :func:`show`; whoever
wants to draw them says :func:`watch` and then lets the detector predict as always. So a drawing never
computes anything a second time, and what it draws is what the detector did.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

_SEEN: ContextVar[list[object] | None] = ContextVar("steps seen", default=None)


@dataclass(frozen=True)
class Suppression:
    """One greedy suppression: boxes that might be objects, and those that stayed.

    Arrays or tensors, as the detector has them; boxes in pixels of whatever it looked at.

    Attributes:
        boxes: (N, 4) ``xyxy`` candidates.
        scores: (N,) of the candidates.
        groups: (N,) only candidates of one group suppress each other: a class, a pyramid level.
        kept: (K,) rows that stayed, best first.
        overlap: above it a better box drops a worse one.
        covered: the overlap is the share of the worse box that the better one covers, not the IoU.
        cut: of the rows in ``kept``, the first so many were returned.
    """

    boxes: Any
    scores: Any
    groups: Any
    kept: Any
    overlap: float
    covered: bool = False
    cut: int | None = None


@dataclass(frozen=True)
class Merging:
    """Boxes that became fewer by being averaged, not dropped.

    Attributes:
        boxes: (N, 4) ``xyxy`` before.
        scores: (N,).
        merged: (K, 4) ``xyxy`` after.
        merged_scores: (K,).
        label: the class that they are of.
    """

    boxes: Any
    scores: Any
    merged: Any
    merged_scores: Any
    label: int = 0


def is_watched() -> bool:
    """Whether somebody watches: ask before computing what only a watcher needs."""
    return _SEEN.get() is not None


def show(step: object) -> None:
    """Show one step to whoever watches."""
    seen = _SEEN.get()
    if seen is not None:
        seen.append(step)


@contextmanager
def watch() -> Iterator[list[object]]:
    """Collect the steps that are shown inside the ``with``, in the order they come.

    A watch inside a watch sees its own steps alone. Steps from threads of
    ``features.threads.in_threads`` are seen, in any order.
    """
    seen: list[object] = []
    before = _SEEN.set(seen)
    try:
        yield seen
    finally:
        _SEEN.reset(before)
