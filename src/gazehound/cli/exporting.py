"""``gazehound export``: a trained model in the files of another runtime or project, with proof."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export_command(
    model: Annotated[
        str, typer.Argument(metavar="CKPT", help="A native checkpoint, or a name with weights.")
    ],
    form: Annotated[
        str,
        typer.Option(
            "--format",
            help="onnx, openvino, torch-export; or darknet: .weights, .cfg and .names of a YOLOv3 or v4.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The file to write; default: beside the checkpoint."),
    ] = None,
    with_preprocessing: Annotated[
        bool,
        typer.Option(
            "--with-preprocessing",
            help="The graph takes pictures (uint8) and gives boxes in their pixels.",
        ),
    ] = False,
    nms: Annotated[bool, typer.Option("--nms", help="Suppress inside the graph.")] = False,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            "-d",
            help="Prove it on these validation images (PATH or PATH:SPLIT), with mAP.",
        ),
    ] = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="Quantise to 8-bit integers; says what that costs.")
    ] = False,
    calibration: Annotated[
        str | None,
        typer.Option(help="Pictures to learn the 8-bit ranges from: a data set or a folder."),
    ] = None,
    calibration_images: Annotated[
        int, typer.Option(min=1, help="Of those, at most this many, evenly spread.")
    ] = 64,
    max_loss: Annotated[
        float | None, typer.Option(min=0, max=1, help="Refuse INT8 that loses more mAP (0..1).")
    ] = None,
) -> None:
    """Write a trained model for another runtime, run the file, and keep it if it finds the same.

    gazehound export runs/cells/best.safetensors --format onnx --nms --data cells

    gazehound export runs/cells/best.safetensors --format openvino --int8 --calibration cells:train
    """
    from gazehound.cli.export_work import Options, run

    run(
        Options(
            model, form, out, with_preprocessing, nms, data, int8, calibration, calibration_images,
            max_loss,
        )
    )  # fmt: skip
