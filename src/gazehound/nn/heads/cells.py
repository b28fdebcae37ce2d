"""The YOLO head: per cell and anchor a box, an objectness and the classes, from one convolution."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gazehound.nn.blocks import flatten_cells
from gazehound.nn.darknet import conv, initialise
from gazehound.nn.losses.focal import prior_bias


class CellHead(nn.Module):
    """Per map a 3x3 convolution, then a 1x1 to ``tx, ty, tw, th``, objectness and K class logits.

    Args:
        channels: of each map, finest first.
        hidden: channels between the two convolutions, per map; default twice the map's.
        per_cell: anchors per cell.
        classes: K.
        prior: the probability that the fresh head gives to an object, and to each class.
    """

    def __init__(
        self,
        channels: Sequence[int],
        classes: int,
        hidden: Sequence[int] | None = None,
        per_cell: int = 3,
        prior: float = 0.01,
    ) -> None:
        super().__init__()
        self.per_cell = per_cell
        widths = list(hidden or (2 * c for c in channels))
        self.widen = nn.ModuleList(conv(c, w) for c, w in zip(channels, widths, strict=True))
        self.widen.apply(initialise)
        self.numbers = nn.ModuleList(
            _output(w, per_cell, classes, prior_bias(prior)) for w in widths
        )

    def forward(self, maps: Sequence[Tensor]) -> Float[Tensor, "B L N"]:
        """Return 5 + K numbers for each anchor of all maps, finest map first, cell by cell."""
        rows = [
            flatten_cells(numbers(widen(m)), self.per_cell)
            for m, widen, numbers in zip(maps, self.widen, self.numbers, strict=True)
        ]
        return torch.cat(rows, dim=1)


def _output(inputs: int, per_cell: int, classes: int, bias: float) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, per_cell * (5 + classes), 1)
    nn.init.normal_(layer.weight, std=0.01)
    assert layer.bias is not None
    with torch.no_grad():
        of_anchor = layer.bias.view(per_cell, 5 + classes)
        of_anchor[:, :4] = 0
        of_anchor[:, 4:] = bias
    return layer
