"""Requests that arrive together go through the model together.

The event loop keeps the queue; the model runs in one thread of its own. A batch leaves when it is full,
or when its first image has waited long enough; while the model is busy the next batch fills up.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from gazehound.records import Detections

T = TypeVar("T")
Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Ask:
    """What a request wants of the model; only requests that ask the same share a batch.

    Attributes:
        candidates: boxes before suppression.
        score: the lowest score kept; None: the detector's own.
    """

    candidates: bool = False
    score: float | None = None


Results = Sequence[Detections | Exception]
Model = Callable[[Ask, Sequence[Picture]], Results]


@dataclass(frozen=True)
class Outcome:
    """What came out for one request.

    Attributes:
        found: the detections of its own image.
        waited: seconds in the queue.
        worked: seconds in the model, of the whole batch.
        together: images in that batch.
    """

    found: Detections
    waited: float
    worked: float
    together: int


@dataclass(eq=False)
class _Ticket:
    image: Picture
    ask: Ask
    entered: float
    outcome: asyncio.Future[Outcome]


class ModelThread:
    """Runs one piece of work after another in a thread that never holds up the end of the process."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="gazehound-model", daemon=True).start()

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Put work in line, and return its future."""
        future: Future[T] = Future()
        self._work.put((future, work))
        return future

    def _run(self) -> None:
        while True:
            future, work = self._work.get()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(work())
            except BaseException as error:  # whoever waits shall hear of it
                future.set_exception(error)
            del future, work


class Batcher:
    """Collects images into batches and gives every request what was found in its own.

    Args:
        model: finds the objects of a list of images; one result for each, in order.
        batch: images in a batch at most.
        wait: seconds that the first image of a batch waits for others.
        observe: is told the size of every batch and its seconds in the model.
    """

    def __init__(
        self,
        model: Model,
        *,
        batch: int = 8,
        wait: float = 0.005,
        observe: Callable[[int, float], None] = lambda size, seconds: None,
    ) -> None:
        self._model, self._batch, self._wait, self._observe = model, batch, wait, observe
        self._thread = ModelThread()
        self._waiting: deque[_Ticket] = deque()
        self._arrived = asyncio.Event()
        self._draining = False
        self._task: asyncio.Task[None] | None = None
        self._busy_since: float | None = None

    @property
    def waiting(self) -> int:
        """Return the images in the queue."""
        return len(self._waiting)

    @property
    def busy(self) -> float:
        """Return for how many seconds the model has been at its present work; 0 when it rests."""
        return 0.0 if self._busy_since is None else time.monotonic() - self._busy_since

    def start(self) -> None:
        """Begin to work; call it in the event loop."""
        self._task = asyncio.create_task(self._run())

    async def drain(self) -> None:
        """Finish what is in the queue, and end."""
        self._draining = True
        self._arrived.set()
        if self._task is not None:
            await self._task

    async def run(self, work: Callable[[], T]) -> T:
        """Run something else in the model's thread, in line with the batches."""
        return await asyncio.wrap_future(self._thread.submit(work))

    async def submit(self, image: Picture, ask: Ask) -> Outcome:
        """Wait in line and return what was found; whoever is cancelled leaves the line."""
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Ticket(image, ask, time.monotonic(), outcome))
        self._arrived.set()
        return await outcome

    async def _run(self) -> None:
        while tickets := await self._collect():
            for ask in dict.fromkeys(ticket.ask for ticket in tickets):
                await self._work(ask, [ticket for ticket in tickets if ticket.ask == ask])

    async def _collect(self) -> list[_Ticket]:
        """Return the next batch; an empty one says that this is the end."""
        while not self._present():
            if self._draining:
                return []
            await self._news(None)
        deadline = self._waiting[0].entered + self._wait
        while self._present() < self._batch and not self._draining:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            await self._news(left)
        return [self._waiting.popleft() for _ in range(min(self._batch, self._present()))]

    def _present(self) -> int:
        """Forget those who left the line, and return how many are in it."""
        if any(ticket.outcome.done() for ticket in self._waiting):
            self._waiting = deque(t for t in self._waiting if not t.outcome.done())
        return len(self._waiting)

    async def _news(self, seconds: float | None) -> None:
        """Sleep until somebody arrives, at most so long."""
        self._arrived.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._arrived.wait()
        except TimeoutError:
            pass

    async def _work(self, ask: Ask, tickets: Sequence[_Ticket]) -> None:
        started = self._busy_since = time.monotonic()
        try:
            results = await self.run(partial(self._model, ask, [t.image for t in tickets]))
        except Exception as error:  # one batch must not end the line
            results = [error] * len(tickets)
        self._busy_since = None
        seconds = time.monotonic() - started
        self._observe(len(tickets), seconds)
        for ticket, result in zip(tickets, results, strict=True):
            if ticket.outcome.done():
                continue
            if isinstance(result, Exception):
                ticket.outcome.set_exception(result)
            else:
                waited = started - ticket.entered
                ticket.outcome.set_result(Outcome(result, waited, seconds, len(tickets)))
