"""The small bricks that necks and heads are built of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

Norm = Callable[..., nn.Module]  # channels -> layer
Activation = Callable[[], nn.Module]


def group_norm(channels: int, **factory: Any) -> nn.Module:
    """GroupNorm with 32 groups (Wu & He 2018), or fewer, so that a group has four channels or more.

    (A group of one channel on a 1 x 1 map would have nothing to normalise by.) ``factory`` is passed on:
    timm gives its layers a device and a dtype.
    """
    groups = next(g for g in (32, 16, 8, 4, 2, 1) if channels % g == 0 and channels // g >= 4)
    return nn.GroupNorm(groups, channels, **factory)


class ConvNorm(nn.Sequential):
    """Convolution, optional norm, optional activation.

    Args:
        inputs: channels in.
        outputs: channels out.
        kernel: side of the kernel; the padding keeps the size at stride 1.
        stride: of the convolution.
        groups: of the convolution; as many as channels for a depthwise one.
        norm: builds the norm layer from a channel count; ``None`` for none.
        bias: of the convolution; ``None`` gives it one only without a norm.
        relu: end with a ReLU, or with ``act``.
        act: builds another activation than the ReLU.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        *,
        stride: int = 1,
        groups: int = 1,
        norm: Norm | None = None,
        bias: bool | None = None,
        relu: bool = True,
        act: Activation | None = None,
    ) -> None:
        super().__init__()
        biased = norm is None if bias is None else bias
        self.conv = nn.Conv2d(
            inputs, outputs, kernel, stride, (kernel - 1) // 2, groups=groups, bias=biased
        )
        if norm is not None:
            self.norm = norm(outputs)
        if relu:
            self.act = act() if act is not None else nn.ReLU(inplace=True)


def flatten_cells(maps: Float[Tensor, "B AC H W"], per_cell: int) -> Float[Tensor, "B HWA C"]:
    """Bring a head's map (B, A*C, H, W) to rows: cell by cell, anchor by anchor, C numbers each.

    A row-major walk over cells with the anchors of one cell side by side is the order in which
    :mod:`gazehound.nn.anchors` lists its boxes. In ``channels_last`` memory this is a view.
    """
    batch, channels, height, width = maps.shape
    rows = maps.permute(0, 2, 3, 1)  # B x H x W x A*C
    return rows.reshape(batch, height * width * per_cell, channels // per_cell)
