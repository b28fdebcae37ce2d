"""The first stage of CenterNet2: is this point the centre of anything, and how far are its sides?"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gazehound.nn.blocks import ConvNorm, Norm, flatten_cells, group_norm
from gazehound.nn.losses.focal import prior_bias

FIRST_DISTANCE = 8.0  # strides: what a fresh network says of every side


class CentreHead(nn.Module):
    """One tower for both answers, shared by all levels; distances have a factor per level.

    Args:
        channels: of every pyramid level.
        levels: how many.
        depth: 3x3 convolutions in the tower.
        norm: builds a norm after each of them.
        prior: the probability that a fresh heatmap gives to every point.
    """

    def __init__(
        self,
        channels: int,
        levels: int = 5,
        *,
        depth: int = 4,
        norm: Norm = group_norm,
        prior: float = 0.01,
    ) -> None:
        super().__init__()
        self.tower = nn.Sequential(
            *(ConvNorm(channels, channels, 3, norm=norm, bias=True) for _ in range(depth))
        )
        self.heat = nn.Conv2d(channels, 1, 3, padding=1)
        self.distances = nn.Conv2d(channels, 4, 3, padding=1)
        self.scales = nn.Parameter(torch.ones(levels))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        nn.init.constant_(self.heat.bias, prior_bias(prior))  # type: ignore[arg-type]
        nn.init.constant_(self.distances.bias, FIRST_DISTANCE)  # type: ignore[arg-type]

    def forward(
        self, pyramid: Sequence[Tensor]
    ) -> tuple[Float[Tensor, "B L"], Float[Tensor, "B L 4"]]:
        """Return heat logits, and distances to left, top, right and bottom in strides, at least 0."""
        heat, distances = [], []
        for level, scale in zip(pyramid, self.scales, strict=True):
            x = self.tower(level)
            heat.append(flatten_cells(self.heat(x), 1)[..., 0])
            distances.append(flatten_cells(F.relu(scale * self.distances(x)), 1))
        return torch.cat(heat, dim=1), torch.cat(distances, dim=1)
