"""The hourglass network (Newell, Yang, Deng 2016) in CornerNet's form (Law, Deng 2018, section 3.5).

Halved by strided residual blocks, not by pooling, down to 1/128 of the image and back, with a
residual branch across at every scale; two in a row, the second fed with what the first one found.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from gazehound.nn.blocks import ConvNorm


class Residual(nn.Module):
    """Two 3x3 convolutions and a shortcut, projected where size or width changes."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        norm = nn.BatchNorm2d
        self.first = ConvNorm(inputs, outputs, 3, stride=stride, norm=norm)
        self.second = ConvNorm(outputs, outputs, 3, norm=norm, relu=False)
        if stride != 1 or inputs != outputs:
            self.skip = ConvNorm(inputs, outputs, 1, stride=stride, norm=norm, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map B x inputs x H x W to B x outputs x H/stride x W/stride."""
        shortcut = self.skip(x) if hasattr(self, "skip") else x
        return F.relu(self.second(self.first(x)) + shortcut)


def residuals(inputs: int, outputs: int, count: int, stride: int = 1) -> nn.Sequential:
    """Return ``count`` residual blocks; the first changes size and width."""
    rest = (Residual(outputs, outputs) for _ in range(count - 1))
    return nn.Sequential(Residual(inputs, outputs, stride), *rest)


class Hourglass(nn.Module):
    """One scale of an hourglass, with all smaller ones inside.

    Args:
        widths: channels of this scale and of those inside.
        counts: residual blocks of this scale and of those inside.
    """

    def __init__(self, widths: Sequence[int], counts: Sequence[int]) -> None:
        super().__init__()
        width, inner, count = widths[0], widths[1], counts[0]
        self.across = residuals(width, width, count)
        self.down = residuals(width, inner, count, stride=2)
        self.inside: nn.Module = (
            Hourglass(widths[1:], counts[1:])
            if len(widths) > 2
            else residuals(inner, inner, counts[1])
        )
        self.back = nn.Sequential(
            *(Residual(inner, inner) for _ in range(count - 1)), Residual(inner, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return a map of the same shape."""
        across = self.across(x)
        low = self.back(self.inside(self.down(x)))
        enlarged: Tensor = across + F.interpolate(low, size=across.shape[-2:])
        return enlarged


class StackedHourglass(nn.Module):
    """A stem to stride 4 and hourglasses in a row; each gives a map.

    Args:
        widths: channels per scale; published: 256, 256, 384, 384, 384, 512.
        counts: residual blocks per scale; published: 2, 2, 2, 2, 2, 4.
        stacks: hourglasses; published: 2, 104 layers deep in all.

    Attributes:
        channels: of each map given.
        strides: of each map given, pixels per cell.
    """

    def __init__(
        self,
        widths: Sequence[int] = (256, 256, 384, 384, 384, 512),
        counts: Sequence[int] = (2, 2, 2, 2, 2, 4),
        stacks: int = 2,
    ) -> None:
        super().__init__()
        width, norm = widths[0], nn.BatchNorm2d
        self.channels, self.strides = [width] * stacks, [4] * stacks
        self.stem = nn.Sequential(
            ConvNorm(3, width // 2, 7, stride=2, norm=norm), Residual(width // 2, width, 2)
        )
        self.glasses = nn.ModuleList(Hourglass(widths, counts) for _ in range(stacks))
        self.maps = nn.ModuleList(ConvNorm(width, width, 3, norm=norm) for _ in range(stacks))
        between = range(stacks - 1)
        self.keep = nn.ModuleList(ConvNorm(width, width, 1, norm=norm, relu=False) for _ in between)
        self.learned = nn.ModuleList(
            ConvNorm(width, width, 1, norm=norm, relu=False) for _ in between
        )
        self.again = nn.ModuleList(Residual(width, width) for _ in between)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return a map of stride 4 per stack; the last is the one to predict from."""
        x, given = self.stem(images), []
        for number, (glass, convolution) in enumerate(zip(self.glasses, self.maps, strict=True)):
            given.append(convolution(glass(x)))
            if number < len(self.again):
                both = self.keep[number](x) + self.learned[number](given[-1])
                x = self.again[number](F.relu(both))
        return given
