"""Centre-ness, and the losses of the branch that judges a box (Tian et al. 2019, FCOS, section 3.3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor


def centreness(
    centres: Float[Tensor, "L 2"], truths: Float[Tensor, "B L 4"]
) -> Float[Tensor, "B L"]:
    """Return how central each place lies in its truth: 1 in the middle, 0 on or beyond a side.

    ``sqrt(min(l, r) / max(l, r) * min(t, b) / max(t, b))`` (equation 3).
    """
    low, high = centres - truths[..., :2], truths[..., 2:] - centres  # B x L x 2
    near, far = torch.minimum(low, high), torch.maximum(low, high)
    return (near.clamp(min=0) / far.clamp(min=1e-6)).prod(dim=2).sqrt()


def judgement_loss(
    logits: Float[Tensor, "B L"], quality: Float[Tensor, "B L"], positive: Bool[Tensor, "B L"]
) -> Float[Tensor, " B"]:
    """Binary cross-entropy of the judging branch with centre-ness or IoU, over each image's positives.

    The caller divides by the number of positives.
    """
    loss = F.binary_cross_entropy_with_logits(logits.float(), quality, reduction="none")
    return (loss * positive).sum(dim=1)
