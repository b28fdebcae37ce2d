"""VGG16 as SSD uses it (Simonyan & Zisserman 2015, configuration D; Liu et al. 2016, section 3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gazehound.errors import ConfigError, unknown_name
from gazehound.nn.backbones import timm_network
from gazehound.nn.batch_norm import SteadyBatchNorm
from gazehound.nn.blocks import ConvNorm

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels, convolutions
NORMS = ("none", "batch", "frozen")


class ScaledL2Norm(nn.Module):
    """Each cell's vector is scaled to length 1, then by a learned factor per channel.

    conv4_3 has larger activations than the deeper maps (Liu et al. 2015, ParseNet); 20 is where the
    factor starts.
    """

    def __init__(self, channels: int, scale: float = 20.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), scale))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Normalise over channels."""
        return F.normalize(x) * self.weight[:, None, None]


class ReducedVGG16(nn.Module):
    """Thirteen convolutions, then fc6 and fc7 turned into convolutions; gives conv4_3 and fc7.

    Pooling rounds up, as in Caffe (75 cells become 38); pool 5 keeps the size, and fc6 is dilated by 6
    instead.

    Args:
        width: factor on all channels.
        norm: ``none``, the paper; ``batch``, a BatchNorm after every convolution, without which it
            hardly learns from scratch; ``frozen`` means ``none``, since there is nothing to freeze.
        pretrained: start from timm's ``vgg16``; fc6 and fc7 are thinned out of its linear layers.

    Attributes:
        channels: of the maps given.
        strides: of the maps given, pixels.

    Raises:
        ConfigError: ``norm`` is unknown, the weights are out of reach or do not fit this variant.
    """

    def __init__(self, *, width: float = 1.0, norm: str = "none", pretrained: bool = False) -> None:
        super().__init__()
        if norm not in NORMS:
            raise unknown_name("norm of VGG16", norm, NORMS)
        layer = SteadyBatchNorm if norm == "batch" else None
        widths = [round(channels * width) for channels, _ in STAGES]
        fc = round(1024 * width)
        self.channels, self.strides = [widths[3], fc], [8, 16]
        self.stages = nn.ModuleList()
        inputs = 3
        for outputs, (_, depth) in zip(widths, STAGES, strict=True):
            convolutions = [
                ConvNorm(inputs if i == 0 else outputs, outputs, 3, norm=layer)
                for i in range(depth)
            ]
            self.stages.append(nn.Sequential(*convolutions))
            inputs = outputs
        self.fc6 = ConvNorm(inputs, fc, 3, norm=layer)
        self.fc6.conv.padding, self.fc6.conv.dilation = (6, 6), (6, 6)
        self.fc7 = ConvNorm(fc, fc, 1, norm=layer)
        self.l2_norm = ScaledL2Norm(widths[3])
        self.apply(_initialise)
        if pretrained:
            self._start_from_imagenet(width, norm)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        """Return conv4_3, normalised (stride 8), and fc7 (stride 16)."""
        conv4_3 = self.stages[0](images)
        for stage in self.stages[1:4]:
            conv4_3 = stage(F.max_pool2d(conv4_3, 2, ceil_mode=True))
        conv5_3 = self.stages[4](F.max_pool2d(conv4_3, 2, ceil_mode=True))
        fc7 = self.fc7(self.fc6(F.max_pool2d(conv5_3, 3, stride=1, padding=1)))
        return [self.l2_norm(conv4_3), fc7]

    def _start_from_imagenet(self, width: float, norm: str) -> None:
        if width != 1.0 or norm == "batch":
            raise ConfigError(
                f"pretrained VGG16 weights fit width 1 and norm 'none'; got {width} and '{norm}'"
            )
        self.take(timm_network("vgg16", pretrained=True, norm="batch").state_dict())

    @torch.no_grad()
    def take(self, state: dict[str, Tensor]) -> None:
        """Copy the weights of timm's ``vgg16`` classifier.

        fc6 keeps each fourth output and each third row and column of its 7 x 7 window, fc7 each fourth
        output and input (Liu et al. 2016, section 3: "subsample parameters from fc6 and fc7").
        """
        names = sorted(
            (n for n in state if n.startswith("features.") and n.endswith("weight")),
            key=lambda name: int(name.split(".")[1]),
        )
        for name, layer in zip(names, self.convolutions(), strict=True):
            layer.weight.copy_(state[name])
            assert layer.bias is not None
            layer.bias.copy_(state[name.replace("weight", "bias")])
        fc1, fc2 = (state[f"pre_logits.fc{i}.weight"] for i in (1, 2))
        self.fc6.conv.weight.copy_(fc1[::4, :, ::3, ::3])
        self.fc7.conv.weight.copy_(fc2[::4, ::4])
        for layer, number in ((self.fc6.conv, 1), (self.fc7.conv, 2)):
            assert layer.bias is not None
            layer.bias.copy_(state[f"pre_logits.fc{number}.bias"][::4])

    def convolutions(self) -> list[nn.Conv2d]:
        """Return conv1_1 to conv5_3 in order."""
        return [module for module in self.stages.modules() if isinstance(module, nn.Conv2d)]


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
