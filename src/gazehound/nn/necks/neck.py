"""What a neck is: backbone maps in, a feature pyramid of one width out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from gazehound.errors import ConfigError, unknown_name
from gazehound.nn.blocks import Norm
from gazehound.nn.necks.bifpn import BiFPN
from gazehound.nn.necks.concat import ConcatPyramid
from gazehound.nn.necks.fpn import FPN
from gazehound.nn.necks.nas_fpn import NASFPN
from gazehound.nn.necks.panet import PANet

NECKS = ("fpn", "panet", "bifpn", "nas-fpn", "yolo")


@runtime_checkable
class Neck(Protocol):
    """Merges backbone maps into a pyramid; every pyramid detector takes any of them.

    Attributes:
        channels: of each level given.
    """

    channels: int

    def __call__(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Turn backbone maps (finest first) into pyramid levels (finest first)."""
        ...


def make_neck(
    name: str,
    inputs: Sequence[int],
    channels: int = 256,
    *,
    levels: int = 5,
    extra: str = "p5",
    norm: Norm | None = None,
) -> Neck:
    """Build a neck by its name, with its paper's depth.

    Args:
        name: ``fpn``, ``panet``, ``bifpn`` (three cells), ``nas-fpn`` (seven cells) or ``yolo``.
        inputs: channels of the backbone maps, finest first.
        channels: of every level given.
        levels: how many; those above the backbone's are made by striding on.
        extra: where FPN, PANet and YOLO's start from for that: ``p5``, their coarsest level, or
            ``c5``, the backbone's.
        norm: of all convolutions. ``None``: none in FPN and PANet, BatchNorm in the others, as
            published.

    Raises:
        ConfigError: the name is unknown, or the neck cannot give so many levels.
    """
    more = levels - len(inputs)
    if name == "fpn":
        if more not in (0, 2):
            raise ConfigError(f"an FPN adds 0 or 2 levels to {len(inputs)} maps; got {more}")
        return FPN(inputs, channels, extra=extra if more else "none", norm=norm)
    if name == "panet":
        return PANet(inputs, channels, levels=levels, extra=extra, norm=norm)
    if name == "yolo":
        own = norm or nn.BatchNorm2d
        return ConcatPyramid(inputs, channels, levels=levels, extra=extra, norm=own)
    if name == "bifpn":
        return BiFPN(inputs, channels, levels=levels, norm=norm or nn.BatchNorm2d)
    if name == "nas-fpn":
        if levels != 5:
            raise ConfigError(f"NAS-FPN was found for 5 levels; got {levels}")
        return NASFPN(inputs, channels, norm=norm or nn.BatchNorm2d)
    raise unknown_name("neck", name, NECKS)
