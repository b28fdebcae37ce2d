"""What can be wrong with a data set: one literal table, and the record of one finding.

The readers and the data gate share the parsers. A parser never stops at a fault: it returns what it
could read together with the list of faults. A reader then raises the first that is an error; the
gate lists them all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

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

KINDS: dict[str, Kind] = {
    # annotation files
    "file-unreadable": Kind(
        _E, "an annotation file cannot be parsed", "leave its images without boxes"
    ),
    "line-malformed": Kind(_E, "an annotation lacks a field, or a field is no number", "drop it"),
    "annotation-missing": Kind(
        _W, "an image has no annotation file", "leave the image without boxes"
    ),
    "annotation-orphan": Kind(_W, "an annotation file belongs to no image", "leave it out"),
    "annotation-empty": Kind(_N, "an annotation file is empty: an image without objects"),
    # boxes
    "box-not-finite": Kind(_E, "a coordinate is NaN or infinite", "drop the box"),
    "box-inverted": Kind(_E, "right lies left of left, or bottom above top", "swap the sides"),
    "box-degenerate": Kind(_E, "a box has no width or no height", "drop the box"),
    "box-outside": Kind(_E, "a box lies wholly outside its image", "drop the box"),
    "box-out-of-frame": Kind(_W, "a box reaches over the edge of its image", "clip it"),
    "box-duplicate": Kind(_W, "two boxes of one image agree in class and place", "drop the later"),
    "box-tiny": Kind(_W, "under 4 px at the chosen input size: no detector can see it"),
    "box-small": Kind(_N, "under 8 px at the chosen input size: hard to see"),
    # the way boxes are written
    "boxes-normalised": Kind(
        _E, "boxes are fractions of the image where pixels are due", "multiply by the image size"
    ),
    "boxes-in-pixels": Kind(
        _E, "boxes are pixels where fractions of the image are due", "divide by the image size"
    ),
    "boxes-xyxy-as-xywh": Kind(
        _E, "the last two numbers look like a corner, not like a size", "read them as a corner"
    ),
    "boxes-one-based": Kind(
        _W, "boxes seem to count pixels from 1 where 0 is due", "subtract 1 from the corners"
    ),
    "boxes-zero-based": Kind(
        _W, "boxes seem to count pixels from 0 where 1 is due", "add 1 to the corners"
    ),
    # classes and ids
    "class-none": Kind(_E, "the data set names no classes"),
    "class-unknown": Kind(_E, "a label is not among the classes", "drop the box"),
    "class-id-duplicate": Kind(_E, "two classes share one id", "keep the first"),
    "class-name-duplicate": Kind(_E, "two classes share one name", "merge them into the first"),
    "class-one-based": Kind(_E, "class ids run from 1 to K where 0 to K-1 are due", "subtract 1"),
    "class-unnamed": Kind(_W, "class ids without a list of names", "call them class0, class1, ..."),
    "class-unused": Kind(_N, "a class has no box in any split"),
    "annotation-id-duplicate": Kind(
        _E, "two annotations share one id, or it is no whole number", "number the boxes anew"
    ),
    # images
    "image-id-duplicate": Kind(_E, "two images share one id", "keep the first"),
    "image-listed-twice": Kind(_W, "one file is listed twice in a split", "keep both"),
    "image-unknown": Kind(_E, "an annotation belongs to an image that is not listed", "drop it"),
    "image-missing": Kind(_E, "the file of an image is not there", "leave the image out"),
    "image-damaged": Kind(
        _E, "an image cannot be decoded, or not to its end", "leave the image out"
    ),
    "image-size-mismatch": Kind(
        _E, "the picture has another size than its annotation says", "take the size of the picture"
    ),
    "image-size-unturned": Kind(
        _E, "the size is that before the EXIF orientation", "turn the boxes with the picture"
    ),
    "image-turned": Kind(_N, "EXIF turns the picture; boxes are taken to be in the upright one"),
    "image-not-annotated": Kind(_N, "an image file that no annotation mentions", "leave it out"),
    "image-duplicate": Kind(_W, "two images of one split are the same picture", "keep both"),
    "image-alike": Kind(_W, "two images look the same", "keep both"),
    "image-in-two-splits": Kind(
        _E, "one picture is in two splits", "keep it only in the smaller split"
    ),
}


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
        line = int(self.places[row])
        place = f"annotations[{line}]" if self.dataset.format == "coco" else str(line)
        return Fault(code, message, str(self.sources[image]), place, image, row, self.dataset.split)


def raise_first_error(faults: Iterable[Fault], hint: str) -> None:
    """Raise DataError for the first fault that is an error, saying how many more there are."""
    errors = [fault for fault in faults if fault.severity is Severity.ERROR]
    if errors:
        more = f" (and {len(errors) - 1} more faults)" if len(errors) > 1 else ""
        raise DataError(f"{errors[0]}{more}; {hint}")
