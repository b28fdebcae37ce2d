"""Images and boxes while a format with one annotation file per image is parsed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gazehound.data.columns import columns_of
from gazehound.data.dataset import BoxTable, Dataset, ImageTable
from gazehound.data.faults import Fault, Parsed
from gazehound.data.folders import name_array
from gazehound.records import Classes, IntArray

Raw = NDArray[np.float64]
Record = dict[str, Any]


@dataclass
class Rows:
    """Lists that grow image by image and become columns in ``parsed``.

    Attributes:
        format: of the data set.
        split: the split that is read.
        faults: what was noted so far.
    """

    format: str
    split: str
    faults: list[Fault] = field(default_factory=list)
    _files: list[str] = field(default_factory=list)
    _sources: list[str] = field(default_factory=list)
    _headers: list[Record] = field(default_factory=list)
    _starts: list[int] = field(default_factory=list)
    _raw: list[tuple[float, ...]] = field(default_factory=list)
    _labels: list[int] = field(default_factory=list)
    _places: list[int] = field(default_factory=list)
    _flags: list[tuple[bool, bool]] = field(default_factory=list)
    _records: list[Record] = field(default_factory=list)

    def image(self, file: str, source: Path, header: Record | None = None) -> None:
        """Begin an image: its file, its annotation file, and what that says about the image."""
        self._files.append(file)
        self._sources.append(str(source))
        self._headers.append(header or {})
        self._starts.append(len(self._raw))

    def box(
        self,
        raw: tuple[float, ...],
        label: int,
        place: int,
        record: Record | None = None,
        crowd: bool = False,
        difficult: bool = False,
    ) -> None:
        """Add a box of the current image: its four numbers as written, and its line."""
        self._raw.append(raw)
        self._labels.append(label)
        self._places.append(place)
        self._flags.append((crowd, difficult))
        self._records.append(record or {})

    def file(self, image: int) -> str:
        """Return the file name of an image."""
        return self._files[image]

    def note(self, code: str, message: str, place: int | str = "") -> None:
        """Note a fault of the current image."""
        image = len(self._files) - 1
        self.faults.append(
            Fault(code, message, self._sources[-1], str(place), image, split=self.split)
        )

    def parsed(
        self,
        classes: Classes,
        root: Path,
        name: str,
        sizes: IntArray,
        to_xyxy: Callable[[Raw, Raw], Raw],
    ) -> Parsed:
        """Make the columns.

        Args:
            classes: of the labels that were given.
            root: the folder that the files are relative to.
            name: of the data set.
            sizes: (I, 2) (height, width).
            to_xyxy: turns the numbers as written (N, 4) and the (width, height) of their images
                (N, 2) into continuous ``xyxy``.
        """
        starts = np.array([*self._starts, len(self._raw)], np.int64)
        owner = np.repeat(np.arange(len(self._files)), np.diff(starts))
        raw = np.array(self._raw, np.float64).reshape(-1, 4)
        flags = np.array(self._flags, bool).reshape(-1, 2)
        truths = BoxTable.of(
            owner,
            to_xyxy(raw, sizes[owner][:, ::-1].astype(np.float64)),
            self._labels,
            len(self._files),
            crowd=flags[:, 0],
            difficult=flags[:, 1],
            extras=columns_of(self._records),
        )
        ids = name_array(_short_ids(self._files))
        images = ImageTable(root, name_array(self._files), ids, sizes, columns_of(self._headers))
        dataset = Dataset(classes, images, truths, name, self.format, self.split)
        sources, places = name_array(self._sources), np.array(self._places, np.int64)
        return Parsed(dataset, tuple(self.faults), sources, places, raw)


def _short_ids(files: list[str]) -> list[str]:
    """Return the stem of each file; with its folders where two stems are the same."""
    whole = [file.rsplit(".", 1)[0] for file in files]
    stems = [path.rsplit("/", 1)[-1] for path in whole]
    return stems if len(set(stems)) == len(stems) else whole
