"""CenterNet's head: one small branch per property, all read at the same cells."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from gazehound.nn.losses.focal import prior_bias


class PointHead(nn.Module):
    """For every property a 3x3 convolution, ReLU and a 1x1 convolution.

    Args:
        channels: of the map.
        outputs: numbers per cell of each property; names that begin with ``heat`` are heatmaps.
        hidden: channels between the two convolutions.
        prior: the probability that fresh heatmaps give to every cell.
    """

    def __init__(
        self, channels: int, outputs: Mapping[str, int], hidden: int = 64, prior: float = 0.1
    ) -> None:
        super().__init__()
        first = prior_bias(prior)
        self.branches = nn.ModuleDict(
            {
                name: _branch(channels, hidden, count, first if name.startswith("heat") else 0.0)
                for name, count in outputs.items()
            }
        )

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return the maps by name; heatmaps as logits."""
        return {name: branch(x) for name, branch in self.branches.items()}


def _branch(channels: int, hidden: int, outputs: int, bias: float) -> nn.Sequential:
    last = nn.Conv2d(hidden, outputs, 1)
    nn.init.normal_(last.weight, std=0.001)
    nn.init.constant_(last.bias, bias)  # type: ignore[arg-type]
    return nn.Sequential(nn.Conv2d(channels, hidden, 3, padding=1), nn.ReLU(inplace=True), last)
