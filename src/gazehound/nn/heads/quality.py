"""The head of FCOS and those after it: classes, boxes, and one logit that judges the box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gazehound.errors import ConfigError
from gazehound.nn.assigners.assigner import Candidates, Predictions
from gazehound.nn.blocks import ConvNorm, Norm, flatten_cells, group_norm
from gazehound.nn.coders import Coder
from gazehound.nn.losses.focal import prior_bias


@dataclass(frozen=True)
class QualityOutputs:
    """What a one-stage detector with one candidate per cell computes for a batch.

    Attributes:
        logits: (B, L, K) class logits.
        regression: (B, L, D) what the coder turns into boxes.
        quality: (B, L) logit of the judging branch (centre-ness or IoU), if the head has one.
        candidates: where all of this is said.
    """

    logits: Float[Tensor, "B L K"]
    regression: Float[Tensor, "B L D"]
    quality: Float[Tensor, "B L"] | None
    candidates: Candidates

    @property
    def anchors(self) -> Float[Tensor, "L 4"]:
        """Return the candidates' boxes, pixels of the network input."""
        return self.candidates.boxes

    @property
    def lengths(self) -> tuple[int, ...]:
        """Return the candidates per level."""
        return self.candidates.lengths

    @property
    def judged(self) -> Float[Tensor, "B L"]:
        """Return the judging branch's logits.

        Raises:
            ConfigError: the head has no such branch.
        """
        if self.quality is None:
            raise ConfigError("this detector needs a head with a judging branch (judged=True)")
        return self.quality

    def judged_scores(self) -> Float[Tensor, "B L K"]:
        """Return class probability times the judging branch's."""
        scores = torch.sigmoid(self.logits.float())
        return scores * torch.sigmoid(self.judged.float())[..., None]

    @torch.no_grad()
    def predictions(self, coder: Coder) -> Predictions:
        """Return what an assigner may look at: decoded boxes, and logits without gradient."""
        boxes = coder.decode(self.regression.detach().float(), self.anchors)
        quality = None if self.quality is None else self.quality.detach()
        return Predictions(self.logits.detach(), boxes, quality)


class QualityHead(nn.Module):
    """A class tower and a box tower, shared by all levels; the box tower also judges its box.

    Args:
        channels: of every pyramid level.
        classes: K.
        levels: of the pyramid.
        numbers: D, box numbers per cell: 4, or 4 times the bins of a distribution.
        depth: 3x3 convolutions in each tower.
        bias: give these a bias although a norm follows (the original FCOS and torchvision's do).
        scaled: multiply each level's box numbers by a factor of its own, learned from 1.
        judged: whether there is a judging branch.
        norm: after each convolution of the towers.
        prior: the probability that the fresh classifier gives to everything.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        levels: int = 5,
        *,
        numbers: int = 4,
        depth: int = 4,
        bias: bool = False,
        scaled: bool = True,
        judged: bool = True,
        norm: Norm = group_norm,
        prior: float = 0.01,
    ) -> None:
        super().__init__()
        towers = [
            [ConvNorm(channels, channels, norm=norm, bias=bias) for _ in range(depth)] for _ in "cb"
        ]
        self.class_tower, self.box_tower = (nn.Sequential(*tower) for tower in towers)
        self.class_logits = nn.Conv2d(channels, classes, 3, padding=1)
        self.box_numbers = nn.Conv2d(channels, numbers, 3, padding=1)
        self.quality = nn.Conv2d(channels, 1, 3, padding=1) if judged else None
        self.scales = nn.Parameter(torch.ones(levels)) if scaled else None
        self.apply(_initialise)
        nn.init.constant_(self.class_logits.bias, prior_bias(prior))  # type: ignore[arg-type]

    def forward(
        self, pyramid: Sequence[Tensor]
    ) -> tuple[Float[Tensor, "B L K"], Float[Tensor, "B L D"], Float[Tensor, "B L"] | None]:
        """Return class logits, box numbers and quality logits of all levels, finest level first."""
        logits, numbers, quality = [], [], []
        for index, level in enumerate(pyramid):
            logits.append(flatten_cells(self.class_logits(self.class_tower(level)), 1))
            features = self.box_tower(level)
            found = flatten_cells(self.box_numbers(features), 1)
            numbers.append(found if self.scales is None else found * self.scales[index])
            if self.quality is not None:
                quality.append(flatten_cells(self.quality(features), 1)[..., 0])
        judged = torch.cat(quality, dim=1) if quality else None
        return torch.cat(logits, dim=1), torch.cat(numbers, dim=1), judged


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, std=0.01)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
