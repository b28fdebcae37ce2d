"""SSD's head: per map one small convolution for the classes and one for the boxes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gazehound.nn.blocks import flatten_cells

Predictor = Callable[[int, int], nn.Module]  # channels in, numbers per cell out


def plain_predictor(inputs: int, outputs: int) -> nn.Module:
    """A 3x3 convolution (Liu et al. 2016, section 2.1)."""
    return nn.Conv2d(inputs, outputs, 3, padding=1)


class SSDHead(nn.Module):
    """K + 1 class logits (the background last) and 4 deltas for each default box; nothing is shared.

    Args:
        channels: of each map.
        per_cell: default boxes per cell of each map.
        classes: K.
        predictor: builds the predictors; default a 3x3 convolution.
        std: of the predictors' first weights; ``None`` is Xavier's.
    """

    def __init__(
        self,
        channels: Sequence[int],
        per_cell: Sequence[int],
        classes: int,
        predictor: Predictor = plain_predictor,
        std: float | None = None,
    ) -> None:
        super().__init__()
        self.per_cell = tuple(per_cell)
        pairs = list(zip(channels, per_cell, strict=True))
        self.class_logits = nn.ModuleList(predictor(c, a * (classes + 1)) for c, a in pairs)
        self.box_deltas = nn.ModuleList(predictor(c, a * 4) for c, a in pairs)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                _initialise(module, std)

    def forward(
        self, maps: Sequence[Tensor]
    ) -> tuple[Float[Tensor, "B L C"], Float[Tensor, "B L 4"]]:
        """Return the logits and deltas of all maps, finest map first, in the boxes' order."""
        logits, deltas = (
            torch.cat(
                [
                    flatten_cells(predict(m), a)
                    for m, a, predict in zip(maps, self.per_cell, predictors, strict=True)
                ],
                dim=1,
            )
            for predictors in (self.class_logits, self.box_deltas)
        )
        return logits, deltas  # B x L x (K+1), B x L x 4


def _initialise(layer: nn.Conv2d, std: float | None) -> None:
    if std is None:
        nn.init.xavier_uniform_(layer.weight)
    else:
        nn.init.normal_(layer.weight, std=std)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
