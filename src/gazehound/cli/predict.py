"""``gazehound predict``: detect on files, folders, globs, videos and cameras."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Engine(StrEnum):
    """Where the work is done."""

    LOCAL = "local"
    RAY = "ray"


class Output(StrEnum):
    """What can be written."""

    IMAGES = "images"
    COCO = "coco"
    YOLO = "yolo"
    VOC = "voc"
    CSV = "csv"
    PARQUET = "parquet"


Tile = Annotated[
    int | None,
    typer.Option(min=1, help="Look at large pictures in tiles of this side, pixels: 640."),
]
Overlap = Annotated[
    float, typer.Option(min=0, max=0.95, help="Share of a tile that its neighbour sees, too.")
]
WholeImage = Annotated[
    bool, typer.Option(help="Look at the whole picture as well as at its tiles.")
]
Tta = Annotated[
    bool, typer.Option("--tta", help="Look at mirror images and other sizes, too: six looks.")
]
Track = Annotated[
    bool, typer.Option("--track", help="Follow objects through videos; every one has its id.")
]


def predict(
    model: Annotated[
        str,
        typer.Argument(
            help="A checkpoint (.safetensors), or a name (gazehound models lists them)."
        ),
    ],
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Files, folders, globs ('shots/**/*.png'), videos, a camera's number, or -."
        ),
    ],
    score: Annotated[
        float, typer.Option("--score", "-s", min=0, max=1, help="Lowest score kept.")
    ] = 0.25,
    output: Annotated[
        list[Output] | None,
        typer.Option("--format", "-f", help="What to write; may be given again. Default: images."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write into.")] = Path(
        "runs/predict"
    ),
    classes: Annotated[
        str | None, typer.Option(help="Only these classes, by name: person,dog.")
    ] = None,
    batch: Annotated[
        int, typer.Option(min=1, help="Pictures that go through the network together.")
    ] = 1,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1, mps; default: where the model loads.")
    ] = None,
    engine: Annotated[
        Engine, typer.Option(help="ray: many workers, Parquet out, goes on where it stopped.")
    ] = Engine.LOCAL,
    tile: Tile = None,
    overlap: Overlap = 0.2,
    whole_image: WholeImage = True,
    tta: Tta = False,
    track: Track = False,
) -> None:
    """Detect objects and write annotated pictures, videos or detection files.

    gazehound predict runs/cells/best.safetensors photos/ --score 0.5 --format images --format coco
    gazehound predict yolox_s street.mp4 --track --format images --format parquet
    gazehound predict retinanet_r50_v2 aerial/ --tile 640 --overlap 0.2
    """
    wanted = tuple(name.strip() for name in classes.split(",")) if classes else ()
    if engine is Engine.RAY:
        from gazehound.cli.bulk import BulkOptions, run_bulk
        from gazehound.errors import ConfigError

        if output:
            raise ConfigError("--engine ray writes Parquet; leave --format out")
        if tile is not None or tta or track:
            raise ConfigError("--engine ray goes without --tile, --tta and --track")
        if run_bulk(sources, BulkOptions(model, score, out, wanted, batch, device)):
            raise typer.Exit(1)
        return
    from gazehound.cli.predicting import Options, run

    formats = tuple(dict.fromkeys(o.value for o in output or [Output.IMAGES]))
    files = (model, tuple(sources), score, formats, out, wanted)
    faults = run(Options(*files, batch, device, tile, overlap, whole_image, tta, track))
    if faults:
        raise typer.Exit(1)
