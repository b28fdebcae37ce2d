"""What a detector found in one image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gazehound.errors import DataError, MissingDependency
from gazehound.records import notebook
from gazehound.records.arrays import FloatArray, IntArray, need_shape
from gazehound.records.classes import Classes

if TYPE_CHECKING:
    import pandas
    import supervision

TRACK = "track_id"  # the column of extras that tracking fills; UNTRACKED where a box has no track
UNTRACKED = -1


@dataclass(frozen=True)
class Detections:
    """What a detector found in one image.

    Attributes:
        boxes: (N, 4) float32 ``xyxy`` in pixels of the original image.
        scores: (N,) float32, sorted from high to low.
        labels: (N,) int64, 0-based.
        classes: names and original ids of the labels.
        image_size: (height, width) of the original image, pixels.
        image_id: the data set's id of the image, if there is one.
        file: path of the image, if there is one.
        extras: what else the detector says of each, N rows: ``keypoints`` (N, J, 3) as x, y in
            pixels of the original image and score; ``depth``, ``dimensions``, ``alpha`` as in KITTI;
            ``track_id`` from 1, and -1 for what no track has.

    Raises:
        DataError: an array has not the shape given above, or a label has no class.
    """

    boxes: FloatArray
    scores: FloatArray
    labels: IntArray
    classes: Classes
    image_size: tuple[int, int]
    image_id: int | str | None = None
    file: str = ""
    extras: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        need_shape("boxes", self.boxes, (None, 4), self.file)
        for name, column in self.extras.items():
            need_shape(name, column, (len(self.boxes), ...), self.file)
        need_shape("scores", self.scores, (len(self.boxes),), self.file)
        need_shape("labels", self.labels, (len(self.boxes),), self.file)
        if len(self.labels) and not 0 <= self.labels.min() <= self.labels.max() < len(self.classes):
            raise DataError(
                f"labels must lie in 0..{len(self.classes) - 1}; "
                f"got {self.labels.min()}..{self.labels.max()}"
            )

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def names(self) -> list[str]:
        """Return the class name of each detection."""
        return [self.classes.names[label] for label in self.labels]

    def select(self, rows: NDArray[Any]) -> Detections:
        """Return only these detections (an index or boolean array)."""
        return replace(
            self,
            boxes=self.boxes[rows],
            scores=self.scores[rows],
            labels=self.labels[rows],
            extras={name: column[rows] for name, column in self.extras.items()},
        )

    def above(self, score: float) -> Detections:
        """Return only the detections with at least this score."""
        return self.select(self.scores >= score)

    @classmethod
    def joined(cls, records: Sequence[Detections]) -> Detections:
        """Return the detections of several looks at one image as one record, in the order given.

        They are neither sorted nor thinned out. Records without detections need no extras.

        Raises:
            DataError: there are none, or they differ in classes, image size or names of extras.
        """
        if not records:
            raise DataError("joining detections needs at least one record")
        first = next((record for record in records if len(record)), records[0])
        for record in records:
            facts = (record.classes, record.image_size, set(record.extras))
            if facts[:2] != (first.classes, first.image_size) or (
                len(record) and facts[2] != set(first.extras)
            ):
                raise DataError(
                    f"detections of one image must agree in classes, image size and extras; got "
                    f"{len(record.classes)} classes, {record.image_size}, {sorted(record.extras)} beside "
                    f"{len(first.classes)}, {first.image_size}, {sorted(first.extras)}"
                )
        full = [record for record in records if len(record)] or [first]
        return replace(
            first,
            boxes=np.concatenate([record.boxes for record in full]),
            scores=np.concatenate([record.scores for record in full]),
            labels=np.concatenate([record.labels for record in full]),
            extras={k: np.concatenate([record.extras[k] for record in full]) for k in first.extras},
        )

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return one row per detection, as the columns of a table.

        Returns:
            ``file, x1, y1, x2, y2, score, class, category_id, image_width, image_height``, and each
            of the extras that has one number per box.
        """
        height, width = self.image_size
        count = len(self)
        corners = dict(zip(("x1", "y1", "x2", "y2"), self.boxes.T, strict=True))
        return {
            "file": np.full(count, self.file, np.object_),
            **corners,
            "score": self.scores,
            "class": np.asarray(self.names, np.object_),
            "category_id": np.asarray(self.classes.ids, np.int64)[self.labels],
            "image_width": np.full(count, width, np.int64),
            "image_height": np.full(count, height, np.int64),
            **{name: column for name, column in self.extras.items() if column.ndim == 1},
        }

    def to_coco(self, image_id: int | str | None = None) -> list[dict[str, Any]]:
        """Return entries of COCO results: ``image_id, category_id, bbox (xywh), score``.

        Args:
            image_id: default the data set's id of the image.
        """
        image = self.image_id if image_id is None else image_id
        corners = self.boxes.astype(np.float64)
        sides = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
        entries: list[dict[str, Any]] = [
            {"image_id": image, "category_id": self.classes.ids[k], "bbox": box, "score": score}
            for k, box, score in zip(self.labels, sides.tolist(), self.scores.tolist(), strict=True)
        ]
        for entry, track in zip(entries, self.extras.get(TRACK, ()), strict=False):
            if track != UNTRACKED:
                entry[TRACK] = int(track)
        return entries

    def to_pandas(self) -> pandas.DataFrame:
        """Return the table of :meth:`columns` as a pandas frame.

        Raises:
            MissingDependency: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError:
            raise MissingDependency("pandas", "a table of detections", "frames") from None
        frame = pd.DataFrame(self.columns())
        if TRACK in frame:
            frame[TRACK] = frame[TRACK].astype("Int64").where(frame[TRACK] != UNTRACKED)
        return frame

    def to_supervision(self) -> supervision.Detections:
        """Return the detections as a record of the ``supervision`` library, names in its ``data``.

        Raises:
            MissingDependency: supervision is not installed.
        """
        try:
            import supervision as sv
        except ImportError:
            raise MissingDependency("supervision", "a supervision record", "frames") from None
        return sv.Detections(
            xyxy=self.boxes.copy(),
            confidence=self.scores.copy(),
            class_id=self.labels.copy(),
            tracker_id=self.extras[TRACK].copy() if TRACK in self.extras else None,
            data={"class_name": np.asarray(self.names, np.str_)},
        )

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the picture with the boxes, where it can be read, and a table."""
        height, width = self.image_size
        counts = Counter(self.names)
        told = ", ".join(f"{n} {name}" for name, n in counts.most_common()) or "nothing found"
        rows = {name: column.tolist() for name, column in self.columns().items()}
        shown = ("class", "score", "x1", "y1", "x2", "y2")
        extras = [name for name in rows if name in self.extras]
        words = [f"{n} {100 * s:.0f}%" for n, s in zip(self.names, self.scores, strict=True)]
        drawn = notebook.picture(
            self.file, self.image_size, self.boxes.tolist(), self.labels.tolist(), words
        )
        head = notebook.facts({Path(self.file).name or "image": f"{width} x {height}, {told}"})
        table = (
            notebook.table({name: rows[name] for name in (*shown, *extras)}) if len(self) else ""
        )
        return head + (drawn or "") + table
