"""YOLO's pyramid: merge by concatenation, top-down and bottom-up.

YOLOv3 (Redmon and Farhadi 2018, section 2.3) concatenates the upsampled coarser map with the finer
one where FPN adds them; YOLOv4 (Bochkovskiy et al. 2020, figure 6b) does the same on PANet's way up.
The merging block is a cross-stage partial one (Wang et al. 2020, CSPNet, figure 2b).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gazehound.nn.blocks import ConvNorm, Norm
from gazehound.nn.necks.extra import ExtraLevels


class CSPMerge(nn.Module):
    """Half of the channels go through bottlenecks, half past them; a 1x1 convolution joins both.

    Args:
        inputs: channels in.
        outputs: channels out.
        depth: bottlenecks (1x1, 3x3; no shortcut in a pyramid).
        norm: of every convolution.
    """

    def __init__(self, inputs: int, outputs: int, depth: int, norm: Norm | None) -> None:
        super().__init__()
        half = outputs // 2
        self.through = ConvNorm(inputs, half, 1, norm=norm)
        self.past = ConvNorm(inputs, half, 1, norm=norm)
        self.bottlenecks = nn.Sequential(
            *(
                nn.Sequential(
                    ConvNorm(half, half, 1, norm=norm), ConvNorm(half, half, 3, norm=norm)
                )
                for _ in range(depth)
            )
        )
        self.join = ConvNorm(2 * half, outputs, 1, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        """Map B x inputs x H x W to B x outputs x H x W."""
        both = torch.cat((self.bottlenecks(self.through(x)), self.past(x)), dim=1)
        joined: Tensor = self.join(both)
        return joined


class ConcatPyramid(nn.Module):
    """YOLO's neck for any backbone, with one width on all levels.

    Args:
        inputs: channels of the backbone maps, finest first.
        channels: of every level given; even.
        depth: bottlenecks in each merging block.
        levels: how many are given; those above the backbone's come by :class:`ExtraLevels`.
        extra: their source, ``p5`` or ``c5``.
        norm: of every convolution; YOLO's is BatchNorm.

    Attributes:
        channels: of each level given.
    """

    def __init__(
        self,
        inputs: Sequence[int],
        channels: int = 256,
        *,
        depth: int = 1,
        levels: int = 5,
        extra: str = "p5",
        norm: Norm | None = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        self.channels = channels
        steps = range(len(inputs) - 1)
        self.lateral = nn.ModuleList(ConvNorm(c, channels, 1, norm=norm) for c in inputs)
        self.down = nn.ModuleList(CSPMerge(2 * channels, channels, depth, norm) for _ in steps)
        self.stride = nn.ModuleList(
            ConvNorm(channels, channels, 3, stride=2, norm=norm) for _ in steps
        )
        self.up = nn.ModuleList(CSPMerge(2 * channels, channels, depth, norm) for _ in steps)
        self.extra = ExtraLevels(inputs, channels, levels - len(inputs), extra)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Turn C3..C5 into P3..P5 and the extra levels, finest first."""
        merged = [lateral(c) for lateral, c in zip(self.lateral, maps, strict=True)]
        for level in range(len(merged) - 2, -1, -1):
            coarser = F.interpolate(merged[level + 1], size=merged[level].shape[-2:])
            merged[level] = self.down[level](torch.cat((merged[level], coarser), dim=1))
        pyramid = merged[:1]
        for level, (stride, up) in enumerate(zip(self.stride, self.up, strict=True), 1):
            pyramid.append(up(torch.cat((merged[level], stride(pyramid[-1])), dim=1)))
        levels: list[Tensor] = self.extra(maps, pyramid)
        return levels
