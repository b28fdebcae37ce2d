"""``gazehound compare``: several detectors on one data set, in one table and one page."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Rules(StrEnum):
    """Whose rules count."""

    COCO = "coco"
    VOC07 = "voc07"
    VOC = "voc"


def compare(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL",
            help="Names of the catalogue or recipes (.yaml), which are trained; checkpoints, "
            "exported files, and names with weights, which are loaded.",
        ),
    ],
    data: Annotated[str, typer.Option("--data", "-d", help="The data set's folder or file.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder of the page and of a run per model."),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Split to evaluate on; default: test, else val.")
    ] = None,
    train_split: Annotated[str | None, typer.Option(help="Split to learn from.")] = None,
    protocol: Annotated[
        Rules, typer.Option("--protocol", "-p", help="Whose rules count.")
    ] = Rules.COCO,
    epochs: Annotated[int | None, typer.Option(help="Passes over the data, of each model.")] = None,
    size: Annotated[int | None, typer.Option(help="Longer side of the input, pixels.")] = None,
    batch: Annotated[int | None, typer.Option(help="Images per step.")] = None,
    workers: Annotated[int | None, typer.Option(help="Loader processes.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything random.")] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any recipe setting, for all that are trained: --set lr=1e-3."),
    ] = None,
    draws: Annotated[
        int, typer.Option(min=0, help="Bootstrap draws for the intervals; 0 for none.")
    ] = 1000,
    pictures: Annotated[int, typer.Option(min=0, help="Images in the page's gallery.")] = 12,
    json: Annotated[Path | None, typer.Option(help="Write the numbers to this file.")] = None,
) -> None:
    """Train or load several detectors, evaluate all alike, and write one page about them.

    gazehound compare viola-jones hog-svm retinanet_r18 yolox_nano --data cells --epochs 30 --size 416

    What is finished is kept: the same command goes on where it was stopped.
    """
    from gazehound.cli.comparing import Options, run
    from gazehound.cli.train import merge, pair

    given = {
        "epochs": epochs, "size": size, "batch": batch, "workers": workers, "seed": seed,
        "train_split": train_split,
    }  # fmt: skip
    budget = merge(
        {name: value for name, value in given.items() if value is not None},
        [pair(text) for text in setting or ()],
    )
    run(
        Options(
            models=tuple(models),
            data=data,
            out=out,
            split=split,
            protocol=protocol.value,
            budget=budget,
            draws=draws,
            pictures=pictures,
            json=json,
        )
    )
