"""``gazehound tune``: look for a better recipe."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from gazehound.cli.train import merge, pair


class Pruning(StrEnum):
    """Which hopeless runs are stopped."""

    MEDIAN = "median"
    HYPERBAND = "hyperband"
    NONE = "none"


def tune(
    model: Annotated[
        str | None, typer.Argument(help="A name of the catalogue (gazehound models).")
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", "-d", help="The data set's folder or file.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The search's folder.")] = None,
    recipe: Annotated[Path | None, typer.Option(help="A recipe file (YAML) to start from.")] = None,
    start: Annotated[str | None, typer.Option("--from", help="Start runs from this.")] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(help="What to search: --vary lr=1e-4..1e-2 --vary augment.mosaic=0,0.5,1."),
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="Runs in all.")] = 20,
    pruner: Annotated[
        Pruning, typer.Option(help="Which hopeless runs are stopped early.")
    ] = Pruning.MEDIAN,
    epochs: Annotated[int | None, typer.Option(help="Passes over the data of a run.")] = None,
    size: Annotated[int | None, typer.Option(help="Longer side of the input, pixels.")] = None,
    batch: Annotated[int | None, typer.Option(help="Images per step.")] = None,
    workers: Annotated[int | None, typer.Option(help="Loader processes.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything random.")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="Any recipe setting: --set ema=0.99.")
    ] = None,
) -> None:
    """Search for the settings with the best AP; bad runs are stopped early.

    gazehound tune retinanet_r18 --data cells/ --epochs 12 --trials 20 --out runs/search

    The same command goes on with a search that was stopped. The best recipe is best.yaml.
    """
    from gazehound.cli.tuning import run_search
    from gazehound.errors import ConfigError

    options = {
        "model": model, "data": data, "start_from": start, "epochs": epochs, "size": size,
        "batch": batch, "workers": workers, "seed": seed,
    }  # fmt: skip
    given = {name: value for name, value in options.items() if value is not None}
    changes = merge(given, [pair(text) for text in setting or ()])
    if recipe is None and ((model is None and start is None) or data is None):
        raise ConfigError("tune needs a MODEL and --data, or --recipe")
    run_search(recipe, changes, vary or (), out, trials, pruner.value)
