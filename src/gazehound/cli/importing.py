"""``gazehound import``: weights of other projects, read without executing anything."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def import_command(
    file: Annotated[Path, typer.Argument(help="The file to read.")],
    source: Annotated[
        str, typer.Option(help="torchvision, darknet, opencv-cascade, opencv-hog or voc-dpm.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The native checkpoint to write.")],
    model: Annotated[
        str | None, typer.Option(help="The catalogue name of its architecture.")
    ] = None,
    classes: Annotated[
        Path | None, typer.Option(help="Class names, one a line, where the file has none.")
    ] = None,
    cfg: Annotated[
        Path | None, typer.Option(help="Darknet's .cfg file, beside its .weights.")
    ] = None,
) -> None:
    """Turn another project's weight file into a native checkpoint.

    gazehound import FILE --source torchvision --model retinanet_r50 --out MODEL.safetensors
    gazehound import FILE.weights --source darknet --cfg FILE.cfg --out MODEL.safetensors
    """
    import_weights(file, source, model, out, classes, cfg)
    typer.echo(f"wrote {out}")


def import_weights(
    file: Path,
    source: str,
    model: str | None,
    out: Path,
    classes: Path | None = None,
    cfg: Path | None = None,
) -> None:
    """Read ``file``, build the detector that fits it, and write ``out``.

    Raises:
        ConfigError: the source or the model is unknown.
        CheckpointError: the file does not hold what it should.
    """
    from gazehound.checkpoints.importing import import_file
    from gazehound.checkpoints.rebuild import save

    names = tuple(classes.read_text(encoding="utf-8").split("\n")) if classes else ()
    names = tuple(name.strip() for name in names if name.strip())
    detector, header = import_file(file, source, model, names, cfg)
    save(out, detector, header)
