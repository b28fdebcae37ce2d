"""Read any image file as (H, W, 3) uint8 RGB, upright, or say in one line why that is impossible.

What is done with pixels that are not 8-bit RGB:

==================  ============================================================================
grey, 1-bit         repeated over the three channels
palette             looked up
alpha               composited over white: what a person saw who drew boxes on the picture
CMYK                converted by complement; the inverted inks of Adobe's JPEGs are turned back
16-bit              the high byte (0..65535 -> 0..255), for grey as for colour
32-bit int, float   0..1 (float) is white at 1; 0..255 is kept; 0..65535 (int) as 16-bit; any other
                    range is stretched from its own lowest to its highest value; NaN is black
animation, pages    the first frame
==================  ============================================================================

The orientation that a camera wrote into EXIF is applied, and :func:`image_size` speaks of the
upright image too.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, UnidentifiedImageError

from gazehound.errors import ImageError, ImageTooLarge

RGBImage = NDArray[np.uint8]
T = TypeVar("T")

# fmt: off
IMAGE_SUFFIXES: Final = frozenset((
    ".avif", ".bmp", ".dib", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".mpo", ".pbm",
    ".pgm", ".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp",
))
"""File name endings that count as images when a folder is listed; compare in lower case."""

# Formats whose reader starts another program (EPS: Ghostscript) or that hold no pixels stay out.
_FORMATS: Final = (
    "JPEG", "PNG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF", "TGA",
)
# fmt: on

_BOMBS: Final = (Image.DecompressionBombError, Image.DecompressionBombWarning)
_ORIENTATION_TAG: Final = 0x0112
_UPRIGHT: Final = {  # EXIF 2.32, tag 274: how the stored rows become the upright image
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_image(path: str | os.PathLike[str]) -> RGBImage:
    """Read an image file.

    Args:
        path: the file.

    Returns:
        (H, W, 3) uint8 RGB, upright, in memory of its own.

    Raises:
        ImageError: the file is missing, empty, truncated, damaged, too large (``ImageTooLarge``), or
            not an image.
    """
    return _guarded(path, str(path), _pixels)


def decode_image(data: bytes, name: str = "image") -> RGBImage:
    """Decode the bytes of an image file; ``name`` stands for it in messages.

    Raises:
        ImageError: as for :func:`read_image`.
    """
    return _guarded(io.BytesIO(data), name, _pixels)


def encoded_size(data: bytes, name: str = "image") -> tuple[int, int]:
    """Return (height, width) of the upright image in the bytes of a file; reads the header only.

    Raises:
        ImageError: as for :func:`image_size`.
    """
    return _guarded(io.BytesIO(data), name, _upright_size)


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Return (height, width) of the upright image; reads the header only.

    Raises:
        ImageError: as for :func:`read_image`, but faults behind the header go unseen.
    """
    return _guarded(path, str(path), _upright_size)


def _guarded(
    source: str | os.PathLike[str] | io.BytesIO, name: str, work: Callable[[Image.Image], T]
) -> T:
    """Open ``source``, run ``work`` on it, and turn whatever goes wrong into one ImageError."""
    try:
        with Image.open(source, formats=_FORMATS) as image:
            return work(image)
    except Exception as error:  # the decoders raise almost anything on damaged files
        kind = ImageTooLarge if isinstance(error, _BOMBS) else ImageError
        raise kind(f"{name}: {_reason(source, error)}") from None


def _reason(source: Any, error: Exception) -> str:
    """Say in a few words why ``source`` cannot be read."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, _BOMBS):
        return "too many pixels to decode safely (a decompression bomb?)"
    if isinstance(error, UnidentifiedImageError):
        if _is_empty(source):
            return "the file is empty"
        return "not an image, damaged, or in a format that cannot be read"
    if isinstance(source, str | os.PathLike) and Path(source).is_dir():
        return "is a folder, not an image file"
    if isinstance(error, MemoryError):
        return "not enough memory to decode it"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"cannot be read as an image ({' '.join(text.split())})"


def _is_empty(source: Any) -> bool:
    if isinstance(source, io.BytesIO):
        return not source.getbuffer().nbytes
    return Path(source).stat().st_size == 0


def _orientation(image: Image.Image) -> int:
    if image.format == "TIFF":  # Pillow turns these itself while it loads
        return 1
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # damaged EXIF must not cost the picture
        return 1


def _upright_size(image: Image.Image) -> tuple[int, int]:
    width, height = image.size
    return (width, height) if _orientation(image) >= 5 else (height, width)


def _pixels(image: Image.Image) -> RGBImage:
    turn = _UPRIGHT.get(_orientation(image))
    image.load()
    upright = image if turn is None else image.transpose(turn)
    if upright.mode in ("F", "I") or upright.mode.startswith("I;16"):
        grey = _to_8_bit(np.asarray(upright))
        return np.repeat(grey[:, :, None], 3, axis=2)
    return np.array(_to_rgb(upright, image))


def _to_rgb(upright: Image.Image, source: Image.Image) -> Image.Image:
    """Convert an image of 8-bit channels to mode RGB."""
    mode = upright.mode
    if mode in ("LA", "PA", "La", "RGBA", "RGBa") or "transparency" in upright.info:
        layers = upright.convert("RGBA")
        white = Image.new("RGBA", layers.size, "white")
        return Image.alpha_composite(white, layers).convert("RGB")
    if mode == "CMYK" and source.format == "JPEG" and "adobe" not in source.info:
        # Pillow takes every CMYK JPEG for one of Adobe's, whose inks are stored inverted.
        return ImageChops.invert(upright).convert("RGB")
    return upright if mode == "RGB" else upright.convert("RGB")


def _to_8_bit(values: NDArray[Any]) -> RGBImage:
    """Bring a grey image of more than 8 bits (H, W) to 0..255; the table above says how."""
    if values.dtype == np.uint16:
        return (values >> 8).astype(np.uint8)
    real = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(real.min()), float(real.max())
    if low >= 0 and high <= 1 and values.dtype.kind == "f":
        real *= 255
    elif low >= 0 and high <= 65535 and high > 255 and values.dtype.kind != "f":
        return (values >> 8).astype(np.uint8)
    elif low < 0 or high > 255:
        real = (real - low) * (255 / (high - low or 1.0))
    return np.rint(real).astype(np.uint8)
