"""Box coders: the numbers that a network regresses, and the boxes they stand for."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

LARGEST_GROWTH = math.log(1000 / 16)  # a box never grows more than 62.5-fold in one step


class DeltaCoder:
    """Offsets of a box from its anchor (Girshick et al. 2014, appendix C, equations 6 to 9).

    With anchor P and truth G, each as centre and size: ``dx = (Gx - Px) / Pw``, ``dy`` likewise,
    ``dw = ln(Gw / Pw)``, ``dh`` likewise; each multiplied by its weight.

    Args:
        weights: for (dx, dy, dw, dh).
        growth: upper clamp of dw and dh at decoding, which keeps ``exp`` finite.
    """

    def __init__(
        self, weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0), growth: float = LARGEST_GROWTH
    ) -> None:
        self.weights = tuple(weights)
        self.growth = growth

    def encode(
        self, boxes: Float[Tensor, "*N 4"], anchors: Float[Tensor, "*M 4"]
    ) -> Float[Tensor, "*P 4"]:
        """Return the deltas of ``boxes`` from ``anchors`` (they broadcast); both ``xyxy``.

        A box or anchor without extent is taken as one of a tiny extent, so the result is finite.
        """
        wx, wy, ww, wh = self.weights
        anchor_size, anchor_centre = _size_and_centre(anchors)
        size, centre = _size_and_centre(boxes)
        anchor_size, size = anchor_size.clamp(min=1e-4), size.clamp(min=1e-4)
        shift = (centre - anchor_centre) / anchor_size
        growth = torch.log(size / anchor_size)
        return torch.cat(
            (shift * shift.new_tensor((wx, wy)), growth * growth.new_tensor((ww, wh))), -1
        )

    def decode(
        self, deltas: Float[Tensor, "*N 4"], anchors: Float[Tensor, "*M 4"]
    ) -> Float[Tensor, "*P 4"]:
        """Return the ``xyxy`` boxes that ``deltas`` stand for at ``anchors`` (they broadcast)."""
        wx, wy, ww, wh = self.weights
        size, centre = _size_and_centre(anchors)
        shift = deltas[..., :2] / deltas.new_tensor((wx, wy))
        growth = (deltas[..., 2:] / deltas.new_tensor((ww, wh))).clamp(max=self.growth)
        new_centre = shift * size + centre
        half = 0.5 * (torch.exp(growth) * size)
        return torch.cat((new_centre - half, new_centre + half), dim=-1)


def _size_and_centre(boxes: Tensor) -> tuple[Tensor, Tensor]:
    size = boxes[..., 2:] - boxes[..., :2]
    return size, boxes[..., :2] + 0.5 * size
