"""The feature pyramid network (Lin et al. 2017, Feature Pyramid Networks for Object Detection, fig. 3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from gazehound.errors import unknown_name
from gazehound.nn.blocks import ConvNorm, Norm

EXTRAS = ("p5", "c5", "pool", "none")


class FPN(nn.Module):
    """Lateral 1x1 convolutions, a top-down path of nearest upsampling and sums, 3x3 outputs.

    Args:
        inputs: channels of C3..C5 (or whichever levels come in), finest first.
        channels: of every level given.
        extra: ``p5`` or ``c5`` adds two coarser levels, as RetinaNet has them: P6 by a 3x3 stride-2
            convolution of P5 (or of C5), P7 by another one of ReLU(P6). ``pool`` adds one, as Faster
            R-CNN has it: P6 is every second cell of P5. ``none`` adds nothing.
        norm: builds a norm after each lateral and output convolution; the paper has none.

    Attributes:
        channels: of each level given.
    """

    def __init__(
        self,
        inputs: Sequence[int],
        channels: int = 256,
        *,
        extra: str = "p5",
        norm: Norm | None = None,
    ) -> None:
        super().__init__()
        if extra not in EXTRAS:
            raise unknown_name("extra levels of the pyramid", extra, EXTRAS)
        self.channels = channels
        self.extra = extra
        self.lateral = nn.ModuleList(
            ConvNorm(c, channels, 1, norm=norm, relu=False) for c in inputs
        )
        self.output = nn.ModuleList(
            ConvNorm(channels, channels, 3, norm=norm, relu=False) for _ in inputs
        )
        if extra in ("p5", "c5"):
            source = channels if extra == "p5" else inputs[-1]
            self.p6 = nn.Conv2d(source, channels, 3, stride=2, padding=1)
            self.p7 = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        self.apply(initialise)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Turn C3..C5 into P3..P5 (and P6, P7), finest first, each with the same channels."""
        merged = [lateral(c) for lateral, c in zip(self.lateral, maps, strict=True)]
        for level in range(len(merged) - 2, -1, -1):
            size = merged[level].shape[-2:]
            merged[level] = merged[level] + F.interpolate(merged[level + 1], size=size)
        pyramid = [output(m) for output, m in zip(self.output, merged, strict=True)]
        if self.extra == "pool":
            pyramid.append(pyramid[-1][..., ::2, ::2])
        elif self.extra != "none":
            p6 = self.p6(pyramid[-1] if self.extra == "p5" else maps[-1])
            pyramid += [p6, self.p7(F.relu(p6))]
        return pyramid


def initialise(module: nn.Module) -> None:
    """Xavier-like start of the pyramid's convolutions, as the published code has it."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_uniform_(module.weight, a=1)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
