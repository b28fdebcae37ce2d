"""``gazehound explain``: each step of a detector on one picture, as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def explain(
    model: Annotated[
        str, typer.Argument(help="A checkpoint (.safetensors), or a name with bundled weights.")
    ],
    image: Annotated[Path, typer.Argument(help="The picture.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The page to write. Default: runs/explain/PICTURE.html."),
    ] = None,
    truths: Annotated[
        Path | None, typer.Option(help="A data set that holds this picture, for its true boxes.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="The split of --truths; default: all are searched.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1, mps; default: where the model loads.")
    ] = None,
) -> None:
    """Draw each step of a detector on one picture, from what it really computed there.

    gazehound explain viola_jones_face photo.jpg
    gazehound explain runs/cells/best.safetensors cells/0007.jpg --truths cells --out page.html
    """
    from gazehound.cli.explaining import run

    said = run(model, image, out, truths, split, device)
    typer.echo(said)
