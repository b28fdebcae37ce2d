"""Detections from text files: the VOC devkit's, YOLO's, KITTI's, and plain corners.

| format | files | a line |
|---|---|---|
| ``voc`` | one per class, ``..._<class>.txt`` | image score xmin ymin xmax ymax (1-based, inclusive) |
| ``yolo`` | one per image | class cx cy w h score (fractions of the image) |
| ``kitti`` | one per image | type and 14 numbers, then the score |
| ``corners`` | one per image | class-name score x1 y1 x2 y2 (continuous pixels) |
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gazehound.errors import DataError, unknown_name
from gazehound.metrics.annotations import Annotations, column
from gazehound.metrics.checks import check_boxes, check_scores
from gazehound.metrics.tables import Found, xywh_of

FORMATS = ("voc", "yolo", "kitti", "corners")
_WIDTH = {"voc": 6, "yolo": 6, "kitti": 16, "corners": 6}
_EXPECTED = {
    "voc": "image score xmin ymin xmax ymax",
    "yolo": "class cx cy w h score",
    "kitti": "type and 14 numbers, then the score",
    "corners": "class-name score x1 y1 x2 y2",
}


@dataclass(frozen=True)
class _Line:
    """One line of one file."""

    file: Path
    number: int
    words: list[str]

    def __str__(self) -> str:
        return f"{self.file}:{self.number}"

    def value(self, word: int) -> float:
        try:
            return float(self.words[word])
        except ValueError:
            raise DataError(f"{self}: expected a number; got {self.words[word]!r}") from None


@dataclass(frozen=True)
class _Row:
    image: int
    label: int
    score: float
    box: tuple[float, float, float, float]  # xyxy


def read_text_results(
    folder: str | Path, truth: Annotations, form: str | None = None, any_score: bool = False
) -> Found:
    """Read the detections of a folder of text files.

    Args:
        folder: where the files lie.
        truth: the annotations that they belong to.
        form: one of ``FORMATS``; default what the first line looks like.
        any_score: accept scores outside 0..1; KITTI's are never held to that range.

    Raises:
        DataError: a file or line is wrong, or belongs to no image or class; with file and line.
        ConfigError: the format is unknown.
    """
    folder = Path(folder)
    if form is not None and form not in FORMATS:
        raise unknown_name("format of detections", form, FORMATS)
    files = sorted(folder.glob("*.txt"))
    if not files:
        raise DataError(f"{folder}: expected .txt files with detections; found none")
    form = form or _recognise(files, truth)
    images, labels = truth.places_by_name(), truth.classes.label_of_name()
    lines = [line for file in files for line in _lines(file)]
    rows = []
    for line in lines:
        if len(line.words) != _WIDTH[form]:
            raise DataError(
                f"{line}: expected {_WIDTH[form]} values ({_EXPECTED[form]}); got {len(line.words)}"
            )
        rows.append(_READERS[form](line, truth, images, labels))
    found = Found(
        column([row.image for row in rows], np.int32),
        column([row.label for row in rows], np.int32),
        xywh_of(column([row.box for row in rows], np.float64, 4)),
        column([row.score for row in rows], np.float64),
    )
    _check(lines, found, any_score or form == "kitti")
    return found


def _check(lines: list[_Line], found: Found, any_score: bool) -> None:
    """Hold boxes and scores to the common rules; the message names file and line."""
    try:
        check_scores("", found.score, any_score)
        check_boxes("", found.xywh)
    except DataError as error:
        row, rest = str(error).removeprefix("[").split("]", 1)
        raise DataError(f"{lines[int(row)]}{rest}") from None


def _lines(file: Path) -> Iterator[_Line]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read as text ({error})") from None
    for number, content in enumerate(text.splitlines(), 1):
        if content.strip():
            yield _Line(file, number, content.split())


def _recognise(files: list[Path], truth: Annotations) -> str:
    """Return the format that the first line looks like."""
    first = next((line for file in files for line in _lines(file)), None)
    if first is None:
        return "yolo"  # every file is empty: no detections
    if len(first.words) == _WIDTH["kitti"]:
        return "kitti"
    if len(first.words) == 6:
        if first.words[0] in truth.classes.names:
            return "corners"
        if _class_of_file(first.file, truth.classes.label_of_name()) is not None:
            return "voc"
        if first.words[0].isdigit():
            return "yolo"
    raise DataError(
        f"{first}: not a known form of detections; expected one of: "
        + "; ".join(f"{name}: {words}" for name, words in _EXPECTED.items())
    )


def _class_of_file(file: Path, labels: dict[str, int]) -> int | None:
    """Return the label whose name ends the file's name, as in ``comp4_det_test_cat.txt``."""
    names = [name for name in labels if file.stem == name or file.stem.endswith(f"_{name}")]
    return labels[max(names, key=len)] if names else None


def _image(line: _Line, name: str, images: dict[str, int], truth: Annotations) -> int:
    if name not in images:
        raise DataError(f"{line}: image {name!r} is none of the {len(truth.files)} of {truth.name}")
    return images[name]


def _label(line: _Line, name: str, labels: dict[str, int], truth: Annotations) -> int:
    if name not in labels:
        raise DataError(f"{line}: class {name!r} is none of the {len(labels)} of {truth.name}")
    return labels[name]


def _voc(line: _Line, truth: Annotations, images: dict[str, int], labels: dict[str, int]) -> _Row:
    label = _class_of_file(line.file, labels)
    if label is None:
        raise DataError(
            f"{line.file}: the file's name must end in a class, such as _{next(iter(labels))}"
        )
    x1, y1, x2, y2 = (line.value(word) for word in range(2, 6))
    image = _image(line, line.words[0], images, truth)
    return _Row(image, label, line.value(1), (x1 - 1, y1 - 1, x2, y2))


def _yolo(line: _Line, truth: Annotations, images: dict[str, int], labels: dict[str, int]) -> _Row:
    label = line.value(0)
    if label != int(label) or not 0 <= label < len(labels):
        raise DataError(f"{line}: class must be 0..{len(labels) - 1}; got {line.words[0]}")
    image = _image(line, line.file.stem, images, truth)
    height, width = truth.sizes[image].tolist()
    if not height or not width:
        raise DataError(f"{line}: the size of image {line.file.stem!r} is unknown, YOLO needs it")
    cx, cy, w, h = (line.value(word) for word in range(1, 5))
    box = ((cx - w / 2) * width, (cy - h / 2) * height, (cx + w / 2) * width, (cy + h / 2) * height)
    return _Row(image, int(label), line.value(5), box)


def _kitti(line: _Line, truth: Annotations, images: dict[str, int], labels: dict[str, int]) -> _Row:
    x1, y1, x2, y2 = (line.value(word) for word in range(4, 8))
    image = _image(line, line.file.stem, images, truth)
    return _Row(image, _label(line, line.words[0], labels, truth), line.value(15), (x1, y1, x2, y2))


def _corners(
    line: _Line, truth: Annotations, images: dict[str, int], labels: dict[str, int]
) -> _Row:
    x1, y1, x2, y2 = (line.value(word) for word in range(2, 6))
    image = _image(line, line.file.stem, images, truth)
    return _Row(image, _label(line, line.words[0], labels, truth), line.value(1), (x1, y1, x2, y2))


_READERS = {"voc": _voc, "yolo": _yolo, "kitti": _kitti, "corners": _corners}
