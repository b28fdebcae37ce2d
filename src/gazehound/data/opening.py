"""Open a data set by its path: recognise the format, find the split, read it strictly."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from pathlib import Path

import numpy as np

from gazehound.data import coco, kitti, voc, yolo
from gazehound.data.coco_layout import find as find_coco
from gazehound.data.conventions import examine
from gazehound.data.dataset import Dataset
from gazehound.data.faults import Parsed, raise_first_error
from gazehound.data.folders import canonical_split
from gazehound.errors import ConfigError, DataError, unknown_name
from gazehound.records import IntArray

FORMATS = ("coco", "voc", "yolo", "kitti")
HELD_OUT = 0.2  # share of an unsplit data set that becomes its validation split
LOGGER = logging.getLogger("gazehound.data")


@dataclass(frozen=True)
class Located:
    """A data set that was found but not read.

    Attributes:
        path: the folder or file.
        format: its format.
        splits: names of its declared splits; empty when it declares none.
        parse: reads one of the splits, or everything for the empty name; the number is added to
            all class ids (to undo a count from the wrong base).
    """

    path: Path
    format: str
    splits: tuple[str, ...]
    parse: Callable[[str, int], Parsed]


def open_dataset(
    path: str | Path,
    split: str | None = None,
    format: str | None = None,  # noqa: A002
) -> Dataset:
    """Open a data set in COCO, VOC, YOLO or KITTI form, or the procedural ``shapes``.

    A path may end in its split, ``data/bccd:test``. Split names are understood in their usual
    spellings (``val``, ``valid``, ``val2017``). A data set that declares no splits is opened whole
    without ``split``; ``train`` and ``val`` then are a fixed 80 and 20 percent of its images,
    chosen by a hash of their file names, which is logged.

    Args:
        path: the folder, a COCO JSON file, a YOLO ``data.yaml``, or ``shapes``.
        split: which split; may be left out where there is only one.
        format: ``coco``, ``voc``, ``yolo`` or ``kitti`` when the folder could be taken for several.

    Raises:
        DataError: nothing is there, the format is not recognised, the split does not exist, or the
            annotations are faulty (file and line of the first fault).
        ConfigError: ``format`` is unknown.
    """
    path, split = split_of_path(path, split)
    if _is_shapes(path):
        from gazehound.data.shapes import open_shapes

        return open_shapes(split)
    located = locate(path, format)
    parsed = parse_split(located, split)
    hint = f"'gazehound data check {path}' lists all faults, with --fix it writes a repaired copy"
    _, faults = examine(parsed)
    raise_first_error(faults, hint)
    return parsed.dataset


def available_splits(
    path: str | Path,
    format: str | None = None,  # noqa: A002
) -> tuple[str, ...]:
    """Return the names of the declared splits, training first; empty when there are none.

    Raises:
        DataError: nothing is there, or the format is not recognised.
    """
    path, _ = split_of_path(path, None)
    if _is_shapes(path):
        return ("train", "val", "test")
    return locate(path, format).splits


def locate(path: Path, format: str | None = None) -> Located:  # noqa: A002
    """Recognise a data set without reading its annotations.

    Raises:
        DataError: nothing is there, or the format is not recognised.
        ConfigError: ``format`` is unknown.
    """
    if format is not None and format not in FORMATS:
        raise unknown_name("data format", format, FORMATS)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    name = path.name if path.is_dir() else path.stem
    for candidate in (format,) if format else FORMATS:
        located = _FINDERS[candidate](path, name)
        if located is not None:
            return located
    raise DataError(_nothing_found(path, format))


def parse_split(located: Located, split: str | None, shift: int = 0) -> Parsed:
    """Parse a split leniently; an undeclared ``train`` or ``val`` is made by hash.

    Raises:
        DataError: there is no such split, or several and none was chosen.
    """
    if not located.splits:
        parsed = located.parse("", shift)
        return parsed if split in (None, "", "all") else _hashed(parsed, str(split))
    known = ", ".join(located.splits)
    if split is None and len(located.splits) == 1:
        return located.parse(located.splits[0], shift)
    if split is None:
        raise DataError(f"{located.path} has the splits {known}; choose one (split=..., --split)")
    for wanted in (split, canonical_split(split)):
        if wanted in located.splits:
            return located.parse(wanted, shift)
    raise DataError(f"{located.path} has no split '{split}'; it has {known}")


def split_of_path(path: str | Path, split: str | None) -> tuple[Path, str | None]:
    """Take ``data/bccd:test`` apart, unless a file of that name exists.

    Raises:
        ConfigError: the path names one split and ``split`` another.
    """
    text = str(path)
    head, colon, tail = text.rpartition(":")
    if not colon or len(head) < 2 or "/" in tail or Path(text).exists():
        return Path(text).expanduser(), split
    if split is not None and split != tail:
        raise ConfigError(f"'{text}' names the split '{tail}', but split='{split}' was asked for")
    return Path(head).expanduser(), tail


def _is_shapes(path: Path) -> bool:
    return str(path) == "shapes" and not path.exists()


def _hashed(parsed: Parsed, split: str) -> Parsed:
    """Return the fixed training or validation part of an unsplit data set."""
    dataset = parsed.dataset
    if split not in ("train", "val"):
        raise DataError(
            f"{dataset.name} declares no splits; only 'train' and 'val' can be made, not '{split}'"
        )
    held_out = hash_split(dataset.files.tolist())
    chosen = np.flatnonzero(held_out if split == "val" else ~held_out)
    LOGGER.warning(
        "%s declares no splits: '%s' is %d of its %d images, chosen by a hash of the file names",
        dataset.name, split, len(chosen), len(dataset),
    )  # fmt: skip
    return select_images(parsed, chosen, split)


def hash_split(files: list[str], seed: int = 0) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return which images are held out for validation: the lowest fifth by hash of the name.

    The choice does not depend on the order of the files, and adding images moves only a few.
    At least one image is held out where there are two.
    """
    digests = [blake2b(f"{seed}:{Path(file).stem}".encode(), digest_size=8) for file in files]
    rank = np.argsort(np.array([int.from_bytes(d.digest(), "big") for d in digests], np.uint64))
    count = max(round(len(files) * HELD_OUT), int(len(files) > 1))
    held_out = np.zeros(len(files), bool)
    held_out[rank[:count]] = True
    return held_out


def select_images(parsed: Parsed, images: IntArray, split: str) -> Parsed:
    """Return only some images of a parsed data set; faults of other images go with them."""
    dataset = parsed.dataset
    row_of = {int(image): row for row, image in enumerate(images)}
    rows = np.concatenate(
        [np.arange(dataset.starts[i], dataset.starts[i + 1]) for i in images] or [np.zeros(0)]
    ).astype(np.int64)
    return Parsed(
        replace(dataset.subset(images), split=split),
        tuple(
            replace(fault, image=row_of.get(fault.image, -1), split=split)
            for fault in parsed.faults
            if fault.image < 0 or fault.image in row_of
        ),
        parsed.sources[images],
        parsed.places[rows],
        parsed.raw[rows],
    )


def _locate_coco(path: Path, name: str) -> Located | None:
    layout = find_coco(path)
    if layout is None:
        return None

    def parse(split: str, shift: int) -> Parsed:
        file = layout.files[split]
        return coco.parse(file, partial(layout.images_of, file), split, name, shift)

    splits = tuple(split for split in layout.files if split)
    return Located(path, "coco", splits, parse)


def _locate_voc(path: Path, name: str) -> Located | None:
    layout = voc.find(path) if path.is_dir() else None
    if layout is None:
        return None
    return Located(
        path, "voc", tuple(layout.splits), lambda split, _: voc.parse(layout, split, name)
    )


def _locate_yolo(path: Path, name: str) -> Located | None:
    layout = yolo.find(path)
    if layout is None:
        return None
    return Located(
        path,
        "yolo",
        tuple(layout.splits),
        lambda split, shift: yolo.parse(layout, split, name, shift),
    )


def _locate_kitti(path: Path, name: str) -> Located | None:
    layout = kitti.find(path) if path.is_dir() else None
    if layout is None:
        return None
    return Located(
        path, "kitti", tuple(layout.splits), lambda split, _: kitti.parse(layout, split, name)
    )


_FINDERS: dict[str, Callable[[Path, str], Located | None]] = {
    "coco": _locate_coco,
    "voc": _locate_voc,
    "yolo": _locate_yolo,
    "kitti": _locate_kitti,
}

_SIGNS = {
    "coco": "COCO (annotations/instances_*.json, or a JSON file)",
    "voc": "VOC (Annotations/*.xml, or *.xml beside images)",
    "yolo": "YOLO (data.yaml, or images/ and labels/)",
    "kitti": "KITTI (label_2/ and image_2/)",
}


def _nothing_found(path: Path, wanted: str | None) -> str:
    looked = _SIGNS[wanted] if wanted else ", ".join(_SIGNS.values())
    if path.is_file():
        return f"{path}: not a data set; looked for {looked}"
    inside = sorted(p.name + "/" * p.is_dir() for p in path.iterdir())
    found = ", ".join(inside[:6]) + (f" and {len(inside) - 6} more" if len(inside) > 6 else "")
    return f"{path}: no data set found; looked for {looked}; found {found or 'an empty folder'}"
