"""The work of ``gazehound train`` and ``gazehound demo``: plan, train, evaluate, report."""

from __future__ import annotations

import platform
import shlex
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from lightning.pytorch import seed_everything
from rich.console import Console

from gazehound import __version__
from gazehound.catalog import find
from gazehound.checkpoints.rebuild import build, save, without_pretraining
from gazehound.data import Dataset
from gazehound.detectors.detector import Detector, Fittable
from gazehound.detectors.network import Network
from gazehound.errors import ConfigError
from gazehound.metrics import Evaluation
from gazehound.records import Detections, Sample
from gazehound.reports.run import write_run_report
from gazehound.training import run_folder
from gazehound.training.callbacks import Watch
from gazehound.training.evaluating import evaluate
from gazehound.training.fit import fit, open_splits
from gazehound.training.processes import from_first, join, leave
from gazehound.training.recipe import Recipe, for_input, make_recipe, read_recipe
from gazehound.training.transfer import read_source, start_from

if TYPE_CHECKING:
    from gazehound.checkpoints.native import Header

GALLERY = 60  # images looked at for the pictures of a report
BEST_SHOWN = 0.25  # lowest score drawn


@dataclass(frozen=True)
class Trained:
    """A finished run.

    Attributes:
        detector: with its final weights.
        folder: of the run.
        evaluation: on the validation split; ``None`` without one.
        validation: that split.
        seconds: of training and evaluation.
    """

    detector: Detector
    folder: Path
    evaluation: Evaluation | None
    validation: Dataset | None
    seconds: float


def plan(
    recipe_file: Path | None, changes: Mapping[str, Any], out: Path | None, resume: bool
) -> Recipe:
    """Make the recipe of a run: from its own folder when resuming, else from a file and options."""
    file = out / run_folder.RECIPE if resume and out is not None else recipe_file
    if file is None:
        return make_recipe(changes, where="options")
    tables = {name: value for name, value in changes.items() if isinstance(value, Mapping)}
    base = read_recipe(file, **{n: v for n, v in changes.items() if n not in tables})
    return changed(base, tables)


def changed(base: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """Return a recipe with some settings changed; of its tables, only the rows that are given.

    Raises:
        ConfigError: a name is unknown, or a value out of its range.
    """
    tables = ("augment", "tune", "arguments")
    rows = {name: {**_rows(getattr(base, name)), **changes.get(name, {})} for name in tables}
    return make_recipe({**vars(base), **changes, **rows}, where="options")


def _rows(table: Any) -> dict[str, Any]:
    return dict(table) if isinstance(table, Mapping) else dict(vars(table))


def inherit(changes: Mapping[str, Any], file: Path | None) -> dict[str, Any]:
    """Let a run that starts from a detector take its model and arguments where none are given.

    Without this, weights of a small variant would meet an architecture with other arguments.
    """
    named = {k: v for k, v in changes.items() if k in ("model", "data", "start_from")}
    base = None if file is None else read_recipe(file, **named)
    source = changes.get("start_from") if base is None else base.start_from
    if source is None:
        return dict(changes)
    _, header = read_source(source)
    model = changes.get("model", header.detector) if base is None else base.model
    if find(model).name != header.detector:
        return {**changes, "model": model}
    given = {**({} if base is None else base.arguments), **changes.get("arguments", {})}
    arguments = {**without_pretraining(header.arguments), **given}
    return {**changes, "model": model, "arguments": arguments}


def run_training(
    recipe_file: Path | None, changes: Mapping[str, Any], out: Path | None, resume: bool
) -> Trained:
    """Train by a recipe and options, and write the run folder with its report.

    Networks go through Lightning; a classical detector learns by its own ``fit``. Of several processes
    (torchrun, srun) the first one writes and prints.

    Raises:
        ConfigError: a setting is wrong or does not fit the data.
    """
    console = join().console()
    changes = changes if resume else inherit(changes, recipe_file)
    recipe = plan(recipe_file, changes, out, resume)
    entry = find(recipe.model)
    started = from_first(lambda: time.strftime("%Y%m%d-%H%M%S"))
    folder = out or Path("runs") / f"{entry.name}-{started}"
    data = open_splits(recipe)
    trained = train_on(recipe, data, folder, resume=resume, console=console)
    console.print(f"trained  {folder / run_folder.LAST}", highlight=False, soft_wrap=True)
    console.print(f"report   {folder / run_folder.REPORT}", highlight=False, soft_wrap=True)
    leave()
    return trained


def train_on(
    recipe: Recipe,
    data: tuple[Dataset, Dataset | None],
    folder: Path,
    *,
    resume: bool = False,
    console: Console | None = None,
    watch: Watch | None = None,
) -> Trained:
    """Train on open data sets, evaluate, and write the run folder with its report.

    Raises:
        ConfigError: several processes were started for a detector that learns in one.
    """
    place = join()
    train, val = data
    began = time.monotonic()
    entry = find(recipe.model)
    seed_everything(recipe.seed, workers=True, verbose=False)  # before the first random weight
    detector, header = build(entry.name, train.classes, recipe.arguments)
    header = replace(header, notes={"data": recipe.data, "gazehound": __version__})
    if isinstance(detector, Fittable):
        if place.world > 1:
            raise ConfigError(f"'{entry.name}' learns in one process; {place.world} were started")
        evaluation = _fit_classical(detector, header, recipe, data, folder)
    else:
        assert isinstance(detector, Network)
        if recipe.start_from and not resume:  # a resumed run has its weights in its own folder
            start_from(
                recipe.start_from,
                detector,
                header,
                place.console(console),
            )
        recipe, detector.preprocess = for_input(recipe, detector.preprocess)
        task = fit(
            detector,
            replace(header, preprocess=detector.preprocess.to_dict()),
            recipe,
            folder,
            data=data,
            resume=resume,
            console=console,
            watch=watch,
        )
        evaluation = task.evaluation
    trained = Trained(detector, folder, evaluation, val, time.monotonic() - began)
    if place.first:
        write_report(trained, recipe, train)
    return trained


def _fit_classical(
    detector: Fittable,
    header: Header,
    recipe: Recipe,
    data: tuple[Dataset, Dataset | None],
    folder: Path,
) -> Evaluation | None:
    """Fit a classical detector, save it, and evaluate it."""
    train, val = data
    folder.mkdir(parents=True, exist_ok=True)
    recipe.to_yaml(folder / run_folder.RECIPE)
    detector.fit(train, seed=recipe.seed)
    for name in (run_folder.LAST, run_folder.BEST):
        save(folder / name, detector, header)
    return None if val is None else evaluate(detector, val, progress=True)


def write_report(trained: Trained, recipe: Recipe, train: Dataset) -> None:
    """Write the run's HTML page from what its folder holds."""
    folder, val = trained.folder, trained.validation
    facts = {
        "Model": recipe.model,
        "Learned from": f"{len(train)} images of {train.name}, split {train.split or '-'}",
        "Evaluated on": f"{len(val)} images, split {val.split or '-'}" if val else "nothing",
        "Epochs": str(recipe.epochs),
        "Input": f"{recipe.size} px" if recipe.size else "as it is",
        "Seed": str(recipe.seed),
        "Time": f"{trained.seconds / 60:.1f} min",
        "Machine": f"{platform.processor() or platform.machine()}, Python {platform.python_version()}",
        "gazehound": __version__,
        "Command": command_line(),
    }
    write_run_report(
        folder / run_folder.REPORT,
        title=f"{recipe.model} on {train.name}",
        facts=facts,
        history=run_folder.CsvLog(folder / run_folder.HISTORY, "epoch").read(),
        evaluation=trained.evaluation,
        gallery=list(_gallery(trained)) if val is not None else [],
        steps=run_folder.CsvLog(folder / run_folder.STEPS, "step").read(),
    )


def _gallery(trained: Trained) -> list[tuple[Sample, Detections]]:
    """Detect on evenly spaced validation images, for the report's pictures."""
    assert trained.validation is not None
    count = len(trained.validation)
    rows = np.unique(np.linspace(0, count - 1, min(GALLERY, count)).round().astype(int))
    pairs = []
    for row in rows:
        sample = trained.validation[int(row)]
        assert sample.image is not None
        pairs.append((sample, trained.detector.predict([sample.image], score=BEST_SHOWN)[0]))
    return pairs


def command_line() -> str:
    """Return the command that runs now, as one would type it."""
    return shlex.join(["gazehound", *sys.argv[1:]])
