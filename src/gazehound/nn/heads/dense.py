"""The dense head: a class tower and a box tower, shared by all levels (Lin et al. 2017, figure 3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gazehound.nn.blocks import ConvNorm, Norm, flatten_cells
from gazehound.nn.losses.focal import prior_bias


class DenseHead(nn.Module):
    """Per cell and anchor: K class logits and 4 box numbers.

    Args:
        channels: of every pyramid level.
        classes: K.
        per_cell: anchors per cell.
        depth: 3x3 convolutions in each tower.
        norm: builds a norm after each of them; RetinaNet has none.
        prior: the probability that the fresh classifier gives to everything (section 3.3).
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        per_cell: int = 9,
        *,
        depth: int = 4,
        norm: Norm | None = None,
        prior: float = 0.01,
    ) -> None:
        super().__init__()
        self.per_cell = per_cell
        towers = [[ConvNorm(channels, channels, 3, norm=norm) for _ in range(depth)] for _ in "cb"]
        self.class_tower, self.box_tower = (nn.Sequential(*tower) for tower in towers)
        self.class_logits = nn.Conv2d(channels, per_cell * classes, 3, padding=1)
        self.box_deltas = nn.Conv2d(channels, per_cell * 4, 3, padding=1)
        self.apply(_initialise)
        nn.init.constant_(self.class_logits.bias, prior_bias(prior))  # type: ignore[arg-type]

    def forward(
        self, pyramid: Sequence[Tensor]
    ) -> tuple[Float[Tensor, "B L K"], Float[Tensor, "B L 4"]]:
        """Return the logits and deltas of all levels, finest level first, in the anchors' order."""
        logits, deltas = [], []
        for level in pyramid:
            logits.append(flatten_cells(self.class_logits(self.class_tower(level)), self.per_cell))
            deltas.append(flatten_cells(self.box_deltas(self.box_tower(level)), self.per_cell))
        return torch.cat(logits, dim=1), torch.cat(deltas, dim=1)  # B x L x K, B x L x 4


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, std=0.01)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
