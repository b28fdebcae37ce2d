"""Modulated deformable convolution (Zhu, Hu, Lin, Dai 2019, Deformable ConvNets v2, equation 1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.ops import deform_conv2d


class DeformableConv(nn.Module):
    """A 3x3 convolution whose nine taps each move, and fade, as a second convolution tells them.

    It starts as an ordinary convolution at half strength: no movement, every tap at sigmoid(0).

    Args:
        inputs: channels in.
        outputs: channels out.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.taps = nn.Conv2d(inputs, 3 * 9, 3, padding=1)  # (y, x) of nine taps, then their gates
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)
        nn.init.zeros_(self.taps.weight)
        nn.init.zeros_(self.taps.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Map B x inputs x H x W to B x outputs x H x W."""
        taps = self.taps(x)
        moves, gates = taps[:, :18], torch.sigmoid(taps[:, 18:])
        moved: Tensor = deform_conv2d(x, moves, self.weight, self.bias, padding=1, mask=gates)
        return moved


class DeformableBlock(nn.Module):
    """Deformable convolution, BatchNorm, ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = DeformableConv(inputs, outputs)
        self.norm = nn.BatchNorm2d(outputs)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map B x inputs x H x W to B x outputs x H x W."""
        mapped: Tensor = self.act(self.norm(self.conv(x)))
        return mapped
