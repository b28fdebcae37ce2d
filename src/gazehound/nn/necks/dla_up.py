"""Deep layer aggregation upwards (Yu, Wang, Shelhamer, Darrell 2018; Objects as Points, figure 6d).

C5 ──┐                       Each round aggregates one level more and lifts all of them to its
C4 ──┴─ C5' ──┐              resolution; the rounds' last maps meet once more at stride 4.
C3 ──── C4' ──┴─ C5'' ──┐
C2 ──── C3' ──── C4'' ──┴─ C5'''
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gazehound.nn.deformable import DeformableBlock


class DLAUp(nn.Module):
    """Iterative aggregation with deformable convolutions, to the finest level's resolution.

    Args:
        inputs: channels of the backbone's maps, finest first, each at half of the former's size.

    Attributes:
        channels: of the map given.
    """

    def __init__(self, inputs: Sequence[int]) -> None:
        super().__init__()
        self.channels = inputs[0]
        rounds = []
        widths = list(inputs)
        for start in range(len(inputs) - 2, -1, -1):
            rounds.append(Aggregate(inputs[start], widths[start:], [2] * (len(inputs) - 1 - start)))
            widths[start + 1 :] = [inputs[start]] * (len(inputs) - 1 - start)
        self.rounds = nn.ModuleList(rounds)
        self.last = Aggregate(inputs[0], inputs[:-1], [2**i for i in range(1, len(inputs) - 1)])

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return one map of the finest level's size."""
        levels = list(maps)
        ends: list[Tensor] = []
        for number, aggregate in enumerate(self.rounds):
            start = len(levels) - 2 - number
            levels[start:] = aggregate(levels[start:])
            ends.insert(0, levels[-1])
        aggregated: list[Tensor] = self.last(ends)
        return aggregated[-1:]


class Aggregate(nn.Module):
    """Bring each map to the size of the one before, add that, convolve.

    Args:
        outputs: channels given.
        inputs: channels of the maps; the first stays as it is.
        factors: how much each of the others is enlarged.
    """

    def __init__(self, outputs: int, inputs: Sequence[int], factors: Sequence[int]) -> None:
        super().__init__()
        self.project = nn.ModuleList(DeformableBlock(c, outputs) for c in inputs[1:])
        self.up = nn.ModuleList(bilinear_up(outputs, factor) for factor in factors)
        self.node = nn.ModuleList(DeformableBlock(outputs, outputs) for _ in factors)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return as many maps; all but the first are new."""
        merged = [maps[0]]
        parts = zip(maps[1:], self.project, self.up, self.node, strict=True)
        for x, project, up, node in parts:
            merged.append(node(up(project(x)) + merged[-1]))
        return merged


def bilinear_up(channels: int, factor: int) -> nn.ConvTranspose2d:
    """Return a learnable enlargement of each channel by itself that begins as bilinear."""
    up = nn.ConvTranspose2d(
        channels, channels, 2 * factor, factor, factor // 2, groups=channels, bias=False
    )
    taps = torch.arange(2 * factor, dtype=torch.float32)
    ramp = 1 - (taps / factor - (2 * factor - 1) / (2 * factor)).abs()
    with torch.no_grad():
        up.weight.copy_((ramp[:, None] * ramp[None]).expand_as(up.weight))
    return up
