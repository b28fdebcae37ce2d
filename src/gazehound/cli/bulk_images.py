"""The images of a bulk prediction: listed by fsspec, wherever they lie, and read one by one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gazehound.data.images import IMAGE_SUFFIXES, decode_image
from gazehound.errors import ConfigError, ImageError, MissingDependency

PURPOSE = "predict --engine ray"


def list_images(words: Sequence[str]) -> list[str]:
    """Return the addresses of all images, sorted, each once.

    Args:
        words: files, folders, patterns, addresses that fsspec opens (``s3://bucket/2024/``,
            ``https://...``), or text files with one address per line.

    Raises:
        ConfigError: a word leads nowhere, or a folder holds no image.
        MissingDependency: the package for a kind of address is not installed.
    """
    found: set[str] = set()
    for word in words:
        listed = _listed(word)
        if not listed:
            raise ConfigError(f"{word}: no images there")
        found.update(listed)
    return sorted(found)


def _listed(word: str) -> list[str]:
    if word.endswith(".txt"):
        try:
            return [line for line in Path(word).read_text(encoding="utf-8").splitlines() if line]
        except OSError as error:
            raise ConfigError(f"{word}: cannot be read ({error.strerror})") from None
    if word.startswith(("http://", "https://")):
        return [word]  # a web server lists nothing
    system, place = _file_system(word)
    if any(sign in place for sign in "*?["):
        files = system.glob(place)
    elif system.isdir(place):
        files = system.find(place)
    else:
        return [word] if system.exists(place) else []
    images = (f for f in files if PurePosixPath(f).suffix.lower() in IMAGE_SUFFIXES)
    return [str(system.unstrip_protocol(f)) if "://" in word else f for f in images]


def _file_system(word: str) -> tuple[Any, str]:
    try:
        import fsspec  # type: ignore[import-untyped]
    except ImportError:
        raise MissingDependency("fsspec", PURPOSE, "scale") from None
    try:
        system, place = fsspec.core.url_to_fs(word)
    except ImportError as error:
        raise MissingDependency(error.name or str(error), f"reading {word}") from None
    except ValueError as error:
        raise ConfigError(f"{word}: {error}") from None
    return system, str(place)


def read(name: str) -> NDArray[np.uint8] | str:
    """Return the picture at an address, or the line that says why there is none."""
    import fsspec

    try:
        with fsspec.open(name, "rb") as stream:
            return decode_image(stream.read(), name)
    except ImageError as error:
        return str(error)
    except Exception as error:  # every store has errors of its own kind
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return f"{name}: cannot be read ({reason})"
