"""What learning a mixture of part models starts from: training images and a plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gazehound.errors import ConfigError

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Scene:
    """One training image as one class sees it.

    Attributes:
        load: returns the image (H, W, 3) uint8.
        objects: (N, 4) boxes to learn from.
        avoid: (M, 4) boxes where nothing is known to be background: objects, crowds, difficult
            ones.
    """

    load: Callable[[], Image]
    objects: NDArray[np.float32]
    avoid: NDArray[np.float32]


@dataclass(frozen=True)
class TrainingPlan:
    """How to learn; the defaults are those of voc-release5 unless said otherwise.

    Attributes:
        components: aspect groups; every one becomes a mirrored pair of components.
        parts: parts per component.
        part_size: side of a part filter, part cells.
        cell: side of a root cell, pixels; even.
        reach: the largest displacement of a part, part cells.
        c: weight of the losses.
        root_area: smallest and largest area of a root, square pixels.
        positive_overlap: lowest IoU of a placement with its object.
        negative_overlap: largest share of a mined window in anything to avoid (voc-release5 mines
            only in images without objects).
        positive_interval: pyramid levels per octave when placing objects.
        negative_interval: likewise when mining.
        few_images: images mined in all stages but the last.
        last_images: images mined in the last stage (voc-release5: all).
        per_image: entries mined per image and round, the hardest (voc-release5 has no such limit).
        cache: most examples in the cache.
        root_rounds: (placings, minings per placing) of stage 2.
        mixture_rounds: likewise of stage 3.
        part_rounds: likewise of stage 4.
        last_rounds: likewise of stage 5.
        iterations: of the solver, at most.

    Raises:
        ConfigError: a value is out of its range.
    """

    components: int = 3
    parts: int = 8
    part_size: int = 6
    cell: int = 8
    reach: int = 4
    c: float = 0.001
    root_area: tuple[float, float] = (3000.0, 5000.0)
    positive_overlap: float = 0.7
    negative_overlap: float = 0.3
    positive_interval: int = 5
    negative_interval: int = 4
    few_images: int = 200
    last_images: int = 2000
    per_image: int = 200
    cache: int = 24000
    root_rounds: tuple[int, int] = (4, 3)
    mixture_rounds: tuple[int, int] = (1, 5)
    part_rounds: tuple[int, int] = (8, 10)
    last_rounds: tuple[int, int] = (1, 5)
    iterations: int = 1000

    def __post_init__(self) -> None:
        whole = (
            "components", "part_size", "positive_interval", "negative_interval", "few_images",
            "last_images", "per_image", "cache", "iterations",
        )  # fmt: skip
        for name in whole:
            _need(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        _need(self.parts >= 0, "parts", "at least 0", self.parts)
        _need(self.cell >= 2 and self.cell % 2 == 0, "cell", "even and at least 2", self.cell)
        _need(self.c > 0, "c", "above 0", self.c)
        for name in ("positive_overlap", "negative_overlap"):
            _need(0 < getattr(self, name) < 1, name, "between 0 and 1", getattr(self, name))
        for name in ("root_rounds", "mixture_rounds", "part_rounds", "last_rounds"):
            rounds = getattr(self, name)
            _need(len(rounds) == 2 and min(rounds) >= 0, name, "two numbers from 0 on", rounds)
        low, high = self.root_area
        _need(0 < low <= high, "root_area", "a smallest and a largest area", self.root_area)


def _need(good: bool, name: str, wanted: str, came: object) -> None:
    if not good:
        raise ConfigError(f"{name} must be {wanted}; got {came}")
