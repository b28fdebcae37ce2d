"""MobileNetV3-Large as torchvision's Faster R-CNN uses it: its last two stages, both of stride 32."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from timm.layers.norm_act import freeze_batch_norm_2d
from torch import Tensor, nn
from torchvision.models import mobilenet_v3_large

from gazehound.errors import unknown_name
from gazehound.nn.backbones import NORMS
from gazehound.nn.blocks import group_norm


class MobileNetMaps(nn.Module):
    """The output of the last block that halves the map, and of the last convolution.

    Args:
        pretrained: start from torchvision's ImageNet weights.
        norm: as in :class:`gazehound.nn.backbones.Backbone`.

    Attributes:
        channels: of the maps given.
        strides: of the maps given, pixels.

    Raises:
        ConfigError: unknown norm, or the weights are out of reach.
    """

    def __init__(self, *, pretrained: bool = False, norm: str | None = None) -> None:
        super().__init__()
        norm = norm or ("frozen" if pretrained else "batch")
        if norm not in NORMS:
            raise unknown_name("norm of a backbone", norm, NORMS)
        layer: Any = group_norm if norm == "group" else nn.BatchNorm2d
        network = mobilenet_v3_large(weights=None, norm_layer=layer)
        if pretrained:
            from gazehound.nn.mobilenet import imagenet_state

            network.load_state_dict(imagenet_state())
        self.body: nn.Sequential = network.features
        if norm == "frozen":
            self.body = freeze_batch_norm_2d(self.body)
        strided = [i for i, block in enumerate(self.body) if getattr(block, "_is_cn", False)]
        self.taken = (strided[-1], len(self.body) - 1)
        blocks: Any = self.body
        self.channels: list[int] = [blocks[i].out_channels for i in self.taken]
        self.strides = [32, 32]

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        """Return both maps, each B x C x H/32 x W/32."""
        maps, x = [], images
        for number, block in enumerate(self.body):
            x = block(x)
            if number in self.taken:
                maps.append(x)
        return maps
