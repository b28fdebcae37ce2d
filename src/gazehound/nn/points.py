"""Points instead of anchors: one place per cell (Tian et al. 2019, FCOS, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from gazehound.nn.anchors import AnchorGrid


class PointGrid(AnchorGrid):
    """One square around the middle of every cell of every level, as wide as the cell.

    Its centre is the point; its side, the stride, is the unit in which distances to a box's sides are
    regressed. As boxes, the points go wherever anchors go.

    Args:
        strides: pixels per cell, level by level.
        offset: where in the cell the point lies, in cells. The middle (0.5) is FCOS's and YOLOX's choice.
        torchvision: its FCOS has the points in the cells' corners, and strides recomputed as
            ``image // grid``; the sides stay nominal.
    """

    def __init__(
        self,
        strides: Sequence[int] = (8, 16, 32, 64, 128),
        offset: float = 0.5,
        *,
        torchvision: bool = False,
    ) -> None:
        sizes = [(float(stride),) for stride in strides]
        super().__init__(strides, sizes, ratios=(1.0,), torchvision=torchvision)
        self.offset = 0.0 if torchvision else offset

    def forward(
        self, grids: Sequence[tuple[int, int]], image: tuple[int, int]
    ) -> Float[Tensor, "L 4"]:
        """Return the squares of all levels, cell by cell (row-major).

        Args:
            grids: (height, width) of each level's feature map, cells.
            image: (height, width) of the network input, pixels.
        """
        boxes = super().forward(grids, image)
        side = boxes[:, 2:3] - boxes[:, :1]  # exact: strides are small integers
        return boxes + self.offset * side
