"""Faults between images and between splits: one picture twice, a test picture in training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations
from pathlib import Path

from gazehound.data.faults import Fault, Parsed
from gazehound.data.image_faults import Facts, look_alike, same_pixels

Member = tuple[str, int]  # split and row of an image


def listing_faults(parsed: Parsed) -> Iterator[Fault]:
    """Yield the files that a split lists more than once."""
    first: dict[str, int] = {}
    for image, file in enumerate(parsed.dataset.files.tolist()):
        if file in first:
            message = f"listed as image {first[file]} and {image}"
            yield parsed.image_fault("image-listed-twice", message, image)
        first.setdefault(file, image)


def shared_file_faults(splits: Mapping[str, Parsed]) -> Iterator[Fault]:
    """Yield the files that two splits list, unless one is meant to hold the other (trainval)."""
    files = {
        name: {path: image for image, path in enumerate(parsed.dataset.paths())}
        for name, parsed in splits.items()
    }
    for a, b in separate_splits(splits):
        for path in sorted(files[a].keys() & files[b].keys()):
            yield _in_two(splits, (a, files[a][path]), (b, files[b][path]), "the same file")


def separate_splits(splits: Mapping[str, Parsed]) -> list[tuple[str, str]]:
    """Return the pairs of splits of which neither holds all files of the other."""
    files = {name: set(parsed.dataset.paths()) for name, parsed in splits.items()}
    return [
        (a, b)
        for a, b in combinations(splits, 2)
        if not (files[a] <= files[b] or files[b] <= files[a])
    ]


def picture_faults(splits: Mapping[str, Parsed], facts: dict[str, Facts]) -> Iterator[Fault]:
    """Yield different files with the same pixels, and pictures that look the same."""
    members = _members(splits)
    separate = set(separate_splits(splits))
    for group in same_pixels(facts):
        for a, b in combinations(group, 2):
            yield from _equal(splits, separate, members[a], members[b])
    for a, b, bits in look_alike(facts):
        first, second = members[a][0], members[b][0]
        where = "" if first[0] == second[0] else f" of {second[0]}"
        message = f"looks like {Path(b).name}{where} ({bits} of 256 bits differ)"
        yield splits[first[0]].image_fault("image-alike", message, first[1])


def _members(splits: Mapping[str, Parsed]) -> dict[str, list[Member]]:
    members: dict[str, list[Member]] = {}
    for name, parsed in splits.items():
        for image, path in enumerate(parsed.dataset.paths()):
            members.setdefault(path, []).append((name, image))
    return members


def _equal(
    splits: Mapping[str, Parsed],
    separate: set[tuple[str, str]],
    ones: Iterable[Member],
    others: Iterable[Member],
) -> Iterator[Fault]:
    """Yield the fault of two files with equal pixels, given all the splits that list them."""
    pairs = [(one, other) for one in ones for other in others]
    apart = [
        (one, other)
        for one, other in pairs
        if (one[0], other[0]) in separate or (other[0], one[0]) in separate
    ]
    for one, other in apart:
        yield _in_two(splits, one, other, "the same pixels")
    for one, other in pairs:
        if one[0] == other[0]:
            file = splits[other[0]].dataset.files[other[1]]
            message = f"the same pixels as {file}"
            yield splits[one[0]].image_fault("image-duplicate", message, one[1])
            return


def _in_two(splits: Mapping[str, Parsed], one: Member, other: Member, why: str) -> Fault:
    """Return the fault of a picture in two splits, reported for the larger split."""
    large, small = sorted((one, other), key=lambda m: len(splits[m[0]].dataset), reverse=True)
    file = splits[small[0]].dataset.files[small[1]]
    message = f"in '{large[0]}'; {why} as {file} in '{small[0]}'"
    return splits[large[0]].image_fault("image-in-two-splits", message, large[1])
