"""Spread a kernel that releases the GIL over threads, by ranges of labels or of area ranges."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Range = tuple[int, int]
_TASKS_PER_THREAD = 4  # so that an uneven split does not leave a thread idle for long


def thread_count() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def spread(kernel: Callable[[Range, Range], None], offsets: NDArray[np.int64], parts: int) -> None:
    """Call ``kernel(labels, parts)`` over all labels and parts, on several threads when it pays.

    Args:
        kernel: writes its own labels and parts and nothing else; any order gives the same result.
        offsets: (K + 1,) where each label's rows begin, for an even split.
        parts: a second axis (area ranges) to split where there are fewer labels than threads.
    """
    threads = thread_count()
    rows = int(offsets[-1])
    if threads == 1 or rows * parts < 2000:
        kernel((0, len(offsets) - 1), (0, parts))
        return
    labels = list(_even_ranges(offsets, threads * _TASKS_PER_THREAD))
    split_parts = len(labels) < threads
    pieces = [(p, p + 1) for p in range(parts)] if split_parts else [(0, parts)]
    with ThreadPoolExecutor(threads) as pool:
        for task in [pool.submit(kernel, run, piece) for run in labels for piece in pieces]:
            task.result()


def _even_ranges(offsets: NDArray[np.int64], count: int) -> Iterator[Range]:
    """Yield ranges of labels with about the same number of rows."""
    last = len(offsets) - 1
    marks = np.searchsorted(offsets, np.linspace(0, offsets[-1], count + 1)[1:-1])
    edges = np.unique(np.concatenate([[0], marks, [last]])).tolist()
    yield from pairwise(edges)
