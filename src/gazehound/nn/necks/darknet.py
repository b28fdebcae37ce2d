"""The necks of the Darknet YOLOs: what mixes the backbone's maps before each head.

    YOLOv3   top-down: five convolutions, squeeze, upsample, concatenate with the finer map
    YOLOv4   spatial pyramid pooling, the same top-down path, then a bottom-up path (PANet)
    tiny     one convolution per map

Layers stand in the order of the official ``.cfg`` files as far as they belong to one module.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gazehound.nn.darknet import conv, initialise


class PyramidPooling(nn.Module):
    """Max pooling with windows of 13, 9 and 5 cells beside the input (Huang et al. 2020, DC-SPP-YOLO)."""

    windows = (13, 9, 5)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D H W"]:
        """Return four times as many channels: the largest window first, the input last."""
        pooled = [F.max_pool2d(x, k, stride=1, padding=k // 2) for k in self.windows]
        return torch.cat((*pooled, x), dim=1)


def alternate(inputs: int, channels: int, count: int) -> list[nn.Module]:
    """Return 1x1 convolutions to ``channels`` and 3x3 ones to twice as many, in turn."""
    layers: list[nn.Module] = []
    for number in range(count):
        squeeze = number % 2 == 0
        outputs = channels if squeeze else 2 * channels
        layers.append(conv(inputs, outputs, 1 if squeeze else 3))
        inputs = outputs
    return layers


def pooled_set(inputs: int, channels: int) -> nn.Sequential:
    """Return three convolutions, pyramid pooling, and three more."""
    behind = alternate(4 * channels, channels, 3)
    return nn.Sequential(*alternate(inputs, channels, 3), PyramidPooling(), *behind)


class Lift(nn.Module):
    """Squeeze a map by a 1x1 convolution and double its size (nearest neighbour)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.squeeze = conv(inputs, outputs, 1)

    def forward(
        self, x: Float[Tensor, "B C h w"], onto: Float[Tensor, "B D H W"]
    ) -> Float[Tensor, "B E H W"]:
        """Return ``x`` at the size of ``onto``."""
        return F.interpolate(self.squeeze(x), size=onto.shape[-2:])


class YOLOv3Neck(nn.Module):
    """Five convolutions per map; each finer map sees the coarser one (Redmon & Farhadi 2018, 2.3).

    Args:
        inputs: channels of C3, C4, C5.
        spp: pyramid pooling among the convolutions of C5 (YOLOv3-SPP).

    Attributes:
        channels: of each map given, finest first.
    """

    def __init__(self, inputs: Sequence[int], *, spp: bool = False) -> None:
        super().__init__()
        c3, c4, c5 = inputs
        self.channels = [c3 // 2, c4 // 2, c5 // 2]
        fine, middle, coarse = self.channels
        self.p5 = pooled_set(c5, coarse) if spp else nn.Sequential(*alternate(c5, coarse, 5))
        self.lift5 = Lift(coarse, middle)
        self.p4 = nn.Sequential(*alternate(c4 + middle, middle, 5))
        self.lift4 = Lift(middle, fine)
        self.p3 = nn.Sequential(*alternate(c3 + fine, fine, 5))
        self.apply(initialise)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Turn C3, C4, C5 into P3, P4, P5."""
        c3, c4, c5 = maps
        p5 = self.p5(c5)
        p4 = self.p4(torch.cat((self.lift5(p5, c4), c4), dim=1))
        p3 = self.p3(torch.cat((self.lift4(p4, c3), c3), dim=1))
        return [p3, p4, p5]


class YOLOv4Neck(nn.Module):
    """Pyramid pooling, top-down, then bottom-up by strided convolutions (Liu et al. 2018, PANet).

    Where PANet adds, YOLOv4 concatenates (Bochkovskiy et al. 2020, figure 6).

    Args:
        inputs: channels of C3, C4, C5.

    Attributes:
        channels: of each map given, finest first.
    """

    def __init__(self, inputs: Sequence[int]) -> None:
        super().__init__()
        c3, c4, c5 = inputs
        self.channels = [c3 // 2, c4 // 2, c5 // 2]
        fine, middle, coarse = self.channels
        self.p5 = pooled_set(c5, coarse)
        self.lift5 = Lift(coarse, middle)
        self.side4 = conv(c4, middle, 1)
        self.p4 = nn.Sequential(*alternate(2 * middle, middle, 5))
        self.lift4 = Lift(middle, fine)
        self.side3 = conv(c3, fine, 1)
        self.p3 = nn.Sequential(*alternate(2 * fine, fine, 5))
        self.down3 = conv(fine, middle, stride=2)
        self.n4 = nn.Sequential(*alternate(2 * middle, middle, 5))
        self.down4 = conv(middle, coarse, stride=2)
        self.n5 = nn.Sequential(*alternate(2 * coarse, coarse, 5))
        self.apply(initialise)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Turn C3, C4, C5 into N3, N4, N5."""
        c3, c4, c5 = maps
        p5 = self.p5(c5)
        p4 = self.p4(torch.cat((self.side4(c4), self.lift5(p5, c4)), dim=1))
        p3 = self.p3(torch.cat((self.side3(c3), self.lift4(p4, c3)), dim=1))
        n4 = self.n4(torch.cat((self.down3(p3), p4), dim=1))
        n5 = self.n5(torch.cat((self.down4(n4), p5), dim=1))
        return [p3, n4, n5]


class TinyNeck(nn.Module):
    """The coarse map squeezed; the fine one beside the coarse one lifted to it.

    Args:
        inputs: channels of the maps of strides 16 and 32.
        channels: of the squeezed coarse map; the lifted one has half as many.

    Attributes:
        channels: of each map given, finest first.
    """

    def __init__(self, inputs: Sequence[int], channels: int = 256) -> None:
        super().__init__()
        fine, coarse = inputs
        self.p5 = conv(coarse, channels, 1)
        self.lift5 = Lift(channels, channels // 2)
        self.channels = [channels // 2 + fine, channels]
        self.apply(initialise)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return the maps that the heads of strides 16 and 32 read."""
        fine, coarse = maps
        p5 = self.p5(coarse)
        return [torch.cat((self.lift5(p5, fine), fine), dim=1), p5]
