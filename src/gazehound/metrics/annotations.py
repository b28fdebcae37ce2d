"""The truths of a data set as columns, from wherever they were read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gazehound.metrics.tables import Found, Tables, Truths, xywh_of
from gazehound.records import Classes

_EXTRAS = ("truncated", "occluded", "dontcare")


@dataclass(frozen=True)
class Annotations:
    """The truths of a data set, before there are detections.

    Attributes:
        name: file or data set, for messages.
        classes: names and ids of the labels.
        image_ids: (I,) rising; int64 or str.
        sizes: (I, 2) int64 height and width; zeros where unknown.
        files: file names of the images; empty texts where unknown.
        truths: the annotated objects.
        images: the image entries as a COCO file has them, in the order of ``image_ids``.
        categories: the category entries, in the order of ``classes``.
    """

    name: str
    classes: Classes
    image_ids: NDArray[Any]
    sizes: NDArray[np.int64]
    files: tuple[str, ...]
    truths: Truths
    images: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    categories: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)

    @classmethod
    def from_dataset(cls, dataset: Any) -> Annotations:
        """Take the columns of a ``gazehound.data.Dataset``, or of anything with its attributes."""
        order = np.argsort(dataset.image_ids, kind="stable")
        place = np.empty(len(order), np.int32)
        place[order] = np.arange(len(order))
        image = np.repeat(place, np.diff(dataset.starts))
        extras = dataset.truths.extras
        files = dataset.paths()
        return cls(
            name=dataset.name,
            classes=dataset.classes,
            image_ids=np.asarray(dataset.image_ids)[order],
            sizes=np.asarray(dataset.sizes, np.int64)[order],
            files=tuple(files[row] for row in order.tolist()),
            truths=Truths(
                image=image,
                label=np.asarray(dataset.labels, np.int32),
                xywh=xywh_of(dataset.boxes),
                area=np.asarray(dataset.area, np.float64),
                crowd=np.asarray(dataset.crowd, bool),
                difficult=np.asarray(dataset.difficult, bool),
                phantom=np.zeros(len(image), bool),
                extras={
                    name: np.asarray(extras[name], np.float64) for name in _EXTRAS if name in extras
                },
            ),
        )

    def with_found(self, found: Found) -> Tables:
        """Return the tables to evaluate."""
        return Tables(self.classes, self.image_ids, self.truths, found, self.sizes, self.files)

    def places_by_name(self) -> dict[str, int]:
        """Return the index of each image by its id as text and by its file's stem."""
        names: dict[str, int] = {}
        for index, file in enumerate(self.files):
            names[PurePath(file).stem] = index
            names[PurePath(file).name] = index
        for index, key in enumerate(self.image_ids.tolist()):
            names[str(key)] = index
        return names


def column(values: Sequence[Any], dtype: Any, width: int = 0) -> NDArray[Any]:
    """Return a list as an array of this dtype, (N,) or (N, width), also when it is empty."""
    return np.asarray(values, dtype).reshape((-1, width) if width else (-1,))
