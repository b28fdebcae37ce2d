"""Cross-stage partial networks of the YOLO line (Wang et al. 2020, CSPNet, section 3, figure 2).

    x ──┬── 1x1 ── bottleneck x n ──┐
        │                           ├── 1x1 ── y        half of the channels pass the bottlenecks by,
        └── 1x1 ────────────────────┘                   so that no gradient is computed twice

YOLOv5 names this block C3; YOLOX took it over with the backbone that is built of it: a stem that
halves the image, then four stages that halve it again, the last one with pyramid pooling. Every
convolution is followed by BatchNorm and SiLU.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gazehound.nn.blocks import Activation, ConvNorm

BatchNorm = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.03)
"""BatchNorm with the constants of YOLOv5 and YOLOX; their weight files do not hold them."""

silu: Activation = partial(nn.SiLU, inplace=True)


class DepthwiseConv(nn.Sequential):
    """A convolution of each channel by itself, then a 1x1 across channels, each with norm and activation."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 3, *, stride: int = 1, act: Activation = silu
    ) -> None:
        super().__init__()
        self.depthwise = ConvNorm(
            inputs, inputs, kernel, stride=stride, groups=inputs, norm=BatchNorm, act=act
        )
        self.pointwise = ConvNorm(inputs, outputs, 1, norm=BatchNorm, act=act)


def unit(
    inputs: int,
    outputs: int,
    kernel: int = 1,
    stride: int = 1,
    *,
    depthwise: bool = False,
    act: Activation = silu,
) -> nn.Sequential:
    """Return convolution, BatchNorm, activation; or the depthwise separable form of it."""
    if depthwise:
        return DepthwiseConv(inputs, outputs, kernel, stride=stride, act=act)
    return ConvNorm(inputs, outputs, kernel, stride=stride, norm=BatchNorm, act=act)


class Bottleneck(nn.Module):
    """1x1, then 3x3 (or depthwise) of the same width; the input is added when ``shortcut``."""

    def __init__(self, channels: int, *, shortcut: bool = True, depthwise: bool = False) -> None:
        super().__init__()
        self.first = unit(channels, channels, 1)
        self.second = unit(channels, channels, 3, depthwise=depthwise)
        self.shortcut = shortcut

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Map the features to features of the same shape."""
        y: Tensor = self.second(self.first(x))
        return x + y if self.shortcut else y


class CSPLayer(nn.Module):
    """The block of the figure above, with hidden branches of half the outputs.

    Args:
        inputs: channels in.
        outputs: channels out.
        repeats: bottlenecks.
        shortcut: of the bottlenecks.
        depthwise: 3x3 convolutions are depthwise separable.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        repeats: int = 1,
        *,
        shortcut: bool = True,
        depthwise: bool = False,
    ) -> None:
        super().__init__()
        hidden = outputs // 2
        self.through = unit(inputs, hidden)
        self.past = unit(inputs, hidden)
        self.blocks = nn.Sequential(
            *(Bottleneck(hidden, shortcut=shortcut, depthwise=depthwise) for _ in range(repeats))
        )
        self.join = unit(2 * hidden, outputs)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D H W"]:
        """Map B x inputs x H x W to B x outputs x H x W."""
        both = torch.cat((self.blocks(self.through(x)), self.past(x)), dim=1)
        joined: Tensor = self.join(both)
        return joined


class SpatialPyramidPooling(nn.Module):
    """Max-pools of 5, 9 and 13 cells beside the features themselves (He et al. 2015; YOLOv3-SPP).

    The pools run one after the other, each over 5 cells: a 5 of a 5 is a 9, a 5 of a 9 is a 13. These
    are the very numbers of YOLOX's parallel SPP, in the order of YOLOv5's SPPF.

    Args:
        inputs: channels in; half of them are pooled.
        outputs: channels out.
        act: activation of its two 1x1 convolutions.
    """

    def __init__(self, inputs: int, outputs: int, *, act: Activation = silu) -> None:
        super().__init__()
        self.reduce = unit(inputs, inputs // 2, act=act)
        self.pool = nn.MaxPool2d(5, stride=1, padding=2)
        self.join = unit(4 * (inputs // 2), outputs, act=act)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D H W"]:
        """Map B x inputs x H x W to B x outputs x H x W."""
        pooled = [self.reduce(x)]
        for _ in range(3):
            pooled.append(self.pool(pooled[-1]))
        joined: Tensor = self.join(torch.cat(pooled, dim=1))
        return joined


class Focus(nn.Module):
    """Every second pixel into channels, then a 3x3 convolution: stride 2 without losing a pixel.

    The four pixels of a 2 x 2 patch go top left, bottom left, top right, bottom right. An odd image gets
    a row or column of zeros.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = unit(4 * inputs, outputs, 3)

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """Map B x inputs x H x W to B x outputs x H/2 x W/2, halves rounded up."""
        height, width = images.shape[-2:]
        if height % 2 or width % 2:
            images = F.pad(images, (0, width % 2, 0, height % 2))
        patches = [images[..., y::2, x::2] for x in (0, 1) for y in (0, 1)]
        features: Tensor = self.conv(torch.cat(patches, dim=1))
        return features


class CSPBackbone(nn.Module):
    """A stem and four stages, each of which halves the image; the last three give the features.

    Args:
        stem: images to features of stride 2.
        stages: of strides 4, 8, 16 and 32.
        channels: out of each stage.

    Attributes:
        channels: of the three maps given.
        strides: of the three maps given.
    """

    def __init__(
        self, stem: nn.Module, stages: Sequence[nn.Module], channels: Sequence[int]
    ) -> None:
        super().__init__()
        self.stem = stem
        self.stages = nn.ModuleList(stages)
        self.channels = tuple(channels[-3:])
        self.strides = (8, 16, 32)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        """Return the maps of strides 8, 16 and 32, each B x C x H/stride x W/stride."""
        maps = []
        x = self.stem(images)
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps[-3:]


def focus_backbone(
    depth: float = 1.0, width: float = 1.0, *, depthwise: bool = False
) -> CSPBackbone:
    """Return YOLOX's backbone: Focus stem, pyramid pooling before the last block, which has no shortcut.

    Args:
        depth: factor on the bottlenecks (3, 9, 9, 3).
        width: factor on the channels (64; 128, 256, 512, 1024).
        depthwise: 3x3 convolutions are depthwise separable, as in YOLOX-nano.
    """
    base, few = int(64 * width), max(round(3 * depth), 1)
    channels = [base * 2**i for i in (1, 2, 3, 4)]
    stages = []
    for before, after, repeats in zip(
        [base, *channels], channels, (few, 3 * few, 3 * few, few), strict=False
    ):
        last = after == channels[-1]
        block = CSPLayer(after, after, repeats, shortcut=not last, depthwise=depthwise)
        down = unit(before, after, 3, 2, depthwise=depthwise)
        pooling = [SpatialPyramidPooling(after, after)] if last else []
        stages.append(nn.Sequential(down, *pooling, block))
    return CSPBackbone(Focus(3, base), stages, channels)


def sppf_backbone(depth: float = 1.0, width: float = 1.0) -> CSPBackbone:
    """Return YOLOv5's backbone (release 6): a 6x6 stem in Focus's stead, pyramid pooling at the end.

    Args:
        depth: factor on the bottlenecks (3, 6, 9, 3).
        width: factor on the channels (64; 128, 256, 512, 1024), rounded up to multiples of 8.
    """
    widths = [math.ceil(64 * 2**i * width / 8) * 8 for i in range(5)]
    stages = []
    for before, after, repeats in zip(widths, widths[1:], (3, 6, 9, 3), strict=False):
        count = max(round(repeats * depth), 1)
        stages.append(nn.Sequential(unit(before, after, 3, 2), CSPLayer(after, after, count)))
    stages[-1].append(SpatialPyramidPooling(widths[-1], widths[-1]))
    return CSPBackbone(unit(3, widths[0], 6, 2), stages, widths[1:])
