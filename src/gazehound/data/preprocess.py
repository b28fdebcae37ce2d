"""How images become network inputs at prediction: resize, normalise, pad, batch.

A ``Preprocess`` is part of a detector and travels in its checkpoint, so that a trained detector sees
the same pixels wherever it runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from gazehound.errors import ConfigError, unknown_name
from gazehound.records import Batch, Geometry, Targets

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
RESIZES = ("shorter", "longer", "stretch")
FILTERS = ("antialias", "torchvision", "opencv")
ORDERS = ("rgb", "bgr")


@dataclass(frozen=True)
class Preprocess:
    """Resizing and normalisation.

    Attributes:
        resize: ``shorter``: the shorter side becomes ``size`` unless the longer one would pass
            ``largest``. ``longer``: the longer side becomes ``size``. ``stretch``: both do.
        size: pixels.
        largest: cap of the longer side for ``shorter``, pixels.
        mean: per RGB channel, of values in 0..1.
        std: likewise.
        multiple: the batch is padded at the right and bottom to a multiple of this.
        square: pad every input to ``size`` x ``size``, so that all have one shape (``longer`` only).
        filter: ``antialias``: bilinear with antialiasing on uint8, as PIL has it. ``torchvision``:
            normalise first, then bilinear without antialiasing, as its detectors do inside.
            ``opencv``: bilinear without antialiasing on uint8, to sizes cut to integers, as the YOLO
            line does it with ``cv2.resize``.
        fill: grey level 0..255 of the padding; ``None`` pads with zeros after normalisation.
        order: of the channels that the network sees, ``rgb`` or ``bgr``.

    Raises:
        ConfigError: a value is out of its range.
    """

    resize: str = "shorter"
    size: int = 800
    largest: int = 1333
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    multiple: int = 32
    square: bool = False
    filter: str = "antialias"
    fill: int | None = None
    order: str = "rgb"

    def __post_init__(self) -> None:
        if self.resize not in RESIZES:
            raise unknown_name("resize", self.resize, RESIZES)
        if self.filter not in FILTERS:
            raise unknown_name("resize filter", self.filter, FILTERS)
        if self.order not in ORDERS:
            raise unknown_name("order of channels", self.order, ORDERS)
        if self.fill is not None and not 0 <= self.fill <= 255:
            raise ConfigError(f"fill must lie in 0..255; got {self.fill}")
        for name in ("size", "largest", "multiple"):
            if not 1 <= getattr(self, name) <= 16384:
                raise ConfigError(f"{name} must lie in 1..16384; got {getattr(self, name)}")
        for name in ("mean", "std"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocess:
        """Rebuild from :meth:`to_dict`; ConfigError for unknown keys."""
        return cls().changed(values)

    def changed(self, values: Mapping[str, Any]) -> Preprocess:
        """Return the same preprocessing with some settings changed; ConfigError for unknown keys."""
        unknown = set(values) - set(self.__dataclass_fields__)
        if unknown:
            raise ConfigError(f"unknown preprocess settings: {', '.join(sorted(unknown))}")
        return replace(self, **values)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain values for JSON."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    def at_size(self, size: int) -> Preprocess:
        """Return the same preprocessing for another input size (multi-scale training and testing)."""
        largest = round(self.largest * size / self.size)
        return replace(self, size=size, largest=largest)

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """Return the (height, width) that an image of this size is resized to, at least 1 pixel."""
        if self.resize == "stretch":
            return self.size, self.size
        if self.resize == "longer":
            scale = self.size / max(height, width)
        else:
            scale = min(self.size / min(height, width), self.largest / max(height, width))
        if self.filter != "antialias":  # these two cut the size, they do not round
            return max(1, int(height * scale)), max(1, int(width * scale))
        return max(1, round(height * scale)), max(1, round(width * scale))

    def apply(self, image: NDArray[np.uint8]) -> tuple[Tensor, Geometry]:
        """Resize and normalise one (H, W, 3) uint8 RGB image -> (3, h, w) float32 and its geometry."""
        height, width = image.shape[:2]
        target = self.resized(height, width)
        geometry = Geometry((height, width), target)
        pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)  # 3 x H x W
        if self.filter == "torchvision":
            return _resize(self.normalise(pixels), target, antialias=False), geometry
        if target != (height, width):
            pixels = _resize(pixels, target, antialias=self.filter == "antialias")
        return self.normalise(pixels), geometry

    def normalise(self, pixels: Tensor) -> Tensor:
        """Normalise uint8 RGB pixels (3, H, W) -> float32 of the same shape, channels in ``order``."""
        mean, std = _channel_tensors(self.mean, self.std)
        normal = (pixels / 255 - mean) / std
        return normal.flip(0) if self.order == "bgr" else normal

    def padding(self) -> Tensor:
        """Return what the network sees where there is no image, (3, 1, 1) float32."""
        if self.fill is None:
            return torch.zeros(3, 1, 1)
        return self.normalise(torch.full((3, 1, 1), self.fill, dtype=torch.uint8))

    def batch(self, images: Sequence[NDArray[np.uint8]]) -> Batch:
        """Make one batch of images of any sizes."""
        tensors, geometry = zip(*(self.apply(image) for image in images), strict=True)
        return self.collate(tensors, geometry)

    def collate(
        self,
        tensors: Sequence[Tensor],
        geometry: Sequence[Geometry],
        targets: Targets | None = None,
        image_ids: Sequence[int | str] = (),
    ) -> Batch:
        """Pad normalised images (3, h, w) to one shape and stack them."""
        heights, widths = ([t.shape[axis] for t in tensors] for axis in (1, 2))
        shape = [-(-max(side) // self.multiple) * self.multiple for side in (heights, widths)]
        if self.square:
            shape = [max(side, self.size) for side in shape]
        images = self.padding().repeat(len(tensors), 1, *shape)
        for row, tensor in zip(images, tensors, strict=True):
            row[:, : tensor.shape[1], : tensor.shape[2]].copy_(tensor)
        sizes = torch.tensor(list(zip(heights, widths, strict=True)), dtype=torch.float32)
        return Batch(images, sizes, targets, tuple(geometry), tuple(image_ids))


def _resize(pixels: Tensor, size: tuple[int, int], *, antialias: bool) -> Tensor:
    return F.interpolate(
        pixels[None], size=size, mode="bilinear", align_corners=False, antialias=antialias
    )[0]


@cache
def _channel_tensors(mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    return torch.tensor(mean)[:, None, None], torch.tensor(std)[:, None, None]
