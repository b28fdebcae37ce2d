"""NAS-FPN (Ghiasi, Lin, Le 2019, figure 6): a pyramid network that was found, not drawn.

Seven merging cells make one stage; the published network repeats the stage seven times. A cell
resizes two maps to one size, merges them by a sum or by global attention, and convolves:

    A = attend(P6, P4) -> 4    B = A + P4 -> 4    P3 = B + P3    P4 = P3 + B
    P5 = P5 + attend(P4, P3)   P7 = P7 + attend(P5, B)           P6 = attend(P7, P5)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gazehound.errors import ConfigError
from gazehound.nn.blocks import ConvNorm, Norm

LEVELS = 5


class NASFPN(nn.Module):
    """The searched pyramid for levels 3 to 7.

    Args:
        inputs: channels of the backbone maps, finest first; coarser levels come by pooling.
        channels: of every level given.
        stages: how often the seven cells are repeated.
        norm: after each convolution; published: BatchNorm.

    Attributes:
        channels: of each level given.

    Raises:
        ConfigError: more than five inputs.
    """

    def __init__(
        self,
        inputs: Sequence[int],
        channels: int = 256,
        *,
        stages: int = 7,
        norm: Norm = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        if len(inputs) > LEVELS:
            raise ConfigError(f"NAS-FPN takes up to {LEVELS} maps; got {len(inputs)}")
        self.channels = channels
        self.lateral = nn.ModuleList(
            ConvNorm(c, channels, 1, norm=norm, relu=False) for c in inputs
        )
        self.coarser = nn.ModuleList(
            ConvNorm(channels, channels, 1, norm=norm, relu=False)
            for _ in range(LEVELS - len(inputs))
        )
        self.stages = nn.ModuleList(Stage(channels, norm) for _ in range(stages))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Turn C3..C5 into P3..P7, finest first."""
        pyramid = [lateral(c) for lateral, c in zip(self.lateral, maps, strict=True)]
        for narrow in self.coarser:
            pyramid.append(F.max_pool2d(narrow(pyramid[-1]), 2, ceil_mode=True))
        for stage in self.stages:
            pyramid = stage(pyramid)
        return pyramid


class Stage(nn.Module):
    """Seven merging cells (figure 6). Each convolution carries the name of the map that it ends."""

    def __init__(self, channels: int, norm: Norm) -> None:
        super().__init__()
        self.first4, self.second4, self.p3, self.p4, self.p5, self.p7, self.p6 = (
            _Finish(channels, norm) for _ in range(7)
        )

    def forward(self, pyramid: Sequence[Tensor]) -> list[Tensor]:
        """Merge P3..P7 into a new P3..P7."""
        p3, p4, p5, p6, p7 = pyramid
        first4 = self.first4(attend(p6, p4, like=p4))
        second4 = self.second4(first4 + p4)
        p3 = self.p3(resize(second4, p3) + p3)
        p4 = self.p4(resize(p3, p4) + second4)
        p5 = self.p5(p5 + attend(p4, p3, like=p5))
        p7 = self.p7(p7 + attend(p5, second4, like=p7))
        p6 = self.p6(attend(p7, p5, like=p6))
        return [p3, p4, p5, p6, p7]


class _Finish(nn.Module):
    """How a cell ends: ReLU, 3x3 convolution with a bias, norm."""

    def __init__(self, channels: int, norm: Norm) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        finished: Tensor = self.norm(self.conv(F.relu(x)))
        return finished


def resize(x: Tensor, like: Tensor) -> Tensor:
    """Bring a map to the size of another: nearest upwards, maximum pooling downwards."""
    height, width = like.shape[-2:]
    if x.shape[-2] <= height and x.shape[-1] <= width:
        return F.interpolate(x, size=(height, width))
    return F.adaptive_max_pool2d(x, (height, width))


def attend(guided: Tensor, guide: Tensor, like: Tensor) -> Tensor:
    """Global pooling (figure 3b): the guide's mean gates the other map's channels; both are added."""
    guided, guide = resize(guided, like), resize(guide, like)
    gate = torch.sigmoid(guide.mean(dim=(2, 3), keepdim=True))
    return guide + gate * guided
