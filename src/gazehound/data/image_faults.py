"""Faults of image files: missing, damaged, of another size, turned by EXIF, the same picture twice.

Every file is decoded to its end once, in two threads (the decoders release the interpreter lock).
Equal pixels are found by their hash. Pictures that only look the same (another size, another
quality, a little cropped) are found by the signs of the differences between neighbours in a 17x16
grey thumbnail, 256 bits, and confirmed by the thumbnails themselves.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gazehound.data.faults import Fault, Parsed
from gazehound.data.images import read_image
from gazehound.errors import ImageError

THREADS = 2
EXIF_ORIENTATION = 0x0112
THUMBNAIL = 16
BANDS = 16  # of 16 bits: two pictures that differ in fewer than 16 bits share one
NEAR_BITS = 10  # of 256 that may differ
NEAR_GREY = 5.0  # mean difference of the thumbnails, grey levels
FLAT = 8.0  # standard deviation of a thumbnail under which pictures are too plain to compare
CROWDED = 64  # pictures in one bucket above which it says nothing


@dataclass(frozen=True)
class Facts:
    """What was learned from one image file.

    Attributes:
        problem: why it cannot be decoded; empty when it can.
        missing: there is no such file.
        size: (height, width) upright.
        turned: EXIF turns or mirrors it.
        digest: hash of its pixels.
        thumbnail: (16, 17) uint8 grey.
    """

    problem: str = ""
    missing: bool = False
    size: tuple[int, int] = (0, 0)
    turned: bool = False
    digest: bytes = b""
    thumbnail: NDArray[np.uint8] | None = None


def inspect(files: Sequence[str], progress: Callable[[], None]) -> dict[str, Facts]:
    """Decode every file once; ``progress`` is called after each."""
    with ThreadPoolExecutor(THREADS) as pool:
        facts = {}
        for file, found in zip(files, pool.map(_facts, files), strict=True):
            facts[file] = found
            progress()
        return facts


def _facts(file: str) -> Facts:
    if not os.path.isfile(file):  # noqa: PTH113  (text paths are ten times as fast)
        return Facts("no such file", missing=True)
    try:
        image = read_image(file)
    except ImageError as error:
        return Facts(str(error).removeprefix(f"{file}: "))
    digest = blake2b(image.data, digest_size=16)
    digest.update(str(image.shape).encode())
    grey = Image.fromarray(image).convert("L")
    small = grey.resize((THUMBNAIL + 1, THUMBNAIL), Image.Resampling.BOX)
    size = (image.shape[0], image.shape[1])
    return Facts("", False, size, _is_turned(file), digest.digest(), np.asarray(small))


def _is_turned(file: str) -> bool:
    try:
        with Image.open(file) as image:
            return image.getexif().get(EXIF_ORIENTATION, 1) in range(2, 9)
    except Exception:  # damaged EXIF counts as none, as it does when the picture is read
        return False


def missing_faults(parsed: Parsed) -> Iterator[Fault]:
    """Yield the images whose file is not there, without opening any."""
    known = {fault.image for fault in parsed.faults if fault.code.startswith("image-")}
    for image, file in enumerate(parsed.dataset.paths()):
        if image not in known and not os.path.isfile(file):  # noqa: PTH113
            yield parsed.image_fault("image-missing", "no such file", image)


def file_faults(parsed: Parsed, facts: dict[str, Facts]) -> Iterator[Fault]:
    """Yield what is wrong with the image files of a split, once they were inspected."""
    dataset = parsed.dataset
    known = {fault.image for fault in parsed.faults if fault.code.startswith("image-")}
    sizes = map(tuple, dataset.sizes.tolist())
    for image, (file, told) in enumerate(zip(dataset.paths(), sizes, strict=True)):
        found = facts[file]
        if image in known:
            continue
        if found.problem:
            code = "image-missing" if found.missing else "image-damaged"
            yield parsed.image_fault(code, found.problem, image)
        elif told == found.size:
            if found.turned:
                message = f"upright it is {_text(found.size)}"
                yield parsed.image_fault("image-turned", message, image)
        elif told == found.size[::-1] and found.turned:
            message = f"upright it is {_text(found.size)}, its annotation says {_text(told)}"
            yield parsed.image_fault("image-size-unturned", message, image)
        else:
            message = f"it is {_text(found.size)}, its annotation says {_text(told)}"
            yield parsed.image_fault("image-size-mismatch", message, image)


def _text(size: tuple[int, ...]) -> str:
    return f"{size[1]}x{size[0]}"


def same_pixels(facts: dict[str, Facts]) -> list[list[str]]:
    """Return the groups of files that hold the same pixels."""
    groups: dict[bytes, list[str]] = {}
    for file, found in facts.items():
        if found.digest:
            groups.setdefault(found.digest, []).append(file)
    return [group for group in groups.values() if len(group) > 1]


def look_alike(facts: dict[str, Facts]) -> list[tuple[str, str, int]]:
    """Return pairs of files that look the same but differ in pixels, and their differing bits."""
    small = {file: found.thumbnail for file, found in facts.items() if found.thumbnail is not None}
    if len(small) < 2:
        return []
    files, thumbnails = list(small), np.stack(list(small.values())).astype(np.int16)
    bits = np.packbits(thumbnails[:, :, 1:] > thumbnails[:, :, :-1], axis=-1).reshape(-1, 32)
    lively = thumbnails.std(axis=(1, 2)) >= FLAT
    pairs = []
    for first, second in sorted(_candidates(bits, np.flatnonzero(lively))):
        distance = int(np.bitwise_count(bits[first] ^ bits[second]).sum())
        grey = np.abs(thumbnails[first] - thumbnails[second]).mean()
        same = facts[files[first]].digest == facts[files[second]].digest
        if distance <= NEAR_BITS and grey <= NEAR_GREY and not same:
            pairs.append((files[first], files[second], distance))
    return pairs


def _candidates(bits: NDArray[np.uint8], rows: NDArray[np.int64]) -> set[tuple[int, int]]:
    """Return the pairs of rows that agree in one of the bands of their bits."""
    bands = bits.view(np.uint16).reshape(len(bits), BANDS)
    pairs: set[tuple[int, int]] = set()
    for band in range(BANDS):
        order = rows[np.argsort(bands[rows, band], kind="stable")]
        cuts = np.flatnonzero(np.diff(bands[order, band].astype(np.int32))) + 1
        for bucket in np.split(order, cuts):
            if 1 < len(bucket) <= CROWDED:
                members: Iterable[int] = sorted(bucket.tolist())
                pairs.update((a, b) for a in members for b in members if a < b)
    return pairs
