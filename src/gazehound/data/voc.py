"""Pascal VOC XML: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/devkit_doc.html.

One file per image. ``bndbox`` holds xmin, ymin, xmax, ymax as pixels counted from 1, the last
included, so the continuous box is (xmin - 1, ymin - 1, xmax, ymax). Both forms are read: the
devkit's folders (Annotations, JPEGImages, ImageSets/Main) and a flat folder of XML beside images.
Elements beyond the ones used here are kept (``extras``, ``images.extras``) and written back.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.parsers import expat

import numpy as np

from gazehound.data.faults import Parsed
from gazehound.data.folders import (
    by_stem,
    class_file,
    image_files,
    lines_of,
    named_splits,
    sizes_of,
)
from gazehound.data.rows import Raw, Record, Rows
from gazehound.records import Classes, IntArray

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip
CORNERS = ("xmin", "ymin", "xmax", "ymax")
FLAGS = ("truncated", "occluded")

_OBJECT = re.compile(rb"<object>(.*?)</object>", re.DOTALL)
_PART = re.compile(rb"<part>.*?</part>", re.DOTALL)
_NAME = re.compile(rb"<name>\s*(.*?)\s*</name>", re.DOTALL)


@dataclass(frozen=True)
class Layout:
    """Where a VOC data set keeps its things.

    Attributes:
        root: the folder.
        annotations: the folder of the XML files.
        images: the folder of the images.
        splits: image lists by name of the split; empty when there are none.
    """

    root: Path
    annotations: Path
    images: Path
    splits: dict[str, Path]


def find(root: Path) -> Layout | None:
    """Return the layout of a VOC data set, None if the folder does not look like one."""
    if (root / "Annotations").is_dir():
        folders = [root / name for name in ("JPEGImages", "images", "Images")]
        images = next((folder for folder in folders if folder.is_dir()), folders[0])
        return Layout(root, root / "Annotations", images, _splits(root / "ImageSets" / "Main"))
    if next(root.glob("*.xml"), None) is not None:
        return Layout(root, root, root, {})
    folders = [folder for folder in root.iterdir() if (folder / "Annotations").is_dir()]
    return find(folders[0]) if len(folders) == 1 else None


def _splits(folder: Path) -> dict[str, Path]:
    """Return the image lists; ``car_train.txt`` and the like only tell which images hold a car."""
    files = {file.stem: file for file in sorted(folder.glob("*.txt"))}
    names = [stem for stem in files if not ("_" in stem and stem.rpartition("_")[2] in files)]
    return {short: files[name] for short, name in named_splits(names).items()}


def stems_of(layout: Layout, split: str) -> list[str]:
    """Return the image names of a split; for the empty split, of every image and annotation."""
    if split:
        return [_without_flag(line) for line in lines_of(layout.splits[split])]
    stems = {path.stem for path in layout.annotations.glob("*.xml")}
    return sorted(stems | set(by_stem(image_files(layout.images))))


def _without_flag(line: str) -> str:
    """Return the image name of a line, which may be followed by 1, 0 or -1 (holds the class)."""
    name, _, flag = line.rpartition(" ")
    return name.strip() if name and flag in ("1", "0", "-1") else line


def read_classes(layout: Layout) -> Classes:
    """Return the classes of all splits together, so that they agree.

    A ``labels.txt`` or ``classes.txt`` wins. Otherwise the names in all annotations count: in VOC's
    own order if they are among its 20 classes, else sorted.
    """
    given = class_file(layout.root)
    if given is not None:
        return Classes(given)
    found: set[str] = set()
    for file in layout.annotations.glob("*.xml"):
        for inside in _OBJECT.findall(file.read_bytes()):
            name = _NAME.search(_PART.sub(b"", inside))
            if name:
                found.add(html.unescape(name[1].decode("utf-8", "replace")))
    if found <= set(VOC_CLASSES):
        return Classes(tuple(name for name in VOC_CLASSES if name in found))
    return Classes(tuple(sorted(found)))


def parse(layout: Layout, split: str = "", name: str = "") -> Parsed:
    """Parse one split of a VOC data set; the empty split is all of it."""
    classes = read_classes(layout)
    label_of = classes.label_of_name()
    files = set(image_files(layout.images))
    images = by_stem(sorted(files))
    rows = Rows("voc", split)
    sizes: list[tuple[int, int]] = []
    for stem in stems_of(layout, split):
        source = layout.annotations / f"{stem}.xml"
        header, objects, problem = _document(source)
        told, size = str(header.pop("filename", "")), header.pop("size", None)
        rows.image(images.get(stem) or (told if told in files else f"{stem}.jpg"), source, header)
        sizes.append(_size(size))
        if problem:
            rows.note(*problem)
        for line, record in objects:
            _add(rows, record, line, label_of)
    return rows.parsed(
        classes, layout.images, name or layout.root.name, _known_sizes(layout, rows, sizes), to_xyxy
    )


def to_xyxy(raw: Raw, frames: Raw) -> Raw:
    """Turn inclusive pixels counted from 1 into continuous corners."""
    corners: Raw = raw - np.array([1.0, 1.0, 0.0, 0.0])
    return corners


def _known_sizes(layout: Layout, rows: Rows, sizes: list[tuple[int, int]]) -> IntArray:
    """Return the declared sizes, those of the files where nothing was declared."""
    known = np.array(sizes, np.int64).reshape(-1, 2)
    blank = np.flatnonzero((known <= 0).any(1))
    known[blank] = sizes_of(layout.images, [rows.file(row) for row in blank.tolist()])
    return known


Problem = tuple[str, str, int | str]


def _document(file: Path) -> tuple[Record, list[tuple[int, Record]], Problem | None]:
    """Return what a file says about the image, its objects with their lines, and what is wrong."""
    try:
        text = file.read_bytes()
    except FileNotFoundError:
        return (
            {},
            [],
            ("annotation-missing", "no such file; the image counts as empty", ""),
        )
    except OSError as error:
        return {}, [], ("file-unreadable", f"cannot be read ({error.strerror})", "")
    tree = _Tree()
    try:
        tree.parser.Parse(text, True)
    except expat.ExpatError as error:
        message = expat.ErrorString(error.code)
        return {}, [], ("file-unreadable", f"not XML: {message}", error.lineno)
    if tree.root != "annotation":
        return (
            {},
            [],
            ("file-unreadable", f"the root is '{tree.root}', not 'annotation'", 1),
        )
    return tree.header, tree.objects, None


class _Tree:
    """An XML file as nested records; the lines of its objects are remembered."""

    def __init__(self) -> None:
        self.root = ""
        self.header: Record = {}
        self.objects: list[tuple[int, Record]] = []
        self._stack: list[tuple[Record, list[str], int]] = []
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self.root = self.root or tag
        self._stack.append(({}, [], self.parser.CurrentLineNumber))

    def _text(self, text: str) -> None:
        self._stack[-1][1].append(text)

    def _end(self, tag: str) -> None:
        children, text, line = self._stack.pop()
        if not self._stack:
            self.header = children
            return
        if len(self._stack) == 1 and tag == "object":
            self.objects.append((line, children))
            return
        value = children or "".join(text).strip()
        parent = self._stack[-1][0]
        if tag not in parent:
            parent[tag] = value
        elif isinstance(parent[tag], list):
            parent[tag].append(value)
        else:
            parent[tag] = [parent[tag], value]


def _size(record: Any) -> tuple[int, int]:
    """Return (height, width), (0, 0) where the file does not say."""
    if isinstance(record, dict):
        height, width = (_number(record.get(key)) for key in ("height", "width"))
        if height is not None and width is not None and min(height, width) >= 1:
            return int(height), int(width)
    return 0, 0


def _number(text: Any) -> float | None:
    try:
        return float(text)
    except (TypeError, ValueError):
        return None


def _add(rows: Rows, record: Record, line: int, label_of: dict[str, int]) -> None:
    """Add one object, or note what is wrong with it."""
    name, box = record.pop("name", None), record.pop("bndbox", None)
    corners = [_number(box.get(key)) for key in CORNERS] if isinstance(box, dict) else [None]
    if None in corners:
        rows.note("line-malformed", f"bndbox needs numbers {', '.join(CORNERS)}; got {box}", line)
    elif not isinstance(name, str) or name not in label_of:
        known = ", ".join(label_of) or "none"
        rows.note("class-unknown", f"class '{name}' is not among the classes ({known})", line)
    else:
        difficult = str(record.pop("difficult", "0")).strip() in ("1", "true", "True")
        for flag in FLAGS:
            if record.get(flag) in ("0", "1"):
                record[flag] = int(record[flag])
        raw = tuple(float(value) for value in corners if value is not None)
        rows.box(raw, label_of[name], line, record, difficult=difficult)
