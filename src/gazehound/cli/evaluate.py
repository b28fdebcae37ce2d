"""``gazehound evaluate``: score detections, or a detector, by any protocol."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Protocol(StrEnum):
    """Whose rules count."""

    COCO = "coco"
    VOC07 = "voc07"
    VOC = "voc"
    LVIS = "lvis"
    KITTI = "kitti"


class Form(StrEnum):
    """How detections are written."""

    COCO = "coco"
    VOC = "voc"
    YOLO = "yolo"
    KITTI = "kitti"
    CORNERS = "corners"


def evaluate(
    model: Annotated[
        str | None,
        typer.Argument(help="A detector instead of --detections: a checkpoint or bundled name."),
    ] = None,
    annotations: Annotated[
        Path | None, typer.Option("--annotations", "-a", help="COCO annotation file.")
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", "-d", help="A data set of any form, instead.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Split of --data.")] = None,
    detections: Annotated[
        Path | None,
        typer.Option("--detections", help="COCO results JSON, a folder of .txt files, or a model."),
    ] = None,
    form: Annotated[
        Form | None,
        typer.Option("--format", "-f", help="Form of --detections; default: what it looks like."),
    ] = None,
    protocol: Annotated[
        Protocol, typer.Option("--protocol", "-p", help="Whose rules count.")
    ] = Protocol.COCO,
    any_score: Annotated[
        bool, typer.Option("--any-score", help="Accept scores outside 0..1.")
    ] = False,
    compare: Annotated[
        Path | None,
        typer.Option(help="Detections of another detector: is it better, or is it chance?"),
    ] = None,
    explain_difference: Annotated[
        tuple[Protocol, Protocol] | None,
        typer.Option(help="Two protocols: say where they part on this data."),
    ] = None,
    draws: Annotated[
        int, typer.Option(min=0, help="Bootstrap draws for the interval of AP; 0 for none.")
    ] = 0,
    json: Annotated[Path | None, typer.Option(help="Write the numbers to this file.")] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write a self-contained HTML report to this file.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the pictures, for the report's worst errors.")
    ] = None,
    batch: Annotated[
        int, typer.Option(min=1, help="Pictures that go through a detector together.")
    ] = 1,
    sizes: Annotated[
        str | None,
        typer.Option(
            help="Evaluate a MODEL at these input sizes, 320,416,608: accuracy and speed."
        ),
    ] = None,
    chart: Annotated[Path, typer.Option(help="Where --sizes draws AP against speed (SVG).")] = Path(
        "sizes.svg"
    ),
) -> None:
    """Score detections against annotations, with the digits of the official tools.

    gazehound evaluate --annotations val.json --detections results.json --report report.html

    gazehound evaluate runs/cells/best.safetensors --data bccd --split test --protocol voc07
    """
    if sizes is not None:
        from gazehound.cli.size_sweep import run_sweep
        from gazehound.cli.train import numbers

        run_sweep(model, data, split, numbers(sizes, "--sizes") or [], json, chart)
        return
    from gazehound.cli.evaluating import Options, run

    run(
        Options(
            model=model,
            annotations=annotations,
            data=data,
            split=split,
            detections=detections,
            form=form.value if form else None,
            protocol=protocol.value,
            any_score=any_score,
            compare=compare,
            explain=(explain_difference[0].value, explain_difference[1].value)
            if explain_difference
            else None,
            draws=draws,
            json=json,
            report=report,
            images=images,
            batch=batch,
        )
    )
