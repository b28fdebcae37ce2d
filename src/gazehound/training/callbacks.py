"""What happens around the steps of a run: records, checkpoints, early stopping, the progress bar."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from gazehound.checkpoints.native import Header, save_tensors
from gazehound.errors import TrainingError
from gazehound.training.processes import from_first, gather
from gazehound.training.run_folder import (
    BEST,
    HISTORY,
    LAST,
    RESUME,
    STEPS,
    CsvLog,
    replace_whole,
)
from gazehound.training.task import DetectionTask

Watch = Callable[[int, Mapping[str, float | None]], bool]
"""(epoch, COCO's numbers) -> whether the run should end."""


def head_rate(trainer: Trainer) -> float:
    """Return the learning rate of the head, the highest where stages differ."""
    return max(float(group["lr"]) for group in trainer.optimizers[0].param_groups)


class Recorder(Callback):
    """Writes steps.csv and history.csv, the native checkpoints, and the resume file.

    Of several processes the first one writes; all of them know the scores.

    Args:
        folder: of the run.
        header: of the native checkpoints; its notes get the scores.
        checkpoint_minutes: how often the resume file is written inside an epoch; 0 for never.
        patience: evaluations without a better AP before the run stops; 0 for never.
    """

    def __init__(
        self, folder: Path, header: Header, checkpoint_minutes: float, patience: int
    ) -> None:
        self.folder, self.header = folder, header
        self.every, self.patience = checkpoint_minutes * 60, patience
        self.history, self.steps = CsvLog(folder / HISTORY, "epoch"), CsvLog(folder / STEPS, "step")
        self.best, self.waited, self.seconds = -math.inf, 0, 0.0
        self.sums: dict[str, float] = {}
        self.count = 0

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run must know."""
        names = ("best", "waited", "seconds", "sums", "count")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take it back."""
        for name, value in state.items():
            setattr(self, name, value)
        if self.patience and self.waited >= self.patience:
            self.waited = 0  # it had stopped early; who resumes it wants more epochs

    def on_train_start(self, trainer: Trainer, task: DetectionTask) -> None:  # type: ignore[override]
        """Bring the CSV files to the step that the run starts at."""
        if trainer.is_global_zero:
            self.steps.keep_below(trainer.global_step)
            self.history.keep_below(task.position[0])
        self.saved_at = self.tick = time.monotonic()

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: Trainer, task: DetectionTask, outputs: Any, batch: Any, index: int
    ) -> None:
        """Record the step's losses; write the resume file when it is due."""
        now = time.monotonic()
        self.seconds, self.tick = self.seconds + now - self.tick, now
        for name, value in task.step_losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.count += 1
        lr = head_rate(trainer)
        moved = (index + 1) % trainer.accumulate_grad_batches == 0
        if moved and trainer.is_global_zero:
            self.steps.write({"step": trainer.global_step - 1, "lr": lr, **task.step_losses})
        if trainer.logger is not None and index % 10 == 0:
            losses = {f"loss/{name}": value for name, value in task.step_losses.items()}
            trainer.logger.log_metrics({**losses, "lr": lr}, step=trainer.global_step)
        last_of_epoch = index + 1 >= len(task.order)
        if self.every and not last_of_epoch and self._is_due(trainer, index, now):
            self._save_resume(trainer)

    def _is_due(self, trainer: Trainer, index: int, now: float) -> bool:
        """Say whether the resume file is due; clocks differ, so that processes ask the first one's."""
        due = now - self.saved_at >= self.every
        if trainer.world_size == 1:
            return due
        return (index + 1) % CLOCK_STEPS == 0 and from_first(lambda: due)

    def on_train_epoch_end(self, trainer: Trainer, task: DetectionTask) -> None:  # type: ignore[override]
        """Write the epoch's row, the detectors and the resume file (validation has run by now)."""
        evaluated, task.summary = task.summary, {}
        self._keep_best(trainer, task, evaluated)
        means = {f"loss_{name}": loss for name, loss in self._mean_losses().items()}
        lr = head_rate(trainer)
        columns = {name: evaluated.get(name) for name in SUMMARY}
        row = {
            "epoch": trainer.current_epoch,
            **means,
            "lr": lr,
            "seconds": self.seconds,
            **columns,
        }
        if trainer.is_global_zero:
            self.history.write(row)
        if trainer.logger is not None and evaluated:
            scores = {f"val/{k}": float(v) for k, v in evaluated.items() if v is not None}
            trainer.logger.log_metrics(scores, step=trainer.global_step)
        self.sums, self.count, self.seconds = {}, 0, 0.0
        if self.patience and self.waited >= self.patience:
            trainer.should_stop = True
        self._save_resume(trainer)
        self.tick = time.monotonic()

    def _mean_losses(self) -> dict[str, float]:
        """Return the epoch's mean of each loss, over all processes."""
        shares = gather({name: total / max(1, self.count) for name, total in self.sums.items()})
        return {name: sum(share[name] for share in shares) / len(shares) for name in shares[0]}

    def _keep_best(
        self, trainer: Trainer, task: DetectionTask, evaluated: dict[str, float | None]
    ) -> None:
        score = evaluated.get("AP")
        if score is None and evaluated:
            score = 0.0  # evaluated, but AP is undefined: the validation split holds no truth
        skipped = score is None and trainer.val_dataloaders is not None  # not evaluated this time
        better = not skipped and (score is None or score > self.best)
        if trainer.is_global_zero:
            self._write_weights(trainer, task, evaluated, [LAST, BEST] if better else [LAST])
        if better:
            self.best, self.waited = score if score is not None else self.best, 0
        elif not skipped:
            self.waited += 1

    def _write_weights(
        self,
        trainer: Trainer,
        task: DetectionTask,
        evaluated: dict[str, float | None],
        names: list[str],
    ) -> None:
        tensors = task.averaged_weights()
        notes = {**self.header.notes, "epoch": trainer.current_epoch, "scores": evaluated}
        header = Header(
            self.header.detector,
            self.header.arguments,
            self.header.classes,
            self.header.preprocess,
            notes,
        )
        for name in names:
            save_tensors(self.folder / name, tensors, header)

    def _save_resume(self, trainer: Trainer) -> None:
        part = self.folder / f".{RESUME}.part"
        try:
            trainer.save_checkpoint(part)
            if trainer.is_global_zero:
                replace_whole(part, self.folder / RESUME)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise TrainingError(
                f"{self.folder / RESUME}: cannot be written ({error.strerror}); the one written before "
                "is whole, and --resume goes on from it"
            ) from None
        self.saved_at = time.monotonic()


CLOCK_STEPS = 50  # between two looks at the clock, where several processes share one
SUMMARY = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


class Watcher(Callback):
    """Tells somebody the scores of each evaluation and ends the run when they have seen enough.

    Args:
        watch: (epoch, COCO's numbers) -> whether to end; all processes ask it and must hear the same.
    """

    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    def on_train_epoch_end(self, trainer: Trainer, task: DetectionTask) -> None:  # type: ignore[override]
        """Ask; runs before the recorder takes the scores away."""
        if task.summary and self.watch(trainer.current_epoch, task.summary):
            trainer.should_stop = True


class Bar(Callback):
    """One progress bar over all steps of the run, with the time left; one printed line per epoch.

    Args:
        console: where to print; a console that is no terminal shows only the lines.
        total: optimiser steps of the run times accumulation, i.e. batches.
    """

    def __init__(self, console: Console, total: int) -> None:
        self.console, self.total = console, total
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            TextColumn("{task.fields[numbers]}"),
        )
        self.progress = Progress(*columns, console=console, disable=not console.is_terminal)
        self.began = time.monotonic()

    def on_train_start(self, trainer: Trainer, task: DetectionTask) -> None:  # type: ignore[override]
        """Start the bar at the step that the run starts at."""
        self.began = time.monotonic()
        epoch, start = task.position
        done = epoch * len(task.order) + start
        self.progress.start()
        self.bar = self.progress.add_task(
            "training", total=self.total, completed=done, numbers="starting"
        )

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: Trainer, task: DetectionTask, outputs: Any, batch: Any, index: int
    ) -> None:
        """Move the bar."""
        losses = "  ".join(f"{name} {value:.3f}" for name, value in task.step_losses.items())
        text = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        self.progress.update(self.bar, advance=1, description=text, numbers=losses)

    def on_validation_start(self, trainer: Trainer, task: DetectionTask) -> None:  # type: ignore[override]
        """Say that the time now goes into the evaluation."""
        if hasattr(self, "bar"):
            self.progress.update(self.bar, numbers="evaluating")

    def line(self, row: dict[str, float]) -> None:
        """Print the epoch's line."""
        scores = "  ".join(f"{k} {row[k]:.3f}" for k in ("AP", "AP50", "AP75") if k in row)
        loss = f"loss {row['loss_total']:.4f}" if "loss_total" in row else ""
        minutes = (time.monotonic() - self.began) / 60
        self.progress.console.print(
            f"epoch {int(row['epoch']) + 1:>3}  {loss}  {scores}  "
            f"{row['seconds']:.0f} s  ({minutes:.1f} min so far)",
            highlight=False,
        )

    def on_train_epoch_end(self, trainer: Trainer, task: DetectionTask) -> None:  # type: ignore[override]
        """Print the row that the recorder wrote last."""
        recorder = next(c for c in trainer.callbacks if isinstance(c, Recorder))  # type: ignore[attr-defined]
        rows = recorder.history.read() if trainer.is_global_zero else []
        if rows:
            self.line(rows[-1])

    def on_train_end(self, trainer: Trainer, task: DetectionTask) -> None:  # type: ignore[override]
        """Close the bar."""
        self.progress.stop()

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Close the bar, so that the message stands on a line of its own."""
        self.progress.stop()
