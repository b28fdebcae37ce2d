"""The data set in memory: flat columns for images and annotations, pictures read on demand.

Every reader of this folder ends in a ``Dataset``, every writer begins with one. There is no Python
object per annotation: the rows of image ``i`` are ``starts[i]:starts[i + 1]`` of every column, so
that many forked workers share one copy of the memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gazehound.data.columns import Column, as_array, take
from gazehound.data.images import read_image
from gazehound.errors import DataError
from gazehound.records import BoolArray, Classes, FloatArray, IntArray, Sample


@dataclass(frozen=True)
class ImageTable:
    """The images of a data set, one row each.

    Attributes:
        root: the folder that the file names are relative to.
        files: (I,) file names, one flat array of strings.
        ids: (I,) the data set's ids of the images, integers or strings.
        sizes: (I, 2) int64, (height, width) in pixels after EXIF orientation.
        extras: further columns with I rows.
        render: makes the picture of an image id when it is not in a file; None: it is.
    """

    root: Path
    files: NDArray[np.str_]
    ids: NDArray[Any]
    sizes: IntArray
    extras: Mapping[str, Column] = field(default_factory=dict)
    render: Callable[[int], NDArray[np.uint8]] | None = None

    def __post_init__(self) -> None:
        count = len(self.files)
        if len(self.ids) != count or self.sizes.shape != (count, 2):
            raise DataError(
                f"an image table of {count} files needs ids ({count},) and sizes ({count}, 2); "
                f"got {self.ids.shape} and {self.sizes.shape}"
            )

    def __len__(self) -> int:
        return len(self.files)

    def take(self, rows: IntArray) -> ImageTable:
        """Return the table with only these rows, in this order."""
        return replace(
            self,
            files=self.files[rows],
            ids=self.ids[rows],
            sizes=self.sizes[rows],
            extras={name: take(column, rows) for name, column in self.extras.items()},
        )


@dataclass(frozen=True)
class BoxTable:
    """The annotations of a data set, grouped by image.

    Attributes:
        starts: (I + 1,) int64; image ``i`` owns the rows ``starts[i]:starts[i + 1]``.
        boxes: (N, 4) float32 ``xyxy``, continuous pixels.
        labels: (N,) int64, 0-based.
        crowd: (N,) bool, a region that holds many objects or that nobody labelled.
        difficult: (N,) bool, Pascal VOC's flag.
        area: (N,) float32, the annotated area (COCO: of the mask), square pixels.
        ids: (N,) int64 annotation ids.
        extras: further columns with N rows, under the names of the format they came from.
    """

    starts: IntArray
    boxes: FloatArray
    labels: IntArray
    crowd: BoolArray
    difficult: BoolArray
    area: FloatArray
    ids: IntArray
    extras: Mapping[str, Column] = field(default_factory=dict)

    def __post_init__(self) -> None:
        count = len(self.boxes)
        columns = {name: getattr(self, name) for name in _PLAIN} | dict(self.extras)
        for name, column in columns.items():
            if len(column) != count:
                raise DataError(
                    f"column '{name}' must have {count} rows, one per box; got {len(column)}"
                )
        if self.boxes.shape != (count, 4) or self.starts[-1] != count:
            raise DataError(f"boxes must have shape ({self.starts[-1]}, 4); got {self.boxes.shape}")

    @classmethod
    def of(
        cls,
        owner: Any,
        boxes: Any,
        labels: Any,
        images: int,
        **columns: Any,
    ) -> BoxTable:
        """Group rows by image; columns that are not given take their neutral values.

        Args:
            owner: (N,) row of the image that each box belongs to.
            boxes: (N, 4) ``xyxy``.
            labels: (N,).
            images: number of images.
            columns: any of ``crowd``, ``difficult``, ``area``, ``ids`` and ``extras``.
        """
        owner = np.asarray(owner, np.int64).reshape(-1)
        order = np.argsort(owner, kind="stable")
        boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
        count = len(boxes)
        given = {
            "crowd": np.zeros(count, bool),
            "difficult": np.zeros(count, bool),
            "area": (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]),
            "ids": np.arange(1, count + 1, dtype=np.int64),
        } | columns
        extras = given.pop("extras", {})
        starts = np.searchsorted(owner[order], np.arange(images + 1))
        return cls(
            starts.astype(np.int64),
            boxes[order],
            np.asarray(labels, np.int64).reshape(-1)[order],
            np.asarray(given["crowd"], bool)[order],
            np.asarray(given["difficult"], bool)[order],
            np.asarray(given["area"], np.float32)[order],
            np.asarray(given["ids"], np.int64)[order],
            {name: take(column, order) for name, column in extras.items()},
        )

    def __len__(self) -> int:
        return len(self.boxes)

    def owner(self) -> IntArray:
        """Return (N,) the row of the image that each box belongs to."""
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))

    def take(self, rows: NDArray[Any]) -> BoxTable:
        """Return the table with only these rows (ascending indices or a mask), all images kept."""
        index = np.flatnonzero(rows) if rows.dtype == bool else rows
        starts = np.searchsorted(index, self.starts).astype(np.int64)
        return self._gather(index, starts)

    def take_images(self, images: IntArray) -> BoxTable:
        """Return the table of only these images, in this order."""
        counts = np.diff(self.starts)[images]
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])
        shift = np.repeat(self.starts[images] - starts[:-1], counts)
        return self._gather(np.arange(starts[-1], dtype=np.int64) + shift, starts)

    def _gather(self, rows: IntArray, starts: IntArray) -> BoxTable:
        plain = {name: getattr(self, name)[rows] for name in _PLAIN}
        extras = {name: take(column, rows) for name, column in self.extras.items()}
        return BoxTable(starts, **plain, extras=extras)


_PLAIN = ("boxes", "labels", "crowd", "difficult", "area", "ids")


@dataclass(frozen=True)
class Dataset:
    """Images with annotated boxes, read from any of the formats or made in memory.

    ``dataset[i]`` is a ``Sample`` with the decoded picture, ``dataset.annotations(i)`` one without.

    Attributes:
        classes: class names and the original category ids.
        images: the image table.
        truths: the annotation table.
        name: for reports; by default the name of its folder.
        format: ``coco``, ``voc``, ``yolo``, ``kitti`` or ``shapes``.
        split: the split that it is, empty when it is the whole data set.
        info: what the format says about the data set as a whole (COCO's ``info``, ``licenses``).
    """

    classes: Classes
    images: ImageTable
    truths: BoxTable
    name: str = ""
    format: str = "coco"
    split: str = ""
    info: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.truths.starts) != len(self.images) + 1:
            raise DataError(
                f"{self.name}: annotations are grouped into {len(self.truths.starts) - 1} images, "
                f"but there are {len(self.images)}"
            )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        sample = self.annotations(index)
        image = self._picture(index)
        if image.shape[:2] != sample.size:
            raise DataError(_other_size(sample, image.shape[0], image.shape[1]))
        return replace(sample, image=image)

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))

    def annotations(self, index: int) -> Sample:
        """Return image ``index`` with its annotations but without reading the picture."""
        index = self._row(index)
        first, last = (int(n) for n in self.truths.starts[index : index + 2])
        columns = {name: getattr(self.truths, name)[first:last] for name in _PLAIN}
        extras = {
            name: as_array(column, first, last) for name, column in self.truths.extras.items()
        }
        height, width = self.sizes[index].tolist()
        return Sample(
            None,
            **columns,
            image_id=self.image_ids[index].item(),
            size=(height, width),
            file=str(self.image_path(index)),
            extras=extras,
        )

    def image_path(self, index: int) -> Path:
        """Return the path of image ``index`` (for a rendered one, the name it would have)."""
        return self.images.root / str(self.images.files[self._row(index)])

    def paths(self) -> list[str]:
        """Return the path of every image as text; for many images much faster than one by one."""
        root = f"{self.images.root}/"
        files: list[str] = self.images.files.tolist()
        return [file if file.startswith("/") else root + file for file in files]

    def subset(self, indices: Sequence[int] | NDArray[Any]) -> Dataset:
        """Return the data set of only these images, in this order (indices or a mask)."""
        rows = np.asarray(indices)
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows.astype(np.int64)
        rows = np.asarray([self._row(int(row)) for row in rows], np.int64)
        return replace(self, images=self.images.take(rows), truths=self.truths.take_images(rows))

    @property
    def files(self) -> NDArray[np.str_]:
        """Return (I,) file names, relative to ``images.root``."""
        return self.images.files

    @property
    def image_ids(self) -> NDArray[Any]:
        """Return (I,) the data set's ids of its images, integers or strings."""
        return self.images.ids

    @property
    def sizes(self) -> IntArray:
        """Return (I, 2) int64, (height, width) of each image in pixels."""
        return self.images.sizes

    @property
    def starts(self) -> IntArray:
        """Return (I + 1,) where the rows of each image begin."""
        return self.truths.starts

    @property
    def boxes(self) -> FloatArray:
        """Return (N, 4) float32 ``xyxy`` boxes of all images."""
        return self.truths.boxes

    @property
    def labels(self) -> IntArray:
        """Return (N,) int64 labels of all boxes."""
        return self.truths.labels

    @property
    def crowd(self) -> BoolArray:
        """Return (N,) bool crowd flags of all boxes."""
        return self.truths.crowd

    @property
    def difficult(self) -> BoolArray:
        """Return (N,) bool difficult flags of all boxes."""
        return self.truths.difficult

    @property
    def area(self) -> FloatArray:
        """Return (N,) float32 annotated areas of all boxes, square pixels."""
        return self.truths.area

    @property
    def ids(self) -> IntArray:
        """Return (N,) int64 annotation ids."""
        return self.truths.ids

    @property
    def extras(self) -> Mapping[str, Column]:
        """Return the further columns with N rows."""
        return self.truths.extras

    def _row(self, index: int) -> int:
        if not -len(self) <= index < len(self):
            raise IndexError(f"{self.name} has {len(self)} images; got index {index}")
        return index % len(self)

    def _picture(self, index: int) -> NDArray[np.uint8]:
        if self.images.render is not None:
            return self.images.render(self.image_ids[self._row(index)].item())
        return read_image(self.image_path(index))


def _other_size(sample: Sample, height: int, width: int) -> str:
    told = f"{sample.size[1]}x{sample.size[0]}"
    turned = " (its EXIF orientation turns it)" if sample.size == (width, height) else ""
    return (
        f"{sample.file}: the picture is {width}x{height}{turned}, its annotation says {told}; "
        "'gazehound data check --fix' writes a repaired copy"
    )
