"""AlexNet and VGG16 cut in two: the convolutions, and the two fully connected layers behind them.

torchvision's modules and names, so that its ImageNet files load: ``features.N`` and ``classifier.N``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import torchvision
from jaxtyping import Float
from torch import Tensor, nn

from gazehound.errors import CheckpointError, ConfigError, unknown_name


@dataclass(frozen=True)
class Classic:
    """One of the two networks.

    Attributes:
        channels: of its last map.
        cells: side of the pooled map that its fully connected layers take.
        side: of the images it was made for, pixels.
        frozen: convolutions (with their ReLUs and pools) that Fast R-CNN leaves as ImageNet has made
            them: the first of AlexNet, the first two blocks of VGG16 (Girshick 2015, section 4.5).
    """

    channels: int
    cells: int
    side: int
    frozen: int


CLASSICS: Mapping[str, Classic] = {
    "alexnet": Classic(256, 6, 227, 3),
    "vgg16": Classic(512, 7, 224, 10),
}
HIDDEN = 4096
SMALLEST = 32  # pixels; AlexNet's strides and kernels need 31


class ClassicTrunk(nn.Module):
    """The convolutions of AlexNet or VGG16, without the last pooling: one map of stride 16.

    Args:
        network: torchvision's.
        facts: about it.
        frozen: leave the first convolutions as they are.

    Attributes:
        channels: of the map.
        strides: of the map, pixels.
    """

    def __init__(self, network: Any, facts: Classic, *, frozen: bool = False) -> None:
        super().__init__()
        self.features = network.features[:-1]
        self.channels, self.strides = [facts.channels], [16]
        if frozen:
            self.features[: facts.frozen].requires_grad_(False)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        """Return the map: B x C x H/16 x W/16, in a list as other backbones do.

        An image too small for the strides is padded with zeros at the right and bottom.
        """
        short = [max(0, SMALLEST - side) for side in images.shape[-2:]]
        return [self.features(F.pad(images, (0, short[1], 0, short[0])))]


class ClassicBody(nn.Module):
    """fc6 and fc7 on a pooled region.

    Args:
        network: torchvision's.

    Attributes:
        channels: numbers given per region.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.classifier: nn.Module = network.classifier[:-1]
        self.channels: int = network.classifier[-1].in_features

    def forward(self, pooled: Float[Tensor, "R C S S"]) -> Float[Tensor, "R D"]:
        """Return fc7, after its ReLU."""
        numbers: Tensor = self.classifier(pooled.flatten(1))
        return numbers


def classic_parts(
    name: str = "vgg16", *, pretrained: bool | str = False, hidden: int = HIDDEN
) -> tuple[ClassicTrunk, ClassicBody]:
    """Return the convolutions and the fully connected layers of one network.

    Args:
        name: ``alexnet`` or ``vgg16``.
        pretrained: start from ImageNet, with the first convolutions frozen: True takes torchvision's
            weights from its cache or the network, a path a file of them.
        hidden: width of fc6 and fc7.

    Raises:
        ConfigError: unknown name, weights out of reach, or widths that they do not fit.
        CheckpointError: the file of weights holds something else.
    """
    network = classic_network(name, pretrained=pretrained, hidden=hidden)
    trunk = ClassicTrunk(network, known_classic(name), frozen=bool(pretrained))
    return trunk, ClassicBody(network)


def known_classic(name: str) -> Classic:
    """Return the facts of a network; ConfigError for an unknown one."""
    if name not in CLASSICS:
        raise unknown_name("classic network", name, CLASSICS)
    return CLASSICS[name]


def classic_network(
    name: str, *, pretrained: bool | str = False, hidden: int = HIDDEN, outputs: int = 1000
) -> Any:
    """Return torchvision's network, with other widths if asked for.

    Args:
        name: ``alexnet`` or ``vgg16``.
        pretrained: as in :func:`classic_parts`.
        hidden: width of the two fully connected layers; 4,096 when pretrained.
        outputs: of the last layer; other than 1,000 it starts fresh.

    Raises:
        ConfigError: unknown name, weights out of reach, or widths that they do not fit.
        CheckpointError: the file of weights holds something else.
    """
    known_classic(name)
    if pretrained and hidden != HIDDEN:
        raise ConfigError(f"pretrained weights of {name} have layers of {HIDDEN}; got {hidden}")
    network = getattr(torchvision.models, name)(weights=None)
    if pretrained:
        _load(network, _imagenet(name, pretrained), name)
    linear = [i for i, layer in enumerate(network.classifier) if isinstance(layer, nn.Linear)]
    widths = (network.classifier[linear[0]].in_features, hidden, hidden, outputs)
    for place, index in enumerate(linear):
        layer = network.classifier[index]
        if (layer.in_features, layer.out_features) != widths[place : place + 2]:
            fresh = nn.Linear(widths[place], widths[place + 1])
            nn.init.normal_(fresh.weight, std=0.01)
            nn.init.zeros_(fresh.bias)
            network.classifier[index] = fresh
    return network


def _imagenet(name: str, pretrained: bool | str) -> Mapping[str, Tensor]:
    """Return torchvision's ImageNet state, from a file or through torchvision's cache."""
    if isinstance(pretrained, str):
        try:
            state: Mapping[str, Tensor] = torch.load(
                Path(pretrained), map_location="cpu", weights_only=True
            )
        except Exception as error:
            reason = str(error).splitlines()[0]
            raise CheckpointError(f"{pretrained}: not a file of plain tensors ({reason})") from None
        return state
    try:
        weights = torchvision.models.get_model_weights(name).DEFAULT
        return dict(weights.get_state_dict(progress=False, check_hash=True))
    except Exception as error:
        raise ConfigError(
            f"the pretrained weights of '{name}' cannot be reached ({type(error).__name__}: {error}). "
            "Either go on from random weights (--no-pretrained), or give the path of torchvision's "
            f"file: pretrained=path/to/{name}.pth"
        ) from None


def _load(network: nn.Module, state: Mapping[str, Tensor], name: str) -> None:
    try:
        network.load_state_dict(dict(state))
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"not torchvision's weights of {name}: {reason}") from None
