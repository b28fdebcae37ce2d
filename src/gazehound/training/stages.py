"""The stages of a network from the stem to the head, which freezing and learning rates go by."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from gazehound.detectors.network import Network
from gazehound.errors import ConfigError

POOLS = (nn.MaxPool2d, nn.AvgPool2d)
LEAST = 3  # parts that a backbone is opened into


def backbone_stages(network: Network) -> list[list[str]]:
    """Return the names of the backbone's parameters, stage by stage, the stem first.

    A stage is a part of the backbone that has parts of its own, together with the single layers that
    follow it; single layers between two poolings are a stage, too. A backbone of fewer than three such
    parts is opened where most of its weights lie. A ResNet has five: the stem and four.

    Raises:
        ConfigError: the detector has no module ``backbone``.
    """
    module = getattr(network, "backbone", None)
    if not isinstance(module, nn.Module):
        raise ConfigError(f"{type(network).__name__} has no backbone with stages")
    parts = [("backbone", module)]
    while _blocks(parts) < LEAST:
        place = max(range(len(parts)), key=lambda k: _openable(parts[k][1]))
        if not _openable(parts[place][1]):
            break
        prefix, module = parts[place]
        inner = [(f"{prefix}.{name}", part) for name, part in module.named_children()]
        parts[place : place + 1] = inner
    return _joined(network, parts)


def _blocks(parts: list[tuple[str, nn.Module]]) -> int:
    """Return how many parts have parts of their own and weights."""
    return sum(_openable(part) > 0 for _, part in parts)


def _openable(part: nn.Module) -> int:
    """Return the number of weights in a part that has parts of its own; 0 for a single layer.

    A norm is a single layer, even where its activation is a part of it (timm).
    """
    if isinstance(part, _BatchNorm):
        return 0
    return sum(p.numel() for p in part.parameters()) if any(True for _ in part.children()) else 0


def _joined(network: Network, parts: list[tuple[str, nn.Module]]) -> list[list[str]]:
    names = [name for name, _ in network.named_parameters() if name.startswith("backbone.")]
    stages: list[list[str]] = [[]]
    for prefix, part in parts:
        if isinstance(part, POOLS) or _openable(part):
            stages.append([])
        stages[-1] += [name for name in names if name.startswith(f"{prefix}.")]
    placed = {name for stage in stages for name in stage}
    stages[0] += [
        name for name in names if name not in placed
    ]  # weights of opened parts themselves
    return [stage for stage in stages if stage]


def depth_of_parameters(network: Network) -> dict[str, int]:
    """Return for each parameter how many stages it lies under the head, whose parameters have 0."""
    stages = backbone_stages(network)
    depth = {name: len(stages) - k for k, names in enumerate(stages) for name in names}
    return {name: depth.get(name, 0) for name, _ in network.named_parameters()}
