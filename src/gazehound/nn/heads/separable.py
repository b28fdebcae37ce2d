"""EfficientDet's head: separable towers shared by all levels, with norms of each level's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gazehound.nn.blocks import Norm, flatten_cells
from gazehound.nn.losses.focal import prior_bias
from gazehound.nn.separable import SeparableConv


class SeparableTower(nn.Module):
    """Convolutions shared by all levels; each is followed by a norm per level and swish.

    Args:
        channels: of every pyramid level.
        outputs: channels of the last convolution.
        depth: convolutions before it.
        levels: of the pyramid.
        norm: builds a norm.
        bias: of the convolutions before norms; TensorFlow's weights have one.
    """

    def __init__(
        self, channels: int, outputs: int, depth: int, levels: int, norm: Norm, *, bias: bool
    ) -> None:
        super().__init__()
        convs = [SeparableConv(channels, channels, bias=bias) for _ in range(depth)]
        self.convs = nn.ModuleList(convs)
        self.norms = nn.ModuleList(
            nn.ModuleList(norm(channels) for _ in range(depth)) for _ in range(levels)
        )
        self.last = SeparableConv(channels, outputs, bias=True)
        for conv in (*convs, self.last):
            _initialise(conv)

    def forward(self, pyramid: Sequence[Tensor]) -> list[Tensor]:
        """Return a map of each level, finest first."""
        maps = []
        for x, norms in zip(pyramid, cast("Sequence[nn.ModuleList]", self.norms), strict=True):
            for conv, norm in zip(self.convs, norms, strict=True):
                x = F.silu(norm(conv(x)))
            maps.append(self.last(x))
        return maps


class SeparableHead(nn.Module):
    """Per cell and anchor: K class logits and 4 box numbers.

    Args:
        channels: of every pyramid level.
        classes: K.
        per_cell: anchors per cell.
        depth: convolutions in each tower before the last.
        levels: of the pyramid.
        norm: builds a norm.
        bias: of the convolutions before norms.
        prior: the probability that the fresh classifier gives to everything.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        per_cell: int,
        *,
        depth: int = 3,
        levels: int = 5,
        norm: Norm = nn.BatchNorm2d,
        bias: bool = False,
        prior: float = 0.01,
    ) -> None:
        super().__init__()
        self.per_cell = per_cell
        self.class_tower, self.box_tower = (
            SeparableTower(channels, per_cell * count, depth, levels, norm, bias=bias)
            for count in (classes, 4)
        )
        bias_of_classes = self.class_tower.last.pointwise.bias
        assert bias_of_classes is not None
        nn.init.constant_(bias_of_classes, prior_bias(prior))

    def forward(
        self, pyramid: Sequence[Tensor]
    ) -> tuple[Float[Tensor, "B L K"], Float[Tensor, "B L 4"]]:
        """Return the logits and deltas of all levels, finest level first, in the anchors' order."""
        logits, deltas = (
            torch.cat([flatten_cells(level, self.per_cell) for level in tower(pyramid)], dim=1)
            for tower in (self.class_tower, self.box_tower)
        )
        return logits, deltas


def _initialise(conv: SeparableConv) -> None:
    """Scale the weights by the number of inputs, as the published code does."""
    nn.init.kaiming_normal_(conv.depthwise.weight, nonlinearity="linear")
    nn.init.kaiming_normal_(conv.pointwise.weight, nonlinearity="linear")
    if conv.pointwise.bias is not None:
        nn.init.zeros_(conv.pointwise.bias)
