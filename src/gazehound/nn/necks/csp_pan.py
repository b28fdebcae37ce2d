"""The neck of YOLOv5 and YOLOX: PANet's two ways, merged by concatenation and CSP layers.

    C5 ── 1x1 ─┬─────────────────── cat ── CSP ── N5
               up                    │ down
    C4 ────── cat ── CSP ── 1x1 ─┬─ cat ── CSP ── N4
                                 up  │ down
    C3 ──────────────────────── cat ── CSP ────── N3

PANet is Liu et al. 2018, Path Aggregation Network, figure 1b; as in YOLOv4 (Bochkovskiy et al. 2020,
figure 6b) the maps are concatenated, not added.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gazehound.nn.csp import CSPLayer, unit


class CSPPAN(nn.Module):
    """Each level comes out with the channels that it came in with.

    Args:
        inputs: channels of the backbone's maps, finest first.
        repeats: bottlenecks in each CSP layer; they have no shortcut.
        depthwise: 3x3 convolutions are depthwise separable.

    Attributes:
        channels: of each level given.
    """

    def __init__(self, inputs: Sequence[int], repeats: int = 3, *, depthwise: bool = False) -> None:
        super().__init__()
        self.channels = tuple(inputs)

        def merge(channels: int, outputs: int) -> CSPLayer:
            return CSPLayer(2 * channels, outputs, repeats, shortcut=False, depthwise=depthwise)

        steps = list(itertools.pairwise(inputs))  # (finer, coarser), finest first
        self.lateral = nn.ModuleList(unit(coarse, fine) for fine, coarse in steps)
        self.top_down = nn.ModuleList(merge(fine, fine) for fine, _ in steps)
        self.down = nn.ModuleList(unit(fine, fine, 3, 2, depthwise=depthwise) for fine, _ in steps)
        self.bottom_up = nn.ModuleList(merge(fine, coarse) for fine, coarse in steps)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Turn C3..C5 into N3..N5, finest first."""
        merged, narrow = maps[-1], []  # narrow: the maps of the way down, coarsest first
        for step in range(len(self.lateral) - 1, -1, -1):
            narrow.append(self.lateral[step](merged))
            up = F.interpolate(narrow[-1], size=maps[step].shape[-2:])
            merged = self.top_down[step](torch.cat((up, maps[step]), dim=1))
        pyramid = [merged]
        for down, merge, same in zip(self.down, self.bottom_up, reversed(narrow), strict=True):
            pyramid.append(merge(torch.cat((down(pyramid[-1]), same), dim=1)))
        return pyramid
