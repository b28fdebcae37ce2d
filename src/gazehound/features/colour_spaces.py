"""Colour spaces that selective search looks at an image in (Uijlings et al. 2013, section 3.2).

Every space maps (H, W, 3) uint8 RGB to planes (C, H, W) float32 with values in 0..255, so that one
scale of thresholds and one set of histogram bins serves all.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gazehound.errors import ImageError, unknown_name
from gazehound.records import FloatArray

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
_XYZ_OF_RGB = np.array(
    [
        [0.412453, 0.357580, 0.180423],
        [0.212671, 0.715160, 0.072169],
        [0.019334, 0.119193, 0.950227],
    ],
    np.float32,
)  # sRGB primaries, white point D65
_WHITE = _XYZ_OF_RGB.sum(axis=1)


def _planes(image: NDArray[np.uint8]) -> FloatArray:
    return np.ascontiguousarray(image.transpose(2, 0, 1), np.float32)


def intensity(image: NDArray[np.uint8]) -> FloatArray:
    """Return (1, H, W) the grey value."""
    return np.asarray((image.astype(np.float32) @ _LUMA)[None], np.float32)


def rgb(image: NDArray[np.uint8]) -> FloatArray:
    """Return (3, H, W) the image as it is."""
    return _planes(image)


def normalised_rgb(image: NDArray[np.uint8]) -> FloatArray:
    """Return (3, H, W) each channel's share of the sum of the three; a third each in black."""
    planes = _planes(image)
    total = planes.sum(axis=0)
    share = np.where(total > 0, planes / np.maximum(total, 1), np.float32(1 / 3))
    return np.asarray(255 * share, np.float32)


def rgi(image: NDArray[np.uint8]) -> FloatArray:
    """Return (3, H, W) normalised red and green, and the intensity."""
    return np.concatenate((normalised_rgb(image)[:2], intensity(image)))


def opponent(image: NDArray[np.uint8]) -> FloatArray:
    """Return (3, H, W) the paper's C: red against green and yellow against blue over their sum; the sum."""
    red, green, blue = normalised_rgb(image) / 255  # shares: the sum is divided out already
    first, second = (red - green + 1) / 2, (red + green - 2 * blue + 2) / 3
    mean = _planes(image).mean(axis=0)
    return np.stack((255 * first, 255 * second, mean)).astype(np.float32)


def hsv(image: NDArray[np.uint8]) -> FloatArray:
    """Return (3, H, W) hue (the whole circle over 0..255), saturation and value."""
    planes = _planes(image)
    red, green, blue = planes
    value, spread = planes.max(axis=0), np.ptp(planes, axis=0)
    safe = np.maximum(spread, 1)
    sextant = np.where(
        value == red,
        (green - blue) / safe,
        np.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    hue = (sextant % 6) * np.float32(255 / 6)
    saturation = 255 * spread / np.maximum(value, 1)
    return np.stack((hue, saturation, value)).astype(np.float32)


def hue(image: NDArray[np.uint8]) -> FloatArray:
    """Return (1, H, W) the hue alone."""
    return hsv(image)[:1]


def lab(image: NDArray[np.uint8]) -> FloatArray:
    """Return (3, H, W) CIE L*a*b* of sRGB under D65: L over 0..255, a and b shifted by 128."""
    levels = np.arange(256, dtype=np.float32) / 255
    linear = np.where(levels > 0.04045, ((levels + 0.055) / 1.055) ** 2.4, levels / 12.92)
    light = linear.astype(np.float32)[image] @ (_XYZ_OF_RGB / _WHITE[:, None]).T  # H x W x XYZ
    root = np.where(light > 0.008856, np.cbrt(light), 7.787 * light + np.float32(16 / 116))
    x, y, z = root[..., 0], root[..., 1], root[..., 2]
    planes = ((116 * y - 16) * 2.55, 500 * (x - y) + 128, 200 * (y - z) + 128)
    return np.asarray(np.clip(np.stack(planes), 0, 255), np.float32)


SPACES: dict[str, Callable[[NDArray[np.uint8]], FloatArray]] = {
    "hsv": hsv,
    "hue": hue,
    "intensity": intensity,
    "lab": lab,
    "nrgb": normalised_rgb,
    "opponent": opponent,
    "rgb": rgb,
    "rgi": rgi,
}


def in_space(image: NDArray[np.uint8], space: str) -> FloatArray:
    """Return an image (H, W, 3) uint8 RGB in a colour space, (C, H, W) in 0..255.

    Raises:
        ConfigError: the space is unknown.
        ImageError: the image has another shape or type, or no pixels.
    """
    if space not in SPACES:
        raise unknown_name("colour space", space, SPACES)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ImageError(
            f"an image must be (H, W, 3) uint8 RGB with pixels; got {image.shape} of {image.dtype}"
        )
    return SPACES[space](image)
