"""``Model.fit`` for networks: settings to recipe, data in whichever form, then :func:`fit`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from gazehound.checkpoints.native import Header
from gazehound.data import Dataset
from gazehound.detectors.network import Network
from gazehound.training.fit import fit, open_splits
from gazehound.training.recipe import for_input, make_recipe
from gazehound.training.task import DetectionTask
from gazehound.training.transfer import start_from


def fit_network(
    network: Network,
    header: Header,
    data: str | Path | Dataset,
    out: Path,
    console: Console | None,
    settings: Mapping[str, Any],
) -> DetectionTask:
    """Train ``network`` on a path or on an open data set (with ``validation=`` for another)."""
    options = dict(settings)
    resume = bool(options.pop("resume", False))
    validation = options.pop("validation", None)
    name = str(data) if isinstance(data, str | Path) else f"{data.name} (in memory)"
    recipe = make_recipe(
        {"model": header.detector, "arguments": header.arguments, "data": name, **options}
    )
    opened = open_splits(recipe) if isinstance(data, str | Path) else (data, validation)
    if recipe.start_from and not resume:
        start_from(recipe.start_from, network, header, console or Console(stderr=True))
    recipe, network.preprocess = for_input(recipe, network.preprocess)
    header = replace(header, preprocess=network.preprocess.to_dict())
    return fit(network, header, recipe, out, data=opened, resume=resume, console=console)
