"""The work of ``gazehound tune``: a run per trial, a table, and the best recipe as a file."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from gazehound.catalog import find
from gazehound.cli.train import merge
from gazehound.cli.training import changed, inherit, plan, train_on
from gazehound.data import Dataset
from gazehound.errors import ConfigError, TrainingError
from gazehound.training import run_folder
from gazehound.training.fit import open_splits
from gazehound.training.processes import launched
from gazehound.training.recipe import Recipe
from gazehound.training.search import Pruner, Report, Space, Trial, read_space, search

BASE, SPACE, BEST = "recipe.yaml", "space.txt", "best.yaml"


def run_search(
    recipe_file: Path | None,
    changes: Mapping[str, Any],
    vary: Sequence[str],
    out: Path | None,
    trials: int,
    pruner: Pruner,
) -> list[Trial]:
    """Search, print the table of trials, and write the best recipe.

    Raises:
        ConfigError: a setting is wrong, there is nothing to evaluate on, or the folder holds another
            search.
        TrainingError: no run came to its end.
    """
    if launched().world > 1:
        raise ConfigError("tune runs in one process: start it without torchrun or srun")
    console = Console(stderr=True)
    recipe = plan(recipe_file, inherit(changes, recipe_file), None, resume=False)
    name = find(recipe.model).name
    folder = out or Path("runs") / f"tune-{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    space = read_space(vary, recipe.lr)
    trial_recipe(recipe, {setting: span.example for setting, span in space.items()})  # names exist
    data = open_splits(recipe)
    if data[1] is None:
        raise ConfigError(f"{recipe.data}: tune needs a validation split to compare runs on")
    claim(folder, recipe, space)
    run = _Runs(recipe, data, folder, console)
    ranked = search(
        space, run, folder, trials=trials, seed=recipe.seed, epochs=recipe.epochs, pruner=pruner
    )
    _print_table(console, ranked, list(space))
    best = ranked[0]
    if best.state != "complete":
        raise TrainingError(f"none of {len(ranked)} runs came to its end; see {folder}")
    trial_recipe(recipe, best.values).to_yaml(folder / BEST)
    console.print(f"best     {folder / BEST}", highlight=False, soft_wrap=True)
    return ranked


def trial_recipe(base: Recipe, values: Mapping[str, Any]) -> Recipe:
    """Return the recipe with some settings changed; dots lead into its tables.

    Raises:
        ConfigError: a name is unknown, or a value out of its range.
    """
    return changed(base, merge({}, list(values.items())))


def claim(folder: Path, recipe: Recipe, space: Space) -> None:
    """Write down what is searched, or see that the folder's search is the same.

    Raises:
        ConfigError: the folder holds a search from another recipe or in another space.
    """
    texts = "".join(f"{name}={span}\n" for name, span in space.items())
    if (folder / SPACE).exists():
        recipe.to_yaml(folder / f".{BASE}")
        same = (folder / f".{BASE}").read_text().splitlines()[1:]
        (folder / f".{BASE}").unlink()
        if (folder / SPACE).read_text() != texts:
            raise ConfigError(f"{folder}: holds a search in another space; give another --out")
        if (folder / BASE).read_text().splitlines()[1:] != same:
            raise ConfigError(f"{folder}: holds a search from another recipe; give another --out")
        return
    recipe.to_yaml(folder / BASE)
    (folder / SPACE).write_text(texts)


@dataclass(frozen=True)
class _Runs:
    """Trains the trials, each in a folder of its own."""

    recipe: Recipe
    data: tuple[Dataset, Dataset | None]
    folder: Path
    console: Console

    def __call__(self, number: int, values: Mapping[str, Any], report: Report) -> float:
        """Train with drawn values; return the best AP."""
        told = "  ".join(f"{name} {_short(value)}" for name, value in values.items())
        self.console.print(f"trial {number:>3}  {told}", highlight=False, soft_wrap=True)
        scores: list[float] = []

        def watch(epoch: int, scores_now: Mapping[str, float | None]) -> bool:
            scores.append(float(scores_now.get("AP") or 0.0))
            return report(epoch, max(scores))

        place = self.folder / f"trial-{number:03d}"
        recipe = trial_recipe(self.recipe, values)
        train_on(recipe, self.data, place, console=Console(quiet=True), watch=watch)
        (place / run_folder.RESUME).unlink(missing_ok=True)  # the largest file, of no use any more
        best = max(scores, default=0.0)
        done = f"{len(scores)} evaluation(s), AP {best:.3f}"
        self.console.print(f"trial {number:>3}  {done}", highlight=False)
        return best


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _print_table(console: Console, trials: Sequence[Trial], names: Sequence[str]) -> None:
    table = Table("trial", "state", "AP", "epochs", *names)
    for trial in trials:
        score = "-" if trial.score is None else f"{trial.score:.3f}"
        values = (_short(trial.values.get(name, "-")) for name in names)
        table.add_row(str(trial.number), trial.state, score, str(trial.epochs), *values)
    console.print(table)
