"""The work of ``gazehound predict --engine ray``: many images, many workers, Parquet out.

The images are listed, sorted and cut into shards once. A shard is the unit of everything: Ray Data
hands whole shards to workers, a worker writes one file per shard under a temporary name and renames it,
and a shard whose file exists is done. So a worker that dies loses nothing and doubles nothing, wherever
it dies, and the same command goes on where the last one stopped.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape

from gazehound.cli.bulk_images import PURPOSE, list_images, read
from gazehound.errors import (
    ConfigError,
    GazehoundError,
    MissingDependency,
    unknown_name,
)
from gazehound.model import load
from gazehound.records import Detections

PLAN = "plan.json"
PER_SHARD = 1000  # images; a file of some megabytes, and what a dying worker has to do again
READERS = 8  # threads of a worker that read and decode
RETRIES = 3  # times that a shard is begun again after its worker died
TOLD = 5  # images that could not be read, named one by one


@dataclass(frozen=True)
class BulkOptions:
    """What every worker must know.

    Attributes:
        model: a checkpoint that all workers can read, or a name with bundled weights.
        score: lowest score kept.
        out: the folder of the shards; all workers write into it.
        classes: names of the classes kept; empty for all.
        batch: images that go through a network together.
        device: of the network; ``None`` takes a GPU where Ray has one.
        per_shard: images of a shard.
    """

    model: str
    score: float
    out: Path
    classes: tuple[str, ...] = ()
    batch: int = 1
    device: str | None = None
    per_shard: int = PER_SHARD

    def file(self, shard: int) -> Path:
        """Return the file of a shard."""
        return self.out / f"shard-{shard:06d}.parquet"

    def begun(self, shard: int) -> Path:
        """Return the file that counts how often a shard was begun in this run."""
        return self.out / f".shard-{shard:06d}.begun"


def run_bulk(
    words: Sequence[str], options: BulkOptions, console: Console | None = None
) -> list[str]:
    """Detect on everything with Ray Data and write ``shard-*.parquet``.

    A row per image: its address, height, width, boxes (xyxy in its pixels), scores, labels, names; or
    the reason why it could not be read, in ``fault``.

    Returns:
        One line for every image that could not be read.

    Raises:
        ConfigError: nothing to do there, or the folder holds another run.
        GazehoundError: a shard killed its worker again and again.
    """
    console = console or Console()
    _need_packages()
    classes = load(options.model).classes  # a wrong model is said before Ray starts
    for name in options.classes:
        if name not in classes.names:
            raise unknown_name("class", name, classes.names)
    images = list_images(words)
    claim(options, images)
    cut = range(0, len(images), options.per_shard)
    shards = [(k, images[start : start + options.per_shard]) for k, start in enumerate(cut)]
    waiting = [(k, names) for k, names in shards if not options.file(k).exists()]
    for k, _ in waiting:
        options.begun(k).unlink(missing_ok=True)
    console.print(
        f"{len(images)} images in {len(shards)} shards, {len(shards) - len(waiting)} of them done",
        highlight=False,
    )
    began, done = time.monotonic(), 0
    for row in _detect(waiting, options) if waiting else ():
        done += int(row["images"])
        speed = done / (time.monotonic() - began)
        console.print(
            f"shard {row['shard']:>6}  {row['images']} images  {row['objects']} objects  "
            f"[dim]{speed:.1f} images a second[/]",
            highlight=False,
        )
    return _report(options, len(shards), console)


def _need_packages() -> None:
    for package in ("ray", "pyarrow"):
        try:
            __import__(package)
        except ImportError:
            raise MissingDependency(package, PURPOSE, "scale") from None


def claim(options: BulkOptions, images: Sequence[str]) -> None:
    """Write the plan of a run, or see that the folder's is the same.

    Raises:
        ConfigError: the folder holds the detections of another model, other images or other options.
    """
    plan = {name: value for name, value in asdict(options).items() if name not in FREE}
    plan["classes"] = list(options.classes)
    plan["weights"] = _digest([Path(options.model).read_bytes()]) if _is_file(options) else None
    plan["images"] = _digest(name.encode() + b"\n" for name in images)
    file = options.out / PLAN
    if file.exists():
        before = json.loads(file.read_text())
        changed = [name for name, value in plan.items() if before.get(name) != value]
        if changed:
            raise ConfigError(
                f"{options.out}: holds the shards of another run ({', '.join(changed)} differ); "
                "give another --out"
            )
        return
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        part.write_text(json.dumps(plan, indent=1))
        part.replace(file)
    except OSError as error:
        raise GazehoundError(f"{file}: cannot be written ({error.strerror})") from None


FREE = ("out", "batch", "device")  # options that may change between two starts of one run


def _is_file(options: BulkOptions) -> bool:
    return Path(options.model).is_file()


def _digest(parts: Iterable[bytes]) -> str:
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        state.update(part)
    return state.hexdigest()


def _detect(
    shards: Sequence[tuple[int, list[str]]], options: BulkOptions
) -> Iterator[dict[str, Any]]:
    """Yield what became of each shard, as they are finished."""
    import ray

    if not ray.is_initialized():
        ray.init(log_to_driver=False, include_dashboard=False, logging_level=logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    resources = ray.cluster_resources()
    gpus = int(resources.get("GPU", 0))
    places = gpus or max(1, int(resources.get("CPU", 1)))
    table = ray.data.from_items(
        [{"shard": k, "names": names} for k, names in shards], override_num_blocks=len(shards)
    )
    work = table.map(
        Worker,  # type: ignore[arg-type]
        fn_constructor_args=(options,),
        compute=ray.data.ActorPoolStrategy(
            size=min(places, len(shards)), max_tasks_in_flight_per_actor=1
        ),  # no shard waits behind another while a worker is free
        num_cpus=0 if gpus else 1,
        num_gpus=1 if gpus else 0,
    )
    try:
        yield from work.iter_rows()
    except GazehoundError:
        raise
    except Exception as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, GazehoundError):
            raise type(cause)(str(cause)) from None
        reason = str(error).strip().splitlines()[-1]
        raise GazehoundError(
            f"Ray gave up ({reason}); what is written is whole, and the same command goes on from it"
        ) from error


class Worker:
    """Detects on shard after shard; lives in a process of Ray's.

    Args:
        options: of the run.
    """

    def __init__(self, options: BulkOptions) -> None:
        import torch

        self.options = options
        self.model = load(options.model)
        device = options.device or ("cuda" if torch.cuda.is_available() else None)
        if device:
            self.model.to(device)
        label_of = self.model.classes.label_of_name()
        self.labels = [label_of[name] for name in options.classes]

    def __call__(self, shard: dict[str, Any]) -> dict[str, Any]:
        """Write the file of a shard, whole or not at all; return its numbers.

        Ray begins a shard again whenever its worker dies.

        Raises:
            GazehoundError: this shard's workers died again and again; it holds an image that kills.
        """
        begun = self.options.begun(int(shard["shard"]))
        with begun.open("a") as stream:
            stream.write(".")
        if begun.stat().st_size > 1 + RETRIES:
            raise GazehoundError(
                f"shard {shard['shard']}: its worker died {1 + RETRIES} times; one of its images is too "
                f"much for the memory or kills the detector ({shard['names'][0]} and following)"
            )
        rows = list(self._rows([str(name) for name in shard["names"]]))
        write_shard(self.options.file(int(shard["shard"])), rows)
        begun.unlink(missing_ok=True)
        objects = sum(len(row["scores"]) for row in rows)
        return {"shard": shard["shard"], "images": len(rows), "objects": objects}

    def _rows(self, names: list[str]) -> Iterator[dict[str, Any]]:
        """Yield a row per image; the next images are read while these are looked at."""
        size = max(READERS, self.options.batch)
        with ThreadPoolExecutor(READERS) as readers:
            chunks = iter([names[k : k + size] for k in range(0, len(names), size)])
            ask = partial(readers.map, read)
            coming = [(chunk, ask(chunk)) for chunk in islice(chunks, 1)]
            while coming:
                chunk, pictures = coming.pop()
                coming = [(after, ask(after)) for after in islice(chunks, 1)]
                yield from self._look(chunk, list(pictures))

    def _look(
        self, names: Sequence[str], pictures: Sequence[NDArray[np.uint8] | str]
    ) -> Iterator[dict[str, Any]]:
        readable = [picture for picture in pictures if not isinstance(picture, str)]
        options = self.options
        found = iter(self.model.predict(readable, score=options.score, batch=options.batch))
        for name, picture in zip(names, pictures, strict=True):
            if isinstance(picture, str):
                yield _row(name, fault=picture)
                continue
            record = next(found)
            chosen = record.select(np.isin(record.labels, self.labels)) if self.labels else record
            yield _row(name, chosen)


def _row(name: str, found: Detections | None = None, fault: str | None = None) -> dict[str, Any]:
    row: dict[str, Any] = {"image": name, "height": None, "width": None, "fault": fault}
    if found is None:
        return {**row, "boxes": [], "scores": [], "labels": [], "names": []}
    height, width = found.image_size
    columns = {
        "boxes": found.boxes.tolist(),
        "scores": found.scores.tolist(),
        "labels": found.labels.tolist(),
        "names": list(found.names),
    }
    return {**row, "height": height, "width": width, **columns}


def write_shard(file: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows under a name of this process's own, then rename: the file is whole or not there."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        {
            "image": pa.string(),
            "height": pa.int32(),
            "width": pa.int32(),
            "boxes": pa.list_(pa.list_(pa.float32(), 4)),
            "scores": pa.list_(pa.float32()),
            "labels": pa.list_(pa.int32()),
            "names": pa.list_(pa.string()),
            "fault": pa.string(),
        }
    )
    part = file.with_name(f".{file.stem}.{os.uname().nodename}.{os.getpid()}.part")
    try:
        pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), part)
        part.replace(file)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise GazehoundError(f"{file}: cannot be written ({error.strerror or error})") from None


def _report(options: BulkOptions, shards: int, console: Console) -> list[str]:
    """Read the shards' counts and faults back, and say what there is now."""
    import pyarrow.parquet as pq

    for left in options.out.glob(".*.part"):
        left.unlink(missing_ok=True)  # of workers that died
    images, faults = 0, []
    for shard in range(shards):
        column = pq.read_table(options.file(shard), columns=["fault"])["fault"].to_pylist()
        images += len(column)
        faults += [fault for fault in column if fault is not None]
    for fault in faults[:TOLD]:
        console.print(f"gazehound: {escape(fault)}", highlight=False, soft_wrap=True)
    more = f", {len(faults)} of them could not be read (column 'fault')" if faults else ""
    console.print(
        f"{images} images{more}; written: {escape(str(options.out))}{os.sep}shard-*.parquet",
        highlight=False,
        soft_wrap=True,
    )
    return faults
