"""The four networks of Objects as Points (figure 6): images in, maps of stride 4 out.

A body is a backbone and, but for the hourglass, a neck that brings its maps back to stride 4. With
several maps (the hourglass's stacks) each is learned from, and the last one predicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from gazehound.errors import unknown_name
from gazehound.nn.backbones import Backbone
from gazehound.nn.hourglass import StackedHourglass
from gazehound.nn.necks.dla_up import DLAUp
from gazehound.nn.necks.neck import Neck
from gazehound.nn.necks.upconvs import UpConvs

STRIDE = 4
UPS = ("plain", "deformable", "aggregate", "hourglass")
WIDTHS = {"plain": (256, 256, 256), "deformable": (256, 128, 64)}


@dataclass(frozen=True)
class PointBody:
    """The parts of a body.

    Attributes:
        backbone: images to maps.
        neck: maps to maps of stride 4.
        channels: of each map of stride 4.
        hidden: channels inside the heads, as published for this body.
    """

    backbone: nn.Module
    neck: nn.Module
    channels: Sequence[int]
    hidden: int


class SameMaps(nn.Module):
    """The neck of a backbone whose maps have stride 4 already.

    Attributes:
        channels: of each map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return the maps."""
        return list(maps)


def point_body(
    backbone: str = "resnet18",
    up: str = "plain",
    *,
    pretrained: bool = False,
    norm: str | None = None,
    widths: Sequence[int] | None = None,
    counts: Sequence[int] | None = None,
) -> PointBody:
    """Build a body.

    Args:
        backbone: a timm name; not used by the hourglass, which is one itself.
        up: ``plain`` or ``deformable`` transposed convolutions from stride 32, ``aggregate``
            (DLA's) from strides 4 to 32, or ``hourglass``.
        pretrained: start the backbone from ImageNet weights.
        norm: of the backbone (see :class:`Backbone`).
        widths: of the transposed convolutions or of the hourglass's scales; default as published.
        counts: residual blocks of the hourglass's scales; default as published.

    Raises:
        ConfigError: ``up`` is unknown.
    """
    if up not in UPS:
        raise unknown_name("way up to stride 4", up, UPS)
    if up == "hourglass":
        sizes: dict[str, Any] = {
            k: v for k, v in (("widths", widths), ("counts", counts)) if v is not None
        }
        glass = StackedHourglass(**sizes)
        return PointBody(glass, SameMaps(glass.channels[-1]), glass.channels, 256)
    strides = (4, 8, 16, 32) if up == "aggregate" else (32,)
    body = Backbone(backbone, strides, pretrained=pretrained, norm=norm)
    neck: Neck
    if up == "aggregate":
        neck = DLAUp(body.channels)
    else:
        neck = UpConvs(body.channels, widths or WIDTHS[up], deformable=up == "deformable")
    assert isinstance(neck, nn.Module)
    return PointBody(body, neck, [neck.channels], 256 if up == "aggregate" else 64)
