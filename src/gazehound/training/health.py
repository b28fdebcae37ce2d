"""The health line: the usual causes of a run that learns nothing, named while it runs.

Each finding is printed once, with what to do, and kept in ``health.txt`` of the run folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import Callback, Trainer
from rich.console import Console

from gazehound.metrics import Evaluation
from gazehound.metrics.confusion import confusion
from gazehound.records import Batch
from gazehound.training.processes import Processes, gather
from gazehound.training.run_folder import HEALTH

WITHOUT_POSITIVES = 20  # steps with truths but without a positive, before it is said
TOLD = 5  # unreadable images named one by one
STILL_ZERO = 3  # evaluations with AP 0 before it is said
FALLEN = 0.8  # the loss has fallen when it is under this share of its first value
PAIRS = 20  # detections on objects needed to judge their classes
SHIFTED = 0.6  # share of them with the class beside the right one


class Health(Callback):
    """Watches a run.

    Args:
        folder: of the run.
        console: where findings are printed.
        place: this process among those of the run. The first one speaks, for the others too.

    Attributes:
        unreadable: images that this process could not read and replaced, so far.
    """

    def __init__(self, folder: Path, console: Console, place: Processes | None = None) -> None:
        self.file, self.console, self.place = folder / HEALTH, console, place or Processes()
        self.unsaid: list[tuple[str, str]] = []
        self.said: list[str] = []
        self.unreadable, self.barren = 0, 0
        self.losses: list[float] = []
        self.scores: list[float] = []
        self.total, self.count = 0.0, 0

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run must know."""
        names = ("said", "barren", "losses", "scores", "total", "count")
        state = {name: getattr(self, name) for name in names}
        return {**state, "unreadable": sum(gather(self.unreadable))}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take it back."""
        for name, value in state.items():
            setattr(self, name, value)
        if not self.place.first:
            self.unreadable = 0  # the first process counts what all had counted

    def say(self, key: str, text: str) -> None:
        """Print a finding and keep it, once per run; another process than the first tells it that."""
        if key in self.said:
            return
        self.said.append(key)
        if not self.place.first:
            self.unsaid.append((key, text))
            return
        self.console.print(f"health: {text}", highlight=False, soft_wrap=True)
        with self.file.open("a", encoding="utf-8") as stream:
            stream.write(f"{text}\n")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Count what could not be read, and steps in which nothing was assigned."""
        for text in batch.unreadable:
            self.unreadable += 1
            if self.unreadable <= TOLD:
                self.say(text, f"unreadable, another image takes its place: {text}")
        losses: dict[str, float] = pl_module.step_losses
        if not pl_module.is_logged(batch_idx) or not losses:
            return
        self.total, self.count = self.total + losses["total"], self.count + 1
        self._watch_positives(losses, batch)

    def _watch_positives(self, losses: dict[str, float], batch: Batch) -> None:
        """The loss of the boxes is exactly 0 only where no prediction was given a truth to learn."""
        of_boxes = [value for name, value in losses.items() if "box" in name]
        if not of_boxes or batch.targets is None or not bool(batch.targets.valid.any()):
            return
        self.barren = self.barren + 1 if all(value == 0 for value in of_boxes) else 0
        if self.barren >= WITHOUT_POSITIVES:
            sides = (batch.targets.boxes[..., 2:] - batch.targets.boxes[..., :2])[
                batch.targets.valid
            ]
            self.say(
                "positives",
                f"no positives in {self.barren} steps: no anchor or cell was given a truth to learn, "
                f"so boxes are not learned at all. The boxes are about {float(sides.median()):.0f} px "
                "at the input; look at them (gazehound data preview), at the input size (--size), "
                "and at the anchors (gazehound data anchors)",
            )

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Look at the evaluation; runs before the recorder takes it away."""
        self._pass_on()
        if self.count:
            self.losses.append(self.total / self.count)
        self.total, self.count = 0.0, 0
        if pl_module.summary and pl_module.evaluation is not None:
            self.scores.append(float(pl_module.summary["AP"] or 0.0))
            if self.place.first:  # all have the same evaluation
                self.judge(pl_module.evaluation)

    def _pass_on(self) -> None:
        """Let the first process say what the others found."""
        findings = [finding for share in gather(self.unsaid) for finding in share]
        self.unsaid = []
        if self.place.first:
            for key, text in findings:
                self.say(key, text)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Say how many images could not be read, by all processes together."""
        self._pass_on()
        self.unreadable = sum(gather(self.unreadable))
        if self.unreadable:
            self.say(
                "unreadable",
                f"{self.unreadable} times an image could not be read and another one took its place "
                "(gazehound data check names them all)",
            )

    def judge(self, evaluation: Evaluation) -> None:
        """Name what is wrong with the detections of an evaluation, if anything is."""
        tables = evaluation.tables
        if not len(tables.truths):
            self.say("truths", "the validation split holds no object, so AP is undefined")
            return
        if not len(tables.found):
            self.say(
                "threshold",
                "not one detection: all scores lie under the detector's threshold. Early in a run "
                "that is usual; later lower it (--set arguments.limits.score=0.001) or raise the "
                "learning rate (--find-lr)",
            )
            return
        if self.scores and self.scores[-1] < 0.05:
            self._judge_classes(evaluation)
        self._judge_progress()

    def _judge_classes(self, evaluation: Evaluation) -> None:
        """Class ids are shifted when boxes lie on objects, but carry the class beside the right one."""
        tables, count = evaluation.tables, len(evaluation.tables.classes)
        if count < 3:  # of two classes each is beside the other: no shift can be told from a swap
            return
        best = np.sort(tables.found.score)[::-1]
        score = float(best[min(len(best), len(tables.truths)) - 1])
        pairs = confusion(tables, score).counts[:count, :count]
        total = int(pairs.sum())
        for shift in (1, count - 1):
            moved = int(np.roll(pairs, -shift, axis=1).trace())
            if total >= PAIRS and moved >= SHIFTED * total:
                step = "one up" if shift == 1 else "one down"
                self.say(
                    "classes",
                    f"class ids look shifted: {moved} of {total} detections that lie on an object carry "
                    f"the class {step} in the list; compare the class ids of the labels with the list "
                    "of names (gazehound data check)",
                )

    def _judge_progress(self) -> None:
        zero = len(self.scores) >= STILL_ZERO and max(self.scores[-STILL_ZERO:]) < 0.001
        if zero and len(self.losses) >= 2 and self.losses[-1] < FALLEN * self.losses[0]:
            self.say(
                "zero",
                f"AP is 0 after {len(self.scores)} evaluations although the loss fell from "
                f"{self.losses[0]:.3g} to {self.losses[-1]:.3g}. Usual causes: validation boxes in other "
                "units or classes than training's (gazehound data check), an average of the weights that "
                "is too slow for so few steps (--set ema=0.99), BatchNorm with a batch that is too "
                "small (--set tune.norm=frozen), or augmentation that ruins the boxes (gazehound data "
                "preview)",
            )
