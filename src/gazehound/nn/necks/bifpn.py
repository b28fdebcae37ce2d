"""BiFPN (Tan, Pang, Le 2020, EfficientDet, section 3, figure 2d).

P7 ────────────── P7        One cell: down through the middle nodes, up through the outer ones,
P6 ──── mid6 ──── P6        with a shortcut from the input of a level to its output. Each sum
P5 ──── mid5 ──── P5        has a learned weight per input, kept positive and normalised by
P4 ──── mid4 ──── P4        their sum (fast normalised fusion).
P3 ────────────── P3
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers.pool2d_same import create_pool2d
from torch import Tensor, nn

from gazehound.errors import ConfigError, unknown_name
from gazehound.nn.blocks import Norm
from gazehound.nn.separable import SeparableConv

WEIGHTINGS = ("fast", "sum")
EPSILON = 1e-4


class BiFPN(nn.Module):
    """Bidirectional pyramid of weighted sums, repeated.

    Args:
        inputs: channels of the backbone maps, finest first.
        channels: of every level given.
        levels: how many are given; those above the backbone's come by pooling.
        cells: how often the cell is repeated.
        weighting: ``fast`` normalised weights, or a plain ``sum`` (D6 and larger).
        norm: after each convolution.
        same: pool with TensorFlow's padding, which begins one pixel later on even sizes.
        bias: give the convolutions before a norm a bias, which TensorFlow's weights have.

    Attributes:
        channels: of each level given.

    Raises:
        ConfigError: the weighting is unknown, or there are fewer levels than inputs.
    """

    def __init__(
        self,
        inputs: Sequence[int],
        channels: int = 64,
        *,
        levels: int = 5,
        cells: int = 3,
        weighting: str = "fast",
        norm: Norm = nn.BatchNorm2d,
        same: bool = False,
        bias: bool = False,
    ) -> None:
        super().__init__()
        if weighting not in WEIGHTINGS:
            raise unknown_name("weighting of a BiFPN", weighting, WEIGHTINGS)
        if levels < len(inputs):
            raise ConfigError(f"a BiFPN of {len(inputs)} maps has no {levels} levels")
        self.channels = channels
        options: dict[str, Any] = {"norm": norm, "same": same, "bias": bias}
        widths = [*inputs, *[channels] * (levels - len(inputs))]
        self.coarser = nn.ModuleList(
            Resample(widths[level - 1], channels, "down", **options)
            for level in range(len(inputs), levels)
        )
        self.cells = nn.ModuleList(
            Cell([channels] * levels if number else widths, channels, weighting == "fast", options)
            for number in range(cells)
        )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Turn C3..C5 into P3..P7, finest first."""
        pyramid = list(maps)
        for coarser in self.coarser:
            pyramid.append(coarser(pyramid[-1], pyramid[-1]))
        for cell in self.cells:
            pyramid = cell(pyramid)
        return pyramid


class Cell(nn.Module):
    """One way down and one way up over all levels.

    Args:
        widths: channels of the levels that come in.
        channels: of the levels given.
        weighted: learn a weight per input of each sum.
        options: of :class:`Resample`.
    """

    def __init__(
        self, widths: Sequence[int], channels: int, weighted: bool, options: dict[str, Any]
    ) -> None:
        super().__init__()
        top = len(widths) - 1

        def node(*sources: tuple[int, str]) -> Node:
            return Node(sources, channels, weighted, options)

        self.middle = nn.ModuleList(  # levels top-1 .. 1, and the output of level 0
            node((widths[i], "stay"), (channels if i + 1 < top else widths[top], "up"))
            for i in range(top - 1, -1, -1)
        )
        self.output = nn.ModuleList(  # levels 1 .. top-1, then top, which has no middle node
            node((widths[i], "stay"), (channels, "stay"), (channels, "down")) for i in range(1, top)
        )
        self.output.append(node((widths[top], "stay"), (channels, "down")))

    def forward(self, pyramid: Sequence[Tensor]) -> list[Tensor]:
        """Merge P3..P7 into a new P3..P7."""
        merged = [pyramid[-1]]  # coarsest first
        for level, node in zip(reversed(pyramid[:-1]), self.middle, strict=True):
            merged.append(node([level, merged[-1]]))
        finished = [merged.pop()]
        middle = merged[:0:-1]  # levels 1 .. top-1
        for level, before, node in zip(pyramid[1:-1], middle, self.output, strict=False):
            finished.append(node([level, before, finished[-1]]))
        finished.append(self.output[-1]([pyramid[-1], finished[-1]]))
        return finished


class Node(nn.Module):
    """A weighted sum of maps brought to one size and width; swish; separable convolution; norm.

    Args:
        sources: channels and direction (``stay``, ``up`` or ``down``) of each; the first stays.
        channels: given.
        weighted: learn the weights of the sum.
        options: of :class:`Resample`.
    """

    def __init__(
        self,
        sources: Sequence[tuple[int, str]],
        channels: int,
        weighted: bool,
        options: dict[str, Any],
    ) -> None:
        super().__init__()
        self.resample = nn.ModuleList(
            Resample(width, channels, direction, **options) for width, direction in sources
        )
        self.weights = nn.Parameter(torch.ones(len(sources))) if weighted else None
        self.conv = SeparableConv(channels, channels, bias=options["bias"])
        self.norm = options["norm"](channels)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Merge the sources, in the order that the constructor was told."""
        like = maps[0]
        brought = [resample(x, like) for resample, x in zip(self.resample, maps, strict=True)]
        if self.weights is not None:
            weights = F.relu(self.weights)
            weights = weights / (weights.sum() + EPSILON)
            brought = [x * w for x, w in zip(brought, weights.to(like.dtype), strict=True)]
        total = sum(brought[1:], start=brought[0])
        merged: Tensor = self.norm(self.conv(F.silu(total)))
        return merged


class Resample(nn.Module):
    """1x1 convolution and norm where the width changes; then a level down, up, or none.

    Args:
        inputs: channels in.
        outputs: channels out.
        direction: ``down``: 3x3 maximum pooling, stride 2; ``up``: nearest; ``stay``.
        norm: of the convolution.
        same: TensorFlow's padding of the pooling.
        bias: of the convolution.
    """

    def __init__(
        self, inputs: int, outputs: int, direction: str, *, norm: Norm, same: bool, bias: bool
    ) -> None:
        super().__init__()
        self.direction = direction
        if inputs != outputs:
            self.conv = nn.Conv2d(inputs, outputs, 1, bias=bias)
            self.norm = norm(outputs)
        if direction == "down":
            self.pool = create_pool2d("max", 3, 2, padding="same" if same else "")

    def forward(self, x: Tensor, like: Tensor) -> Tensor:
        """Bring ``x`` to the width of the pyramid, and to the size of ``like`` when it goes up."""
        if hasattr(self, "conv"):
            x = self.norm(self.conv(x))
        if self.direction == "down":
            x = self.pool(x)
        elif self.direction == "up":
            x = F.interpolate(x, size=like.shape[-2:])
        return x
