"""YOLOX's decoupled head (Ge et al. 2021, section 2.1, figure 2): one tower per task, nothing shared.

    level ── 1x1 ──┬── 3x3 ── 3x3 ──── K class logits
                   └── 3x3 ── 3x3 ──┬─ 4 box numbers
                                    └─ 1 objectness logit

Classes and boxes want different features; one tower for both costs accuracy and slows training.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gazehound.nn.blocks import Activation, flatten_cells
from gazehound.nn.csp import silu, unit
from gazehound.nn.losses.focal import prior_bias


class DecoupledLevel(nn.Module):
    """The head of one pyramid level.

    Args:
        inputs: channels of the level.
        classes: K.
        channels: of the towers.
        depthwise: 3x3 convolutions are depthwise separable.
        act: activation.
        prior: the probability that the fresh head gives to every class, and to there being an object.
    """

    def __init__(
        self,
        inputs: int,
        classes: int,
        channels: int,
        *,
        depthwise: bool = False,
        act: Activation = silu,
        prior: float = 0.01,
    ) -> None:
        super().__init__()

        def tower() -> nn.Sequential:
            layers = (unit(channels, channels, 3, depthwise=depthwise, act=act) for _ in range(2))
            return nn.Sequential(*layers)

        self.stem = unit(inputs, channels, act=act)
        self.class_tower, self.box_tower = tower(), tower()
        self.class_logits = nn.Conv2d(channels, classes, 1)
        self.box_deltas = nn.Conv2d(channels, 4, 1)
        self.objectness = nn.Conv2d(channels, 1, 1)
        for layer in (self.class_logits, self.objectness):
            nn.init.constant_(layer.bias, prior_bias(prior))  # type: ignore[arg-type]

    def forward(self, level: Float[Tensor, "B C H W"]) -> tuple[Tensor, Tensor, Tensor]:
        """Return class logits (B, K, H, W), box numbers (B, 4, H, W), objectness (B, 1, H, W)."""
        stem = self.stem(level)
        of_boxes = self.box_tower(stem)
        return (
            self.class_logits(self.class_tower(stem)),
            self.box_deltas(of_boxes),
            self.objectness(of_boxes),
        )


class DecoupledHead(nn.ModuleList):
    """A :class:`DecoupledLevel` for every pyramid level; takes their arguments.

    Args:
        inputs: channels of the levels, finest first.
        classes: K.
        channels: of the towers.
        depthwise: 3x3 convolutions are depthwise separable.
        act: activation.
    """

    def __init__(
        self,
        inputs: Sequence[int],
        classes: int,
        channels: int = 256,
        *,
        depthwise: bool = False,
        act: Activation = silu,
    ) -> None:
        super().__init__(
            DecoupledLevel(width, classes, channels, depthwise=depthwise, act=act)
            for width in inputs
        )

    def forward(
        self, pyramid: Sequence[Tensor]
    ) -> tuple[Float[Tensor, "B L K"], Float[Tensor, "B L 4"], Float[Tensor, "B L"]]:
        """Return class logits, box numbers and objectness logits of all cells, finest level first."""
        levels = [head(level) for head, level in zip(self, pyramid, strict=True)]
        logits, deltas, objectness = (
            torch.cat([flatten_cells(maps, 1) for maps in kind], dim=1)
            for kind in zip(*levels, strict=True)
        )
        return logits, deltas, objectness[..., 0]
