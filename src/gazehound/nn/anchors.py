"""Anchor boxes of a feature pyramid (Ren et al. 2015, section 3.1.1; Lin et al. 2017, section 4).

The centre of cell ``(i, j)`` lies at ``(j * stride, i * stride)``: that is where the receptive field of
a strided convolution with symmetric padding is centred, and where the published RetinaNets put it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gazehound.errors import ConfigError


def octave_sizes(
    strides: Sequence[int], scale: float = 4, per_octave: int = 3
) -> tuple[tuple[float, ...], ...]:
    """Return RetinaNet's anchor sizes per level: ``scale * stride * 2^(i / per_octave)``, pixels."""
    return tuple(
        tuple(scale * stride * 2 ** (i / per_octave) for i in range(per_octave))
        for stride in strides
    )


class AnchorGrid(nn.Module):
    """The same few boxes around every cell of every level.

    Args:
        strides: pixels per cell, level by level.
        sizes: square roots of the anchors' areas, level by level, pixels.
        ratios: height over width.
        torchvision: follow torchvision's three habits instead of the paper: sizes cut to integers,
            base boxes rounded to integers (ties to even), and strides recomputed as
            ``image // grid``, which differs from the nominal stride where sizes do not divide.
    """

    def __init__(
        self,
        strides: Sequence[int] = (8, 16, 32, 64, 128),
        sizes: Sequence[Sequence[float]] | None = None,
        ratios: Sequence[float] = (0.5, 1.0, 2.0),
        *,
        torchvision: bool = False,
    ) -> None:
        super().__init__()
        self.strides = tuple(strides)
        self.sizes = tuple(tuple(s) for s in (sizes or octave_sizes(self.strides)))
        self.ratios = tuple(ratios)
        self.torchvision = torchvision
        if len(self.sizes) != len(self.strides):
            raise ConfigError(
                f"anchors need sizes for each of {len(self.strides)} levels; got {len(self.sizes)}"
            )
        for level, sizes_of_level in enumerate(self.sizes):
            self.register_buffer(f"base{level}", self._base(sizes_of_level), persistent=False)

    @property
    def per_cell(self) -> int:
        """Return the number of anchors of one cell, the same on each level."""
        return len(self.sizes[0]) * len(self.ratios)

    def _base(self, sizes: Sequence[float]) -> Float[Tensor, "A 4"]:
        """Return the anchors of the cell at the origin; ratios outer, sizes inner."""
        ratios = torch.tensor(self.ratios, dtype=torch.float32)
        scales = torch.tensor(
            [int(s) if self.torchvision else s for s in sizes], dtype=torch.float32
        )
        heights = (torch.sqrt(ratios)[:, None] * scales[None]).flatten()  # A
        widths = ((1 / torch.sqrt(ratios))[:, None] * scales[None]).flatten()  # A
        base = torch.stack((-widths, -heights, widths, heights), dim=1) / 2
        return base.round() if self.torchvision else base

    def forward(
        self, grids: Sequence[tuple[int, int]], image: tuple[int, int]
    ) -> Float[Tensor, "L 4"]:
        """Return the anchors of all levels, cell by cell (row-major), anchor by anchor.

        Args:
            grids: (height, width) of each level's feature map, cells.
            image: (height, width) of the network input, pixels.
        """
        levels = []
        for level, (rows, columns) in enumerate(grids):
            base: Tensor = getattr(self, f"base{level}")
            step_y, step_x = self._steps(level, (rows, columns), image)
            y = torch.arange(rows, device=base.device, dtype=torch.float32) * step_y
            x = torch.arange(columns, device=base.device, dtype=torch.float32) * step_x
            centres = torch.cartesian_prod(y, x).flip(1)  # HW x 2
            shifts = centres.repeat(1, 2)  # HW x 4
            levels.append((shifts[:, None] + base[None]).reshape(-1, 4))  # HWA x 4
        return torch.cat(levels)

    def _steps(self, level: int, grid: tuple[int, int], image: tuple[int, int]) -> tuple[int, int]:
        if self.torchvision:
            return image[0] // grid[0], image[1] // grid[1]
        return self.strides[level], self.strides[level]


def pyramid_grids(strides: Sequence[int], image: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the (height, width) in cells that a padded, strided pyramid has on an input, per level."""
    return [(math.ceil(image[0] / s), math.ceil(image[1] / s)) for s in strides]
