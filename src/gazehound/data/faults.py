"""What can be wrong with a data set: one literal table, and the record of one finding.

The readers and the data gate share the parsers. A parser never stops at a fault: it returns what it
could read together with the list of faults. A reader then raises the first that is an error; the
gate lists them all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import numpy as np

from gazehound.data.dataset import Dataset
from gazehound.errors import DataError
from gazehound.records import IntArray


class Severity(StrEnum):
    """How bad a fault is: an error stops the readers, a warning asks for a look, a note informs."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True)
class Kind:
    """One row of the table of faults.

    Attributes:
        severity: error, warning or note.
        meaning: what it says about the data, half a line.
        repair: what ``--fix`` does about it; empty when nothing has to be done.
    """

    severity: Severity
    meaning: str
    repair: str = ""


_E, _W, _N = Severity.ERROR, Severity.WARNING, Severity.NOTE

# fmt: off
KINDS: dict[str, Kind] = {
    # annotation files
    "file-unreadable": Kind(
        _E, "an annotation file cannot be parsed", "its images are left without boxes"),
    "line-malformed": Kind(
        _E, "a record lacks a field, or a field is no number", "left out"),
    "annotation-missing": Kind(
        _W, "an image has no annotation file", "written as an image without objects"),
    "annotation-orphan": Kind(
        _W, "an annotation file belongs to no image", "left out"),
    # single boxes
    "box-not-finite": Kind(
        _E, "a coordinate is NaN or infinite", "dropped"),
    "box-inverted": Kind(
        _E, "right lies left of left, or bottom above top", "sides swapped"),
    "box-degenerate": Kind(
        _E, "no width or no height", "dropped"),
    "box-outside": Kind(
        _E, "wholly outside its image", "dropped"),
    "box-out-of-frame": Kind(
        _W, "reaches over the edge of its image", "clipped"),
    "box-duplicate": Kind(
        _W, "equals another box of its image in class and place", "dropped"),
    "box-tiny": Kind(
        _W, "under 4 px at the input size: cannot be seen"),
    "box-small": Kind(
        _N, "under 8 px at the input size: hard to see"),
    # how boxes are written
    "boxes-normalised": Kind(
        _E, "fractions of the image where pixels are due", "multiplied by the image size"),
    "boxes-in-pixels": Kind(
        _E, "pixels where fractions of the image are due", "divided by the image size"),
    "boxes-xyxy-as-xywh": Kind(
        _E, "the last two numbers are a corner, not a size", "read as a corner"),
    "boxes-xywh-as-xyxy": Kind(
        _E, "the last two numbers are a size, not a corner", "read as a size"),
    "boxes-one-based": Kind(
        _W, "pixels seem to be counted from 1 where 0 is due"),
    "boxes-zero-based": Kind(
        _W, "pixels seem to be counted from 0 where 1 is due"),
    # classes and ids
    "class-none": Kind(
        _E, "the data set names no classes"),
    "class-unknown": Kind(
        _E, "a label is not among the classes", "left out"),
    "class-id-duplicate": Kind(
        _E, "two classes share one id", "the first is kept"),
    "class-name-duplicate": Kind(
        _E, "two classes share one name", "merged into the first"),
    "class-one-based": Kind(
        _E, "class ids run from 1 to K where 0 to K-1 are due", "1 subtracted"),
    "class-zero-based": Kind(
        _E, "class ids run from 0 to K-1 where 1 to K are due", "1 added"),
    "class-unnamed": Kind(
        _W, "class ids without a list of names", "named class0, class1, ..."),
    "class-unused": Kind(
        _N, "a class has no box in any split"),
    "annotation-id-duplicate": Kind(
        _E, "two annotations share one id, or it is no integer", "boxes numbered anew"),
    # images
    "image-id-duplicate": Kind(
        _E, "two images share one id", "the first is kept"),
    "image-listed-twice": Kind(
        _W, "one file is listed twice in a split", "boxes moved to the first listing"),
    "image-unknown": Kind(
        _E, "an annotation belongs to an image that is not listed", "left out"),
    "image-missing": Kind(
        _E, "the file of an image is not there", "left out"),
    "image-damaged": Kind(
        _E, "an image cannot be decoded to its end", "left out"),
    "image-size-mismatch": Kind(
        _E, "the picture has another size than is told", "size of the picture taken"),
    "image-size-unturned": Kind(
        _E, "the size told is that before the EXIF orientation", "boxes turned with the picture"),
    "image-turned": Kind(
        _N, "EXIF turns the picture; boxes are those of the upright one"),
    "image-unlisted": Kind(
        _N, "an image file that no split or annotation mentions"),
    "image-duplicate": Kind(
        _W, "two images of a split have the same pixels"),
    "image-alike": Kind(
        _W, "two images look the same"),
    "image-in-two-splits": Kind(
        _E, "one picture is in two splits", "left out of the larger split"),
}
# fmt: on


@dataclass(frozen=True)
class Fault:
    """One finding.

    Attributes:
        code: a key of ``KINDS``.
        message: what was expected and what came.
        file: the annotation file or the image that it is about.
        place: where in that file: a line number, or ``annotations[17]`` in JSON.
        image: row of the image in the parsed data set, -1 when it is about none.
        row: row of the box in the parsed data set, -1 when it is about none.
        split: the split.
    """

    code: str
    message: str
    file: str = ""
    place: str = ""
    image: int = -1
    row: int = -1
    split: str = ""

    @property
    def severity(self) -> Severity:
        """Return the severity of its kind."""
        return KINDS[self.code].severity

    @property
    def where(self) -> str:
        """Return ``file:place``."""
        return f"{self.file}:{self.place}" if self.place else self.file

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.file else self.message


class AnnotationFileError(DataError):
    """A whole annotation file cannot be used.

    Attributes:
        file: the file.
        place: line and column, if they are known.
        reason: what is wrong.
    """

    def __init__(self, file: Path, reason: str, place: str = "") -> None:
        super().__init__(f"{file}:{place}: {reason}" if place else f"{file}: {reason}")
        self.file, self.place, self.reason = str(file), place, reason


@dataclass(frozen=True)
class Parsed:
    """What a parser could read, and what is wrong with it.

    Attributes:
        dataset: boxes may still be inverted or not finite in it; its shapes and labels are sound.
        faults: everything that could not go into the data set as it stood.
        sources: (I,) annotation file of each image.
        places: (N,) int64 line of each box in that file, in JSON its place in the list.
        raw: (N, 4) float64 the four numbers as written, for the tests of how they were meant.
    """

    dataset: Dataset
    faults: tuple[Fault, ...] = field(default=())
    sources: np.ndarray[tuple[int], np.dtype[np.str_]] = field(default_factory=lambda: np.array([]))
    places: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))
    raw: np.ndarray[tuple[int, int], np.dtype[np.float64]] = field(
        default_factory=lambda: np.zeros((0, 4))
    )

    def fault(self, code: str, message: str, *, row: int) -> Fault:
        """Return a fault of one box, with its file and place filled in."""
        image = int(np.searchsorted(self.dataset.starts, row, side="right")) - 1
        file, split = str(self.sources[image]), self.dataset.split
        return Fault(code, message, file, self.place(row), image, row, split)

    def image_fault(self, code: str, message: str, image: int) -> Fault:
        """Return a fault of one image file."""
        file = f"{self.dataset.images.root / str(self.dataset.files[image])}"
        return Fault(code, message, file, image=image, split=self.dataset.split)

    def place(self, row: int) -> str:
        """Return where a box stands in its annotation file."""
        line = int(self.places[row])
        return f"annotations[{line}]" if self.dataset.format == "coco" else str(line)


def raise_first_error(faults: Iterable[Fault], hint: str) -> None:
    """Raise DataError for the first fault that is an error, saying how many more there are."""
    errors = [fault for fault in faults if fault.severity is Severity.ERROR]
    if errors:
        more = f" (and {len(errors) - 1} more faults)" if len(errors) > 1 else ""
        raise DataError(f"{errors[0]}{more}; {hint}")
