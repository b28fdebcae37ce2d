"""YOLOv5's head: one 1x1 convolution per level says box, objectness and classes at once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gazehound.nn.blocks import flatten_cells

IMAGE = 640  # pixels: the input size that the fresh objectness is meant for
OBJECTS = 8  # in such an image
CLASS = 0.6  # sum of the fresh class probabilities


class CoupledHead(nn.Module):
    """Per cell and anchor ``tx, ty, tw, th``, an objectness logit and K class logits.

    The fresh biases expect a few objects in an image, spread over all cells, and all classes alike; that
    keeps the first losses, and so the first steps, small.

    Args:
        inputs: channels of the levels, finest first.
        classes: K.
        strides: pixels per cell, level by level.
        per_cell: anchors per cell.
    """

    def __init__(
        self,
        inputs: Sequence[int],
        classes: int,
        strides: Sequence[int] = (8, 16, 32),
        per_cell: int = 3,
    ) -> None:
        super().__init__()
        self.per_cell = per_cell
        self.numbers = nn.ModuleList(nn.Conv2d(c, per_cell * (5 + classes), 1) for c in inputs)
        for layer, stride in zip(self.numbers, strides, strict=True):
            of_anchor = layer.bias.detach().view(per_cell, 5 + classes)  # type: ignore[operator]
            of_anchor[:, 4] += math.log(OBJECTS / (IMAGE / stride) ** 2)
            of_anchor[:, 5:] += math.log(CLASS / (classes - 0.99999))

    def forward(self, pyramid: Sequence[Tensor]) -> Float[Tensor, "B L N"]:
        """Return 5 + K numbers for each anchor of all levels, finest first, cell by cell."""
        pairs = zip(self.numbers, pyramid, strict=True)
        return torch.cat([flatten_cells(layer(x), self.per_cell) for layer, x in pairs], dim=1)
