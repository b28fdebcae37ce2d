"""YOLO text labels: one file per image, one line per box: class, centre x, centre y, width, height.

The four numbers are fractions of the image size. A line with more numbers is a polygon (class, then
x and y of every corner), whose box is its extent; a line with one more number carries a score. No
file, or an empty one, is an image without objects. ``data.yaml`` names the classes and the splits;
without it the folders do (``images/train`` or ``train/images``), and ``classes.txt`` the classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from gazehound.boxes.formats import cxcywh_to_xyxy
from gazehound.data.faults import Fault, Parsed
from gazehound.data.folders import (
    class_file,
    image_files,
    image_files_below,
    lines_of,
    named_splits,
    text_of,
)
from gazehound.data.images import image_size
from gazehound.data.rows import Raw, Record, Rows
from gazehound.errors import DataError, ImageError
from gazehound.records import Classes

SPLIT_KEYS = ("train", "val", "valid", "test")  # other keys are splits if what they name exists
NO_SPLITS = frozenset({"path", "names"})
YAML_FILES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")


@dataclass(frozen=True)
class Layout:
    """Where a YOLO data set keeps its things.

    Attributes:
        root: the folder that the image names are relative to.
        splits: image files, relative to ``root``, by name of the split.
        unsplit: the image files when there are no splits.
        names: class names by id; None when they are not given.
        source: the file that gives the names, for messages.
    """

    root: Path
    splits: dict[str, tuple[Path, ...]]
    unsplit: tuple[Path, ...]
    names: dict[int, str] | None
    source: str


def find(path: Path) -> Layout | None:
    """Return the layout of a YOLO data set (a folder or its yaml file), None if it is not one."""
    if path.suffix in (".yaml", ".yml"):
        return _from_yaml(path, path.parent)
    for name in YAML_FILES:
        if (path / name).is_file():
            return _from_yaml(path / name, path)
    for file in sorted([*path.glob("*.yaml"), *path.glob("*.yml")]):
        if "names" in _load_yaml(file):
            return _from_yaml(file, path)
    return _from_folders(path)


def _load_yaml(file: Path) -> Record:
    try:
        document = yaml.safe_load(text_of(file))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "cannot be parsed"
        raise DataError(f"{file}{place}: not YAML: {problem}") from None
    if not isinstance(document, dict):
        raise DataError(f"{file}: must hold keys and values; got {type(document).__name__}")
    return document


def _from_yaml(file: Path, root: Path) -> Layout:
    document = _load_yaml(file)
    base = root / str(document.get("path") or "")
    base = base if base.is_dir() else root
    found = {
        key: _sources(value, base, root) for key, value in document.items() if key not in NO_SPLITS
    }
    declared = {
        key: sources
        for key, sources in found.items()
        if sources and (key in SPLIT_KEYS or all(source.exists() for source in sources))
    }
    splits = {short: declared[key] for short, key in named_splits(declared).items()}
    names = _names(document.get("names"), file)
    if not splits:
        folders = _from_folders(root)
        splits, unsplit = (folders.splits, folders.unsplit) if folders else ({}, ())
        return Layout(root, splits, unsplit, names, str(file))
    return Layout(root, splits, (), names, str(file))


def _sources(value: Any, base: Path, root: Path) -> tuple[Path, ...]:
    """Return the folders and lists of one entry; they may be relative to several places.

    An entry that is no text, or a list of texts, is not a split and gives nothing.
    """
    entries = value if isinstance(value, list) else [value]
    if not all(isinstance(entry, str) and entry for entry in entries):
        return ()
    sources = []
    for text in entries:
        tried = [base / text, root / text, root / text.removeprefix("../").removeprefix("./")]
        sources.append(next((path for path in tried if path.exists()), tried[0]))
    return tuple(sources)


def _names(value: Any, file: Path) -> dict[int, str] | None:
    if value is None:
        return None
    if isinstance(value, list):
        return {index: str(name) for index, name in enumerate(value)}
    if isinstance(value, dict) and all(isinstance(key, int) for key in value):
        return {key: str(name) for key, name in sorted(value.items())}
    raise DataError(f"{file}: 'names' must be a list, or a map from id to name; got {value!r}")


def _from_folders(root: Path) -> Layout | None:
    """Recognise ``images/train``, ``train/images``, ``images`` and text files beside images."""
    given = class_file(root)
    names = None if given is None else dict(enumerate(given))
    nested: dict[str, tuple[Path, ...]] = {
        d.name: (d,) for d in sorted((root / "images").glob("*")) if d.is_dir()
    }
    outer: dict[str, tuple[Path, ...]] = {
        d.name: (d / "images",) for d in sorted(root.glob("*")) if (d / "images").is_dir()
    }
    for declared, labels in ((nested, root / "labels"), (outer, None)):
        known = declared and (labels is None or labels.is_dir())
        if known and all((d.parent / "labels").is_dir() or labels for (d,) in declared.values()):
            splits = {short: declared[name] for short, name in named_splits(declared).items()}
            return Layout(root, splits, (), names, str(root))
    if (root / "images").is_dir() and (root / "labels").is_dir():
        return Layout(root, {}, (root / "images",), names, str(root))
    beside = (root / f"{Path(file).stem}.txt" for file in image_files(root))
    if any(file.is_file() for file in beside):
        return Layout(root, {}, (root,), names, str(root))
    return None


def label_file(image: Path) -> Path:
    """Return the label file of an image: the last folder ``images`` becomes ``labels``."""
    parts = list(image.parts)
    for place in range(len(parts) - 2, -1, -1):
        if parts[place] == "images":
            parts[place] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def images_of(layout: Layout, split: str) -> list[Path]:
    """Return the image files of a split, in order, each once."""
    found: dict[Path, None] = {}
    for source in layout.splits[split] if split else layout.unsplit:
        if source.is_dir():
            found |= {source / file: None for file in image_files_below(source)}
        elif not source.exists():
            raise DataError(f"{source}: no such folder or list; {layout.source} names it")
        else:
            found |= {_listed(line, source, layout.root): None for line in lines_of(source)}
    return list(found)


def _listed(line: str, file: Path, root: Path) -> Path:
    """Return the image of a line of a list: absolute, or relative to the list or to the root."""
    near = file.parent / line
    return near if near.exists() or not (root / line).exists() else root / line


def parse(layout: Layout, split: str = "", name: str = "", shift: int = 0) -> Parsed:
    """Parse one split of a YOLO data set; the empty split is all of it.

    ``shift`` is added to every class id. Boxes need the size of their image, so the labels of an
    image that cannot be opened are not read.
    """
    images = images_of(layout, split)
    rows = Rows("yolo", split)
    labels = None if layout.names is None else _labels(layout.names, shift)
    sizes = np.zeros((len(images), 2), np.int64)
    for index, image in enumerate(images):
        rows.image(_relative(image, layout.root), label_file(image))
        try:
            sizes[index] = image_size(image)
        except ImageError as error:
            code = "image-damaged" if image.exists() else "image-missing"
            message = str(error).removeprefix(f"{image}: ") + "; its labels were not read"
            rows.faults.append(Fault(code, message, str(image), image=index, split=split))
        else:
            _read_labels(rows, label_file(image), labels)
    rows.faults[:0] = _one_based(layout, split) if shift == 0 else []
    classes = _classes(layout, rows)
    return rows.parsed(classes, layout.root, name or layout.root.name, sizes, to_xyxy)


def _read_labels(rows: Rows, file: Path, labels: dict[int, int] | None) -> None:
    if not file.is_file():
        return
    try:
        text = text_of(file)
    except DataError as error:
        rows.note("file-unreadable", str(error).removeprefix(f"{file}: "))
        return
    for line, content in enumerate(text.splitlines(), 1):
        if content.strip():
            _add(rows, content.split(), line, labels)


def _one_based(layout: Layout, split: str) -> list[Fault]:
    """Return the fault that the ids of all splits together run from 1 to K."""
    count = len(layout.names or ())
    if not count or list(layout.names or ()) != list(range(count)):
        return []
    used = used_ids(layout)
    if 0 in used or max(used, default=0) != count:
        return []
    message = f"labels use the ids {min(used)} to {count}, the names are 0 to {count - 1}"
    return [Fault("class-one-based", message, layout.source, split=split)]


def _relative(image: Path, root: Path) -> str:
    return image.relative_to(root).as_posix() if image.is_relative_to(root) else str(image)


def _classes(layout: Layout, rows: Rows) -> Classes:
    if layout.names is not None:
        names = list(layout.names.values())
        for name in sorted({name for name in names if names.count(name) > 1}):
            message = f"'{name}' is named twice"
            rows.faults.append(Fault("class-name-duplicate", message, layout.source))
        first = {name: number for number, name in reversed(layout.names.items())}
        return Classes(tuple(dict.fromkeys(names)), tuple(first[n] for n in dict.fromkeys(names)))
    highest = max(used_ids(layout), default=-1)
    rows.faults.append(Fault("class-unnamed", "neither data.yaml nor classes.txt", layout.source))
    return Classes(tuple(f"class{label}" for label in range(highest + 1)))


def used_ids(layout: Layout) -> set[int]:
    """Return the class ids that occur in the label files of all splits."""
    images = {image for split in layout.splits or ("",) for image in images_of(layout, split)}
    files = (label_file(image) for image in images)
    words = (line.split() for file in files if file.is_file() for line in _lines(file))
    return {int(word[0]) for word in words if word[0].isdecimal()}


def _lines(file: Path) -> list[str]:
    try:
        return lines_of(file)
    except DataError:
        return []  # parse() notes it


def _labels(names: dict[int, str], shift: int) -> dict[int, int]:
    """Return the label of every id as the files write it; ids of one name share a label."""
    label_of = {name: label for label, name in enumerate(dict.fromkeys(names.values()))}
    return {number - shift: label_of[name] for number, name in names.items()}


def to_xyxy(raw: Raw, frames: Raw) -> Raw:
    """Turn fractions (cx, cy, w, h) into pixel corners, given (width, height) of the images."""
    pixels: Raw = cxcywh_to_xyxy(raw) * np.tile(frames, 2)
    return pixels


def _add(rows: Rows, words: list[str], line: int, labels: dict[int, int] | None) -> None:
    """Add one line, or note what is wrong with it."""
    try:
        number, values = float(words[0]), [float(word) for word in words[1:]]
    except ValueError as error:
        rows.note("line-malformed", f"a line holds numbers only; {error}", line)
        return
    polygon = len(values) >= 6 and len(values) % 2 == 0
    if len(values) not in (4, 5) and not polygon:
        expected = "a class and 4 numbers, or a class and a polygon of 3 or more corners"
        rows.note("line-malformed", f"a line holds {expected}; got {len(words)} numbers", line)
        return
    if number != number or number != int(number) or number < 0:
        rows.note("line-malformed", f"the class must be 0, 1, ...; got {words[0]}", line)
        return
    category = int(number)
    if labels is not None and category not in labels:
        known = f"{min(labels)} to {max(labels)}" if labels else "none"
        rows.note("class-unknown", f"class {category} has no name; known are {known}", line)
        return
    label = category if labels is None else labels[category]
    if polygon:
        rows.box(extent(values), label, line, {"polygon": values})
    else:
        rows.box(tuple(values[:4]), label, line, {"score": values[4]} if len(values) == 5 else {})


def extent(polygon: list[float]) -> tuple[float, ...]:
    """Return (cx, cy, w, h) of a polygon x, y, x, y, ..."""
    xs, ys = polygon[::2], polygon[1::2]
    (x1, x2), (y1, y2) = (min(xs), max(xs)), (min(ys), max(ys))
    return (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1
