"""The depthwise separable convolution of EfficientDet's pyramid and heads."""

from __future__ import annotations

from torch import Tensor, nn


class SeparableConv(nn.Module):
    """A 3x3 convolution of each channel by itself, then a 1x1 convolution across channels.

    Args:
        inputs: channels in.
        outputs: channels out.
        bias: of the 1x1 convolution; the depthwise one has none.
    """

    def __init__(self, inputs: int, outputs: int, *, bias: bool = False) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map B x inputs x H x W to B x outputs x H x W."""
        mixed: Tensor = self.pointwise(self.depthwise(x))
        return mixed
