"""The trained weights behind a name: bundled with the package, on this machine, or to be fetched.

What is fetched is converted at once and kept as a native checkpoint in ``weights/`` of the cache
folder: ``GAZEHOUND_HOME``, or ``gazehound`` in ``XDG_CACHE_HOME`` or in ``~/.cache``. An official file
that someone put into ``downloads/`` there is used instead of the network. ``GAZEHOUND_OFFLINE=1``
forbids the network; ``GAZEHOUND_MIRROR`` names a folder on a server that has all files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from gazehound.catalog import WEIGHTS, find, squeezed
from gazehound.checkpoints.importing import import_file
from gazehound.checkpoints.native import Header
from gazehound.checkpoints.published.download import Patience, Report, check, download, hash_of
from gazehound.checkpoints.published.rows import ROWS, Published
from gazehound.checkpoints.rebuild import save
from gazehound.errors import CheckpointError, ConfigError, unknown_name

MEGABYTE = 1e6


def home() -> Path:
    """Return the folder of what this machine keeps."""
    own = os.environ.get("GAZEHOUND_HOME")
    if own:
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "gazehound"


def published_for(name: str) -> list[Published]:
    """Return the files that are published for a name of the catalogue, the default first."""
    return [row for row in ROWS if row.name == name]


def find_published(name: str) -> Published | None:
    """Return the file that a name means; None for a name of the catalogue that has none.

    Args:
        name: of the catalogue (``faster_rcnn_r50``, ``fasterrcnn-resnet50-fpn``), with a variant
            (``faster_rcnn_r50@detectron2``), or what the publisher calls it (``tf_efficientdet_d0``).

    Raises:
        ConfigError: nobody knows the name, or the model has no such variant.
    """
    model, _, variant = name.partition("@")
    theirs = [row for row in ROWS if squeezed(row.known_as) == squeezed(model)]
    try:
        rows = published_for(find(model).name)
    except ConfigError:
        if not theirs:
            raise
        rows = theirs
    if not variant:
        return rows[0] if rows else None
    by_variant = {row.variant: row for row in rows}
    if variant not in by_variant:
        raise unknown_name(f"weights of '{model}'", variant, by_variant)
    return by_variant[variant]


def weights_file(name: str, console: Console | None = None) -> Path:
    """Return the native checkpoint of a name; the first time it is downloaded and converted.

    Args:
        name: see :func:`find_published`; a bundled model needs no download.
        console: where the progress and the licences are told; default standard error.

    Raises:
        ConfigError: the name is unknown, or has no trained weights.
        CheckpointError: the file cannot be had or read; the message says what to put where.
    """
    row = find_published(name)
    entry = find(name if row is None else row.name)
    if entry.weights is not None and "@" not in name:
        return WEIGHTS / entry.weights
    if row is None:
        raise ConfigError(
            f"'{entry.name}' has no trained weights in this package, and none that it knows are "
            f"published: train it (gazehound train {entry.name} --data ...) or import a file; "
            "`gazehound models` lists what there is"
        )
    return native_file(row, console)


def cached(row: Published) -> Path | None:
    """Return this machine's checkpoint of published weights, if it has one."""
    file = _native_name(row)
    return file if file.is_file() else None


def native_file(
    row: Published, console: Console | None = None, patience: Patience | None = None
) -> Path:
    """Return the native checkpoint of published weights; see :func:`weights_file`.

    Processes that want the same weights at once wait for the first one.
    """
    target = _native_name(row)
    if target.is_file():
        return target
    console = console or Console(stderr=True)
    with _locked(target):
        if not target.is_file():
            official = home() / "downloads" / row.file
            placed = official.is_file()
            sha256 = _checked(official, row) if placed else _fetch(row, official, console, patience)
            try:
                _convert(official, row, sha256, target)
            finally:
                if not placed:  # a file that does not fit would not fit the next time either
                    official.unlink()
    return target


def _native_name(row: Published) -> Path:
    hash_part = row.digest.partition(":")[2][:8]
    stem = "-".join(part for part in (row.name, row.variant, hash_part) if part)
    return home() / "weights" / f"{stem}.safetensors"


@contextmanager
def _locked(target: Path) -> Iterator[None]:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_suffix(".lock")):
            yield
    except OSError as error:
        raise CheckpointError(
            f"{error.filename or target.parent}: cannot be written ({error.strerror}); "
            "set GAZEHOUND_HOME to a folder that can"
        ) from None


def _checked(official: Path, row: Published) -> str:
    check(official, row.digest)
    return hash_of(official, "sha256")


def _fetch(row: Published, official: Path, console: Console, patience: Patience | None) -> str:
    if os.environ.get("GAZEHOUND_OFFLINE", "0").lower() not in ("", "0", "false", "no"):
        raise CheckpointError(
            f"{row.title}: its weights are not on this machine, and GAZEHOUND_OFFLINE is set; "
            + _by_hand(row, official)
        )
    _tell(row, console)
    try:
        with _bar(row, console) as report:
            return download(_addresses(row), official, row.digest, report, patience)
    except CheckpointError as error:
        raise CheckpointError(f"{error}; {_by_hand(row, official)}") from None


def _addresses(row: Published) -> tuple[str, ...]:
    mirror = os.environ.get("GAZEHOUND_MIRROR")
    return (f"{mirror.rstrip('/')}/{row.file}",) if mirror else row.urls


def _by_hand(row: Published, official: Path) -> str:
    return f"to go without: get {row.urls[0]} on another machine and put it here as {official}"


def _tell(row: Published, console: Console) -> None:
    """Say what comes, from whom, and on what terms."""
    size = f", {row.megabytes:.0f} MB" if row.megabytes else ""
    for line in (
        f"{row.title}: {row.publisher.name}'s {row.known_as}, {row.score} {row.measure}{size}",
        f"licence of the weights: {row.publisher.note}",
        f"licence of the code that made them: {row.publisher.code_licence} ({row.publisher.page}); "
        "gazehound's own code: Apache-2.0",
    ):
        console.print(line, highlight=False, soft_wrap=True, markup=False)


@contextmanager
def _bar(row: Published, console: Console) -> Iterator[Report]:
    columns = (
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
        TimeRemainingColumn(),
    )  # fmt: skip
    shown = console.is_terminal or console.is_jupyter
    with Progress(*columns, console=console, transient=True, disable=not shown) as progress:
        expected = None if row.megabytes is None else row.megabytes * MEGABYTE
        task = progress.add_task(row.file, total=expected)

        def report(here: int, total: int | None) -> None:
            progress.update(task, completed=here, total=total or expected)

        yield report


def _convert(official: Path, row: Published, sha256: str, target: Path) -> None:
    """Write the native checkpoint; its notes say where it comes from and on what terms."""
    try:
        detector, header = import_file(official, row.publisher.name, row.name)
    except (CheckpointError, ConfigError) as error:
        raise CheckpointError(f"{row.title}: {error}") from None
    notes = {
        **header.notes,
        "published": {
            "name": row.known_as,
            "url": row.urls[0],
            "sha256": sha256,
            "score": row.score,
            "measure": row.measure,
            "code_licence": row.publisher.code_licence,  # of the code that made the weights
        },
        "weights_licence": row.publisher.note,  # goes along into exported files
    }
    kept = Header(header.detector, header.arguments, header.classes, header.preprocess, notes)
    save(target, detector, kept)
