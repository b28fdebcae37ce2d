"""Gaussian mixtures of two components on rows of numbers, all rows at once, by EM.

The iteration is scikit-learn's ``GaussianMixture`` with given starts (the smallest and the largest
number as means, equal weights, variances 1): the same M-step, the same regularisation, and a row stops
where scikit-learn would stop. Rows that have converged stand still while the others go on, so shapes
and the number of steps are fixed; on the CPU, where a look costs nothing, the last row ends the loop.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

VARIANCE_FLOOR = 1e-6  # added to each variance
MASS_FLOOR = 10 * torch.finfo(torch.float64).eps  # added to each component's mass


@dataclass(frozen=True)
class Mixture:
    """Two components per row; the first began at the smallest number.

    Attributes:
        weights: (N, 2), sums 1.
        means: (N, 2).
        variances: (N, 2).
    """

    weights: Float[Tensor, "N 2"]
    means: Float[Tensor, "N 2"]
    variances: Float[Tensor, "N 2"]

    def log_joint(self, values: Float[Tensor, "N C"]) -> Float[Tensor, "N C 2"]:
        """Return ``log(weight * density)`` of each number under each component."""
        away = values[..., None] - self.means[:, None]  # N x C x 2
        density = away.square() / self.variances[:, None] + torch.log(
            2 * math.pi * self.variances[:, None]
        )
        return torch.log(self.weights)[:, None] - density / 2


def fit_mixture(
    values: Float[Tensor, "N C"],
    valid: Bool[Tensor, "N C"],
    iterations: int = 100,
    tolerance: float = 1e-3,
) -> Mixture:
    """Fit two Gaussians to the valid numbers of each row.

    Args:
        values: the numbers; where not valid they may be anything, infinite too.
        valid: which numbers a row has. A row without any gets a mixture of no meaning, but finite.
        iterations: at most so many EM steps.
        tolerance: a row stops when its mean log-likelihood changes by less.
    """
    low = values.masked_fill(~valid, torch.inf).amin(dim=1)
    high = values.masked_fill(~valid, -torch.inf).amax(dim=1)
    means = torch.stack((low, high), dim=1).masked_fill(~valid.any(dim=1, keepdim=True), 0.0)
    mixture = Mixture(torch.full_like(means, 0.5), means, torch.ones_like(means))
    values = values.masked_fill(~valid, 0.0)
    count = valid.sum(dim=1).clamp(min=1)
    likelihood = torch.full_like(low, -torch.inf)
    running = torch.ones_like(valid[:, 0])
    for _ in range(iterations):
        joint = mixture.log_joint(values)
        total = torch.logsumexp(joint, dim=2)  # N x C
        shares = torch.exp(joint - total[..., None]) * valid[..., None]
        mixture = _where(running, _maximise(values, shares, count), mixture)
        now = (total * valid).sum(dim=1) / count
        still = running & ~((now - likelihood).abs() < tolerance)
        likelihood = now.where(running, likelihood)
        running = still
        if _all_stand_still(running):
            break
    return mixture


def _all_stand_still(running: Tensor) -> bool:
    """Look only where looking does not wait for a device or break a graph."""
    if running.device.type != "cpu" or torch.compiler.is_compiling():
        return False
    return not bool(running.any())


def _maximise(values: Tensor, shares: Tensor, count: Tensor) -> Mixture:
    """The M-step: weighted means and variances; ``shares`` (N, C, 2) are 0 where not valid."""
    mass = shares.sum(dim=1) + MASS_FLOOR  # N x 2
    means = (shares * values[..., None]).sum(dim=1) / mass
    away = values[..., None] - means[:, None]
    variances = (shares * away.square()).sum(dim=1) / mass + VARIANCE_FLOOR
    weights = mass / count[:, None]
    return Mixture(weights / weights.sum(dim=1, keepdim=True), means, variances)


def _where(rows: Tensor, new: Mixture, old: Mixture) -> Mixture:
    keep = rows[:, None]
    return Mixture(
        new.weights.where(keep, old.weights),
        new.means.where(keep, old.means),
        new.variances.where(keep, old.variances),
    )
