"""The data gate: everything that is wrong with a data set, with file and line.

The gate parses with the same code as the readers, but where a reader stops at the first error the
gate goes on and lists all of them, then looks at the image files and across the splits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gazehound.data.box_faults import duplicate_faults, visibility_faults
from gazehound.data.conventions import examine
from gazehound.data.faults import KINDS, AnnotationFileError, Fault, Parsed, Severity
from gazehound.data.image_faults import file_faults, inspect, missing_faults
from gazehound.data.opening import Located, locate, parse_split, split_of_path
from gazehound.data.split_faults import listing_faults, picture_faults, shared_file_faults
from gazehound.data.unlisted import unlisted_faults
from gazehound.records import BoolArray, IntArray

SIDES = (4, 8, 16, 32, 64, 96, 128, 256, 512)  # edges of the size histogram, pixels
SHIFTS = {"class-one-based": -1, "class-zero-based": 1}

Progress = Callable[[str, int], Callable[[], None]]  # title, total -> to be called after each


def silent(title: str, total: int) -> Callable[[], None]:
    """Report no progress."""
    return lambda: None


@dataclass(frozen=True)
class Report:
    """What the gate found.

    Attributes:
        located: the data set.
        splits: each split that was parsed, with boxes as they were meant.
        faults: all faults.
        input_size: longer side of the network input that small boxes were judged at, pixels.
        decoded: the image files were decoded.
        shift: what had to be added to all class ids.
    """

    located: Located
    splits: Mapping[str, Parsed]
    faults: tuple[Fault, ...]
    input_size: int
    decoded: bool
    shift: int = 0

    def count(self, severity: Severity) -> int:
        """Return the number of faults of one severity."""
        return sum(fault.severity is severity for fault in self.faults)

    @property
    def passed(self) -> bool:
        """Return whether there is no error."""
        return self.count(Severity.ERROR) == 0

    def by_code(self) -> dict[str, list[Fault]]:
        """Return the faults of each code, in the order of the table of faults."""
        groups: dict[str, list[Fault]] = {code: [] for code in KINDS}
        for fault in self.faults:
            groups[fault.code].append(fault)
        return {code: group for code, group in groups.items() if group}

    def class_counts(self) -> dict[str, dict[str, int]]:
        """Return the number of boxes (without crowd regions) by class name and split."""
        counts: dict[str, dict[str, int]] = {}
        for split, parsed in self.splits.items():
            dataset = parsed.dataset
            numbers = np.bincount(dataset.labels[~dataset.crowd], minlength=len(dataset.classes))
            for name, number in zip(dataset.classes.names, numbers.tolist(), strict=True):
                counts.setdefault(name, {})[split] = number
        return counts

    def size_histogram(self) -> IntArray:
        """Return how many boxes have sqrt(width x height) between the edges ``SIDES``, all splits.

        The first number counts those below the first edge, the last those above the last.
        """
        sides = [np.zeros(0)]
        for parsed in self.splits.values():
            rows = self._first_seen(parsed) & ~parsed.dataset.crowd
            boxes = parsed.dataset.boxes[rows].astype(np.float64)
            spans = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None)
            sides.append(np.sqrt(spans.prod(axis=1)))
        values = np.concatenate(sides)
        counts: IntArray = np.bincount(
            np.digitize(values[np.isfinite(values)], SIDES), minlength=len(SIDES) + 1
        )
        return counts

    def _first_seen(self, parsed: Parsed) -> BoolArray:
        """Return which boxes are in an image that no earlier split holds (train, not trainval)."""
        earlier: set[str] = set()
        for other in self.splits.values():
            if other is parsed:
                break
            earlier.update(other.dataset.paths())
        fresh = [path not in earlier for path in parsed.dataset.paths()]
        return np.repeat(np.array(fresh, bool), np.diff(parsed.dataset.starts))

    def as_dict(self) -> dict[str, Any]:
        """Return everything for a program, ready for JSON."""
        return {
            "path": str(self.located.path),
            "format": self.located.format,
            "passed": self.passed,
            "input_size": self.input_size,
            "images_decoded": self.decoded,
            "severities": {str(s): self.count(s) for s in Severity},
            "codes": dict(Counter(fault.code for fault in self.faults)),
            "splits": {name: _numbers(parsed) for name, parsed in self.splits.items()},
            "classes": self.class_counts(),
            "size_histogram": {"edges": list(SIDES), "counts": self.size_histogram().tolist()},
            "faults": [_as_record(fault) for fault in self.faults],
        }


def _numbers(parsed: Parsed) -> dict[str, int]:
    dataset = parsed.dataset
    return {
        "images": len(dataset),
        "empty_images": int((np.diff(dataset.starts) == 0).sum()),
        "boxes": len(dataset.boxes),
        "crowd": int(dataset.crowd.sum()),
        "difficult": int(dataset.difficult.sum()),
    }


def _as_record(fault: Fault) -> dict[str, str]:
    return {
        "severity": str(fault.severity),
        "code": fault.code,
        "file": fault.file,
        "place": fault.place,
        "split": fault.split,
        "message": fault.message,
    }


def check(
    path: str | Path,
    split: str | None = None,
    format: str | None = None,  # noqa: A002
    *,
    input_size: int = 640,
    images: bool = True,
    progress: Progress = silent,
) -> Report:
    """Look for every fault of a data set.

    Args:
        path: as for :func:`gazehound.data.open_dataset`.
        split: only this one; faults between splits are then not looked for.
        format: when the folder could be taken for several.
        input_size: longer side of the network input that small boxes are judged at, pixels.
        images: decode the image files; without it they are only looked for.
        progress: makes a progress bar.

    Raises:
        DataError: nothing is there, the format is not recognised, or there is no such split.
    """
    path, split = split_of_path(path, split)
    located = locate(path, format)
    wanted = (split,) if split else located.splits or (None,)
    report = _annotations(located, wanted, input_size, 0)
    shift = next((SHIFTS[f.code] for f in report.faults if f.code in SHIFTS), 0)
    if shift:
        told = [fault for fault in report.faults if fault.code in SHIFTS]
        report = _annotations(located, wanted, input_size, shift)
        report = _with(report, told, shift)
    report = _with(report, _class_faults(report), shift)
    return _with(report, _image_faults(report, images, split is None, progress), shift, images)


def _with(report: Report, faults: Iterable[Fault], shift: int, decoded: bool = False) -> Report:
    """Return the report with more faults; one that two splits share is told once."""
    found = {(f.code, f.where, f.message): f for f in reversed((*report.faults, *faults))}
    ordered = tuple(reversed(found.values()))
    return replace(report, faults=ordered, decoded=decoded, shift=shift)


def _annotations(
    located: Located, wanted: Iterable[str | None], input_size: int, shift: int
) -> Report:
    """Parse the splits and look at each by itself."""
    splits: dict[str, Parsed] = {}
    faults: list[Fault] = []
    for name in wanted:
        try:
            parsed, found = examine(parse_split(located, name, shift))
        except AnnotationFileError as error:
            place = (error.file, error.place)
            faults.append(Fault("file-unreadable", error.reason, *place, split=name or ""))
            continue
        splits[parsed.dataset.split] = parsed
        faults += found
        faults += duplicate_faults(parsed)
        faults += visibility_faults(parsed, input_size)
        faults += listing_faults(parsed)
    return Report(located, splits, tuple(faults), input_size, decoded=False)


def _class_faults(report: Report) -> Iterable[Fault]:
    for name, counts in report.class_counts().items():
        if not any(counts.values()):
            yield Fault("class-unused", f"'{name}'", str(report.located.path))


def _image_faults(report: Report, decode: bool, whole: bool, progress: Progress) -> Iterable[Fault]:
    """Yield the faults of the image files and those between splits."""
    if whole:
        yield from shared_file_faults(report.splits)
        yield from unlisted_faults(report.located, report.splits)
    if not decode:
        for parsed in report.splits.values():
            yield from missing_faults(parsed)
        return
    splits = report.splits.values()
    files = dict.fromkeys(path for parsed in splits for path in parsed.dataset.paths())
    facts = inspect(list(files), progress("decoding images", len(files)))
    for parsed in report.splits.values():
        yield from file_faults(parsed, facts)
    yield from picture_faults(report.splits, facts)
