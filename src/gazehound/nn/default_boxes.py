"""SSD's default boxes (Liu et al. 2016, section 2.2, "Choosing scales and aspect ratios")."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gazehound.errors import ConfigError


class DefaultBoxes(nn.Module):
    """A few boxes around every cell of every map; each map has its own scale and ratios.

    A cell of map ``k`` has a square of side ``s_k``, one of side ``sqrt(s_k * s_(k+1))``, and for each
    ratio ``r`` a box of ``s_k sqrt(r)`` by ``s_k / sqrt(r)`` and the same one turned by a quarter.

    All lengths are of an input whose longer side is ``size``. For another input they grow in proportion
    to its longer side, so that one set of weights runs at any size, and so that padding the shorter
    side moves nothing.

    Args:
        size: longer side of the input that the lengths below are meant for, pixels.
        scales: side of the small square of each map, then one more; pixels.
        ratios: of each map, beside 1; long over short side.
        steps: pixels from cell to cell of each map at ``size``. ``None``, or an input of another size:
            longer side of the input over longer side of the map.
        clip: no side is longer than the input's longer side (torchvision).

    Raises:
        ConfigError: the lengths of ``scales``, ``ratios`` and ``steps`` do not fit together.
    """

    def __init__(
        self,
        size: int,
        scales: Sequence[float],
        ratios: Sequence[Sequence[float]],
        steps: Sequence[float] | None = None,
        *,
        clip: bool = False,
    ) -> None:
        super().__init__()
        if len(scales) != len(ratios) + 1 or (steps and len(steps) != len(ratios)):
            raise ConfigError(
                f"default boxes of {len(ratios)} maps need {len(ratios) + 1} scales and "
                f"{len(ratios)} steps; got {len(scales)} and {len(steps or ())}"
            )
        self.size, self.steps = size, tuple(steps) if steps else None
        self.per_cell = tuple(2 + 2 * len(of_map) for of_map in ratios)
        pairs = zip(scales[:-1], scales[1:], ratios, strict=True)
        for level, (scale, following, of_map) in enumerate(pairs):
            sides = torch.tensor(_sides(scale, following, of_map), dtype=torch.float32)
            sides = sides.clamp(max=size) if clip else sides
            self.register_buffer(f"sides{level}", sides, persistent=False)

    def forward(
        self, grids: Sequence[tuple[int, int]], image: tuple[int, int]
    ) -> Float[Tensor, "L 4"]:
        """Return the boxes of all maps, cell by cell (row-major), box by box.

        Args:
            grids: (height, width) of each map, cells.
            image: (height, width) of the network input, pixels.
        """
        longer = max(image)
        maps = []
        for level, (rows, columns) in enumerate(grids):
            sides: Tensor = getattr(self, f"sides{level}") * (longer / self.size)  # A x 2
            step = self._step(level, max(rows, columns), longer)
            y = (torch.arange(rows, device=sides.device) + 0.5) * step
            x = (torch.arange(columns, device=sides.device) + 0.5) * step
            centres = torch.cartesian_prod(y, x)[:, None, [1, 0]]  # HW x 1 x 2
            corners = torch.cat((centres - sides / 2, centres + sides / 2), dim=-1)  # HW x A x 4
            maps.append(corners.reshape(-1, 4))
        return torch.cat(maps)

    def _step(self, level: int, cells: int, longer: int) -> float:
        if self.steps is not None and longer == self.size:
            return self.steps[level]
        return longer / cells


def _sides(scale: float, following: float, ratios: Sequence[float]) -> list[tuple[float, float]]:
    """Return the (width, height) of the boxes of one cell."""
    between = math.sqrt(scale * following)
    sides = [(scale, scale), (between, between)]
    for ratio in ratios:
        long, short = scale * math.sqrt(ratio), scale / math.sqrt(ratio)
        sides += [(long, short), (short, long)]
    return sides
