"""Box coders: the numbers that a network regresses, and the boxes they stand for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

LARGEST_GROWTH = math.log(1000 / 16)  # a box never grows more than 62.5-fold in one step


@runtime_checkable
class Coder(Protocol):
    """Turns boxes into the numbers that a network regresses at its anchors, and back."""

    def encode(
        self, boxes: Float[Tensor, "*N 4"], anchors: Float[Tensor, "*M 4"]
    ) -> Float[Tensor, "*P 4"]:
        """Return the numbers that stand for ``boxes`` at ``anchors`` (they broadcast)."""
        ...

    def decode(
        self, deltas: Float[Tensor, "*N D"], anchors: Float[Tensor, "*M 4"]
    ) -> Float[Tensor, "*P 4"]:
        """Return the ``xyxy`` boxes that a network's numbers stand for at ``anchors``."""
        ...


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
        anchor_size, anchor_centre = _size_and_centre(anchors)
        size, centre = _size_and_centre(boxes)
        anchor_size, size = anchor_size.clamp(min=1e-4), size.clamp(min=1e-4)
        shift = (centre - anchor_centre) / anchor_size
        growth = torch.log(size / anchor_size)
        columns = (*shift.unbind(-1), *growth.unbind(-1))
        # Weight by weight: a tensor made of them here would be copied to the device at every step.
        weighted = [column * w for column, w in zip(columns, self.weights, strict=True)]
        return torch.stack(weighted, dim=-1)

    def decode(
        self, deltas: Float[Tensor, "*N 4"], anchors: Float[Tensor, "*M 4"]
    ) -> Float[Tensor, "*P 4"]:
        """Return the ``xyxy`` boxes that ``deltas`` stand for at ``anchors`` (they broadcast)."""
        size, centre = _size_and_centre(anchors)
        pairs = zip(deltas.unbind(-1), self.weights, strict=True)
        plain = torch.stack([column / w for column, w in pairs], dim=-1)
        shift, growth = plain[..., :2], plain[..., 2:].clamp(max=self.growth)
        new_centre = shift * size + centre
        half = 0.5 * (torch.exp(growth) * size)
        return torch.cat((new_centre - half, new_centre + half), dim=-1)


class DistanceCoder:
    """Ways from an anchor's centre to the four sides of a box (Tian et al. 2019, FCOS, equation 1).

    Left, top, right and bottom, in units of the anchor's own width and height times ``unit``: with
    squares of one stride as anchors, in strides.

    Args:
        unit: 1 for anchors as large as the unit; 1/8 for anchors of 8 strides and distances in strides.
    """

    def __init__(self, unit: float = 1.0) -> None:
        self.unit = unit

    def encode(
        self, boxes: Float[Tensor, "*N 4"], anchors: Float[Tensor, "*M 4"]
    ) -> Float[Tensor, "*P 4"]:
        """Return the distances to the sides; negative where the centre lies outside the box."""
        size, centre = _size_and_centre(anchors)
        size = size.clamp(min=1e-4) * self.unit
        return torch.cat(((centre - boxes[..., :2]) / size, (boxes[..., 2:] - centre) / size), -1)

    def decode(
        self, deltas: Float[Tensor, "*N 4"], anchors: Float[Tensor, "*M 4"]
    ) -> Float[Tensor, "*P 4"]:
        """Return the ``xyxy`` boxes with these distances to the anchors' centres (they broadcast)."""
        size, centre = _size_and_centre(anchors)
        size = size * self.unit
        return torch.cat((centre - deltas[..., :2] * size, centre + deltas[..., 2:] * size), -1)


class IntegralCoder:
    """Distances as discrete distributions (Li et al. 2020, GFL, section 3.2, equation 4).

    A side's distance is the expectation of a distribution over 0, 1, ... ``reach`` units, given by its
    logits: ``sum_i softmax(logits)_i * i``.

    Args:
        reach: the longest distance, in units; there are ``reach + 1`` logits per side.
        unit: see :class:`DistanceCoder`.
    """

    def __init__(self, reach: int = 16, unit: float = 1.0) -> None:
        self.reach = reach
        self.distances = DistanceCoder(unit)

    def encode(
        self, boxes: Float[Tensor, "*N 4"], anchors: Float[Tensor, "*M 4"]
    ) -> Float[Tensor, "*P 4"]:
        """Return the distances that the distributions should have, cut to what they can say.

        The upper end stays 0.1 under ``reach``, so that each target lies between two bins.
        """
        return self.distances.encode(boxes, anchors).clamp(min=0, max=self.reach - 0.1)

    def expected(self, logits: Float[Tensor, "*N S"]) -> Float[Tensor, "*N 4"]:
        """Return the expectation of each side, in units; S is 4 times the number of bins."""
        bins = torch.arange(self.reach + 1, device=logits.device, dtype=logits.dtype)
        shares: Tensor = logits.unflatten(-1, (4, self.reach + 1)).softmax(dim=-1)
        return (shares * bins).sum(dim=-1)  # not a product of matrices: autocast would round it

    def decode(
        self, deltas: Float[Tensor, "*N S"], anchors: Float[Tensor, "*M 4"]
    ) -> Float[Tensor, "*P 4"]:
        """Return the ``xyxy`` boxes of these logits (they broadcast)."""
        return self.distances.decode(self.expected(deltas), anchors)


def _size_and_centre(boxes: Tensor) -> tuple[Tensor, Tensor]:
    size = boxes[..., 2:] - boxes[..., :2]
    return size, boxes[..., :2] + 0.5 * size
