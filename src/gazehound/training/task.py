"""The Lightning task: one training step, one validation pass, for any Trainable detector."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from gazehound.data.batching import EpochOrder
from gazehound.data.dataset import Dataset
from gazehound.detectors.network import Network
from gazehound.errors import TrainingError
from gazehound.metrics import Evaluation
from gazehound.records import Batch, Targets
from gazehound.training.ema import Ema
from gazehound.training.prefetch import to_device
from gazehound.training.processes import gather, gathered, take_firsts
from gazehound.training.recipe import Recipe
from gazehound.training.schedules import lr_factor, make_optimizer, parameter_groups


def losses_of(network: Network, images: Tensor, targets: Targets) -> dict[str, Tensor]:
    """Return a detector's losses on a batch."""
    return network.losses(network(images), targets)


class DetectionTask(LightningModule):
    """Sums a detector's losses, steps its optimiser, evaluates its average.

    Args:
        network: the detector.
        recipe: of the run; complete (no ``None`` left).
        order: of the training images; its position is saved and restored.
        validation: the images to evaluate on, or ``None``.
        learnable: names of the parameters that learn now or later; default those with a gradient.

    Attributes:
        keep_bad_batch: called with a batch whose loss is not finite, its losses and the step; writes
            it down and returns what to tell.
        evaluation: the last evaluation's accumulator, for curves and reports; ``None`` before it.
        summary: its COCO numbers; emptied once they are recorded.
        position: (epoch, batches done in it) that the run started at; not (0, 0) when resumed.
    """

    def __init__(
        self,
        network: Network,
        recipe: Recipe,
        order: EpochOrder,
        validation: Dataset | None,
        learnable: Collection[str] | None = None,
    ) -> None:
        super().__init__()
        self.learnable = learnable
        self.keep_bad_batch: Callable[[Batch, Mapping[str, float], int], str] | None = None
        self.network, self.recipe, self.order, self.validation = network, recipe, order, validation
        self.ema = Ema(network, recipe.ema) if recipe.ema else None
        self.evaluation: Evaluation | None = None
        self.summary: dict[str, float | None] = {}
        self.step_losses: dict[str, float] = {}
        self.position = (0, 0)
        self._rng: Tensor | None = None
        self._losses = torch.compile(losses_of) if recipe.compile else losses_of

    @property
    def steps_per_epoch(self) -> int:
        """Return the optimiser steps of one epoch."""
        return math.ceil(len(self.order) / (self.recipe.accumulate or 1))

    def averaged_weights(self) -> dict[str, Tensor]:
        """Return the detector's state with the averaged weights in it: what is saved and shipped."""
        state = dict(self.network.state_dict())
        return {**state, **(self.ema.average if self.ema is not None else {})}

    def configure_optimizers(self) -> Any:
        """Return the optimiser and its per-step schedule."""
        images = (self.recipe.batch or 1) * (self.recipe.accumulate or 1) * self.order.world
        scale = images / self.recipe.reference_batch if self.recipe.reference_batch else 1.0
        rate = self.recipe.lr * scale
        groups = parameter_groups(self.network, self.recipe, rate, self.learnable)
        optimizer = make_optimizer(groups, self.recipe)
        factor = lr_factor(self.recipe, self.steps_per_epoch * self.recipe.epochs)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def transfer_batch_to_device(self, batch: Batch, device: Any, dataloader_idx: int) -> Batch:
        """Move a batch, and lay its images out channels-last, which convolutions are fastest in."""
        return to_device(batch, device)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Return the sum of the detector's losses."""
        assert batch.targets is not None
        self.network.strong_augmentation = self.recipe.pastes(self.trainer.current_epoch)
        losses = self._losses(self.network, batch.images, batch.targets)
        total = torch.stack(list(losses.values())).sum()
        if self.is_logged(index):
            self.step_losses = {name: float(loss.detach()) for name, loss in losses.items()}
            self.step_losses["total"] = float(total.detach())
            self._need_finite(batch)
        return total

    def is_logged(self, index: int) -> bool:
        """Say whether this step's numbers are read: always on the CPU, where it costs nothing."""
        return self.device.type == "cpu" or index % 10 == 0

    def _need_finite(self, batch: Batch) -> None:
        bad = [
            n for n, value in self.step_losses.items() if not math.isfinite(value) and n != "total"
        ]
        if bad:
            kept = f"images {', '.join(str(i) for i in batch.image_ids)}"
            if self.keep_bad_batch is not None:
                kept = self.keep_bad_batch(batch, self.step_losses, self.global_step)
            raise TrainingError(
                f"the loss '{bad[0]}' is {self.step_losses[bad[0]]} at step {self.global_step}; {kept}. "
                "A smaller learning rate (--lr; --find-lr looks for one) or gradient clipping usually helps"
            )

    def optimizer_step(self, *arguments: Any, **options: Any) -> None:
        """Step the optimiser, then move the average."""
        super().optimizer_step(*arguments, **options)
        if self.ema is not None:
            self.ema.update()

    def _statistics(self) -> list[Tensor]:
        """Return the float buffers of the detector and of its average."""
        named = {n: b for n, b in self.network.named_buffers() if b.dtype == torch.float32}
        average = self.ema.average if self.ema is not None else {}
        return [*named.values(), *(average[name] for name in named if name in average)]

    def on_validation_epoch_start(self) -> None:
        """Put the averaged weights in, and start a fresh evaluation.

        Statistics of BatchNorm are every process's own while it learns; the first one's are evaluated.
        """
        take_firsts(self._statistics())
        if self.ema is not None:
            self.ema.swap()
        self.evaluation = Evaluation(self.network.classes)

    def validation_step(self, batch: Batch, index: int) -> None:
        """Detect on a batch and hand the boxes to the evaluation."""
        assert self.validation is not None
        assert self.evaluation is not None
        detections = self.network.restore(self.network.infer(batch), batch)
        for offset, found in enumerate(detections):
            position = index * self.trainer.val_dataloaders.batch_size + offset  # type: ignore[union-attr]
            row = (self.order.rank + position * self.order.world) % len(self.validation)
            self.evaluation.add(self.validation.annotations(row), found)

    def on_validation_epoch_end(self) -> None:
        """Compute COCO's numbers of all processes' images; the weights of the run come back in."""
        assert self.evaluation is not None
        self.evaluation = gathered(self.evaluation)
        self.summary = dict(self.evaluation.coco().summary)
        self.log("AP", float(self.summary["AP"] or 0.0))
        if self.ema is not None:
            self.ema.swap()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what Lightning does not keep: the average, the data position, the random state."""
        # Lightning counts a batch as completed only after the hooks that save in its course.
        progress: Any = self.trainer.fit_loop.epoch_loop.batch_progress.current
        done = progress.processed
        epoch = self.trainer.current_epoch
        finished = done >= len(self.order)
        checkpoint["gazehound"] = {
            "ema": self.ema.state_dict() if self.ema is not None else {},
            "epoch": epoch + 1 if finished else epoch,
            "start": 0 if finished else done,
            "rng": gather(torch.get_rng_state()),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take it back.

        Raises:
            TrainingError: the run has another number of processes now.
        """
        ours = checkpoint["gazehound"]
        if len(ours["rng"]) != self.order.world:
            raise TrainingError(
                f"the run was made by {len(ours['rng'])} process(es) and is resumed by "
                f"{self.order.world}; start as many as before, or a new run with --from"
            )
        if self.ema is not None and ours["ema"]:
            self.ema.load_state_dict(ours["ema"])
        self.position = int(ours["epoch"]), int(ours["start"])
        self.order.epoch, self.order.start = self.position
        self._rng = ours["rng"][self.order.rank]

    def on_train_start(self) -> None:
        """Restore the random state last, after everything that draws from it at start-up.

        Processes of a fresh run begin with the same weights; from here on each draws for itself.
        """
        if self._rng is not None:
            torch.set_rng_state(self._rng)
        elif self.order.world > 1:
            torch.manual_seed(self.recipe.seed + self.order.rank)
