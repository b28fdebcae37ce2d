"""What a detector found in one image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from numpy.typing import NDArray

from gazehound.errors import DataError
from gazehound.records.arrays import FloatArray, IntArray, need_shape
from gazehound.records.classes import Classes


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
            pixels of the original image and score; ``depth``, ``dimensions``, ``alpha`` as in KITTI.

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
