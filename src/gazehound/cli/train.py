"""``gazehound train``: a recipe from options, a file, or both."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def train(
    model: Annotated[
        str | None, typer.Argument(help="A name of the catalogue (gazehound models).")
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", "-d", help="The data set's folder or file.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The run folder.")] = None,
    recipe: Annotated[
        Path | None, typer.Option(help="A recipe file (YAML); options given here override it.")
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Start from this checkpoint, or from a name with bundled or published weights.",
        ),
    ] = None,
    freeze: Annotated[
        str | None,
        typer.Option(help="Stages of the backbone, from the stem, that do not learn; or backbone."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the data.")] = None,
    size: Annotated[int | None, typer.Option(help="Longer side of the input, pixels.")] = None,
    sizes: Annotated[
        str | None, typer.Option(help="Multi-scale training: sizes to draw from, 320,352,384.")
    ] = None,
    batch: Annotated[
        int | None, typer.Option(help="Images per step; default: what fits the memory.")
    ] = None,
    total_batch: Annotated[
        int | None, typer.Option(help="Images per move of the optimiser, over several steps.")
    ] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate.")] = None,
    train_split: Annotated[str | None, typer.Option(help="Split to learn from.")] = None,
    val_split: Annotated[str | None, typer.Option(help="Split to evaluate on.")] = None,
    pretrained: Annotated[
        bool | None,
        typer.Option(
            "--pretrained/--no-pretrained", help="Start the backbone from ImageNet weights."
        ),
    ] = None,
    patience: Annotated[
        int | None, typer.Option(help="Stop after so many evaluations without a better AP.")
    ] = None,
    precision: Annotated[str | None, typer.Option(help="auto, 32, bf16 or fp16.")] = None,
    workers: Annotated[int | None, typer.Option(help="Loader processes.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything random.")] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any recipe setting: --set ema=0.99 --set augment.flip=0."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out, exactly.")
    ] = False,
    find_lr: Annotated[
        bool, typer.Option("--find-lr", help="Do not train: look for a learning rate, with a plot.")
    ] = False,
) -> None:
    """Train a detector on your own images.

    gazehound train retinanet_r18 --data cells/ --epochs 30 --size 416 --out runs/cells

    gazehound train --from runs/cells/best.safetensors --data more/ --freeze backbone
    """
    from gazehound.errors import ConfigError

    options: dict[str, Any] = {
        "model": model,
        "data": data,
        "start_from": start,
        "epochs": epochs,
        "size": size,
        "sizes": numbers(sizes, "--sizes"),
        "batch": batch,
        "total_batch": total_batch,
        "lr": lr,
        "train_split": train_split,
        "val_split": val_split,
        "patience": patience,
        "precision": precision,
        "workers": workers,
        "seed": seed,
    }
    given = {name: value for name, value in options.items() if value is not None}
    shortcuts = [] if freeze is None else [f"tune.freeze={freeze}"]
    changes = merge(given, [pair(text) for text in (*shortcuts, *(setting or ()))])
    if pretrained is not None:
        changes["arguments"] = {**changes.get("arguments", {}), "pretrained": pretrained}
    if resume and out is None:
        raise ConfigError("--resume needs the run folder: --out runs/...")
    if not resume and recipe is None and ((model is None and start is None) or data is None):
        raise ConfigError("train needs a MODEL and --data, or --recipe, or --resume with --out")
    if find_lr:
        from gazehound.cli.lr_range import run_range_test

        run_range_test(recipe, changes, out)
        return
    from gazehound.cli.training import run_training

    run_training(recipe, changes, out, resume)


def numbers(text: str | None, option: str) -> list[int] | None:
    """Read whole numbers with commas between; ConfigError names the option."""
    from gazehound.errors import ConfigError

    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",") if part]
    except ValueError:
        raise ConfigError(
            f"{option} must be whole numbers with commas between; got '{text}'"
        ) from None


def pair(text: str) -> tuple[str, Any]:
    """Read one ``name=value``; the value is YAML."""
    import yaml

    from gazehound.errors import ConfigError

    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set must be name=value; got '{text}'")
    return key, yaml.safe_load(value)


def merge(values: dict[str, Any], pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Put dotted names into nested tables."""
    merged = dict(values)
    for key, value in pairs:
        *tables, last = key.split(".")
        place = merged
        for table in tables:
            place = place.setdefault(table, {})
        place[last] = value
    return merged
