"""What Prometheus is told."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

from gazehound.records import Detections

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The numbers of one server, in a registry of its own."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.requests = Counter(
            "gazehound_requests", "Requests answered.", ("method", "path", "status"),
            registry=registry,
        )  # fmt: skip
        self.seconds = Histogram(
            "gazehound_request_seconds", "From the first byte in to the last byte out.", ("path",),
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self.problems = Counter(
            "gazehound_problems", "Requests refused, by the problem's type.", ("type",),
            registry=registry,
        )  # fmt: skip
        self.images = Counter("gazehound_images", "Images detected on.", registry=registry)
        self.objects = Counter(
            "gazehound_objects", "Objects found (not of answers with candidates).", ("name",),
            registry=registry,
        )  # fmt: skip
        self.batches = Histogram(
            "gazehound_batch_images", "Images in a batch.", buckets=_SIZES, registry=registry
        )
        self.model_seconds = Histogram(
            "gazehound_model_seconds", "The model's time for a batch.", buckets=_SECONDS,
            registry=registry,
        )  # fmt: skip
        self.in_work = Gauge(
            "gazehound_requests_in_work", "Requests that are being read, wait or are worked on.",
            registry=registry,
        )  # fmt: skip
        self.waiting = Gauge(
            "gazehound_queue_images", "Decoded images that wait for the model.", registry=registry
        )
        self._model = Info("gazehound_model", "The model that is served.", registry=registry)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)

    def describe(self, detector: str, version: str) -> None:
        """Say which model is served, by which version."""
        self._model.info({"detector": detector, "version": version})

    def watch(self, in_work: Callable[[], float], waiting: Callable[[], float]) -> None:
        """Read the two gauges from these whenever somebody asks."""
        self.in_work.set_function(in_work)
        self.waiting.set_function(waiting)

    def batch(self, size: int, seconds: float) -> None:
        """Count a batch."""
        self.images.inc(size)
        self.batches.observe(size)
        self.model_seconds.observe(seconds)

    def problem(self, kind: str) -> None:
        """Count a refused request."""
        self.problems.labels(kind).inc()

    def found(self, found: Detections) -> None:
        """Count the objects of an answer."""
        for name, count in Tally(found.names).items():
            self.objects.labels(name).inc(count)

    def answered(self, method: str, path: str, status: int, seconds: float) -> None:
        """Count a request."""
        self.requests.labels(method, path, str(status)).inc()
        self.seconds.labels(path).observe(seconds)

    def page(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)
