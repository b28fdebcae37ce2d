"""SSD's extra feature levels: ever coarser maps behind the backbone (Liu et al. 2016, figure 2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gazehound.nn.blocks import ConvNorm, Norm


@dataclass(frozen=True)
class Level:
    """One extra level: a 1x1 convolution that squeezes, then one that shrinks the map.

    Attributes:
        squeeze: channels between the two.
        outputs: channels of the level.
        kernel: of the second convolution.
        stride: likewise.
        padding: likewise.
    """

    squeeze: int
    outputs: int
    kernel: int = 3
    stride: int = 2
    padding: int = 1


SSD300 = (
    Level(256, 512), Level(128, 256), Level(128, 256, 3, 1, 0), Level(128, 256, 3, 1, 0),
)  # fmt: skip
SSD512 = (
    Level(256, 512), Level(128, 256), Level(128, 256), Level(128, 256), Level(128, 256, 4, 1, 1),
)  # fmt: skip


class ExtraLevel(nn.Module):
    """One :class:`Level` with ReLUs.

    A map smaller than the kernel, as a narrow input gives it, is padded to it with zeros.
    """

    def __init__(self, inputs: int, level: Level, norm: Norm | None = None) -> None:
        super().__init__()
        self.squeeze = ConvNorm(inputs, level.squeeze, 1, norm=norm)
        self.shrink = ConvNorm(
            level.squeeze, level.outputs, level.kernel, stride=level.stride, norm=norm
        )
        self.shrink.conv.padding = (level.padding, level.padding)
        self.least = level.kernel - 2 * level.padding

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """Return the next level."""
        x = self.squeeze(x)
        height, width = x.shape[-2:]
        missing = (0, max(0, self.least - width), 0, max(0, self.least - height))
        shrunk: Tensor = self.shrink(F.pad(x, missing) if any(missing) else x)
        return shrunk


class ExtraLevels(nn.Module):
    """The chain of extra levels.

    Args:
        inputs: channels of the map that it starts from.
        levels: what to build: :data:`SSD300`, :data:`SSD512` or one's own.
        width: factor on all channels.
        block: builds one level from (inputs, level); default :class:`ExtraLevel`.

    Attributes:
        channels: of each level.
    """

    def __init__(
        self,
        inputs: int,
        levels: Sequence[Level] = SSD300,
        width: float = 1.0,
        block: Callable[[int, Level], nn.Module] = ExtraLevel,
    ) -> None:
        super().__init__()
        self.channels: list[int] = []
        self.blocks = nn.ModuleList()
        for level in levels:
            narrowed = Level(
                round(level.squeeze * width),
                round(level.outputs * width),
                level.kernel,
                level.stride,
                level.padding,
            )
            self.blocks.append(block(inputs, narrowed))
            inputs = narrowed.outputs
            self.channels.append(inputs)
        self.apply(_initialise)

    def forward(self, x: Float[Tensor, "B C H W"]) -> list[Tensor]:
        """Return the levels, finest first."""
        levels = []
        for block in self.blocks:
            x = block(x)
            levels.append(x)
        return levels


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
