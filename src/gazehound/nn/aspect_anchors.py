"""EfficientDet's anchors: given shapes instead of ratios, centred in the middle of each cell."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

ASPECTS = ((1.0, 1.0), (1.4, 0.7), (0.7, 1.4))


class AspectAnchors(nn.Module):
    """The same few boxes around the middle of every cell of every level.

    An anchor of octave ``o`` and aspect ``(w, h)`` measures ``scale * stride * 2^(o / octaves)`` times
    ``w`` by ``h``. In a cell, octaves are outer and aspects inner.

    Args:
        strides: pixels per cell, level by level.
        scale: side of the smallest square anchor over the stride.
        octaves: sizes per level.
        aspects: factors on width and height.
    """

    def __init__(
        self,
        strides: Sequence[int] = (8, 16, 32, 64, 128),
        scale: float = 4.0,
        octaves: int = 3,
        aspects: Sequence[tuple[float, float]] = ASPECTS,
    ) -> None:
        super().__init__()
        self.strides = tuple(strides)
        shapes = [
            (scale * 2 ** (octave / octaves) * w, scale * 2 ** (octave / octaves) * h)
            for octave in range(octaves)
            for w, h in aspects
        ]
        self.register_buffer("shapes", torch.tensor(shapes), persistent=False)  # A x 2, in strides

    @property
    def per_cell(self) -> int:
        """Return the number of anchors of one cell, the same on each level."""
        shapes: Tensor = self.get_buffer("shapes")
        return len(shapes)

    def forward(
        self, grids: Sequence[tuple[int, int]], image: tuple[int, int]
    ) -> Float[Tensor, "L 4"]:
        """Return the anchors of all levels, cell by cell (row-major), anchor by anchor.

        Args:
            grids: (height, width) of each level's feature map, cells.
            image: not used; the strides are nominal.
        """
        shapes = self.get_buffer("shapes")
        levels = []
        for stride, (rows, columns) in zip(self.strides, grids, strict=True):
            y = torch.arange(rows, device=shapes.device) + 0.5
            x = torch.arange(columns, device=shapes.device) + 0.5
            centres = stride * torch.cartesian_prod(y, x).flip(1)[:, None]  # HW x 1 x (x, y)
            half = stride * shapes[None] / 2  # 1 x A x 2
            levels.append(torch.cat((centres - half, centres + half), dim=2).reshape(-1, 4))
        return torch.cat(levels)
