"""``gazehound data``: check, repair, convert and make data sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gazehound.data.check import Progress

app = typer.Typer(help="Check, repair, convert and make data sets.", no_args_is_help=True)


class Format(StrEnum):
    """The formats that can be read and written."""

    COCO = "coco"
    VOC = "voc"
    YOLO = "yolo"
    KITTI = "kitti"


class Bring(StrEnum):
    """How images get into a data set that is written."""

    COPY = "copy"
    LINK = "link"
    NONE = "none"


class Resize(StrEnum):
    """How pictures get to the input size."""

    LONGER = "longer"
    STRETCH = "stretch"


Source = Annotated[
    str, typer.Argument(metavar="PATH", help="Folder, COCO .json or data.yaml; may end in :SPLIT.")
]
Split = Annotated[str | None, typer.Option(help="Only this split (train, val, test, ...).")]
As = Annotated[
    Format | None, typer.Option("--format", help="Format of the source; else recognised.")
]
Images = Annotated[Bring, typer.Option(help="Copy the images, link to them, or leave them out.")]


@app.command()
def check(
    path: Source,
    split: Split = None,
    source: As = None,
    input_size: Annotated[
        int, typer.Option(min=16, help="Longer side of the network input that boxes must survive.")
    ] = 640,
    images: Annotated[
        bool, typer.Option("--images/--no-images", help="Decode every image, or only look for it.")
    ] = True,
    fix: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Write a repaired copy into this new folder.")
    ] = None,
    fix_images: Annotated[Bring, typer.Option(help="How images get into the copy.")] = Bring.COPY,
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write everything that was found as JSON.")
    ] = None,
    limit: Annotated[
        int, typer.Option(min=0, help="Most findings shown of each kind; 0 shows all.")
    ] = 5,
) -> None:
    """Look for every fault of a data set; exit code 1 when an error is found (and not repaired)."""
    import orjson

    from gazehound.cli.data_report import print_report
    from gazehound.data.check import check as run_check
    from gazehound.data.repair import REPORT_FILE, repair

    with _bars() as bars:
        report = run_check(path, split, source, input_size=input_size, images=images, progress=bars)
    print_report(report, limit)
    if json is not None:
        json.write_bytes(orjson.dumps(report.as_dict(), option=orjson.OPT_INDENT_2))
    if fix is None:
        raise typer.Exit(0 if report.passed else 1)
    with _bars() as bars:
        total = sum(len(parsed.dataset) for parsed in report.splits.values())
        lines = repair(report, fix, fix_images, bars("writing", total))
        again = run_check(fix, input_size=input_size, images=images, progress=bars)
    changed = sum(" -> " in line for line in lines)
    state = "passes the check" if again.passed else "still has errors; check it again"
    typer.echo(f"{fix}: {changed} repairs, told in {fix / REPORT_FILE}; the copy {state}")
    raise typer.Exit(0 if again.passed else 1)


@app.command()
def convert(
    path: Source,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new or an empty folder.")],
    to: Annotated[Format, typer.Option(help="The format to write.")],
    split: Split = None,
    source: As = None,
    images: Images = Bring.COPY,
) -> None:
    """Write a data set in another format, and say what that format cannot hold."""
    from gazehound.data import available_splits, open_dataset, write_dataset

    names = (split,) if split or _carries_split(path) else available_splits(path, source) or (None,)
    datasets = [open_dataset(path, name, source) for name in names]
    with _bars() as bars:
        step = bars("writing", sum(map(len, datasets)))
        told = write_dataset(datasets, out, to, images, step)
    for dataset in datasets:
        name = f" {dataset.split}:" if dataset.split else ""
        typer.echo(f"{out}:{name} {len(dataset)} images, {len(dataset.boxes)} boxes as {to}")
    for line in told:
        typer.echo(f"not held by {to}: {line}")


@app.command()
def shapes(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new or an empty folder.")],
    count: Annotated[int, typer.Option(min=1, help="Pictures of the training split.")] = 400,
    val: Annotated[int, typer.Option(min=0, help="Pictures of the validation split.")] = 100,
    seed: Annotated[int, typer.Option(help="Of all random choices.")] = 0,
    size: Annotated[int, typer.Option(min=16, help="Height and width in pixels.")] = 256,
    empty: Annotated[float, typer.Option(min=0, max=1, help="Share of empty pictures.")] = 0.05,
    to: Annotated[Format, typer.Option("--format", help="The format to write.")] = Format.COCO,
) -> None:
    """Draw a procedural data set of coloured shapes, for a first try of everything."""
    from gazehound.data import write_dataset
    from gazehound.data.shapes import shapes as draw

    datasets = [draw(count, seed, size, empty=empty, split="train")]
    if val:
        datasets.append(draw(val, seed + 1, size, empty=empty, split="val"))
    with _bars() as bars:
        told = write_dataset(datasets, out, to, progress=bars("drawing", count + val))
    boxes = sum(len(dataset.boxes) for dataset in datasets)
    typer.echo(f"{out}: {count} + {val} pictures, {boxes} boxes as {to}")
    for line in told:
        typer.echo(f"not held by {to}: {line}")


@app.command()
def preview(
    path: Source,
    out: Annotated[Path, typer.Option("--out", "-o", help="The picture to write.")] = Path(
        "preview.jpg"
    ),
    split: Split = None,
    source: As = None,
    recipe: Annotated[
        Path | None, typer.Option(help="Show the augmentation of this recipe file.")
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any recipe setting: --set augment.mosaic=1 --set size=416."),
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Pictures shown.")] = 12,
    columns: Annotated[int, typer.Option(min=1, help="Pictures side by side.")] = 4,
    epoch: Annotated[int, typer.Option(min=0, help="Of the run, from 0.")] = 0,
) -> None:
    """Draw augmented training pictures with their boxes, as a network would get them."""
    from gazehound.cli.data_preview import preview_recipe, write_preview
    from gazehound.cli.train import merge, pair
    from gazehound.data import open_dataset

    wanted = preview_recipe(recipe, path, merge({}, [pair(text) for text in setting or ()]))
    dataset = open_dataset(path, split or (None if _carries_split(path) else "train"), source)
    boxes = write_preview(dataset, wanted, out, count=count, columns=columns, epoch=epoch)
    typer.echo(f"{out}: {min(count, len(dataset))} pictures, {boxes} boxes")


@app.command()
def anchors(
    path: Source,
    split: Split = None,
    source: As = None,
    number: Annotated[int, typer.Option(min=1, help="How many anchors.")] = 9,
    size: Annotated[int, typer.Option(min=16, help="Input size in pixels.")] = 416,
    resize: Annotated[Resize, typer.Option(help="How pictures get to that size.")] = Resize.LONGER,
    generations: Annotated[int, typer.Option(min=0, help="Mutations tried.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write them as JSON.")] = None,
) -> None:
    """Learn anchors from the boxes of a data set: k-means with 1 - IoU, then an evolution."""
    import orjson

    from gazehound.cli.data_preview import anchor_lines
    from gazehound.data import open_dataset

    dataset = open_dataset(path, split or (None if _carries_split(path) else "train"), source)
    learned, lines = anchor_lines(dataset, number, size, resize, generations, seed)
    for line in lines:
        typer.echo(line)
    if json is not None:
        found = {
            "anchors": learned.shapes.tolist(),
            "clustered": learned.clustered,
            "evolved": learned.evolved,
        }
        json.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2))


def _carries_split(path: str) -> bool:
    from gazehound.data.opening import split_of_path

    return split_of_path(path, None)[1] is not None


@contextmanager
def _bars() -> Iterator[Progress]:
    """Give a maker of progress bars on stderr; they show only on a terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    with Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True,
        disable=not console.is_terminal,
    ) as progress:  # fmt: skip

        def bar(title: str, total: int) -> Callable[[], None]:
            task = progress.add_task(title, total=total)
            return lambda: progress.advance(task)

        yield bar
