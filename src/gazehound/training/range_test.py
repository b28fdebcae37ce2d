"""The learning-rate range test (Smith 2017, section 3.3): the rate grows until the loss explodes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from gazehound.data.batching import EpochOrder, TrainingSamples, training_loader
from gazehound.detectors.network import Network
from gazehound.records import Batch
from gazehound.training import machine
from gazehound.training.freezing import Freezing
from gazehound.training.probing import autocast, total_loss, untouched
from gazehound.training.recipe import Recipe
from gazehound.training.schedules import make_optimizer, parameter_groups

SMOOTHING = 0.9  # share of the old mean that the smoothed loss keeps
EXPLODED = 4.0  # the test ends when the smoothed loss is so many times its lowest value
SKIPPED = 0.1  # share of the test in which the smoothed loss has not settled


@dataclass(frozen=True)
class RangeTest:
    """What the test measured.

    Attributes:
        rates: learning rate of each step (of the head, where stages differ).
        losses: loss of each step.
        smoothed: their running mean, with the bias of its start taken out.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]

    @property
    def suggestion(self) -> float | None:
        """Return the rate at which the smoothed loss fell fastest, before its lowest point."""
        first = int(SKIPPED * len(self.rates))
        lowest = min(range(len(self.smoothed)), key=self.smoothed.__getitem__, default=0)
        slopes = [
            (
                (self.smoothed[i + 1] - self.smoothed[i - 1])
                / math.log(self.rates[i + 1] / self.rates[i - 1]),
                self.rates[i],
            )
            for i in range(max(1, first), min(lowest + 1, len(self.rates) - 1))
        ]
        best = min(slopes, default=(0.0, 0.0))
        return best[1] if best[0] < 0 else None


def range_test(
    network: Network,
    recipe: Recipe,
    samples: TrainingSamples,
    order: EpochOrder,
    *,
    steps: int = 100,
    low: float = 1e-6,
    high: float = 1.0,
) -> RangeTest:
    """Train for a few steps with a rate that grows from ``low`` to ``high`` by a constant factor.

    The network's weights come back as they were.

    Args:
        network: to be trained later.
        recipe: complete; its optimiser and stages are used, its rate and schedule are not.
        samples: the training images.
        order: of the batches.
        steps: at most so many.
        low: first rate.
        high: last rate.
    """
    device = torch.device(machine.device_name())
    network.to(device).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    freezing = Freezing(network, recipe.tune)
    groups = parameter_groups(network, recipe, 1.0, freezing.learnable)
    optimizer = make_optimizer(groups, recipe)
    factors = [float(group["lr"]) for group in optimizer.param_groups]
    rates: list[float] = []
    losses: list[float] = []
    smoothed: list[float] = []
    mean = 0.0
    with untouched(network):
        batches = _batches(samples, order, recipe, steps)
        for step, batch in enumerate(batches):
            rate = low * (high / low) ** (step / max(1, steps - 1))
            for group, factor in zip(optimizer.param_groups, factors, strict=True):
                group["lr"] = rate * factor
            freezing.hold_norms()
            loss = _step(network, optimizer, batch.to(device), recipe)
            mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
            current = mean / (1 - SMOOTHING ** (step + 1))
            if not math.isfinite(loss) or current > EXPLODED * min(smoothed, default=math.inf):
                break
            rates.append(rate)
            losses.append(loss)
            smoothed.append(current)
    network.load_state_dict(before)
    return RangeTest(tuple(rates), tuple(losses), tuple(smoothed))


def _batches(
    samples: TrainingSamples, order: EpochOrder, recipe: Recipe, steps: int
) -> Iterator[Batch]:
    """Yield so many batches, epoch after epoch; the caller's order does not move."""
    loader = training_loader(samples, replace(order), recipe.workers or 0)
    left = steps
    while left:
        for batch in loader:
            yield batch
            left -= 1
            if not left:
                return


def _step(
    network: Network, optimizer: torch.optim.Optimizer, batch: Batch, recipe: Recipe
) -> float:
    assert batch.targets is not None
    optimizer.zero_grad(set_to_none=True)
    with autocast(recipe.precision, batch.images.device):
        loss = total_loss(network, batch.images, batch.targets)
    loss.backward()
    if recipe.clip:
        torch.nn.utils.clip_grad_norm_(network.parameters(), recipe.clip)
    optimizer.step()
    return float(loss.detach())
