"""Scales of an image pyramid, and images as the 8-bit planes that pyramids are made of.

The scales follow OpenCV's HOG detector: each is ``step`` times the last, a level has the image's
sides divided by its scale and rounded (half to even), and the pyramid ends where a window no longer
fits. Starting below 1 magnifies the image first, so that objects smaller than the window are found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gazehound.errors import ConfigError, ImageError
from gazehound.kernels.resize import split_planes

MOST_LEVELS = 64


@dataclass(frozen=True)
class Level:
    """One level of a pyramid.

    Attributes:
        scale: pixels of the image per pixel of the level.
        size: (height, width) of the level.
    """

    scale: float
    size: tuple[int, int]


def pyramid_levels(
    size: tuple[int, int],
    smallest: tuple[int, int],
    step: float = 1.05,
    start: float = 1.0,
    limit: int = MOST_LEVELS,
) -> list[Level]:
    """Return the levels of an image, from the largest down.

    Args:
        size: (height, width) of the image.
        smallest: (height, width) that a level must have at least.
        step: ratio of two neighbouring scales; 1 means a single level.
        start: the first scale; below 1 the first level is larger than the image.
        limit: the most levels.

    Returns:
        The levels; none when even the first is too small.

    Raises:
        ConfigError: a step below 1, or a start that is not positive.
    """
    if step < 1 or start <= 0:
        raise ConfigError(
            f"a pyramid needs a step of at least 1 and a start above 0; got {step} and {start}"
        )
    levels: list[Level] = []
    scale = start
    while len(levels) < limit:
        height, width = (round(side / scale) for side in size)
        if height < smallest[0] or width < smallest[1]:
            break
        levels.append(Level(scale, (height, width)))
        if step == 1:
            break
        scale *= step
    return levels


def byte_planes(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Return an image as planes (C, H, W) uint8.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3), uint8, or uint16 whose range is brought to 0..255.

    Raises:
        ImageError: another shape or type, or no pixels.
    """
    grey = image[:, :, None] if image.ndim == 2 else image
    if grey.ndim != 3 or grey.shape[2] not in (1, 3) or not grey.size:
        raise ImageError(
            f"an image must have shape (H, W), (H, W, 1) or (H, W, 3); got {image.shape}"
        )
    if grey.dtype == np.uint16:
        grey = np.rint(grey / 257).astype(np.uint8)
    if grey.dtype != np.uint8:
        raise ImageError(f"an image must be uint8 or uint16; got {image.dtype}")
    planes: NDArray[np.uint8] = split_planes(np.ascontiguousarray(grey))
    return planes
