"""What ``gazehound train`` does once its options are read."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from gazehound.catalog import find
from gazehound.checkpoints.rebuild import build
from gazehound.detectors.detector import Fittable
from gazehound.detectors.network import Network
from gazehound.errors import ConfigError
from gazehound.training import run_folder
from gazehound.training.fit import fit, open_splits
from gazehound.training.recipe import Recipe, make_recipe, read_recipe
from gazehound.training.task import DetectionTask


def plan(
    recipe_file: Path | None, changes: Mapping[str, Any], out: Path | None, resume: bool
) -> Recipe:
    """Make the recipe of a run: from its own folder when resuming, else from a file and options."""
    file = out / run_folder.RECIPE if resume and out is not None else recipe_file
    if file is None:
        return make_recipe(changes, where="options")
    nested = {k: v for k, v in changes.items() if isinstance(v, Mapping)}
    base = read_recipe(file, **{k: v for k, v in changes.items() if k not in nested})
    if not nested:
        return base
    values = {name: getattr(base, name) for name in base.__dataclass_fields__}
    values["augment"] = vars(base.augment) | dict(nested.get("augment", {}))
    values["arguments"] = base.arguments | dict(nested.get("arguments", {}))
    return make_recipe(values, where="options")


def run_training(
    recipe_file: Path | None, changes: Mapping[str, Any], out: Path | None, resume: bool
) -> tuple[DetectionTask, Path]:
    """Train a network by recipe and options, and write the run folder with its report.

    Raises:
        ConfigError: the model is classical, or a setting is wrong.
    """
    console = Console(stderr=True)
    recipe = plan(recipe_file, changes, out, resume)
    entry = find(recipe.model)
    folder = out or Path("runs") / f"{entry.name}-{time.strftime('%Y%m%d-%H%M%S')}"
    train, val = open_splits(recipe)
    preprocess = {"resize": "longer", "size": recipe.size}
    detector, header = build(entry.name, train.classes, recipe.arguments, preprocess)
    if isinstance(detector, Fittable) or not isinstance(detector, Network):
        raise ConfigError(f"'{entry.name}' is a classical detector: it has no recipe")
    header = replace(header, notes={"recipe": recipe.model, "data": recipe.data})
    task = fit(detector, header, recipe, folder, data=(train, val), resume=resume, console=console)
    console.print(f"done: {folder / run_folder.LAST}", highlight=False)
    return task, folder
