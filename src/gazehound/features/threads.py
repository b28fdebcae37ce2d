"""Run independent pieces of work on threads; the kernels and the matrix products release the lock.

While threads of ours are busy, each matrix product (BLAS) stays on its own thread: its workers would
only fight with ours for the cores.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from functools import cache
from typing import Any, TypeVar

import numba

Item = TypeVar("Item")
Result = TypeVar("Result")

_here = threading.local()


class _OneThreadPerProduct:
    """Limits BLAS to one thread while at least one caller is inside, then restores what was set."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._limits: Any = None

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._limits = _pools().limit(limits=1, user_api="blas")

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._limits.restore_original_limits()


@cache
def _pools() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


_products = _OneThreadPerProduct()


@contextmanager
def _worker() -> Iterator[None]:
    _here.busy = True
    try:
        yield
    finally:
        _here.busy = False


def in_threads(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Return ``work`` of every item, in order, on as many threads as Numba may use.

    Inside such a thread, and with one thread, the items are done one after the other.
    """
    if getattr(_here, "busy", False):
        return [work(item) for item in items]
    threads = numba.get_num_threads()
    if threads == 1:
        with _products:
            return [work(item) for item in items]

    def marked(item: Item) -> Result:
        with _worker():
            return work(item)

    with _products, ThreadPoolExecutor(threads) as pool:
        # Each item in a copy of this thread's context, so that a watcher here sees its steps, too.
        return [f.result() for f in [pool.submit(copy_context().run, marked, i) for i in items]]
