"""Random draws out of torch's global generator: seed it per sample, and nothing else matters."""

from __future__ import annotations

import numpy as np
import torch


def happens(probability: float) -> bool:
    """Return True with this probability; 0 draws nothing."""
    return probability > 0 and float(torch.rand(())) < probability


def uniform(low: float, high: float) -> float:
    """Return a number from this range; a range of one number draws nothing."""
    return low if low == high else float(torch.empty(()).uniform_(low, high))


def integer(count: int) -> int:
    """Return one of 0..count-1."""
    return int(torch.randint(count, ()))


def beta(shape: float) -> float:
    """Return a number from Beta(shape, shape); for 0 its limit of all weight in the middle, 0.5."""
    if shape == 0:
        return 0.5
    seed = integer(2**31)  # torch's own gamma sampler is not reproducible across its versions
    return float(np.random.default_rng(seed).beta(shape, shape))
