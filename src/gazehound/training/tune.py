"""Which parts of a network learn, how fast, and what its norms do: the settings of fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gazehound.errors import ConfigError


@dataclass(frozen=True)
class Tune:
    """How a detector that knows something already learns more.

    Attributes:
        freeze: stages of the backbone, from the stem, that do not learn; ``backbone`` for all.
        unfreeze_every: epochs after which one more stage learns, the last one first; 0 for never.
        unfreeze_patience: evaluations without a better AP after which one more stage learns; 0 for
            never.
        lr_decay: factor on the learning rate from each stage to the one below: the head has 1, the
            backbone's last stage ``lr_decay``, the one before it its square, and so on (Howard and
            Ruder 2018). At 0 only the head learns.
        norm: BatchNorm. ``follow``: frozen in frozen stages, live elsewhere. ``live``: its statistics
            move in frozen stages too. ``frozen``: statistics and weights of all stay. ``synchronised``:
            as ``follow``, with statistics over all processes.

    Raises:
        ConfigError: a value is out of its range, or two rules of unfreezing are given.
    """

    freeze: int | Literal["backbone"] = 0
    unfreeze_every: int = 0
    unfreeze_patience: int = 0
    lr_decay: float = 1.0
    norm: Literal["follow", "live", "frozen", "synchronised"] = "follow"

    def __post_init__(self) -> None:
        for name in ("unfreeze_every", "unfreeze_patience"):
            if getattr(self, name) < 0:
                raise ConfigError(f"tune.{name} must be 0 or more; got {getattr(self, name)}")
        if isinstance(self.freeze, int) and self.freeze < 0:
            raise ConfigError(f"tune.freeze must be 0 or more, or 'backbone'; got {self.freeze}")
        if not 0 <= self.lr_decay <= 1:
            raise ConfigError(f"tune.lr_decay must lie in 0..1; got {self.lr_decay}")
        if self.unfreeze_every and self.unfreeze_patience:
            raise ConfigError(
                "stages are unfrozen by epoch (tune.unfreeze_every) or when the score stops rising "
                "(tune.unfreeze_patience), not by both"
            )
