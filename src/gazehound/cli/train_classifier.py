"""``gazehound train-classifier``: a backbone learns from folders of pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train_classifier(
    model: Annotated[
        str, typer.Argument(help="A detector whose backbone learns, or a timm network.")
    ],
    data: Annotated[
        str, typer.Option("--data", "-d", help="A folder per class, in train/ and val/ or without.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The run folder.")],
    epochs: Annotated[int, typer.Option(min=1, help="At --size.")] = 20,
    size: Annotated[int, typer.Option(min=32, help="Side of the input, pixels.")] = 224,
    fine_epochs: Annotated[int, typer.Option(min=0, help="More epochs, at --fine-size.")] = 10,
    fine_size: Annotated[int, typer.Option(min=32, help="Side of their input, pixels.")] = 448,
    batch: Annotated[int, typer.Option(min=1, help="Images per step.")] = 32,
    lr: Annotated[float, typer.Option(help="Learning rate; a tenth of it at --fine-size.")] = 0.05,
    pretrained: Annotated[
        bool, typer.Option("--pretrained", help="Start from ImageNet weights.")
    ] = False,
    workers: Annotated[int, typer.Option(min=0, help="Loader processes.")] = 1,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
) -> None:
    """Teach a backbone to classify pictures, at 224 and then at 448 pixels, for a detector to use.

    gazehound train-classifier yolov3 --data flowers/ --out runs/flowers

    gazehound train yolov3 --data bees/ --from runs/flowers/last.safetensors
    """
    from gazehound.training.classifier import Schooling
    from gazehound.training.classifier import train_classifier as learn

    schooling = Schooling(
        epochs=epochs, size=size, fine_epochs=fine_epochs, fine_size=fine_size,
        batch=batch, lr=lr, workers=workers, seed=seed,
    )  # fmt: skip
    learn(model, data, out, schooling, pretrained=pretrained)
    typer.echo(f"{out / 'last.safetensors'}: give it to a detector with --from")
