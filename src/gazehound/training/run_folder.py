"""A run's folder: what is written there, whole or not at all, and how a resumed run goes on in it.

recipe.yaml         what was asked for, complete
last.ckpt           everything needed to resume (read with ``weights_only``: no foreign classes)
best.safetensors    the detector with the best AP on the validation split so far
last.safetensors    the detector of the last epoch
history.csv         a row per epoch: losses, learning rate, COCO's numbers, seconds
steps.csv           a row per optimiser step: losses, learning rate
health.txt          what the run said about its own health, when there was something to say
tensorboard/        the same for TensorBoard
report.html         curves, tables and pictures
"""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from pathlib import Path

from gazehound.errors import TrainingError

RECIPE, RESUME = "recipe.yaml", "last.ckpt"
BEST, LAST = "best.safetensors", "last.safetensors"
HISTORY, STEPS, REPORT = "history.csv", "steps.csv", "report.html"
HEALTH = "health.txt"


class CsvLog:
    """A CSV file that grows by rows and survives being killed and resumed.

    Args:
        file: where.
        key: the column that counts; on resuming, rows at or beyond the resumed count are dropped,
            because they will be written again.
    """

    def __init__(self, file: Path, key: str) -> None:
        self.file, self.key = file, key

    def keep_below(self, count: int) -> None:
        """Drop the rows whose key is ``count`` or more (all rows for 0), and an unfinished last line."""
        if not self.file.exists():
            return
        kept = [row for row in self._whole_rows() if float(row[self.key]) < count]
        header = self.file.read_text().partition("\n")[0].strip()
        self.file.unlink()
        if kept:
            lines = [header, *(",".join(row.values()) for row in kept)]
            self.file.write_text("\n".join(lines) + "\n")

    def write(self, row: Mapping[str, float | None]) -> None:
        """Append one row; the first row decides the columns."""
        fresh = not self.file.exists()
        with self.file.open("a", newline="") as stream:
            writer = csv.DictWriter(stream, fieldnames=list(row), lineterminator="\n")
            if fresh:
                writer.writeheader()
            writer.writerow({k: "" if v is None else f"{v:.10g}" for k, v in row.items()})

    def read(self) -> list[dict[str, float]]:
        """Return all rows; empty cells are left out, an unfinished last line too."""
        if not self.file.exists():
            return []
        return [{k: float(v) for k, v in row.items() if v} for row in self._whole_rows()]

    def _whole_rows(self) -> list[dict[str, str]]:
        with self.file.open(newline="") as stream:
            text = stream.read()
        whole = text[: text.rfind("\n") + 1]  # a killed write leaves no line end
        return [row for row in csv.DictReader(whole.splitlines()) if None not in row.values()]


def claim(folder: Path, resume: bool) -> Path | None:
    """Make the run folder and return the file to resume from, or ``None`` for a fresh run.

    Raises:
        TrainingError: there is a run here already and ``resume`` was not asked for, or there is
            nothing to resume.
    """
    checkpoint = folder / RESUME
    if resume:
        if not checkpoint.exists():
            raise TrainingError(f"{folder}: nothing to resume: there is no {RESUME}")
        return checkpoint
    if (folder / RECIPE).exists() and checkpoint.exists():
        raise TrainingError(
            f"{folder}: holds a run already; go on with --resume, or give another --out"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name in (HISTORY, STEPS, HEALTH):
        (folder / name).unlink(missing_ok=True)
    return None


def replace_whole(part: Path, file: Path) -> None:
    """Put a finished temporary file in its place, in one step."""
    os.replace(part, file)  # noqa: PTH105  (atomic on one file system)
