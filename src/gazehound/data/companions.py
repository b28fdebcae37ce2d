"""What else is annotated of an object and follows its picture: keypoints, and KITTI's numbers in space.

A network names the columns that it ``reads``. Its training pictures are recoloured, mirrored, zoomed and
cropped, and the columns with them; other augmentation would leave them behind and is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import orjson
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms import v2

from gazehound.data.augment import Augment
from gazehound.data.chance import happens, integer, uniform
from gazehound.data.preprocess import Preprocess
from gazehound.data.recolour import shift_hsv
from gazehound.data.transforms import Prepared
from gazehound.errors import ConfigError, DataError, unknown_name
from gazehound.records import FloatArray, Geometry, Sample

COLUMNS = ("keypoints", "alpha", "dimensions", "location")
REFUSED = (
    "expand", "iou_crop", "vertical_flip", "quarter_turns", "mosaic", "mixup", "paste", "degrees",
    "translate", "shear", "perspective",
)  # fmt: skip
COCO_MIRROR = (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15)
"""Which joint of a mirrored person is which: left and right change places."""
UNKNOWN_ALPHA, UNKNOWN_PLACE = -10.0, -1000.0  # what KITTI writes where it does not know


def columns_of(sample: Sample, names: Sequence[str]) -> dict[str, FloatArray]:
    """Return columns of a sample's extras as numbers, NaN where nobody annotated them.

    ``keypoints`` are (N, J, 2); a joint that COCO marks as not labelled is NaN.

    Raises:
        DataError: the data set has no such column, or keypoints are no triples.
        ConfigError: a name that cannot follow a picture.
    """
    found = {}
    for name in names:
        if name not in COLUMNS:
            raise unknown_name("column that follows a picture", name, COLUMNS)
        if name not in sample.extras:
            have = ", ".join(sample.extras) or "none"
            raise DataError(
                f"{sample.file or sample.image_id}: this network learns from '{name}', which the data "
                f"set does not have (it has: {have})"
            )
        column = sample.extras[name]
        found[name] = _keypoints(column, sample) if name == "keypoints" else _known(name, column)
    return found


def _known(name: str, column: NDArray[np.float64]) -> FloatArray:
    values = np.array(column, np.float32)
    if name == "alpha":
        unknown = values <= UNKNOWN_ALPHA
    elif name == "dimensions":
        unknown = np.broadcast_to((values <= 0).any(axis=1, keepdims=True), values.shape)
    else:
        unknown = np.broadcast_to(
            (values <= UNKNOWN_PLACE).any(axis=1, keepdims=True), values.shape
        )
    return np.where(unknown, np.float32(np.nan), values)


def _keypoints(column: NDArray[np.generic], sample: Sample) -> FloatArray:
    """Return (N, J, 2) of COCO's flat triples; annotations without the key have no joint at all."""
    if column.dtype == object:  # where some annotations lack the key: JSON text, empty for those
        rows = [orjson.loads(text) if text else [] for text in column.tolist()]
    else:
        rows = column.tolist()
    most = max((len(row) for row in rows), default=0)
    if most % 3 or any(len(row) not in (0, most) for row in rows):
        raise DataError(
            f"{sample.file or sample.image_id}: keypoints must be triples (x, y, v), equally many for "
            f"each object; got {sorted({len(row) for row in rows})} numbers"
        )
    flat = np.array([row or [0.0] * most for row in rows], np.float32)
    triples = flat.reshape(len(rows), most // 3, 3)
    seen = triples[..., 2:] > 0
    return np.where(seen, triples[..., :2], np.float32(np.nan))


def prepare_with(
    sample: Sample, names: Sequence[str], augment: Augment, preprocess: Preprocess
) -> Prepared:
    """Do what :func:`gazehound.data.transforms.prepare` does, and take columns along.

    Raises:
        ConfigError: an augmentation is asked for that columns cannot follow.
        DataError: a column is missing.
    """
    wrong = [name for name in REFUSED if getattr(augment, name)]
    if wrong:
        raise ConfigError(
            f"{', '.join(names)} cannot follow the augmentation {', '.join(wrong)}: set it to 0"
        )
    if sample.image is None:
        raise ConfigError(f"{sample.file or sample.image_id}: a sample without its image")
    kept = sample.select(~sample.crowd)
    extras = {name: torch.from_numpy(c) for name, c in columns_of(kept, names).items()}
    boxes = torch.from_numpy(kept.boxes.copy())
    pixels = _recoloured(torch.from_numpy(np.array(sample.image)).permute(2, 0, 1), augment)
    height, width = sample.image.shape[:2]
    if happens(augment.flip):
        pixels, boxes, extras = (
            pixels.flip(2),
            _mirrored_boxes(boxes, width),
            mirrored(extras, width),
        )
    fitted = preprocess.resized(height, width)
    factor = uniform(*augment.scale)
    pixels = v2.functional.resize(
        pixels, [max(1, round(side * factor)) for side in fitted], antialias=True
    )
    scale = (pixels.shape[2] / width, pixels.shape[1] / height)
    top, left = (
        integer(max(0, have - most) + 1)
        for have, most in zip(pixels.shape[1:], fitted, strict=True)
    )
    pixels = pixels[:, top : top + fitted[0], left : left + fitted[1]]
    moved = boxes * boxes.new_tensor(scale * 2) - boxes.new_tensor((left, top) * 2)
    extras = zoomed(extras, scale, (left, top), factor)
    boxes, keep = _cut(moved, pixels.shape[2], pixels.shape[1], augment)
    size = (int(pixels.shape[1]), int(pixels.shape[2]))
    return Prepared(
        preprocess.normalise(pixels),
        boxes[keep],
        torch.from_numpy(kept.labels.copy())[keep],
        Geometry((height, width), size),
        sample.image_id,
        extras={name: column[keep] for name, column in extras.items()},
    )


def mirrored(extras: Mapping[str, Tensor], width: float) -> dict[str, Tensor]:
    """Return the columns of a picture that was mirrored left to right.

    Raises:
        ConfigError: keypoints whose left and right are not known, since there are not COCO's 17.
    """
    after = dict(extras)
    if "keypoints" in extras:
        joints = extras["keypoints"].clone()
        if joints.shape[1] not in (0, len(COCO_MIRROR)):
            raise ConfigError(
                f"keypoints of {joints.shape[1]} joints cannot be mirrored, since left and right are "
                "known for COCO's 17 only: set augment.flip to 0"
            )
        joints[..., 0] = width - joints[..., 0]
        after["keypoints"] = joints[:, list(COCO_MIRROR)] if joints.shape[1] else joints
    if "alpha" in extras:
        turned = math.pi - extras["alpha"]
        after["alpha"] = torch.remainder(turned + math.pi, 2 * math.pi) - math.pi
    if "location" in extras:
        after["location"] = extras["location"] * torch.tensor([-1.0, 1.0, 1.0])
    return after


def zoomed(
    extras: Mapping[str, Tensor],
    scale: tuple[float, float],
    corner: tuple[int, int],
    factor: float,
) -> dict[str, Tensor]:
    """Return the columns of a picture that was resized and cropped.

    A picture zoomed by ``factor`` beyond the usual fit shows objects as if they stood nearer by it.

    Args:
        extras: of the picture before.
        scale: (x, y) of the resizing, keypoints follow it.
        corner: (x, y) of the crop, pixels after resizing.
        factor: the part of the scale that prediction will not have.
    """
    after = dict(extras)
    if "keypoints" in extras:
        joints = extras["keypoints"]
        after["keypoints"] = joints * joints.new_tensor(scale) - joints.new_tensor(corner)
    if "location" in extras:
        after["location"] = extras["location"] * torch.tensor([1.0, 1.0, 1.0 / factor])
    return after


def _recoloured(pixels: Tensor, augment: Augment) -> Tensor:
    if augment.colour:
        pixels = v2.RandomPhotometricDistort(p=augment.colour)(pixels)
    return shift_hsv(pixels, augment.hsv) if any(augment.hsv) else pixels


def _mirrored_boxes(boxes: Tensor, width: float) -> Tensor:
    return torch.stack((width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]), dim=1)


def _cut(boxes: Tensor, width: int, height: int, augment: Augment) -> tuple[Tensor, Tensor]:
    """Return the boxes clipped to the picture, and which are kept by the two rules of ``augment``."""
    limit = boxes.new_tensor((width, height) * 2)
    clipped = torch.minimum(boxes.clamp(min=0), limit)
    sides, before = clipped[:, 2:] - clipped[:, :2], boxes[:, 2:] - boxes[:, :2]
    visible = sides.prod(dim=1) >= augment.visible * before.prod(dim=1)
    return clipped, (sides >= augment.smallest).all(dim=1) & visible
