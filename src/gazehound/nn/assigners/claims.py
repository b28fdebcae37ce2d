"""Several truths may claim one prediction: the strongest claim wins."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def strongest_claims(
    places: Int[Tensor, "B C"], strength: Float[Tensor, "B C"], count: int
) -> Int[Tensor, "B L"]:
    """Return which claim each of ``count`` predictions goes to; the number of claims C where to none.

    The strongest claim wins; of equal ones the first. The order of the truths decides nothing else.

    Args:
        places: the prediction that each claim wants, 0..count-1.
        strength: of the claims; a claim of strength 0 or less is none.
        count: L.
    """
    batch, claims = places.shape
    strongest = strength.new_zeros(batch, count).scatter_reduce(1, places, strength, "amax")
    wins = (strength > 0) & (strength == strongest.gather(1, places))
    number = torch.arange(claims, device=places.device).expand(batch, -1).masked_fill(~wins, claims)
    nobody = number.new_full((batch, count), claims)
    return nobody.scatter_reduce(1, places, number, "amin")
