"""Anchors in cells: where the Darknet YOLOs predict, and the numbers they say there.

A cell holds a few anchors, each only a width and a height; a prediction's centre stays in (or, with a
scale above 1, slightly around) its cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gazehound.errors import ConfigError
from gazehound.nn.assigners.assigner import Candidates

LARGEST_GROWTH = 8.0  # a box is at most e^8 (2,981) times its anchor: exp stays finite


@dataclass(frozen=True)
class Cells(Candidates):
    """Candidates that lie in grids of cells; each box is an anchor put on its cell's centre.

    Attributes:
        grids: (rows, columns) of each level.
    """

    grids: tuple[tuple[int, int], ...] = ()

    @property
    def image(self) -> tuple[int, int]:
        """Return (height, width) of the network input, pixels."""
        (rows, columns), stride = self.grids[0], self.strides[0]
        return rows * stride, columns * stride


@dataclass(frozen=True)
class CellOutputs:
    """What a YOLO computes for a batch.

    Attributes:
        numbers: (B, L, 5 + K) box numbers, objectness logit, class logits.
        cells: where each of the L rows stands.
    """

    numbers: Float[Tensor, "B L N"]
    cells: Cells

    @property
    def boxes(self) -> Float[Tensor, "B L 4"]:
        """Return ``tx, ty, tw, th``."""
        return self.numbers[..., :4].float()

    @property
    def objectness(self) -> Float[Tensor, "B L"]:
        """Return the logit of "there is an object"."""
        return self.numbers[..., 4].float()

    @property
    def logits(self) -> Float[Tensor, "B L K"]:
        """Return the class logits."""
        return self.numbers[..., 5:].float()


class AnchorCells(nn.Module):
    """The anchors of all levels (Redmon & Farhadi 2018, section 2.3).

    Args:
        anchors: (width, height) of all anchors, pixels of the network input.
        masks: which of them each level has, finest level first. An anchor may be on no level or on two.
        strides: pixels per cell of each level.

    Raises:
        ConfigError: a mask names an anchor that there is not, levels have different numbers of anchors,
            or there is not one mask per stride.
    """

    shapes: Tensor

    def __init__(
        self,
        anchors: Sequence[Sequence[float]],
        masks: Sequence[Sequence[int]],
        strides: Sequence[int] = (8, 16, 32),
    ) -> None:
        super().__init__()
        named = {number for mask in masks for number in mask}
        if len(masks) != len(strides) or len({len(mask) for mask in masks}) != 1:
            raise ConfigError(
                f"need one mask for each of the strides {tuple(strides)}, all of one length; "
                f"got {[list(mask) for mask in masks]}"
            )
        if not named <= set(range(len(anchors))):
            raise ConfigError(f"masks name anchors {sorted(named)}; there are {len(anchors)}")
        self.anchors = tuple((float(w), float(h)) for w, h in anchors)
        self.masks = tuple(tuple(mask) for mask in masks)
        self.strides = tuple(strides)
        shapes = torch.tensor([[self.anchors[n] for n in mask] for mask in masks])
        self.register_buffer("shapes", shapes, persistent=False)  # levels x A x 2

    @property
    def per_cell(self) -> int:
        """Return the number of anchors in a cell."""
        return len(self.masks[0])

    def forward(self, image: tuple[int, int]) -> Cells:
        """Return the anchors of an input of (height, width) pixels, cell by cell, anchor by anchor.

        Raises:
            ConfigError: the input is not a whole number of the coarsest cells.
        """
        coarsest = max(self.strides)
        if image[0] % coarsest or image[1] % coarsest:
            raise ConfigError(
                f"a YOLO's input must be a multiple of {coarsest} pixels high and wide; got {image}"
            )
        levels, grids = [], []
        for stride, shapes in zip(self.strides, self.shapes, strict=True):
            rows, columns = image[0] // stride, image[1] // stride
            y = (torch.arange(rows, device=shapes.device) + 0.5) * stride
            x = (torch.arange(columns, device=shapes.device) + 0.5) * stride
            centres = torch.cartesian_prod(y, x)[:, None, [1, 0]]  # HW x 1 x 2
            levels.append(torch.cat((centres - shapes / 2, centres + shapes / 2), -1).view(-1, 4))
            grids.append((rows, columns))
        lengths = tuple(level.shape[0] for level in levels)
        return Cells(torch.cat(levels), lengths, self.strides, self.per_cell, tuple(grids))


class AnchorCellCoder:
    """Box numbers of YOLOv2 to v4 (Redmon & Farhadi 2018, section 2.1; Bochkovskiy et al. 2020, 3.3).

    In a cell of side ``s`` with its corner at ``c``, for an anchor of size ``p``:
    ``centre = c + s (k sigmoid(t) - (k - 1) / 2)``, ``size = p exp(t)``. With ``k`` above 1 a centre
    can reach the cell's border, where the sigmoid alone comes near only at infinity.

    Args:
        scales: ``k`` of each level, finest first (``scale_x_y``); 1 for YOLOv3.
        growth: upper clamp of tw and th at decoding.
    """

    def __init__(
        self, scales: Sequence[float] = (1.0, 1.0, 1.0), growth: float = LARGEST_GROWTH
    ) -> None:
        self.scales, self.growth = tuple(scales), growth

    def encode(
        self, boxes: Float[Tensor, "B L 4"], cells: Cells
    ) -> tuple[Float[Tensor, "B L 2"], Float[Tensor, "B L 2"]]:
        """Return where in its cell each centre lies (0..1), and ``tw, th``; finite for empty boxes."""
        corner = cells.centres - cells.stride[:, None] / 2
        centre = (boxes[..., :2] + boxes[..., 2:]) / 2
        place = (centre - corner) / cells.stride[:, None]
        size = (boxes[..., 2:] - boxes[..., :2]).clamp(min=1e-4)
        return place, torch.log(size / (cells.boxes[:, 2:] - cells.boxes[:, :2]))

    def decode(self, numbers: Float[Tensor, "B L 4"], cells: Cells) -> Float[Tensor, "B L 4"]:
        """Return the ``xyxy`` boxes that the numbers of all cells stand for, pixels of the input."""
        reach = (cells.spread(self.scales) * cells.stride)[:, None]  # L x 1
        centre = cells.centres + (torch.sigmoid(numbers[..., :2]) - 0.5) * reach
        size = cells.boxes[:, 2:] - cells.boxes[:, :2]
        half = 0.5 * torch.exp(numbers[..., 2:].clamp(max=self.growth)) * size
        return torch.cat((centre - half, centre + half), dim=-1)
