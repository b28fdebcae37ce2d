"""MobileNetV3-Large as SSDLite uses it (Howard et al. 2019, section 6.3; Sandler et al. 2018, 6.2).

The body is torchvision's, cut at two places: the expansion layer of the last block that halves the map
(C4, stride 16), and the last convolution (C5, stride 32). With a reduced tail, as the paper detects,
the blocks behind C4 have half their channels.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import MobileNet_V3_Large_Weights, mobilenet_v3_large

from gazehound.errors import ConfigError
from gazehound.nn.batch_norm import SteadyBatchNorm
from gazehound.nn.blocks import ConvNorm
from gazehound.nn.necks.extra_levels import Level

batch_norm = partial(SteadyBatchNorm, eps=1e-3, momentum=0.03)


class MobileNetV3(nn.Module):
    """The two maps that SSDLite starts from.

    Args:
        width: factor on all channels.
        reduced: halve the channels behind C4.
        pretrained: start from torchvision's ImageNet weights; they have no reduced tail, so with one the
            layers behind C4 whose shape differs start afresh.

    Attributes:
        channels: of the maps given.
        strides: of the maps given, pixels.

    Raises:
        ConfigError: the weights are out of reach, or do not fit this variant.
    """

    def __init__(
        self, *, width: float = 1.0, reduced: bool = True, pretrained: bool = False
    ) -> None:
        super().__init__()
        if pretrained and width != 1.0:
            raise ConfigError(f"pretrained MobileNetV3 weights fit width 1; got {width}")
        body: Any = _create(width, reduced, pretrained)
        cut = max(i for i, block in enumerate(body) if getattr(block, "_is_cn", False))
        expand, *rest = body[cut].block
        self.fine = nn.Sequential(*body[:cut], expand)
        self.coarse = nn.Sequential(nn.Sequential(*rest), *body[cut + 1 :])
        self.channels = [expand.out_channels, body[-1].out_channels]
        self.strides = [16, 32]

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        """Return C4 (stride 16) and C5 (stride 32)."""
        fine = self.fine(images)
        return [fine, self.coarse(fine)]


def _create(width: float, reduced: bool, pretrained: bool) -> nn.Module:
    network = mobilenet_v3_large(
        weights=None, norm_layer=batch_norm, reduced_tail=reduced, width_mult=width
    )
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=0.03)
    if pretrained:
        wanted, trained = network.state_dict(), imagenet_state()
        fitting = {n: x for n, x in trained.items() if n in wanted and wanted[n].shape == x.shape}
        network.load_state_dict(fitting, strict=False)
    features: nn.Module = network.features
    return features


def imagenet_state() -> dict[str, Tensor]:
    """Return torchvision's ImageNet weights of MobileNetV3-Large; ConfigError when they cannot be had."""
    try:
        state: dict[str, Tensor] = MobileNet_V3_Large_Weights.IMAGENET1K_V1.get_state_dict()
    except OSError as error:
        raise ConfigError(
            f"the pretrained weights of 'mobilenet_v3_large' cannot be reached ({error}). Either go on "
            "from random weights (--no-pretrained), or fetch them on a machine with a network and copy "
            "its torch cache (TORCH_HOME) here"
        ) from None
    return state


def _unit(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> ConvNorm:
    """Return convolution, BatchNorm, ReLU6."""
    return ConvNorm(
        inputs, outputs, kernel, stride=stride, groups=groups, norm=batch_norm, act=nn.ReLU6
    )


def depthwise_predictor(inputs: int, outputs: int) -> nn.Module:
    """SSDLite's predictor: a depthwise 3x3 unit, then a 1x1 convolution."""
    return nn.Sequential(_unit(inputs, inputs, 3, groups=inputs), nn.Conv2d(inputs, outputs, 1))


def depthwise_level(inputs: int, level: Level) -> nn.Module:
    """SSDLite's extra level: 1x1 to half the channels, depthwise 3x3 with stride 2, 1x1."""
    return nn.Sequential(
        _unit(inputs, level.squeeze, 1),
        _unit(level.squeeze, level.squeeze, level.kernel, level.stride, groups=level.squeeze),
        _unit(level.squeeze, level.outputs, 1),
    )


SSDLITE320 = (Level(256, 512), Level(128, 256), Level(128, 256), Level(64, 128))
