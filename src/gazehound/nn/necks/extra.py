"""Pyramid levels above the backbone's coarsest map (Lin et al. 2017, Focal Loss, section 4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from gazehound.errors import ConfigError, unknown_name

SOURCES = ("p5", "c5")


class ExtraLevels(nn.Module):
    """Coarser levels, each a 3x3 stride-2 convolution of the one before; ReLU between them.

    Args:
        inputs: channels of the backbone maps, finest first.
        channels: of the pyramid.
        count: how many levels to add, 0 or more.
        source: ``p5`` starts from the pyramid's coarsest level, ``c5`` from the backbone's.

    Raises:
        ConfigError: ``source`` is unknown or ``count`` negative.
    """

    def __init__(
        self, inputs: Sequence[int], channels: int, count: int, source: str = "p5"
    ) -> None:
        super().__init__()
        if source not in SOURCES:
            raise unknown_name("source of the extra levels", source, SOURCES)
        if count < 0:
            raise ConfigError(
                f"a pyramid of {len(inputs)} maps has no {len(inputs) + count} levels"
            )
        self.source = source
        first = channels if source == "p5" else inputs[-1]
        widths = [first, *[channels] * count]
        self.stride = nn.ModuleList(
            nn.Conv2d(before, channels, 3, stride=2, padding=1) for before in widths[:count]
        )

    def forward(self, maps: Sequence[Tensor], pyramid: Sequence[Tensor]) -> list[Tensor]:
        """Return the pyramid with the extra levels at its end."""
        levels, last = list(pyramid), pyramid[-1] if self.source == "p5" else maps[-1]
        for number, convolution in enumerate(self.stride):
            last = convolution(F.relu(last) if number else last)
            levels.append(last)
        return levels
