"""The settings that published two-stage detectors share, by the code base they come from.

``gazehound``: exact anchors, aligned RoIAlign of two samples per bin. ``torchvision``: rounded anchors,
strides recomputed from the map, RoIAlign without the half-pixel shift. ``detectron2``: exact anchors,
aligned RoIAlign with as many samples as a bin has cells, bottlenecks that stride in their first
convolution. Weights want the dialect that they were trained in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from torch import Tensor, nn

from gazehound.errors import unknown_name
from gazehound.nn.anchors import AnchorGrid
from gazehound.nn.pooling import RegionPool, RoIAlign

DIALECTS = ("gazehound", "torchvision", "detectron2")
SIZES = (
    32.0,
    64.0,
    128.0,
    256.0,
    512.0,
)  # pixels; one per pyramid level, or all of them on a single map
PYRAMID_STRIDES = (4, 8, 16, 32, 64)

First = TypeVar("First")


@dataclass(frozen=True)
class TwoStage(Generic[First]):
    """What a two-stage detector computes before it knows where to look.

    Attributes:
        maps: the feature maps, finest first.
        first: outputs of the proposal network.
        image: (height, width) of the network input, pixels.
    """

    maps: list[Tensor]
    first: First
    image: tuple[int, int]


def known_dialect(dialect: str) -> str:
    """Return a dialect that there is; ConfigError for another."""
    if dialect not in DIALECTS:
        raise unknown_name("dialect", dialect, DIALECTS)
    return dialect


def pyramid_anchors(dialect: str = "gazehound") -> AnchorGrid:
    """Return FPN's anchors: one size per level, three ratios (Lin et al. 2017, section 4.1)."""
    sizes = [[size] for size in SIZES]
    return AnchorGrid(PYRAMID_STRIDES, sizes, torchvision=dialect == "torchvision")


def single_map_anchors(strides: Sequence[int] = (16,), dialect: str = "gazehound") -> AnchorGrid:
    """Return anchors of all sizes on each map: 15 per cell (C4, DC5, and torchvision's MobileNet)."""
    return AnchorGrid(strides, [SIZES] * len(strides), torchvision=dialect == "torchvision")


def region_align(strides: Sequence[int], size: int = 7, dialect: str = "gazehound") -> RegionPool:
    """Return the RoIAlign of a dialect."""
    sampling = 0 if dialect == "detectron2" else 2
    return RegionPool(strides, RoIAlign(size, sampling, aligned=dialect != "torchvision"))


def stride_first(network: nn.Module) -> nn.Module:
    """Move the stride of a ResNet's bottlenecks from their 3x3 to their first 1x1 convolution.

    That is the network as first published (He et al. 2016), which Detectron's ImageNet weights follow;
    timm and torchvision stride in the 3x3. Changes the network and returns it.
    """
    for block in network.modules():
        first, second = getattr(block, "conv1", None), getattr(block, "conv2", None)
        has_third = hasattr(block, "conv3")
        if has_third and isinstance(first, nn.Conv2d) and isinstance(second, nn.Conv2d):
            first.stride, second.stride = second.stride, first.stride
    return network


def dilate_first(stage: nn.Module) -> nn.Module:
    """Dilate the first bottleneck of a dilated stage, too, as Detectron2 has it.

    timm and torchvision let the first block keep the dilation of the stage before. Changes the stage
    and returns it.
    """
    *_, last = stage.children()
    for block in stage.children():
        mine, wanted = getattr(block, "conv2", None), getattr(last, "conv2", None)
        if isinstance(mine, nn.Conv2d) and isinstance(wanted, nn.Conv2d):
            mine.dilation, mine.padding = wanted.dilation, wanted.padding
    return stage
