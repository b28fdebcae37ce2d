"""What a data set gives and a network is fed: samples, targets, batches; no torch import."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gazehound.errors import DataError
from gazehound.records.arrays import BoolArray, FloatArray, IntArray, need_shape

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Geometry:
    """How an original image became a network input: scale, then offset.

    A point ``(x, y)`` of the original lands at ``(x * scale_x + offset_x, y * scale_y + offset_y)``.

    Attributes:
        original: (height, width) of the original image, pixels.
        resized: (height, width) of its image content inside the network input, pixels.
        offset: (x, y) of that content's top left corner inside the network input.
    """

    original: tuple[int, int]
    resized: tuple[int, int]
    offset: tuple[int, int] = (0, 0)

    @property
    def scale(self) -> tuple[float, float]:
        """Return (scale_x, scale_y), resized over original."""
        return self.resized[1] / self.original[1], self.resized[0] / self.original[0]

    def _affine(self) -> tuple[FloatArray, FloatArray]:
        scale = np.asarray([*self.scale, *self.scale], np.float32)
        return scale, np.asarray([*self.offset, *self.offset], np.float32)

    def to_input(self, boxes: FloatArray) -> FloatArray:
        """Map boxes (N, 4) from the original image to the network input."""
        scale, offset = self._affine()
        return np.asarray(boxes * scale + offset, dtype=np.float32)

    def points_to_original(self, points: FloatArray) -> FloatArray:
        """Map points (..., 2), (x, y), from the network input back to the original image."""
        scale, offset = self._affine()
        return np.asarray((points - offset[:2]) / scale[:2], dtype=np.float32)

    def to_original(self, boxes: FloatArray) -> FloatArray:
        """Map boxes (N, 4) from the network input back to the original image, and clip them to it."""
        scale, offset = self._affine()
        height, width = self.original
        limit = np.asarray([width, height, width, height], np.float32)
        return np.asarray(np.clip((boxes - offset) / scale, 0, limit), dtype=np.float32)


@dataclass(frozen=True)
class Sample:
    """One image and its annotations.

    Attributes:
        image: (H, W, 3) uint8 RGB; ``None`` when only the annotations were asked for.
        boxes: (N, 4) float32 ``xyxy`` in pixels of this image.
        labels: (N,) int64, 0-based.
        crowd: (N,) bool, COCO's ``iscrowd``: a region that holds many objects.
        difficult: (N,) bool, Pascal VOC's flag.
        area: (N,) float32, the annotated area in pixels (COCO: of the mask), else of the box.
        ids: (N,) int64 annotation ids.
        image_id: the data set's id of the image.
        size: (height, width) of the image.
        file: path of the image, for messages and output names.
        extras: further columns of the data set, each with N rows (KITTI's ``truncated``, ...).

    Raises:
        DataError: an array has not the shape given above.
    """

    image: NDArray[np.uint8] | None
    boxes: FloatArray
    labels: IntArray
    crowd: BoolArray
    difficult: BoolArray
    area: FloatArray
    ids: IntArray
    image_id: int | str = 0
    size: tuple[int, int] = (0, 0)
    file: str = ""
    extras: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        need_shape("boxes", self.boxes, (None, 4), self.file)
        for name in ("labels", "crowd", "difficult", "area", "ids"):
            need_shape(name, getattr(self, name), (len(self.boxes),), self.file)
        for name, column in self.extras.items():
            need_shape(name, column, (len(self.boxes), ...), self.file)

    @classmethod
    def of(
        cls,
        image: NDArray[np.uint8] | None,
        boxes: Any = (),
        labels: Any = (),
        **more: Any,
    ) -> Sample:
        """Build a sample from boxes and labels; the other columns take their neutral values."""
        boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
        count = len(boxes)
        columns: dict[str, Any] = {
            "labels": np.asarray(labels, np.int64).reshape(-1),
            "crowd": np.zeros(count, bool),
            "difficult": np.zeros(count, bool),
            "area": (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]),
            "ids": np.arange(count, dtype=np.int64),
        }
        if image is not None:
            columns["size"] = (image.shape[0], image.shape[1])
        return cls(image, boxes, **{**columns, **more})

    def __len__(self) -> int:
        return len(self.boxes)

    def select(self, rows: NDArray[Any]) -> Sample:
        """Return the sample with only these annotations (an index or boolean array)."""
        columns = {
            name: getattr(self, name)[rows]
            for name in ("boxes", "labels", "crowd", "difficult", "area", "ids")
        }
        extras = {name: column[rows] for name, column in self.extras.items()}
        return replace(self, **columns, extras=extras)


@dataclass(frozen=True)
class Targets:
    """The truths of a batch, padded to one length, so that the loss side has fixed shapes.

    Attributes:
        boxes: (B, M, 4) float32 ``xyxy`` in pixels of the network input; zeros where padded.
        labels: (B, M) int64; zeros where padded.
        valid: (B, M) bool; False where padded.
        extras: what else a detector learns of each truth, (B, M, ...) float32 under the names of
            :attr:`Sample.extras`; NaN where nobody annotated it. Only what the network ``reads``.
    """

    boxes: torch.Tensor
    labels: torch.Tensor
    valid: torch.Tensor
    extras: Mapping[str, torch.Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        batch, most = self.labels.shape
        if tuple(self.boxes.shape) != (batch, most, 4) or tuple(self.valid.shape) != (batch, most):
            raise DataError(
                "targets need boxes (B, M, 4), labels (B, M) and valid (B, M); got "
                f"{tuple(self.boxes.shape)}, {tuple(self.labels.shape)}, {tuple(self.valid.shape)}"
            )

    def to(self, device: Any, non_blocking: bool = False) -> Targets:
        """Return the targets on a device."""
        return self.mapped(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def mapped(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Targets:
        """Return the targets with every tensor changed by a function."""
        boxes, labels, valid = (change(tensor) for tensor in (self.boxes, self.labels, self.valid))
        return Targets(boxes, labels, valid, {k: change(v) for k, v in self.extras.items()})


@dataclass(frozen=True)
class Batch:
    """What a network is fed: padded images, the truths, and the way back to the originals.

    Attributes:
        images: (B, 3, H, W) float32, normalised, zero-padded at the right and bottom.
        sizes: (B, 2) float32, (height, width) of the image content in each.
        targets: the truths, or ``None`` at prediction.
        geometry: one per image.
        image_ids: one per image.
        unreadable: what was wrong with images that others in the batch stand in for.
    """

    images: torch.Tensor
    sizes: torch.Tensor
    targets: Targets | None
    geometry: tuple[Geometry, ...]
    image_ids: tuple[int | str, ...] = ()
    unreadable: tuple[str, ...] = ()

    def to(self, device: Any, non_blocking: bool = False) -> Batch:
        """Return the batch on a device."""
        return replace(
            self,
            images=self.images.to(device, non_blocking=non_blocking),
            sizes=self.sizes.to(device, non_blocking=non_blocking),
            targets=None if self.targets is None else self.targets.to(device, non_blocking),
        )

    def pin_memory(self) -> Batch:
        """Return the batch in pinned host memory, for overlapping copies to a GPU."""
        targets = self.targets and self.targets.mapped(lambda tensor: tensor.pin_memory())
        return replace(
            self, images=self.images.pin_memory(), sizes=self.sizes.pin_memory(), targets=targets
        )
