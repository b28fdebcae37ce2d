"""Arrays of JSON objects to columns: a compiled scan for the plain layout, else a general parser.

Both give the same numbers; the general parser also finds the words for what is wrong, and where.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from gazehound.errors import DataError
from gazehound.kernels.json_rows import PLAIN, next_object, scan_rows
from gazehound.metrics.threads import thread_count

Bytes = NDArray[np.uint8]
_LONG_NUMBERS = 4096  # per thread; files with more are read by the general parser
_WORTH_SPLITTING = 1 << 20  # bytes per thread


@dataclass(frozen=True)
class Rows:
    """The wanted values of an array of objects.

    Attributes:
        boxes: (N, 4) float64, the ``bbox`` as written.
        columns: the numbers of each further key, (N,) float64.
    """

    boxes: NDArray[np.float64]
    columns: dict[str, NDArray[np.float64]]


def read_bytes(path: Path) -> Bytes:
    """Return the bytes of a file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return np.fromfile(path, np.uint8)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None


def parse_json(path: Path, text: bytes) -> Any:
    """Return what a JSON text holds; NaN and Infinity pass, as Python writes them.

    Raises:
        DataError: the text is not JSON; with line and column.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(text)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not JSON: {error}") from None


def scan(
    text: Bytes, at: int, keys: Sequence[str], optional: Sequence[str] = ()
) -> tuple[Rows, int] | None:
    """Read the plain array whose first object begins at ``at``; None when it is not plain.

    Args:
        text: the bytes of the file.
        at: place of the first object.
        keys: the keys with numbers; ``bbox`` is always read.
        optional: those of ``keys`` that may be missing, which then count as 0.

    Returns:
        The rows and the place after the array.
    """
    end = len(text)
    parts = max(1, min(thread_count(), (end - at) // _WORTH_SPLITTING))
    marks = [at]
    for part in range(1, parts):
        mark = next_object(text, at + (end - at) * part // parts, end)
        if marks[-1] < mark < end:
            marks.append(mark)
    marks.append(end)
    padded = _padded(["bbox", *keys])
    needed = sum(1 << k for k, key in enumerate(["bbox", *keys]) if key not in optional)
    if len(marks) == 2:
        pieces = [_scan_part(text, at, end, padded, needed)]
    else:
        with ThreadPoolExecutor(len(marks) - 1) as pool:
            tasks = [
                pool.submit(_scan_part, text, begin, stop, padded, needed)
                for begin, stop in pairwise(marks)
            ]
            pieces = [task.result() for task in tasks]
    done = [piece for piece in pieces if piece is not None]
    if len(done) < len(pieces):
        return None
    if len(done) == 1:
        boxes, numbers, _ = done[0]
    else:
        boxes = np.concatenate([piece[0] for piece in done])
        numbers = np.concatenate([piece[1] for piece in done])
    columns = {key: numbers[:, i] for i, key in enumerate(keys)}
    return Rows(boxes, columns), done[-1][2]


def _scan_part(
    text: Bytes, begin: int, stop: int, keys: Bytes, needed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], int] | None:
    most = (stop - begin) // _shortest(keys, needed) + 1
    boxes = np.empty((most, 4))  # pages that no row reaches are never touched
    numbers = np.empty((most, len(keys) - 1))
    long = np.empty((_LONG_NUMBERS, 4), np.int64)
    rows, after, n_long, how = scan_rows(
        text, begin, stop, len(text), keys, needed, boxes, numbers, long
    )
    if how != PLAIN:
        return None
    for row, column, first, last in long[:n_long].tolist():
        value = float(text[first:last].tobytes())
        if column < 4:
            boxes[row, column] = value
        else:
            numbers[row, column - 4] = value
    return boxes[:rows], numbers[:rows], after


def _shortest(keys: Bytes, needed: int) -> int:
    """Return the least number of bytes that an object with the needed keys can have."""
    lengths = (keys != 0).sum(axis=1)
    # A key with its quotes, colon, one digit and comma; the box has three commas, three digits and
    # two brackets more.
    return int(sum(n + 5 for k, n in enumerate(lengths) if needed >> k & 1)) + 8


def _padded(keys: Sequence[str]) -> Bytes:
    """Return the keys as rows of bytes, zero-padded by at least one."""
    out = np.zeros((len(keys), 1 + max(len(key) for key in keys)), np.uint8)
    for row, key in zip(out, keys, strict=True):
        row[: len(key)] = np.frombuffer(key.encode(), np.uint8)
    return out


def rows_of(where: str, objects: Any, keys: Sequence[str], optional: Sequence[str] = ()) -> Rows:
    """Return the columns of parsed objects, checking every one.

    Args:
        where: file and place of the array, for messages.
        objects: a list of dicts.
        keys: the keys with numbers; ``bbox`` is always read.
        optional: those of ``keys`` that may be missing, which then count as 0.

    Raises:
        DataError: it is no list, or an entry is no object, lacks a key, or holds no number there.
    """
    if not isinstance(objects, list):
        raise DataError(f"{where}: expected an array of objects; got {kind_of(objects)}")
    boxes = np.zeros((len(objects), 4))
    numbers = np.zeros((len(objects), len(keys)))
    for i, entry in enumerate(objects):
        if not isinstance(entry, dict):
            raise DataError(f"{where}[{i}]: expected an object; got {kind_of(entry)}")
        missing = [key for key in ("bbox", *keys) if key not in entry and key not in optional]
        if missing:
            raise DataError(
                f"{where}[{i}]: has no '{missing[0]}'; expected the keys bbox, {', '.join(keys)}"
            )
        box = entry["bbox"]
        if not (isinstance(box, list) and len(box) == 4 and all(map(_is_number, box))):
            raise DataError(f"{where}[{i}]: bbox must be four numbers x, y, w, h; got {box!r}")
        boxes[i] = box
        for c, key in enumerate(keys):
            value = entry.get(key, 0)
            if not _is_number(value) and not isinstance(value, bool):
                raise DataError(f"{where}[{i}]: {key} must be a number; got {value!r}")
            numbers[i, c] = value
    return Rows(boxes, {key: numbers[:, c] for c, key in enumerate(keys)})


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def kind_of(value: Any) -> str:
    """Return what a JSON value is, in words."""
    if isinstance(value, dict):
        return (
            f"an object with the keys {', '.join(list(value)[:4])}" if value else "an empty object"
        )
    names = {list: "an array", str: "text", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")
