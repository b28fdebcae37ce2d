"""Columns: one flat array per annotated property, so that forked workers share the memory.

A Python list of a million small objects is copied page by page into every worker as soon as its
reference counts are touched; a flat array never is. Values without a fixed width (polygons, free
text) go into a ``Ragged`` column: their bytes end to end, and where each begins.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

LONGEST_TEXT = 64  # characters; longer strings go into a ragged column


class _Absent:
    """The value of a key that a record does not have."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT = _Absent()


@dataclass(frozen=True)
class Ragged:
    """A column of byte strings of different lengths.

    Attributes:
        data: (T,) uint8, all values end to end.
        starts: (N + 1,) int64, where each value begins; the last is T.
    """

    data: NDArray[np.uint8]
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, values: Iterable[bytes]) -> Ragged:
        """Pack byte strings into a column."""
        values = list(values)
        lengths = np.fromiter(map(len, values), np.int64, len(values))
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        return cls(np.frombuffer(b"".join(values), np.uint8), starts)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def value(self, row: int) -> bytes:
        """Return the bytes of one row."""
        return self.data[self.starts[row] : self.starts[row + 1]].tobytes()


Column = NDArray[Any] | Ragged


def take(column: Column, rows: NDArray[Any]) -> Column:
    """Return the column with only these rows (an index or boolean array)."""
    if not isinstance(column, Ragged):
        chosen: NDArray[Any] = column[rows]
        return chosen
    index = np.flatnonzero(rows) if rows.dtype == bool else rows
    return Ragged.of(column.value(row) for row in index.tolist())


def as_array(column: Column, first: int, last: int) -> NDArray[Any]:
    """Return rows ``first..last`` as an array; those of a ragged column as ``bytes`` objects."""
    if not isinstance(column, Ragged):
        return column[first:last]
    values = np.empty(last - first, object)
    values[:] = [column.value(row) for row in range(first, last)]
    return values


def from_values(values: Sequence[Any]) -> Column:
    """Pack JSON values into the narrowest column that gives them back unchanged.

    Booleans, integers, floats, short strings, and lists of equally many numbers become plain
    arrays; everything else, and every column where ``ABSENT`` occurs, becomes JSON text, with
    nothing at all for ``ABSENT``.
    """
    kinds = set(map(type, values))
    column: NDArray[Any] | None = None
    if kinds == {bool}:
        column = np.array(values, bool)
    elif kinds == {int} and all(-(2**63) <= value < 2**63 for value in values):
        column = np.array(values, np.int64)
    elif kinds == {float}:
        column = np.array(values, np.float64)
    elif kinds == {str} and max(map(len, values)) <= LONGEST_TEXT:
        column = np.array(values)
    elif kinds == {list}:
        column = _table(values)
    if column is not None:
        return column
    return Ragged.of(b"" if value is ABSENT else orjson.dumps(value) for value in values)


def _table(values: Sequence[list[Any]]) -> NDArray[Any] | None:
    """Return lists of equally many numbers of one kind as a 2-D array, else None."""
    kinds = {type(item) for value in values for item in value}
    if len(set(map(len, values))) != 1 or len(kinds) != 1 or not kinds <= {int, float}:
        return None
    return np.array(values, np.int64 if kinds == {int} else np.float64)


def value_at(column: Column, row: int) -> Any:
    """Return one row as the JSON value that was packed, ``ABSENT`` where there was none."""
    if isinstance(column, Ragged):
        text = column.value(row)
        return orjson.loads(text) if text else ABSENT
    return column[row].tolist()


def columns_of(
    records: Sequence[dict[str, Any]], known: frozenset[str] = frozenset()
) -> dict[str, Column]:
    """Pack every key of the records that is not in ``known`` into a column of its own."""
    keys = dict.fromkeys(key for record in records for key in record)
    return {
        key: from_values([record.get(key, ABSENT) for record in records])
        for key in keys
        if key not in known
    }


def record_at(columns: dict[str, Column], row: int) -> dict[str, Any]:
    """Return one row of several columns as a record, without the absent keys."""
    record = {name: value_at(column, row) for name, column in columns.items()}
    return {name: value for name, value in record.items() if value is not ABSENT}
