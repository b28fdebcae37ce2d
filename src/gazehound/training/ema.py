"""The exponential moving average of the weights, which is what gets evaluated and saved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Ema:
    """Averages a network's weights and float buffers.

    The decay warms up as ``min(decay, (1 + t) / (10 + t))``, so that early averages are not held
    back by the random start.

    Args:
        network: whose weights are averaged; it is not copied, only its tensors are.
        decay: share of the old average kept per step.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network, self.decay, self.updates = network, decay, 0
        self.average = {name: tensor.detach().clone() for name, tensor in self._live().items()}

    def _live(self) -> dict[str, Tensor]:
        """Return the tensors that are averaged; counters are not."""
        state = self.network.state_dict()
        return {name: tensor for name, tensor in state.items() if tensor.is_floating_point()}

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the weights of now."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        live = self._live()
        torch._foreach_lerp_(
            list(self.average.values()), [live[n] for n in self.average], 1 - decay
        )

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the average into the network for the length of a ``with`` block."""
        self.swap()
        try:
            yield
        finally:
            self.swap()

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the network's weights and the average."""
        for name, tensor in self._live().items():
            held = tensor.clone()
            tensor.copy_(self.average[name])
            self.average[name].copy_(held)

    def state_dict(self) -> dict[str, object]:
        """Return the average and its age."""
        return {"average": self.average, "updates": self.updates}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Take a saved average."""
        saved: Mapping[str, Tensor] = state["average"]  # type: ignore[assignment]
        for name, tensor in self.average.items():
            tensor.copy_(saved[name])
        self.updates = int(state["updates"])  # type: ignore[call-overload]
