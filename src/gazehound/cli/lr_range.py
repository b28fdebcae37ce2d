"""The work of ``gazehound train --find-lr``."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import seed_everything
from rich.console import Console

from gazehound.catalog import find
from gazehound.checkpoints.rebuild import build
from gazehound.cli.training import inherit, plan
from gazehound.detectors.network import Network
from gazehound.errors import ConfigError, TrainingError
from gazehound.reports.charts import Line, line_chart
from gazehound.training.fit import complete, open_splits, source_of_batches
from gazehound.training.processes import launched
from gazehound.training.range_test import RangeTest, range_test
from gazehound.training.recipe import for_input
from gazehound.training.transfer import start_from

CSV, PLOT = "lr_range.csv", "lr_range.svg"


def run_range_test(
    recipe_file: Path | None, changes: Mapping[str, Any], out: Path | None
) -> RangeTest:
    """Run the test with the options of a training run; write its numbers and its plot.

    Raises:
        ConfigError: the model has no learning rate, or a setting is wrong.
        TrainingError: the loss did not fall at any rate.
    """
    if launched().world > 1:
        raise ConfigError("--find-lr runs in one process: start it without torchrun or srun")
    console = Console(stderr=True)
    recipe = plan(recipe_file, inherit(changes, recipe_file), None, resume=False)
    folder = out or Path("runs") / f"lr-{find(recipe.model).name}-{time.strftime('%Y%m%d-%H%M%S')}"
    train, _ = open_splits(recipe)
    seed_everything(recipe.seed, workers=True, verbose=False)
    network, header = build(recipe.model, train.classes, recipe.arguments)
    if not isinstance(network, Network):
        raise ConfigError(f"'{header.detector}' learns without a learning rate")
    if recipe.start_from:
        start_from(recipe.start_from, network, header, console)
    recipe, network.preprocess = for_input(recipe, network.preprocess)
    recipe = complete(recipe, network, train)
    test = range_test(network, recipe, *source_of_batches(network, recipe, train))
    write_range_test(folder, test)
    console.print(f"plot     {folder / PLOT}", highlight=False, soft_wrap=True)
    if test.suggestion is None:
        raise TrainingError(
            f"the loss fell at no learning rate in {len(test.rates)} steps; see {folder / PLOT}, and "
            "look at the data (gazehound data check, gazehound data preview)"
        )
    console.print(
        f"the loss fell fastest at --lr {test.suggestion:.1e} with batches of {recipe.batch}; "
        f"its lowest point is at {_lowest(test):.1e}",
        highlight=False,
        soft_wrap=True,
    )
    return test


def _lowest(test: RangeTest) -> float:
    return min(zip(test.smoothed, test.rates, strict=True))[1]


def write_range_test(folder: Path, test: RangeTest) -> None:
    """Write ``lr_range.csv`` and the plot ``lr_range.svg``: losses over the power of ten."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / CSV).open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("lr", "loss", "smoothed"))
        writer.writerows(zip(test.rates, test.losses, test.smoothed, strict=True))
    powers = [math.log10(rate) for rate in test.rates]
    lines = [
        Line(powers, test.losses, faint=True),
        Line(powers, test.smoothed, name="loss, smoothed"),
    ]
    marks = []
    if test.suggestion is not None:
        place = test.rates.index(test.suggestion)
        marks = [(powers[place], test.smoothed[place], f"{test.suggestion:.1e}")]
    chart = line_chart(lines, "learning rate, power of ten", "loss", marks=marks)
    (folder / PLOT).write_text(str(chart), encoding="utf-8")
