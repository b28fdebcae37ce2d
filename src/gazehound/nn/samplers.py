"""Balanced samples of anchors or regions, in fixed shapes (Ren et al. 2015, section 3.1.3).

A sample is drawn by random keys and a masked top-k: no list of candidates is ever made, so nothing
waits for the device. The keys are a pure function of (seed, draw, position), and the draw is a number
made of what the network computed: it differs from step to step, yet the same weights on the same images
give the same sample, whatever was drawn before and wherever training was resumed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gazehound.errors import ConfigError
from gazehound.nn.assigners.assignment import Assignment, State

_WORD = 0xFFFFFFFF  # the hash works on 32 bits held in 64


@dataclass(frozen=True)
class Sampled:
    """Some rows of a batch of candidates.

    Attributes:
        index: (B, S) rows drawn, the positive ones first.
        valid: (B, S); False where there were not enough candidates.
        positive: (B, S).
    """

    index: Int[Tensor, "B S"]
    valid: Bool[Tensor, "B S"]
    positive: Bool[Tensor, "B S"]

    def rows(self, values: Tensor) -> Tensor:
        """Return the drawn rows of ``values`` (B, L, ...) -> (B, S, ...)."""
        index = self.index.reshape(*self.index.shape, *(1,) * (values.ndim - 2))
        return torch.gather(values, 1, index.expand(-1, -1, *values.shape[2:]))


class BalancedSampler:
    """Draws ``size`` candidates per image, at most a share of them positive, the rest negative.

    Where positives are few, negatives fill up. Ignored candidates are never drawn.

    Args:
        size: candidates per image.
        share: largest share of positives.
        seed: of the draw.

    Raises:
        ConfigError: ``size`` is not positive or ``share`` not in 0..1.
    """

    def __init__(self, size: int = 256, share: float = 0.5, *, seed: int = 0) -> None:
        if size < 1 or not 0 <= share <= 1:
            raise ConfigError(
                f"a sampler needs a size of 1 or more and a share in 0..1; got {size} and {share}"
            )
        self.size, self.share, self.seed = size, share, seed

    @torch.no_grad()
    def __call__(self, match: Assignment, draw: Int[Tensor, " B"]) -> Sampled:
        """Draw a sample of each image's candidates.

        Args:
            match: the state of each candidate (B, L).
            draw: one number per image, such as :func:`draw_of`.
        """
        length = match.state.shape[1]
        size, most = min(self.size, length), min(int(self.size * self.share), length)
        keys = random_keys(draw, length, self.seed)
        positives, is_positive = _highest(keys, match.positive, most)
        negatives, is_negative = _highest(keys, match.state == State.NEGATIVE, size)
        room = self.size - is_positive.sum(dim=1, keepdim=True)  # B x 1
        is_negative &= torch.arange(size, device=keys.device) < room
        index = torch.cat((positives, negatives), dim=1)  # B x (most + size)
        valid = torch.cat((is_positive, is_negative), dim=1)
        column = torch.arange(index.shape[1], device=keys.device)
        _, first = torch.where(valid, -column, -column - index.shape[1]).topk(size, dim=1)
        chosen, positive = valid.gather(1, first), first < most
        return Sampled(index.gather(1, first), chosen, chosen & positive)


def draw_of(values: Float[Tensor, "B ..."]) -> Int[Tensor, " B"]:
    """Return a number per image out of the bits of what was computed for it."""
    total = values.detach().float().flatten(1).sum(dim=1)
    return total.view(torch.int32).long()


def random_keys(draw: Int[Tensor, " B"], length: int, seed: int = 0) -> Int[Tensor, "B L"]:
    """Return keys in 0..2^32-1, a pure function of (seed, draw, position)."""
    position = torch.arange(length, device=draw.device)
    start = _mix(_mix(draw & _WORD) + (seed & _WORD))
    return _mix(start[:, None] + _mix(position)[None] * 0x1F123BB5)


def _mix(words: Tensor) -> Tensor:
    """Spread each bit of a word over all of its 32 (a multiply-xorshift hash)."""
    words = words & _WORD
    for _ in range(2):
        words = ((words >> 16) ^ words) * 0x45D9F3B & _WORD
    return (words >> 16) ^ words


def _highest(keys: Tensor, mask: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the positions (B, count) of the highest keys under ``mask``, and which are under it."""
    key, index = keys.masked_fill(~mask, -1).topk(count, dim=1)
    return index, key >= 0
