"""An object's heading as seen by the camera, in two overlapping bins (Mousavian et al. 2017, section 4).

Bin 0 is centred at -pi/2, bin 1 at +pi/2, each pi + pi/3 wide: together they overlap around 0 and pi,
so that no angle lies on a border of all. Per bin four numbers: logits "outside" and "inside", and sine
and cosine of the rest of the angle. This is CenterNet's layout of eight.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from gazehound.nn.normaliser import normaliser

CENTRES = (-math.pi / 2, math.pi / 2)
HALF_WIDTH = math.pi / 2 + math.pi / 6


def wrapped(angle: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
    """Return the same angle in -pi..pi."""
    return torch.remainder(angle + math.pi, 2 * math.pi) - math.pi


def orientation_loss(
    numbers: Float[Tensor, "B M 8"], angle: Float[Tensor, "B M"], counted: Bool[Tensor, "B M"]
) -> Float[Tensor, ""]:
    """Cross-entropy of each bin over the truths, smooth L1 of sine and cosine inside it; their sum.

    Args:
        numbers: see the module.
        angle: radians; anything where not counted.
        counted: the truths that are known.
    """
    total = numbers.new_zeros((), dtype=torch.float32)
    angle = angle.where(counted, 0.0)
    for number, centre in enumerate(CENTRES):
        part = numbers[..., 4 * number : 4 * number + 4].float()
        rest = wrapped(angle - centre)
        inside = (rest.abs() < HALF_WIDTH) & counted
        entropy = F.cross_entropy(part[..., :2].movedim(2, 1), inside.long(), reduction="none")
        total = total + (entropy * counted).sum() / normaliser(counted.sum())
        wanted = torch.stack((torch.sin(rest), torch.cos(rest)), dim=2)
        away = F.smooth_l1_loss(part[..., 2:], wanted, reduction="none").sum(dim=2)
        total = total + (away * inside).sum() / normaliser(inside.sum())
    return total


def angle_of(numbers: Float[Tensor, "*N 8"]) -> Float[Tensor, "*N"]:
    """Return the angle in -pi..pi, read in the bin that is surer to hold it."""
    first, second = numbers[..., :4], numbers[..., 4:]
    angles = [
        torch.atan2(part[..., 2], part[..., 3]) + centre
        for part, centre in zip((first, second), CENTRES, strict=True)
    ]
    return wrapped(torch.where(first[..., 1] > second[..., 1], angles[0], angles[1]))
