"""Path aggregation (Liu et al. 2018, Path Aggregation Network, section 3.1, figure 1b).

C5 ── P5 ─────── N5        FPN hands strong semantics down; the second path hands exact places
 |     |          |        up again: from the finest to the coarsest level it is a few
C4 ── P4 ─────── N4        convolutions, not a whole backbone.
 |     |          |
C3 ── P3 ═══════ N3
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from gazehound.nn.blocks import ConvNorm, Norm
from gazehound.nn.necks.extra import ExtraLevels
from gazehound.nn.necks.fpn import FPN, initialise


class PANet(nn.Module):
    """An FPN and a bottom-up path: stride, add, smooth.

    As in MMDetection's PAFPN, the path adds before it smooths, without ReLU between: ``M_3 = P_3``,
    ``M_k+1 = P_k+1 + stride(M_k)``, ``N_k = smooth(M_k)``, and ``N_3 = P_3``.

    Args:
        inputs: channels of the backbone maps, finest first.
        channels: of every level given.
        levels: how many are given; those above the backbone's come by :class:`ExtraLevels`.
        extra: their source, ``p5`` or ``c5``.
        norm: builds a norm after each convolution; the paper has none.

    Attributes:
        channels: of each level given.
    """

    def __init__(
        self,
        inputs: Sequence[int],
        channels: int = 256,
        *,
        levels: int = 5,
        extra: str = "p5",
        norm: Norm | None = None,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.top_down = FPN(inputs, channels, extra="none", norm=norm)
        steps = range(len(inputs) - 1)
        self.stride = nn.ModuleList(
            ConvNorm(channels, channels, 3, stride=2, norm=norm, relu=False) for _ in steps
        )
        self.smooth = nn.ModuleList(
            ConvNorm(channels, channels, 3, norm=norm, relu=False) for _ in steps
        )
        self.extra = ExtraLevels(inputs, channels, levels - len(inputs), extra)
        self.apply(initialise)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Turn C3..C5 into N3..N5 and the extra levels, finest first."""
        merged = self.top_down(maps)
        pyramid = merged[:1]
        for level, (stride, smooth) in enumerate(zip(self.stride, self.smooth, strict=True), 1):
            merged[level] = merged[level] + stride(merged[level - 1])
            pyramid.append(smooth(merged[level]))
        levels: list[Tensor] = self.extra(maps, pyramid)
        return levels
