"""Regions cut out of an image and warped to one size (Girshick et al. 2014, appendix A)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from gazehound.errors import ConfigError
from gazehound.nn.pooling import RoIAlign


def with_context(boxes: Float[Tensor, "N 4"], size: int, context: int) -> Float[Tensor, "N 4"]:
    """Grow boxes about their centres so that, warped to ``size``, ``context`` pixels surround them.

    Raises:
        ConfigError: the context leaves no room for the region.
    """
    if not 0 <= 2 * context < size:
        raise ConfigError(f"context must lie in 0..{(size - 1) // 2} for {size}; got {context}")
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    half = half * (size / (size - 2 * context))
    return torch.cat((centre - half, centre + half), dim=1)


def warp(
    image: Float[Tensor, "3 H W"], boxes: Float[Tensor, "N 4"], size: int = 227, context: int = 16
) -> Float[Tensor, "N 3 S S"]:
    """Warp each box to a square, whatever its shape; width and height are stretched on their own.

    One bilinear sample per pixel of the result, at its centre. What lies outside the image is 0: the
    mean colour, when the image is normalised.

    Args:
        image: normalised.
        boxes: ``xyxy``, pixels of the image.
        size: S.
        context: pixels of the result around the region that show what is next to it.
    """
    grown = with_context(boxes.float(), size, context)
    rows = torch.cat((grown.new_zeros(len(grown), 1), grown), dim=1)
    return RoIAlign(size, 1, aligned=True)(image[None], rows, 1)
