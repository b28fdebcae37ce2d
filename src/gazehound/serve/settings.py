"""What a server allows and how it batches."""

from __future__ import annotations

from dataclasses import dataclass

from gazehound.errors import ConfigError

MEGABYTE = 2**20
_LOWEST = {
    "batch": 1, "queue": 1, "upload_bytes": 1, "pixels": 1, "candidates": 1,
}  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """Limits and batching of one server.

    Memory in the worst case is ``queue * upload_bytes`` for bodies and ``3 * batch * pixels * 3`` for
    decoded images: a batch in the model, and at most two more that are decoded and wait.

    Attributes:
        batch: images that go through the model together at most.
        wait: seconds that the first image of a batch waits for others at most.
        queue: requests in work at once; the next one is told to come again (503).
        seconds: that a request may take, its body and its answer each.
        upload_bytes: size of an image file.
        pixels: of a decoded image.
        candidates: boxes in an answer at most; for an answer before suppression, the best ones.
        candidate_score: candidates are asked for from this score, where the detector's own is higher.
        start_score: where the page's slider starts.

    Raises:
        ConfigError: a value is out of its range.
    """

    batch: int = 8
    wait: float = 0.005
    queue: int = 128
    seconds: float = 30.0
    upload_bytes: int = 20 * MEGABYTE
    pixels: int = 50_000_000
    candidates: int = 5000
    candidate_score: float = 0.02
    start_score: float = 0.25

    def __post_init__(self) -> None:
        for name, lowest in _LOWEST.items():
            if getattr(self, name) < lowest:
                raise ConfigError(f"{name} must be at least {lowest}; got {getattr(self, name)}")
        if self.seconds <= 0 or self.wait < 0:
            raise ConfigError(
                f"seconds must be over 0 and wait not under 0; got {self.seconds} and {self.wait}"
            )
        for name in ("candidate_score", "start_score"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} must lie in 0..1; got {getattr(self, name)}")
