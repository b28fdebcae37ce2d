"""From stride 32 back to stride 4 by transposed convolutions (Xiao, Wu, Wei 2018, Simple Baselines).

CenterNet puts a deformable convolution before each of them (Objects as Points, appendix A).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from gazehound.nn.deformable import DeformableBlock


class UpConvs(nn.Module):
    """Transposed 4x4 convolutions of stride 2, each with BatchNorm and ReLU.

    Args:
        inputs: channels of the backbone's maps; only the coarsest is used.
        widths: channels after each doubling of the resolution.
        deformable: put a deformable convolution before each.

    Attributes:
        channels: of the map given.
    """

    def __init__(
        self, inputs: Sequence[int], widths: Sequence[int] = (256, 256, 256), *, deformable: bool
    ) -> None:
        super().__init__()
        self.channels = widths[-1]
        before = [inputs[-1], *widths[:-1]]
        self.steps = nn.ModuleList(
            _Step(a, b, deformable) for a, b in zip(before, widths, strict=True)
        )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return one map, B x channels x H/4 x W/4 for three widths."""
        x = maps[-1]
        for step in self.steps:
            x = step(x)
        return [x]


class _Step(nn.Sequential):
    """Twice the resolution."""

    def __init__(self, inputs: int, outputs: int, deformable: bool) -> None:
        super().__init__()
        if deformable:
            self.mix = DeformableBlock(inputs, outputs)
            inputs = outputs
        self.up = nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.act = nn.ReLU(inplace=True)
