"""Where candidates lie in relation to truths: inside the box, near the centre."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def sides(
    points: Float[Tensor, "L 2"], boxes: Float[Tensor, "B M 4"]
) -> tuple[Float[Tensor, "B M L"], Float[Tensor, "B M L"]]:
    """Return the shortest and the longest way from each point to the four sides of each box, pixels.

    The shortest one is positive strictly inside the box and negative outside.
    """
    x, y = points[:, 0], points[:, 1]  # L
    left, top, right, bottom = (side[..., None] for side in boxes.unbind(-1))  # B x M x 1
    shortest = torch.minimum(torch.minimum(x - left, right - x), torch.minimum(y - top, bottom - y))
    longest = torch.maximum(torch.maximum(x - left, right - x), torch.maximum(y - top, bottom - y))
    return shortest, longest


def near_centres(
    points: Float[Tensor, "L 2"],
    stride: Float[Tensor, " L"],
    boxes: Float[Tensor, "B M 4"],
    radius: float,
) -> Bool[Tensor, "B M L"]:
    """Say which points lie in a square of half side ``radius * stride`` around each box's centre."""
    centres = (boxes[..., :2] + boxes[..., 2:]) / 2  # B x M x 2
    far_x = (points[:, 0] - centres[..., :1]).abs()  # B x M x L
    far_y = (points[:, 1] - centres[..., 1:]).abs()
    return torch.maximum(far_x, far_y) < radius * stride
