"""The work of ``gazehound predict``: sources in, detections and pictures out, faults collected."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gazehound.adapters.detections import write_detections
from gazehound.data.sources import Frame, Kind, Source, find_sources, frames
from gazehound.errors import GazehoundError, ImageError, unknown_name
from gazehound.features.tracking import Tracker
from gazehound.records import TRACK, UNTRACKED, Classes, Detections
from gazehound.reports.drawing import draw_detections
from gazehound.reports.video import VideoWriter

if TYPE_CHECKING:
    from gazehound.model import Model

BAR_FROM = 5  # sources, or one video
LOWEST_TRACKED = 0.1  # scores down to which a track is continued


@dataclass(frozen=True)
class Options:
    """What the user asked for; see ``gazehound predict --help``."""

    model: str
    sources: tuple[str, ...]
    score: float = 0.25
    formats: tuple[str, ...] = ("images",)
    out: Path = Path("runs/predict")
    classes: tuple[str, ...] = ()
    batch: int = 1
    device: str | None = None
    tile: int | None = None
    overlap: float = 0.2
    whole_image: bool = True
    tta: bool = False
    track: bool = False

    @property
    def looks(self) -> dict[str, Any]:
        """Return how the model looks at each picture, as arguments of ``Model.predict``."""
        tiles = {"tile": self.tile, "overlap": self.overlap, "whole_image": self.whole_image}
        return (tiles if self.tile is not None else {}) | ({"tta": True} if self.tta else {})

    @property
    def lowest(self) -> float:
        """Return the lowest score that is asked for: tracking continues tracks with lower ones."""
        return min(self.score, LOWEST_TRACKED) if self.track else self.score


@dataclass
class _Film:
    """The video or camera that is being worked on."""

    source: Source
    writer: VideoWriter | None = None
    frames: int = 0
    seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    tracks: set[int] = field(default_factory=set)


@dataclass
class _Run:
    """What has come out so far."""

    options: Options
    console: Console
    found: list[Detections] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    pictures: int = 0
    seconds: float = 0.0
    film: _Film | None = None
    tracker: Tracker | None = None
    tracked: Source | None = None

    def fault(self, line: str) -> None:
        """Report a fault at once and remember it."""
        self.faults.append(line)
        Console(stderr=True).print(f"gazehound: {escape(line)}", highlight=False, soft_wrap=True)

    def follow(self, frame: Frame, found: Detections) -> Detections:
        """Give the objects of a film their ids; a picture has none."""
        if not self.options.track:
            return found
        if frame.time is None:
            return found.above(self.options.score)
        if self.tracker is None or self.tracked is not frame.source:
            high = max(self.options.score, LOWEST_TRACKED)
            second = max(1, round(frame.rate or 30))
            self.tracker, self.tracked = Tracker(high, LOWEST_TRACKED, buffer=second), frame.source
        followed = self.tracker.update(found)
        kept = (followed.scores >= self.options.score) | (followed.extras[TRACK] != UNTRACKED)
        return followed.select(kept)

    def take(self, frame: Frame, found: Detections, seconds: float) -> None:
        """Count, keep, draw and report the detections of one frame."""
        if self.film is not None and self.film.source is not frame.source:
            self.end_film()
        counts = Counter(found.names)
        self.counts += counts
        self.pictures += 1
        self.seconds += seconds
        if set(self.options.formats) - {"images"}:
            self.found.append(found)
            self.names.append(_name(frame))
        picture = draw_detections(frame.image, found) if "images" in self.options.formats else None
        if frame.time is not None:
            self._take_moving(frame, picture, counts, seconds)
            if self.film is not None and TRACK in found.extras:
                self.film.tracks |= set(found.extras[TRACK].tolist()) - {UNTRACKED}
            return
        if picture is not None:
            _save(picture, _target(self.options.out, frame.source, ".jpg"))
        height, width = found.image_size
        self._line(frame.source.path, f"{width}x{height}", counts, seconds)

    def _take_moving(
        self, frame: Frame, picture: NDArray[np.uint8] | None, counts: Counter[str], seconds: float
    ) -> None:
        if self.film is None:
            self.film = _Film(frame.source)
            if picture is not None:
                target = _target(self.options.out, frame.source, ".mp4")
                self.film.writer = VideoWriter(target, frame.rate or 25.0)
        if self.film.writer is not None and picture is not None:
            self.film.writer.write(picture, frame.time)
        self.film.frames += 1
        self.film.seconds += seconds
        self.film.counts += counts

    def end_film(self) -> None:
        """Finish the video that is being written, and report on it."""
        film, self.film = self.film, None
        if film is None:
            return
        if film.writer is not None:
            film.writer.close()
        each = film.seconds / film.frames
        tracks = f", {len(film.tracks)} tracks" if self.options.track else ""
        self._line(film.source.path, f"{film.frames} frames{tracks}", film.counts, each)

    def _line(self, name: str, what: str, counts: Counter[str], seconds: float) -> None:
        self.console.print(
            f"{escape(name)}  [dim]{what}[/]  {_told(counts)}  [dim]{1000 * seconds:.0f} ms[/]",
            highlight=False,
            soft_wrap=True,
        )


def run(options: Options, console: Console | None = None) -> list[str]:
    """Detect on everything and write what was asked for.

    Returns:
        One line for every source that could not be read; each is already on stderr.

    Raises:
        GazehoundError: the model cannot be loaded, an option is wrong, or nothing can be written.
    """
    from gazehound.model import load

    console = console or Console()
    model = load(options.model)
    if options.device:
        model.to(options.device)
    labels = _labels(options.classes, model.classes)
    found = find_sources(options.sources)
    work = _Run(options, console)
    for fault in found.faults:
        work.fault(fault)
    for note in found.notes:
        console.print(f"[yellow]note[/] {escape(note)}", highlight=False, soft_wrap=True)
    still = sum(source.kind in (Kind.IMAGE, Kind.STDIN) for source in found.sources)
    if options.track and still:
        console.print(
            f"[yellow]note[/] --track follows objects through videos and cameras; {still} of the sources "
            "are pictures, which have no tracks",
            highlight=False,
            soft_wrap=True,
        )
    if found.sources:
        _detect(work, model, found.sources, labels)
        _finish(work, model.classes)
    return work.faults


def _labels(names: Sequence[str], classes: Classes) -> list[int]:
    label_of = classes.label_of_name()
    for name in names:
        if name not in label_of:
            raise unknown_name("class", name, label_of)
    return [label_of[name] for name in names]


def _detect(work: _Run, model: Model, sources: Sequence[Source], labels: list[int]) -> None:
    moving = any(source.kind in (Kind.VIDEO, Kind.CAMERA) for source in sources)
    bar = Progress(
        TextColumn("[dim]{task.description}"), BarColumn(), MofNCompleteColumn(),
        TextColumn("[dim]{task.fields[speed]}"), TimeRemainingColumn(),
        console=work.console, transient=True,
        disable=not work.console.is_terminal or not (moving or len(sources) >= BAR_FROM),
    )  # fmt: skip
    with bar:
        task = bar.add_task("", total=len(sources), speed="")
        stream = _stream(work, sources, lambda: bar.advance(task))
        try:
            while batch := list(islice(stream, work.options.batch)):
                _predict(work, model, batch, labels)
                speed = work.pictures / max(work.seconds, 1e-9)
                name = escape(Path(batch[-1].source.path).name)
                bar.update(task, description=name, speed=f"{speed:.1f} a second")
        except KeyboardInterrupt:
            work.console.print("[yellow]stopped[/]; what was done so far is written")
        finally:
            work.end_film()


def _stream(work: _Run, sources: Sequence[Source], advance: Callable[[], None]) -> Iterator[Frame]:
    """Yield the frames of all sources; one that cannot be read is a fault, and the next follows."""
    for source in sources:
        try:
            yield from frames(source)
        except ImageError as error:
            work.fault(str(error))
        advance()


def _predict(work: _Run, model: Model, batch: Sequence[Frame], labels: list[int]) -> None:
    started = time.perf_counter()
    found = model.predict(
        [frame.image for frame in batch],
        score=work.options.lowest,
        batch=len(batch),
        **work.options.looks,
    )
    seconds = (time.perf_counter() - started) / len(batch)
    for frame, record in zip(batch, found, strict=True):
        chosen = record.select(np.isin(record.labels, labels)) if labels else record
        file = f"{_name(frame)}.jpg" if frame.time is not None else frame.source.path
        work.take(frame, work.follow(frame, replace(chosen, file=file)), seconds)


def _finish(work: _Run, classes: Classes) -> None:
    """Write the detection files and say what there is now."""
    out = work.options.out
    written = [
        str(write_detections(work.found, classes, wanted, out / _folder(wanted), work.names))
        for wanted in work.options.formats
        if wanted != "images" and work.pictures
    ]
    if "images" in work.options.formats and work.pictures:
        written.insert(0, f"{out}{os.sep}")
    speed = work.pictures / work.seconds if work.seconds else 0
    total, kind = sum(work.counts.values()), "picture" if work.pictures == 1 else "pictures"
    work.console.print(
        f"[bold]{work.pictures}[/] {kind}, [bold]{total}[/] objects ({_told(work.counts)}), "
        f"{speed:.1f} pictures a second",
        highlight=False,
        soft_wrap=True,
    )
    if written:
        work.console.print(
            f"written: {escape(', '.join(written))}", highlight=False, soft_wrap=True
        )
    if work.faults:
        count = len(work.faults)
        work.console.print(f"[red]{count} could not be read[/] (see above)", highlight=False)


def _told(counts: Counter[str]) -> str:
    return ", ".join(f"{n} {escape(kind)}" for kind, n in counts.most_common()) or "[dim]nothing[/]"


def _folder(wanted: str) -> str:
    """Return the subfolder of a format: those with many files have one of their own."""
    return {"yolo": "yolo", "voc": "voc"}.get(wanted, "")


def _name(frame: Frame) -> str:
    moving = frame.time is not None
    return f"{frame.source.name}_{frame.index:06d}" if moving else frame.source.name


def _target(out: Path, source: Source, suffix: str) -> Path:
    """Return where the drawn picture goes; never over the file that it was made from."""
    target = out / f"{source.name}{suffix}"
    if target.resolve() == Path(source.path).resolve():
        return target.with_name(f"{target.stem}_detections{suffix}")
    return target


def _save(picture: NDArray[np.uint8], target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(target, quality=92)
    except OSError as error:
        raise GazehoundError(f"{target}: cannot be written ({error.strerror or error})") from None
