"""What a summed loss is divided by, so that several processes learn what one would.

Data-parallel training averages the gradients of its processes. A loss that every process divides by
the count of its own images (positives, drawn regions) then weighs an image by its company: the mean of
quotients is not the quotient of the sums. Here the count is summed over the processes first.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
import torch.distributed as dist
from torch import Tensor

_ALONE = ContextVar("_ALONE", default=False)


@contextmanager
def alone() -> Iterator[None]:
    """Count the images of this process only: for a step that the other processes do not take."""
    token = _ALONE.set(True)
    try:
        yield
    finally:
        _ALONE.reset(token)


def normaliser(count: Tensor, least: int | float = 1, plus: int | float = 0) -> Tensor:
    """Return the count of a batch, at least ``least``, as each process has to divide by it.

    With W processes that is ``max(sum of their counts + plus, least) / W``: the mean of the W gradients
    is then the gradient of the joint batch. With one process it is the count itself.

    Args:
        count: of this process's part of the batch, one number or one per group; without gradient.
        least: what stands in for a batch with nothing to count.
        plus: added once to the whole batch's count.
    """
    if not dist.is_available() or not dist.is_initialized() or _ALONE.get():
        return (count + plus if plus else count).clamp(min=least)
    with torch.no_grad():
        total = count.detach().clone()
        dist.all_reduce(total)
        return (total + plus).clamp(min=least) / dist.get_world_size()
