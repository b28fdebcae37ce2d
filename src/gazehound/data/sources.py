"""What a user names on the command line, as a stream of frames: files, folders, globs, videos, cameras.

:func:`find_sources` turns the words into a list of sources, :func:`frames` opens one of them. Nothing
is left out in silence: a word that leads nowhere is in ``Found.faults``, files of a folder that are
neither pictures nor videos are counted in ``Found.notes``.
"""

from __future__ import annotations

import glob
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any, Final

import numpy as np

from gazehound.data.images import IMAGE_SUFFIXES, RGBImage, decode_image, read_image
from gazehound.errors import ImageError

VIDEO_SUFFIXES: Final = frozenset(
    {".3gp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts"}
    | {".webm", ".wmv"}
)
"""File name endings that count as videos; compare in lower case."""


class Kind(Enum):
    """What a source is."""

    IMAGE = "image"
    VIDEO = "video"
    CAMERA = "camera"
    STDIN = "standard input"


@dataclass(frozen=True)
class Source:
    """One picture, video or camera.

    Attributes:
        kind: which of them.
        path: of the file; the number of a camera; ``-`` for standard input.
        name: where its output goes, below the output folder, without suffix; unique in one call.
    """

    kind: Kind
    path: str
    name: str


@dataclass(frozen=True)
class Found:
    """What the words of a user led to.

    Attributes:
        sources: in the order given, folders in natural order (``2.jpg`` before ``10.jpg``).
        faults: one line for every word that led nowhere.
        notes: one line for every folder with files that were left out, and for repeated files.
    """

    sources: tuple[Source, ...]
    faults: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Frame:
    """One picture to detect on.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        source: where it came from.
        index: number within its video, from 0; 0 for a picture.
        time: seconds from the start of its video; ``None`` for a picture.
        rate: frames per second of its video; ``None`` for a picture.
    """

    image: RGBImage
    source: Source
    index: int = 0
    time: float | None = None
    rate: float | None = None


@dataclass
class _Search:
    """The sources found so far."""

    sources: list[Source] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    repeated: int = 0

    def add(self, path: Path, name: Path | None = None) -> None:
        key = str(path.resolve())
        if key in self.seen:
            self.repeated += 1
            return
        self.seen.add(key)
        kind = Kind.VIDEO if path.suffix.lower() in VIDEO_SUFFIXES else Kind.IMAGE
        target = (name or Path(path.name)).with_suffix("")
        self.sources.append(Source(kind, str(path), target.as_posix()))


def find_sources(words: Sequence[str]) -> Found:
    """Find pictures, videos and cameras.

    Args:
        words: each a file, a folder (searched with its subfolders), a glob pattern (``**`` too), the
            number of a camera (``0``), or ``-`` for a picture on standard input.
    """
    search = _Search()
    for word in words:
        _add_word(search, word)
    if search.repeated:
        search.notes.append(f"{search.repeated} files were given more than once; each is used once")
    return Found(_unique(search.sources), tuple(search.faults), tuple(search.notes))


def _add_word(search: _Search, word: str) -> None:
    path = Path(word).expanduser()
    if word == "-":
        search.sources.append(Source(Kind.STDIN, "-", "stdin"))
    elif path.is_dir():
        _add_folder(search, path)
    elif path.exists():
        search.add(path)
    elif word.isdigit():
        search.sources.append(Source(Kind.CAMERA, word, f"camera{word}"))
    elif glob.has_magic(word):
        _add_pattern(search, word)
    elif re.match(r"[a-z]+://", word):
        search.faults.append(f"{word}: is an address; download the file and give its path")
    else:
        search.faults.append(f"{word}: no such file or folder")


def _add_folder(search: _Search, folder: Path) -> None:
    others: Counter[str] = Counter()
    count = 0
    for path in sorted(folder.rglob("*"), key=_natural):
        inside = path.relative_to(folder)
        if path.is_dir() or any(part.startswith(".") for part in inside.parts):
            continue
        if path.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES:
            search.add(path, inside)
            count += 1
        else:
            others[path.suffix.lower() or "without suffix"] += 1
    kinds = ", ".join(f"{n} {suffix}" for suffix, n in others.most_common(5))
    if not count:
        has = f"it has only {kinds}" if others else "it is empty"
        search.faults.append(f"{folder}: no pictures or videos in this folder ({has})")
    elif others:
        search.notes.append(f"{folder}: {others.total()} other files left out ({kinds})")


def _add_pattern(search: _Search, pattern: str) -> None:
    paths = [Path(p) for p in glob.glob(pattern, recursive=True)]  # noqa: PTH207 (any root)
    files = sorted((path for path in paths if path.is_file()), key=_natural)
    if not files:
        search.faults.append(f"{pattern}: the pattern matches no file")
    base = Path(*_plain_parts(pattern))
    for path in files:
        search.add(path, path.relative_to(base) if path.is_relative_to(base) else None)


def _plain_parts(pattern: str) -> list[str]:
    """Return the folders of a pattern before its first wildcard."""
    parts: list[str] = []
    for part in Path(pattern).parts[:-1]:
        if glob.has_magic(part):
            break
        parts.append(part)
    return parts


def _natural(path: Path) -> list[tuple[int, int | str]]:
    """Sort numbers inside names by value."""
    words = re.split(r"(\d+)", str(path).lower())
    return [(0, int(word)) if word.isdigit() else (1, word) for word in words]


def _unique(sources: Sequence[Source]) -> tuple[Source, ...]:
    """Give sources of one name the suffix of their file, then a number."""
    taken: set[str] = set()
    result = []
    shared = Counter(source.name for source in sources)
    for source in sources:
        name = source.name
        if shared[name] > 1 and Path(source.path).suffix:
            name = f"{name}_{Path(source.path).suffix[1:].lower()}"
        stem, number = name, 2
        while name in taken:
            name, number = f"{stem}_{number}", number + 1
        taken.add(name)
        result.append(replace(source, name=name))
    return tuple(result)


def frames(source: Source) -> Iterator[Frame]:
    """Read the frames of a source, one after the other.

    A damaged video gives its frames up to the damage, then the error.

    Raises:
        ImageError: the picture, video or camera cannot be read (any further).
    """
    if source.kind is Kind.IMAGE:
        yield Frame(read_image(source.path), source)
    elif source.kind is Kind.STDIN:
        yield Frame(decode_image(sys.stdin.buffer.read(), "standard input"), source)
    elif source.kind is Kind.VIDEO:
        yield from _video_frames(source, source.path, {})
    else:
        yield from _camera_frames(source)


def _video_frames(source: Source, place: str, options: dict[str, Any]) -> Iterator[Frame]:
    import av

    count = 0
    try:
        with av.open(place, **options) as container:
            if not container.streams.video:
                raise ImageError(f"{source.path}: has no picture track")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            rate = float(stream.average_rate) if stream.average_rate else None
            for picture in container.decode(stream):
                image = np.rot90(picture.to_ndarray(format="rgb24"), picture.rotation // 90)
                yield Frame(np.ascontiguousarray(image), source, count, picture.time, rate)
                count += 1
    except (av.FFmpegError, OSError, ValueError) as error:
        after = (
            f"stops after {count} frames" if count else f"cannot be read as a {source.kind.value}"
        )
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ImageError(f"{source.path}: {after} ({reason})") from None
    if not count:
        raise ImageError(f"{source.path}: has no frames")


def _camera_frames(source: Source) -> Iterator[Frame]:
    """Open a camera through the system's own capture interface."""
    number = int(source.path)
    if sys.platform == "darwin":
        place, options = str(number), {"format": "avfoundation", "options": {"framerate": "30"}}
    elif sys.platform == "win32":
        raise ImageError(
            f"camera {number}: cameras cannot be opened by number on Windows; record a video file"
        )
    else:
        place, options = f"/dev/video{number}", {"format": "v4l2"}
        if not Path(place).exists():
            others = sorted(path.name[5:] for path in Path("/dev").glob("video[0-9]*"))
            which = (
                f"there are cameras {', '.join(others)}" if others else "there is no camera here"
            )
            raise ImageError(f"camera {number}: {place} does not exist; {which}")
    yield from _video_frames(replace(source, path=f"camera {number}"), place, options)
