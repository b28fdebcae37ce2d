"""Learning-rate schedules: pure functions of the step, so that a resumed run needs no memory of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable

import torch
from torch import nn

from gazehound.detectors.network import Network
from gazehound.training.recipe import Recipe
from gazehound.training.stages import depth_of_parameters


def lr_factor(recipe: Recipe, total_steps: int) -> Callable[[int], float]:
    """Return the function from optimiser step to the factor on the learning rate.

    A linear rise over ``recipe.warmup`` of the steps, then ``onecycle`` (a cosine to 1/10,000),
    ``cosine`` (to 0), ``multistep`` (divided by ten at each milestone) or ``constant``.
    """
    warmup = max(1, round(recipe.warmup * total_steps))

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        done = min(1.0, (step - warmup) / max(1, total_steps - warmup))
        if recipe.schedule == "multistep":
            return 0.1 ** sum(step >= share * total_steps for share in recipe.milestones)
        if recipe.schedule == "constant":
            return 1.0
        floor = 1e-4 if recipe.schedule == "onecycle" else 0.0
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done))

    return factor


def parameter_groups(
    network: Network, recipe: Recipe, lr: float, learnable: Collection[str] | None = None
) -> list[dict[str, object]]:
    """Sort the weights into groups: by their depth under the head, with weight decay or without.

    Biases and the weights of norms (every tensor of fewer than two axes) take no weight decay. The
    whole backbone has depth 1 unless ``recipe.tune.lr_decay`` tells its stages apart.

    Args:
        network: in training.
        recipe: gives the factors.
        lr: of the head.
        learnable: names of the parameters that learn now or later; default those with a gradient.
    """
    decay = recipe.tune.lr_decay
    depths = depth_of_parameters(network) if decay < 1 else {}
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad if learnable is None else name in learnable:
            depth = depths.get(name, int(name.startswith("backbone.")))
            groups.setdefault((depth, parameter.ndim >= 2), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": lr * (recipe.backbone_lr if depth else 1.0) * decay**depth,
            "weight_decay": recipe.weight_decay if decayed else 0.0,
        }
        for (depth, decayed), parameters in sorted(groups.items(), key=lambda item: item[0])
    ]


def make_optimizer(groups: Iterable[dict[str, object]], recipe: Recipe) -> torch.optim.Optimizer:
    """Return the recipe's optimiser, fused into one kernel per group."""
    if recipe.optimizer == "sgd":
        sgd = torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, fused=True)
        if recipe.momentum:  # the fused kernel fails on a weight that joins its group later
            for group in sgd.param_groups:
                for weights in group["params"]:
                    sgd.state[weights]["momentum_buffer"] = torch.zeros_like(weights)
        return sgd
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=(recipe.momentum, 0.999), fused=True)
