"""The backbones of the Darknet YOLOs (Redmon & Farhadi 2018, table 1; Bochkovskiy et al. 2020, 3.4).

Each halves the image five times and gives the maps that its detector reads, finest first. Layers stand
in the order of the official ``.cfg`` files, which is the order of the numbers in a ``.weights`` file.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gazehound.errors import ConfigError
from gazehound.nn.backbones import timm_network
from gazehound.nn.blocks import Activation, ConvNorm

leaky: Activation = partial(nn.LeakyReLU, 0.1, inplace=True)
mish: Activation = partial(nn.Mish, inplace=True)
DEPTHS = (1, 2, 8, 8, 4)
WIDTHS = (64, 128, 256, 512, 1024)


def conv(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, act: Activation = leaky
) -> ConvNorm:
    """Return Darknet's ``[convolutional]`` with ``batch_normalize=1``."""
    return ConvNorm(inputs, outputs, kernel, stride=stride, norm=nn.BatchNorm2d, act=act)


class Residual(nn.Module):
    """1x1, 3x3, and the input added; no activation behind the sum.

    Args:
        channels: in and out.
        hidden: between the two.
        act: activation.
    """

    def __init__(self, channels: int, hidden: int, act: Activation = leaky) -> None:
        super().__init__()
        self.squeeze = conv(channels, hidden, 1, act=act)
        self.expand = conv(hidden, channels, 3, act=act)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Map the features to features of the same shape."""
        y: Tensor = x + self.expand(self.squeeze(x))
        return y


class DarkNet53(nn.Module):
    """YOLOv3's backbone: 52 convolutions, leaky ReLU; gives strides 8, 16 and 32.

    Args:
        width: factor on all channels.
        depths: residual blocks of each of the five stages.
        pretrained: start from timm's ``darknet53``.

    Attributes:
        channels: of the maps given.

    Raises:
        ConfigError: the weights are out of reach, or do not fit this variant.
    """

    def __init__(
        self, width: float = 1.0, depths: Sequence[int] = DEPTHS, *, pretrained: bool = False
    ) -> None:
        super().__init__()
        widths = [round(w * width) for w in WIDTHS]
        self.channels = widths[2:]
        self.stem = conv(3, widths[0] // 2)
        self.stages = nn.ModuleList()
        inputs = widths[0] // 2
        for outputs, depth in zip(widths, depths, strict=True):
            blocks = (Residual(outputs, outputs // 2) for _ in range(depth))
            self.stages.append(nn.Sequential(conv(inputs, outputs, stride=2), *blocks))
            inputs = outputs
        self.apply(initialise)
        if pretrained:
            if width != 1.0 or tuple(depths) != DEPTHS:
                raise ConfigError("pretrained DarkNet-53 weights fit width 1 and depths 1 2 8 8 4")
            self.take(timm_network("darknet53", pretrained=True, norm="batch").state_dict())

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        """Return C3, C4, C5."""
        return _last_three(self.stem(images), self.stages)

    def take(self, state: dict[str, Tensor]) -> None:
        """Copy the weights of timm's ``darknet53``, whose layers come in the same order."""
        theirs = [x for name, x in state.items() if not name.startswith("head.")]
        self.load_state_dict(dict(zip(self.state_dict(), theirs, strict=True)))


class CSPStage(nn.Module):
    """Half of the channels pass the residual blocks by (Wang et al. 2020, CSPNet, figure 2).

    Args:
        inputs: channels in.
        outputs: channels out.
        depth: residual blocks.
        whole: the first stage does not halve: both branches are as wide as the stage.
        act: activation.
    """

    def __init__(
        self, inputs: int, outputs: int, depth: int, *, whole: bool = False, act: Activation = mish
    ) -> None:
        super().__init__()
        branch = outputs if whole else outputs // 2
        self.down = conv(inputs, outputs, stride=2, act=act)
        self.past = conv(outputs, branch, 1, act=act)
        self.enter = conv(outputs, branch, 1, act=act)
        hidden = outputs // 2
        self.blocks = nn.Sequential(*(Residual(branch, hidden, act) for _ in range(depth)))
        self.leave = conv(branch, branch, 1, act=act)
        self.join = conv(2 * branch, outputs, 1, act=act)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """Halve the map."""
        x = self.down(x)
        through = self.leave(self.blocks(self.enter(x)))
        joined: Tensor = self.join(torch.cat((through, self.past(x)), dim=1))
        return joined


class CSPDarkNet53(nn.Module):
    """YOLOv4's backbone: DarkNet-53 of cross-stage partial stages with Mish; strides 8, 16 and 32.

    Args:
        width: factor on all channels.
        depths: residual blocks of each of the five stages.

    Attributes:
        channels: of the maps given.
    """

    def __init__(self, width: float = 1.0, depths: Sequence[int] = DEPTHS) -> None:
        super().__init__()
        widths = [round(w * width) for w in WIDTHS]
        self.channels = widths[2:]
        self.stem = conv(3, widths[0] // 2, act=mish)
        inputs = [widths[0] // 2, *widths[:-1]]
        self.stages = nn.ModuleList(
            CSPStage(i, o, depth, whole=number == 0)
            for number, (i, o, depth) in enumerate(zip(inputs, widths, depths, strict=True))
        )
        self.apply(initialise)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        """Return C3, C4, C5."""
        return _last_three(self.stem(images), self.stages)


class TinyDarkNet(nn.Module):
    """YOLOv3-tiny's backbone: seven convolutions with max pooling between; strides 16 and 32.

    Args:
        width: factor on all channels.

    Attributes:
        channels: of the maps given.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        widths = [round(w * width) for w in (16, 32, 64, 128, 256, 512, 1024)]
        self.channels = [widths[4], widths[6]]
        inputs = [3, *widths[:-1]]
        self.layers = nn.ModuleList(conv(i, o) for i, o in zip(inputs, widths, strict=True))
        self.apply(initialise)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        """Return the fifth convolution (stride 16) and the seventh (stride 32)."""
        x = images
        for layer in self.layers[:4]:
            x = F.max_pool2d(layer(x), 2)
        fine = self.layers[4](x)
        x = self.layers[5](F.max_pool2d(fine, 2))
        return [fine, self.layers[6](pool_in_place(x))]


class OneShotStage(nn.Module):
    """YOLOv4-tiny's stage: the second half of the channels is aggregated in one shot, the rest passes.

    Args:
        channels: in; twice as many come out.

    ``forward`` gives the 1x1 convolution, which the finer head reads, beside the pooled stage.
    """

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.enter = conv(inputs, channels)
        self.first = conv(half, half)
        self.second = conv(half, half)
        self.join = conv(channels, channels, 1)

    def forward(
        self, x: Float[Tensor, "B C H W"]
    ) -> tuple[Float[Tensor, "B D H W"], Float[Tensor, "B E h w"]]:
        """Return the joined map at the input's stride, and the stage's output at twice that."""
        x = self.enter(x)
        first = self.first(x.chunk(2, dim=1)[1])
        joined = self.join(torch.cat((self.second(first), first), dim=1))
        return joined, F.max_pool2d(torch.cat((x, joined), dim=1), 2)


class TinyCSPDarkNet(nn.Module):
    """YOLOv4-tiny's backbone: three one-shot stages (Wang et al. 2021, Scaled-YOLOv4, 3.3).

    Args:
        width: factor on all channels.

    Attributes:
        channels: of the maps given, strides 16 and 32.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        base = round(64 * width)
        self.channels = [4 * base, 8 * base]
        self.stem = nn.Sequential(conv(3, base // 2, stride=2), conv(base // 2, base, stride=2))
        self.stages = nn.ModuleList(
            OneShotStage(i, o)
            for i, o in ((base, base), (2 * base, 2 * base), (4 * base, 4 * base))
        )
        self.last = conv(8 * base, 8 * base)
        self.apply(initialise)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        """Return the last stage's joined map (stride 16) and the last convolution (stride 32)."""
        x = self.stem(images)
        joined = x
        for stage in self.stages:
            joined, x = stage(x)
        return [joined, self.last(x)]


def pool_in_place(x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
    """Max pooling of 2 x 2 with stride 1, which looks right and down beyond the border."""
    return F.max_pool2d(F.pad(x, (0, 1, 0, 1), value=-torch.inf), 2, stride=1)


def initialise(module: nn.Module) -> None:
    """Start convolutions as He et al. (2015) do, for a leaky ReLU of slope 0.1."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, a=0.1, nonlinearity="leaky_relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _last_three(x: Tensor, stages: nn.ModuleList) -> list[Tensor]:
    maps = []
    for stage in stages:
        x = stage(x)
        maps.append(x)
    return maps[2:]
