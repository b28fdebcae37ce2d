"""``gazehound export``: a trained model in the files of another project."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export_command(
    model: Annotated[Path, typer.Argument(help="A native checkpoint.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write.")],
    form: Annotated[
        str, typer.Option("--format", help="darknet: .weights, .cfg and .names of a YOLOv3 or v4.")
    ],
) -> None:
    """Write a trained model in the form that other programs read.

    gazehound export MODEL.safetensors --format darknet --out yolov4-cells.weights
    """
    for file in export_model(model, form, out):
        typer.echo(f"wrote {file}")


def export_model(model: Path, form: str, out: Path) -> tuple[Path, ...]:
    """Read the native checkpoint ``model`` and write it in another form.

    Returns:
        The files written.

    Raises:
        ConfigError: the form is unknown, or does not hold this detector.
        CheckpointError: the checkpoint cannot be read, or the files not be written.
    """
    from gazehound.checkpoints.darknet import export_darknet
    from gazehound.checkpoints.rebuild import load
    from gazehound.errors import unknown_name

    forms = {"darknet": export_darknet}
    if form not in forms:
        raise unknown_name("format", form, forms)
    detector, header = load(model)
    return forms[form](detector, header, out)
