"""Entropic optimal transport by Sinkhorn's iteration (Cuturi 2013), in the logarithmic domain."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def sinkhorn(
    cost: Float[Tensor, "B M L"],
    supply: Float[Tensor, "B M"],
    demand: Float[Tensor, "B L"],
    epsilon: float = 0.1,
    iterations: int = 50,
) -> Float[Tensor, "B M L"]:
    """Return the plan that moves ``supply`` to ``demand`` at the least cost less its entropy.

    Minimises ``sum(plan * cost) - epsilon * entropy(plan)``. One iteration corrects the columns, then
    the rows, so the rows' sums are exact at any time, and the columns' in the limit.

    Args:
        cost: of each pair; must be finite.
        supply: of each row; a row of supply 0 takes no part and gets an empty plan.
        demand: of each column; likewise.
        epsilon: strength of the entropy, in units of the cost.
        iterations: how many; a fixed number, without a test of convergence.
    """
    kernel = -cost / epsilon
    log_supply, log_demand = supply.log(), demand.log()  # -inf where there is nothing
    rows, columns = torch.zeros_like(supply), torch.zeros_like(demand)
    rows = rows.where(supply > 0, -torch.inf)
    for _ in range(iterations):
        columns = log_demand - torch.logsumexp(kernel + rows[..., None], dim=1)
        rows = log_supply - torch.logsumexp(kernel + columns[:, None], dim=2)
    return torch.exp(kernel + rows[..., None] + columns[:, None])
