"""Augmentation for training, out of torchvision.transforms.v2 wherever it has the transform."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from gazehound.data.preprocess import Preprocess
from gazehound.errors import ConfigError
from gazehound.records import Geometry, Sample


@dataclass(frozen=True)
class Augment:
    """Which augmentations run, in this order; a probability of 0 or a scale of (1, 1) leaves one out.

    Attributes:
        colour: probability of each of brightness, contrast, saturation, hue (SSD's distortion).
        expand: probability of zooming out onto a grey canvas up to ``expand_to`` times as wide.
        expand_to: largest canvas over image side.
        iou_crop: probability of cropping so that some truth keeps a drawn minimum IoU (SSD's crop).
        scale: the image is resized by a factor drawn uniformly from this range, on top of the fit to
            the input size, then cropped to the input at random.
        flip: probability of a left-right flip.
        vertical_flip: probability of an upside-down flip.
        quarter_turns: turn by a random multiple of 90 degrees (for pictures without an up).
        smallest: boxes with a side under this many pixels after all this are dropped.

    Raises:
        ConfigError: a probability is outside 0..1, or a scale is not a positive range.
    """

    colour: float = 0.5
    expand: float = 0.0
    expand_to: float = 2.0
    iou_crop: float = 0.0
    scale: tuple[float, float] = (0.8, 1.25)
    flip: float = 0.5
    vertical_flip: float = 0.0
    quarter_turns: bool = False
    smallest: float = 1.0

    def __post_init__(self) -> None:
        for name in ("colour", "expand", "iou_crop", "flip", "vertical_flip"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"augment.{name} must lie in 0..1; got {getattr(self, name)}")
        object.__setattr__(self, "scale", tuple(self.scale))
        low, high = self.scale
        if not 0 < low <= high:
            raise ConfigError(f"augment.scale must be 0 < low <= high; got ({low}, {high})")


NO_AUGMENT = Augment(colour=0.0, scale=(1.0, 1.0), flip=0.0)


@dataclass(frozen=True)
class Prepared:
    """One augmented, normalised sample, in pixels of the network input.

    Attributes:
        pixels: (3, h, w) float32.
        boxes: (N, 4) float32.
        labels: (N,) int64.
        geometry: original and input size (exact only without augmentation).
        image_id: of the data set.
    """

    pixels: Tensor
    boxes: Tensor
    labels: Tensor
    geometry: Geometry
    image_id: int | str


def prepare(sample: Sample, augment: Augment, preprocess: Preprocess) -> Prepared:
    """Augment, resize to the input size and normalise one sample.

    Crowd regions are no truths to learn and are left out here. Randomness comes from torch's global
    generator: seed it per sample and the result depends on nothing else.
    """
    if sample.image is None:
        raise ConfigError(f"{sample.file or sample.image_id}: a sample without its image")
    learnable = sample.select(~sample.crowd)
    image = tv_tensors.Image(torch.from_numpy(np.ascontiguousarray(sample.image)).permute(2, 0, 1))
    data = {
        "image": image,
        "boxes": tv_tensors.BoundingBoxes(
            torch.from_numpy(learnable.boxes.copy()), format="XYXY", canvas_size=image.shape[-2:]
        ),
        "labels": torch.from_numpy(learnable.labels.copy()),
    }
    for transform in _before_resize(augment):
        data = transform(data)
    data = _fit(data, augment, preprocess)
    data = v2.SanitizeBoundingBoxes(min_size=augment.smallest)(v2.ClampBoundingBoxes()(data))
    pixels = preprocess.normalise(data["image"].as_subclass(Tensor))
    size = (int(pixels.shape[1]), int(pixels.shape[2]))
    boxes = data["boxes"].as_subclass(Tensor).reshape(-1, 4)
    geometry = Geometry((sample.image.shape[0], sample.image.shape[1]), size)
    return Prepared(pixels, boxes.float(), data["labels"], geometry, sample.image_id)


def _before_resize(augment: Augment) -> Sequence[v2.Transform]:
    """Return the transforms that run at the image's own resolution."""
    steps: list[v2.Transform] = []
    if augment.colour:
        steps.append(v2.RandomPhotometricDistort(p=augment.colour))
    if augment.expand:
        grey = {tv_tensors.Image: (124, 116, 104), "others": 0}
        steps.append(
            v2.RandomZoomOut(fill=grey, side_range=(1.0, augment.expand_to), p=augment.expand)
        )
    if augment.iou_crop:
        steps.append(v2.RandomApply([v2.RandomIoUCrop()], p=augment.iou_crop))
    if augment.flip:
        steps.append(v2.RandomHorizontalFlip(augment.flip))
    if augment.vertical_flip:
        steps.append(v2.RandomVerticalFlip(augment.vertical_flip))
    if augment.quarter_turns:
        turns = int(torch.randint(4, ()))
        steps += [v2.RandomRotation((90.0 * turns, 90.0 * turns), expand=True)] if turns else []
    return steps


def _fit(data: dict[str, Tensor], augment: Augment, preprocess: Preprocess) -> dict[str, Tensor]:
    """Resize to the input size times the drawn factor, then crop what passes the input size."""
    height, width = data["image"].shape[-2:]
    fitted = preprocess.resized(height, width)
    low, high = augment.scale
    factor = low if low == high else float(torch.empty(()).uniform_(low, high))
    size = [max(1, round(side * factor)) for side in fitted]
    resized: dict[str, Tensor] = v2.Resize(size, antialias=True)(data)
    crop = [min(side, limit) for side, limit in zip(size, fitted, strict=True)]
    if crop != size:
        resized = v2.RandomCrop(crop)(resized)
    return resized
