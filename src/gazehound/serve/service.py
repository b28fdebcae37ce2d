"""The way of a request: admitted, read, measured, decoded, batched, answered; every step has a limit."""

from __future__ import annotations

import asyncio
import io
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass

from PIL import Image
from starlette.requests import Request

from gazehound.data.images import decode_image, encoded_size
from gazehound.serve.batching import Ask, Batcher, Outcome, Picture
from gazehound.serve.engine import Engine, log
from gazehound.serve.metrics import Metrics
from gazehound.serve.problems import Refusal
from gazehound.serve.settings import Settings
from gazehound.serve.uploads import read_upload

UPLOAD = "the file"  # its name in messages; what the client calls it does not matter
LONGEST_RETRY = 60  # seconds
PREVIEW = 2048  # pixels of the longer side


@dataclass(frozen=True)
class Answer:
    """What a request gets: the outcome of the model, and the seconds that decoding took."""

    outcome: Outcome
    decoded: float


class Service:
    """A detector and everything that stands between it and the network.

    Attributes:
        engine: the detector.
        settings: the limits.
        metrics: the numbers.
        ready: the model has been warmed up, and the server is not ending.
        failure: what the model raised when it was warmed up, if it did.
        on_failure: is called then.
    """

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.engine, self.settings, self.metrics = engine, settings, Metrics()
        self.failure: Exception | None = None
        self.on_failure: Callable[[], None] = lambda: None
        self.ready = False
        self._warm = asyncio.Event()
        self._in_work = 0
        self._pace = 0.0  # seconds per image, a moving mean
        self._decoded = asyncio.Semaphore(2 * settings.batch)  # one batch in the model, one behind
        self._batcher = Batcher(
            engine.detect, batch=settings.batch, wait=settings.wait, observe=self._observe
        )
        self.metrics.watch(lambda: self._in_work, lambda: self._batcher.waiting)

    def _observe(self, size: int, seconds: float) -> None:
        self.metrics.batch(size, seconds)
        each = seconds / size
        self._pace = each if not self._pace else 0.8 * self._pace + 0.2 * each

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Work while the ``with`` lasts; at its end what is in the queue is still finished.

        A model that hangs is not waited for longer than a request may take.
        """
        self._batcher.start()
        warming = asyncio.create_task(self._warm_up())
        try:
            yield
        finally:
            self.ready = False
            warming.cancel()
            with suppress(TimeoutError):
                async with asyncio.timeout(self.settings.seconds):
                    await self._batcher.drain()

    async def _warm_up(self) -> None:
        try:
            await self._batcher.run(self.engine.warm_up)
            self.ready = True
        except Exception as error:
            log.exception("the model failed on its first picture")
            self.failure = error
            self.on_failure()
        finally:
            self._warm.set()

    def state(self) -> str:
        """Return ``ready``, or why no request should be sent here."""
        if self.failure is not None:
            return "the model failed on its first picture"
        if not self.ready:
            return "the model is being warmed up, or the server is ending"
        if self._batcher.busy > 2 * self.settings.seconds:
            return "the model has been at one batch for too long"
        return "ready"

    async def detect(self, request: Request, ask: Ask) -> Answer:
        """Detect on the image of a request.

        Raises:
            Refusal: a limit was met, or there is no image that can be read.
        """
        with self._admitted():
            data = await self._read(request)
            async with self._timed(503, "timeout", "The detection took too long"), self._decoded:
                started = time.monotonic()
                image = await asyncio.to_thread(self._decode, data)
                decoded = time.monotonic() - started
                del data
                outcome = await self._batcher.submit(image, ask)
            if not ask.candidates:
                self.metrics.found(outcome.found)
            return Answer(outcome, decoded)

    async def preview(self, request: Request) -> bytes:
        """Return the image of a request as the detector sees it, as a JPEG of at most ``PREVIEW`` pixels.

        Raises:
            Refusal: as for :meth:`detect`.
        """
        with self._admitted():
            data = await self._read(request)
            async with self._timed(503, "timeout", "The decoding took too long"), self._decoded:
                return await asyncio.to_thread(lambda: _jpeg(self._decode(data)))

    async def warmed_up(self) -> None:
        """Wait until it is known what the model can do.

        Raises:
            Refusal: it is not known yet, or never will be.
        """
        async with self._timed(503, "not-ready", "The model is still being warmed up"):
            await self._warm.wait()
        if self.failure is not None:
            raise Refusal(503, "not-ready", "The server is not ready", self.state())

    async def _read(self, request: Request) -> bytes:
        async with self._timed(408, "slow-upload", "The upload took too long"):
            return await read_upload(request, self.settings.upload_bytes)

    @contextmanager
    def _admitted(self) -> Iterator[None]:
        if self._in_work >= self.settings.queue:
            raise Refusal(
                503, "queue-full", "The server is busy",
                f"{self.settings.queue} requests are in work already", self._retry_after(),
            )  # fmt: skip
        self._in_work += 1
        try:
            yield
        finally:
            self._in_work -= 1

    @asynccontextmanager
    async def _timed(self, status: int, kind: str, title: str) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self.settings.seconds):
                yield
        except TimeoutError:
            detail = f"at most {self.settings.seconds:g} seconds are allowed"
            again = self._retry_after() if status == 503 else None
            raise Refusal(status, kind, title, detail, again) from None

    def _retry_after(self) -> int:
        """Return the seconds after which the requests in work should be done."""
        return min(LONGEST_RETRY, max(1, math.ceil(self._in_work * self._pace)))

    def _decode(self, data: bytes) -> Picture:
        height, width = encoded_size(data, UPLOAD)
        if height * width > self.settings.pixels:
            raise Refusal(
                413, "too-many-pixels", "The image has too many pixels",
                f"at most {self.settings.pixels} pixels are decoded; got {width} x {height}",
            )  # fmt: skip
        return decode_image(data, UPLOAD)


def _jpeg(image: Picture) -> bytes:
    picture = Image.fromarray(image)
    picture.thumbnail((PREVIEW, PREVIEW))
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=90)
    return stream.getvalue()
