"""From a sample to an augmented input, by torchvision.transforms.v2 where it has the transform."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from gazehound.data.augment import Augment
from gazehound.data.chance import uniform
from gazehound.data.mixing import Partner, compose
from gazehound.data.preprocess import Preprocess
from gazehound.data.recolour import shift_hsv
from gazehound.data.scene import Scene
from gazehound.records import Geometry, Sample


@dataclass(frozen=True)
class Prepared:
    """One augmented, normalised sample, in pixels of the network input.

    Attributes:
        pixels: (3, h, w) float32.
        boxes: (N, 4) float32.
        labels: (N,) int64.
        geometry: original and input size (exact only without augmentation).
        image_id: of the data set.
        size: the input size that was drawn for it; 0 is the preprocess's own.
        unreadable: what was wrong with images that should have been here and were replaced.
        extras: what the network reads besides, (N, ...) each; see ``Targets.extras``.
    """

    pixels: Tensor
    boxes: Tensor
    labels: Tensor
    geometry: Geometry
    image_id: int | str
    size: int = 0
    unreadable: tuple[str, ...] = ()
    extras: Mapping[str, Tensor] = field(default_factory=dict)


def prepare(
    sample: Sample, augment: Augment, preprocess: Preprocess, partner: Partner | None = None
) -> Prepared:
    """Augment, resize to the input size and normalise one sample.

    Crowd regions are no truths to learn and are left out here. Randomness comes from torch's global
    generator: seed it per sample and the result depends on nothing else.

    Args:
        sample: with its image.
        augment: what is done to it.
        preprocess: the network's.
        partner: draws another picture, for mosaics and the like; without it the picture is its own.
    """
    scene = Scene.of(sample)
    composed, fitted = compose(scene, augment, preprocess, partner or (lambda: scene))
    data = _tensors(composed)
    for transform in _steps(augment, fitted):
        data = transform(data)
    if not fitted:
        data = _fit(data, augment, preprocess)
    if any(augment.hsv):
        data["image"] = tv_tensors.wrap(shift_hsv(data["image"], augment.hsv), like=data["image"])
    data = _sanitised(data, augment)
    pixels = preprocess.normalise(data["image"].as_subclass(Tensor))
    size = (int(pixels.shape[1]), int(pixels.shape[2]))
    boxes = data["boxes"].as_subclass(Tensor).reshape(-1, 4)
    return Prepared(
        pixels, boxes.float(), data["labels"], Geometry(scene.size, size), sample.image_id
    )


def _tensors(scene: Scene) -> dict[str, Tensor]:
    """Return the scene in the form that torchvision's transforms understand."""
    pixels = torch.from_numpy(np.array(scene.image)).permute(2, 0, 1)
    image = tv_tensors.Image(pixels)
    boxes = torch.from_numpy(scene.boxes.copy())
    return {
        "image": image,
        "boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=image.shape[-2:]),
        "labels": torch.from_numpy(scene.labels.copy()),
        "seen": torch.from_numpy(scene.seen.copy()),
    }


def _sanitised(data: dict[str, Tensor], augment: Augment) -> dict[str, Tensor]:
    """Drop what the record's two rules drop: boxes too small, and boxes mostly out of the picture."""
    columns = ("labels", "seen")
    clamped = v2.ClampBoundingBoxes()(data)
    rule = v2.SanitizeBoundingBoxes(
        min_size=augment.smallest, labels_getter=lambda d: tuple(d[name] for name in columns)
    )
    kept: dict[str, Tensor] = rule(clamped)
    visible = kept["seen"] >= augment.visible
    return {**kept, "boxes": kept["boxes"][visible], "labels": kept["labels"][visible]}


def _steps(augment: Augment, fitted: bool) -> Sequence[v2.Transform]:
    """Return the transforms of one picture; one that has the input size is not zoomed or cropped."""
    steps: list[v2.Transform] = []
    if augment.colour:
        steps.append(v2.RandomPhotometricDistort(p=augment.colour))
    if augment.expand and not fitted:
        grey = {tv_tensors.Image: (124, 116, 104), "others": 0}
        steps.append(
            v2.RandomZoomOut(fill=grey, side_range=(1.0, augment.expand_to), p=augment.expand)
        )
    if augment.iou_crop and not fitted:
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
    factor = uniform(*augment.scale)
    size = [max(1, round(side * factor)) for side in fitted]
    resized: dict[str, Tensor] = v2.Resize(size, antialias=True)(data)
    crop = [min(side, limit) for side, limit in zip(size, fitted, strict=True)]
    if crop == size:
        return resized
    cropped: dict[str, Tensor] = v2.RandomCrop(crop)(resized)
    before, after = (_areas(d["boxes"]) for d in (resized, cropped))
    share = (after / before.clamp(min=torch.finfo(before.dtype).tiny)).clamp(max=1)
    return {**cropped, "seen": cropped["seen"] * share}


def _areas(boxes: Tensor) -> Tensor:
    x1, y1, x2, y2 = boxes.as_subclass(Tensor).unbind(-1)
    return (x2 - x1) * (y2 - y1)
