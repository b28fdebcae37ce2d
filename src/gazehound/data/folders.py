"""Looking into folders: image files by stem, text lists, names of splits."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gazehound.data.images import IMAGE_SUFFIXES, image_size
from gazehound.errors import DataError, ImageError
from gazehound.records import IntArray

SPLIT_ORDER = ("train", "val", "trainval", "test")
_ALIASES = {
    "training": "train",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "testing": "test",
}
CLASS_FILES = ("labels.txt", "classes.txt", "obj.names", "predefined_classes.txt")


def image_files(folder: Path) -> list[str]:
    """Return the names of the image files directly in a folder, sorted; none if it is missing."""
    if not folder.is_dir():
        return []
    return sorted(
        path.name
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    )


def image_files_below(folder: Path) -> list[str]:
    """Return the image files of a folder and all folders below, relative to it, sorted."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    )


def by_stem(files: Iterable[str]) -> dict[str, str]:
    """Return file name by its name without suffix; of several the first."""
    found: dict[str, str] = {}
    for file in files:
        found.setdefault(file.rsplit(".", 1)[0], file)
    return found


def lines_of(file: Path) -> list[str]:
    """Return the lines of a text file that are not empty, stripped.

    Raises:
        DataError: the file cannot be read as UTF-8 text.
    """
    return [line for line in map(str.strip, text_of(file).splitlines()) if line]


def text_of(file: Path) -> str:
    """Return a text file, without the byte order mark that some editors write.

    Raises:
        DataError: the file cannot be read as UTF-8 text.
    """
    try:
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: not text: byte {error.start} is not UTF-8") from None


def class_file(root: Path) -> tuple[str, ...] | None:
    """Return the class names of ``labels.txt`` or ``classes.txt``, None where there is neither."""
    found = next((root / name for name in CLASS_FILES if (root / name).is_file()), None)
    return None if found is None else tuple(lines_of(found))


def canonical_split(name: str) -> str:
    """Return ``train`` for ``train2017`` and ``Training``, ``val`` for ``valid``, others as is."""
    plain = re.sub(r"[_-]?\d{4}$", "", name.lower())
    plain = _ALIASES.get(plain, plain)
    return plain if plain in SPLIT_ORDER else name


def named_splits(names: Iterable[str]) -> dict[str, str]:
    """Return the declared name of each split under its plain name, in the usual order.

    Where two would share a plain name (``train2014`` and ``train2017``), both keep their own.
    """
    names = list(names)
    plain = [canonical_split(name) for name in names]
    keys = {
        (short if plain.count(short) == 1 else name): name
        for short, name in zip(plain, names, strict=True)
    }
    rank = {name: place for place, name in enumerate(SPLIT_ORDER)}
    return dict(sorted(keys.items(), key=lambda item: (rank.get(item[0], len(rank)), item[0])))


def sizes_of(root: Path, files: Iterable[str]) -> IntArray:
    """Return (I, 2) int64 (height, width) from the headers; (0, 0) for one that cannot be read."""
    return np.array([_size_or_zero(root / file) for file in files], np.int64).reshape(-1, 2)


def _size_or_zero(file: Path) -> tuple[int, int]:
    try:
        return image_size(file)
    except ImageError:
        return 0, 0


def name_array(names: Iterable[str]) -> NDArray[np.str_]:
    """Return strings as one flat array, also when there are none."""
    return np.array(list(names), np.str_)
