"""Frozen stages, gradual unfreezing, and what BatchNorm does meanwhile."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, Trainer
from rich.console import Console
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from gazehound.detectors.network import Network
from gazehound.errors import ConfigError
from gazehound.training.stages import backbone_stages
from gazehound.training.tune import Tune


class Freezing(Callback):
    """Keeps stages frozen and lets them go.

    Args:
        network: in training.
        tune: what is asked for.
        console: where a stage that is let go is told; ``None`` for nowhere.

    Attributes:
        frozen: stages that do not learn now.

    Raises:
        ConfigError: more stages are to be frozen than there are.
    """

    def __init__(self, network: Network, tune: Tune, console: Console | None = None) -> None:
        self.network, self.tune, self.console = network, tune, console
        self.stages = backbone_stages(network) if tune.freeze else []
        self.first = len(self.stages) if tune.freeze == "backbone" else tune.freeze
        if self.first > len(self.stages):
            raise ConfigError(
                f"tune.freeze is {self.first}, but the backbone has {len(self.stages)} stages"
            )
        self.learnable = {n for n, p in network.named_parameters() if p.requires_grad}
        self.frozen, self.best, self.waited = self.first, -1.0, 0
        self.norms = self._norms()
        if tune.norm == "frozen":
            for name, norm in self.norms.items():
                self.learnable -= {f"{name}.{inner}" for inner, _ in norm.named_parameters()}
        self.apply()

    def _norms(self) -> dict[str, nn.Module]:
        return {n: m for n, m in self.network.named_modules() if isinstance(m, _BatchNorm)}

    def apply(self) -> None:
        """Set which parameters get gradients."""
        held = {name for stage in self.stages[: self.frozen] for name in stage}
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(name in self.learnable and name not in held)
        # A norm belongs to the stage of its weights.
        self.still = {
            name
            for name in self.norms
            if self.tune.norm == "frozen"
            or (self.tune.norm != "live" and any(h.startswith(f"{name}.") for h in held))
        }

    def hold_norms(self) -> None:
        """Put every norm in the mode that its stage asks for, whatever mode the network was put in.

        The norms of a stage that was let go must be told so: nothing else sets them to work again.
        """
        for name, norm in self.norms.items():
            norm.train(name not in self.still)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run must know."""
        return {"frozen": self.frozen, "best": self.best, "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take it back."""
        self.frozen, self.best, self.waited = state["frozen"], state["best"], state["waited"]
        self.apply()

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Show DDP, which is about to look, every weight that will ever learn."""
        gradual = self.tune.unfreeze_every or self.tune.unfreeze_patience
        if trainer.world_size > 1 and gradual:
            for name in self.learnable:
                self.network.get_parameter(name).requires_grad_(True)

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Find the norms again: synchronised ones have taken their place by now."""
        self.norms = self._norms()
        self.apply()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        """Hold the norms: evaluation and Lightning move the modes of modules."""
        self.hold_norms()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Let go of a stage when it is time; runs before the resume file is written."""
        before = self.frozen
        if self.tune.unfreeze_every:
            done = (trainer.current_epoch + 1) // self.tune.unfreeze_every
            self.frozen = max(0, self.first - done)
        elif self.tune.unfreeze_patience and "AP" in pl_module.summary:
            self._judge(float(pl_module.summary["AP"] or 0.0))
        if self.frozen == before:
            return
        self.apply()
        if self.console is not None:
            self.console.print(
                f"unfrozen: stage {self.frozen + 1} of the backbone learns from now on",
                highlight=False,
            )

    def _judge(self, score: float) -> None:
        if score > self.best:
            self.best, self.waited = score, 0
            return
        self.waited += 1
        if self.waited >= self.tune.unfreeze_patience and self.frozen:
            self.frozen, self.waited = self.frozen - 1, 0
