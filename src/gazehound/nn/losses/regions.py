"""How K + 1 numbers say the class of a region: background as a class, or objectness beside the classes.

Both read (B, R, K + 1) logits whose last one is not a class, so a head is the same for either.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor


@runtime_checkable
class RegionClasses(Protocol):
    """Loss and scores of a region's class logits."""

    def __call__(
        self,
        logits: Float[Tensor, "B R K1"],
        labels: Int[Tensor, "B R"],
        positive: Bool[Tensor, "B R"],
    ) -> Float[Tensor, "B R"]:
        """Return the loss of each region; ``labels`` are read only where ``positive``."""
        ...

    def scores(self, logits: Float[Tensor, "B R K1"]) -> Float[Tensor, "B R K"]:
        """Return the probability of each class."""
        ...


class SoftmaxClasses:
    """Cross-entropy over the classes and a background, the last index (Girshick 2015, equation 1)."""

    def __call__(
        self,
        logits: Float[Tensor, "B R K1"],
        labels: Int[Tensor, "B R"],
        positive: Bool[Tensor, "B R"],
    ) -> Float[Tensor, "B R"]:
        """Return the cross-entropy of each region."""
        background = logits.shape[2] - 1
        wanted = labels.masked_fill(~positive, background)
        return F.cross_entropy(logits.float().movedim(2, 1), wanted, reduction="none")

    def scores(self, logits: Float[Tensor, "B R K1"]) -> Float[Tensor, "B R K"]:
        """Return the softmax without its background."""
        return logits.float().softmax(dim=2)[..., :-1]


class ObjectnessClasses:
    """An objectness, the last logit, and a softmax over the classes of what is an object.

    Binary cross-entropy on every region, cross-entropy over the classes on the positive ones; a
    class's probability is the product of both.
    """

    def __call__(
        self,
        logits: Float[Tensor, "B R K1"],
        labels: Int[Tensor, "B R"],
        positive: Bool[Tensor, "B R"],
    ) -> Float[Tensor, "B R"]:
        """Return the sum of both losses of each region."""
        logits = logits.float()
        object_loss = F.binary_cross_entropy_with_logits(
            logits[..., -1], positive.float(), reduction="none"
        )
        wanted = labels.masked_fill(~positive, 0)
        class_loss = F.cross_entropy(logits[..., :-1].movedim(2, 1), wanted, reduction="none")
        return object_loss + class_loss * positive

    def scores(self, logits: Float[Tensor, "B R K1"]) -> Float[Tensor, "B R K"]:
        """Return objectness times class probability."""
        logits = logits.float()
        return torch.sigmoid(logits[..., -1:]) * logits[..., :-1].softmax(dim=2)
