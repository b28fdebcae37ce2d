"""What is computed from a pooled region: a vector of features, and from it a class and a box."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from gazehound.errors import ConfigError
from gazehound.nn.backbones import timm_network
from gazehound.nn.blocks import ConvNorm, Norm


class FullyConnectedBody(nn.Sequential):
    """Two fully connected layers on the flattened region (Lin et al. 2017, section 5.2).

    Args:
        channels: of the pooled region.
        size: S, of the pooled region.
        hidden: width of both layers.

    Attributes:
        channels: numbers given per region.
    """

    def __init__(self, channels: int, size: int = 7, hidden: int = 1024) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        self.fc1, self.act1 = nn.Linear(channels * size * size, hidden), nn.ReLU(inplace=True)
        self.fc2, self.act2 = nn.Linear(hidden, hidden), nn.ReLU(inplace=True)
        self.channels = hidden


class ConvolutionalBody(nn.Sequential):
    """3x3 convolutions, then one fully connected layer (Li et al. 2021, and torchvision's ``_v2``).

    Args:
        channels: of the pooled region, and of the convolutions.
        size: S, of the pooled region.
        hidden: width of the fully connected layer.
        depth: number of convolutions.
        norm: builds a norm after each of them.

    Attributes:
        channels: numbers given per region.
    """

    def __init__(
        self,
        channels: int,
        size: int = 7,
        hidden: int = 1024,
        *,
        depth: int = 4,
        norm: Norm | None = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            *(ConvNorm(channels, channels, 3, norm=norm) for _ in range(depth))
        )
        self.flatten = nn.Flatten()
        self.fc, self.act = nn.Linear(channels * size * size, hidden), nn.ReLU(inplace=True)
        self.channels = hidden
        for module in self.convs.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


class StageBody(nn.Module):
    """The last stage of a residual network on each region, then the mean (He et al. 2016, appendix A).

    Stages 1 to 3 see the whole image once (C4); stage 4, with its stride of 2, sees each region.

    Args:
        name: a timm ResNet, the one whose earlier stages the regions are pooled from.
        pretrained: start from its ImageNet weights.
        norm: as in :class:`Backbone`.
        norm_eps: as in :class:`Backbone`.

    Attributes:
        channels: numbers given per region.

    Raises:
        ConfigError: the network has no stage ``layer4``.
    """

    def __init__(
        self,
        name: str = "resnet50",
        *,
        pretrained: bool = False,
        norm: str | None = None,
        norm_eps: float | None = None,
    ) -> None:
        super().__init__()
        whole = timm_network(name, pretrained=pretrained, norm=norm, norm_eps=norm_eps)
        if not hasattr(whole, "layer4"):
            raise ConfigError(
                f"a stage per region needs a ResNet, with a stage 'layer4'; got '{name}'"
            )
        self.stage: nn.Module = whole.layer4
        self.channels: int = whole.num_features

    def forward(self, pooled: Float[Tensor, "R C S S"]) -> Float[Tensor, "R D"]:
        """Return the stage's output, averaged over the region."""
        maps: Tensor = self.stage(pooled)
        return maps.mean(dim=(2, 3))


class BoxPredictor(nn.Module):
    """K + 1 class logits (the last is the background, or the objectness) and boxes of each region.

    Args:
        channels: numbers per region that come in.
        classes: K.
        agnostic: one box for all classes, not one for each.
    """

    def __init__(self, channels: int, classes: int, *, agnostic: bool = False) -> None:
        super().__init__()
        self.class_logits = nn.Linear(channels, classes + 1)
        self.box_deltas = nn.Linear(channels, 4 if agnostic else 4 * classes)
        for layer, spread in ((self.class_logits, 0.01), (self.box_deltas, 0.001)):
            nn.init.normal_(layer.weight, std=spread)  # Girshick 2015, section 2.3
            nn.init.zeros_(layer.bias)

    def forward(
        self, features: Float[Tensor, "R D"]
    ) -> tuple[Float[Tensor, "R K1"], Float[Tensor, "R C 4"]]:
        """Return the logits, and the deltas of each class (C = K) or of all at once (C = 1)."""
        return self.class_logits(features), self.box_deltas(features).unflatten(1, (-1, 4))
