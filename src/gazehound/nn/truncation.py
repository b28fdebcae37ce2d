"""Fully connected layers in two thin ones, by truncated SVD (Girshick 2015, section 3.1).

``W = U S V'`` cut to its ``t`` largest singular values: a layer of u x v weights becomes one of t x v
(``S V'``, no bias) and one of u x t (``U``, with the bias). Nearly half of Fast R-CNN's time is spent in
these layers, since they run on every region.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn

from gazehound.errors import ConfigError


def truncated(layer: nn.Linear, rank: int) -> nn.Sequential:
    """Return the best pair of layers of this rank (in the least squares of the weights)."""
    first, second = _thin_layers(layer, rank)
    left, values, right = torch.linalg.svd(layer.weight.detach().double(), full_matrices=False)
    with torch.no_grad():
        first.weight.copy_(values[:rank, None] * right[:rank])
        second.weight.copy_(left[:, :rank])
        if layer.bias is not None:
            second.bias.copy_(layer.bias)
    return nn.Sequential(first, second)


def thin_pair(layer: nn.Linear, rank: int) -> nn.Sequential:
    """Return a fresh pair of layers in place of one; ConfigError when the rank does not fit it."""
    return nn.Sequential(*_thin_layers(layer, rank))


def _thin_layers(layer: nn.Linear, rank: int) -> tuple[nn.Linear, nn.Linear]:
    most = min(layer.in_features, layer.out_features)
    if not 1 <= rank <= most:
        raise ConfigError(f"a layer of rank {most} can be cut to 1..{most}; got {rank}")
    first = nn.Linear(layer.in_features, rank, bias=False)
    second = nn.Linear(rank, layer.out_features, bias=layer.bias is not None)
    return first.to(layer.weight), second.to(layer.weight)


def with_thin_layers(
    body: nn.Module, ranks: Sequence[int], *, keep_weights: bool = True
) -> nn.Module:
    """Return a copy of a body whose fully connected layers are pairs of these ranks, in order.

    Args:
        body: any module with as many fully connected layers as there are ranks.
        ranks: of each (the paper: 1,024 for fc6 and 256 for fc7 of VGG16).
        keep_weights: compute the pairs from the layers; without, they are fresh, to be loaded into.

    Raises:
        ConfigError: the number of ranks is another, or a rank does not fit its layer.
    """
    names = [name for name, module in body.named_modules() if isinstance(module, nn.Linear)]
    if len(names) != len(ranks):
        raise ConfigError(f"there are {len(names)} fully connected layers; got ranks {list(ranks)}")
    result = copy.deepcopy(body)
    for name, rank in zip(names, ranks, strict=True):
        parent, _, child = name.rpartition(".")
        layer = result.get_submodule(name)
        assert isinstance(layer, nn.Linear)
        pair = truncated(layer, rank) if keep_weights else thin_pair(layer, rank)
        setattr(result.get_submodule(parent), child, pair)
    return result
