"""Random changes of hue, saturation and value."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gazehound.data.chance import uniform


def shift_hsv(image: Tensor, gains: tuple[float, float, float]) -> Tensor:
    """Turn the hue, and stretch saturation and value, by one draw each.

    Args:
        image: (3, H, W) uint8 RGB.
        gains: the hue moves by up to this share of the colour circle, saturation and value are
            multiplied by a number in 1 - gain .. 1 + gain.

    Returns:
        A new (3, H, W) uint8 image.
    """
    hue, saturation, value = (uniform(-gain, gain) for gain in gains)
    levels = np.arange(256)
    tables = (
        (levels + round(hue * 256)) % 256,
        np.clip(levels * (1 + saturation), 0, 255),
        np.clip(levels * (1 + value), 0, 255),
    )
    table = np.concatenate(tables).round().astype(np.uint8).tolist()
    picture = Image.fromarray(image.permute(1, 2, 0).numpy()).convert("HSV")
    changed = np.array(picture.point(table).convert("RGB"))
    return torch.from_numpy(changed).permute(2, 0, 1)
