"""The head of a region proposal network: objectness and a box per anchor (Ren et al. 2015, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gazehound.nn.blocks import ConvNorm, flatten_cells


class RPNHead(nn.Module):
    """3x3 convolutions shared by all levels, then per anchor an objectness logit and four deltas.

    Optionally also K class logits per anchor, and one box for each class: then the network is a
    detector by itself, with objectness where others have a background.

    Args:
        channels: of every level.
        per_cell: anchors per cell.
        depth: 3x3 convolutions; one in the paper.
        classes: K class logits per anchor; 0 for none.
        agnostic: one box per anchor; when not, one for each class.
    """

    def __init__(
        self,
        channels: int,
        per_cell: int,
        *,
        depth: int = 1,
        classes: int = 0,
        agnostic: bool = True,
    ) -> None:
        super().__init__()
        self.per_cell = per_cell
        self.boxes_per_anchor = 1 if agnostic else max(1, classes)
        self.convs = nn.Sequential(*(ConvNorm(channels, channels, 3) for _ in range(depth)))
        self.objectness = nn.Conv2d(channels, per_cell, 1)
        self.box_deltas = nn.Conv2d(channels, per_cell * 4 * self.boxes_per_anchor, 1)
        self.class_logits = nn.Conv2d(channels, per_cell * classes, 1) if classes else None
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(
        self, pyramid: Sequence[Tensor]
    ) -> tuple[Float[Tensor, "B L"], Float[Tensor, "B L C 4"], Float[Tensor, "B L K"]]:
        """Return objectness, deltas (C boxes per anchor) and class logits of all levels, finest first."""
        shared = [self.convs(level) for level in pyramid]
        objectness = self._rows(self.objectness, shared)[..., 0]
        deltas = self._rows(self.box_deltas, shared).unflatten(2, (-1, 4))
        if self.class_logits is None:
            return objectness, deltas, objectness.new_zeros(*objectness.shape, 0)
        return objectness, deltas, self._rows(self.class_logits, shared)

    def _rows(self, layer: nn.Module, maps: Sequence[Tensor]) -> Float[Tensor, "B L N"]:
        return torch.cat([flatten_cells(layer(level), self.per_cell) for level in maps], dim=1)
