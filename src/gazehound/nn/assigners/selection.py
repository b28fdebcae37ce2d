"""Choosing the lowest values of rows, exactly: ties go to the first place, counts may differ per row."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def lowest(
    values: Float[Tensor, "*N L"], count: int | Int[Tensor, "*N 1"], most: int
) -> Bool[Tensor, "*N L"]:
    """Mark the ``count`` lowest values of each row.

    Of equal values the first ones are taken, on every device (``topk`` alone promises no order).
    Infinite values are never taken, so a row may have fewer than ``count``.

    Args:
        values: rows of costs or distances.
        count: how many, the same for all rows or one number per row; 0 takes none.
        most: an upper bound of ``count``, which fixes the shapes.
    """
    most = min(most, values.shape[-1])
    ranked = values.topk(most, dim=-1, largest=False, sorted=True).values
    if isinstance(count, int):
        count = torch.full_like(ranked[..., :1], count, dtype=torch.int64)
    last = ranked.gather(-1, (count.long() - 1).clamp(min=0, max=most - 1))  # the highest one taken
    below, tied = values < last, values == last
    room = count - below.sum(dim=-1, keepdim=True)
    first_of_ties = tied.cumsum(dim=-1, dtype=torch.int32) <= room
    return (below | (tied & first_of_ties)) & torch.isfinite(values) & (count > 0)
