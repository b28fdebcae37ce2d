"""Read an array of flat JSON objects, such as COCO annotations or results, straight into columns.

Only the plain layout is read: every object holds each wanted key once, with a number, or four
numbers for ``bbox``. Other keys may hold anything and are stepped over. Whatever is not plain is
reported, and the caller reads the file with a general parser, which finds the words for what is
wrong.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gazehound.kernels.decimals import BROKEN, LONG, read_number

PLAIN, ODD = 0, 1  # how a scan ended
_QUOTE, _COMMA, _COLON, _BACKSLASH = 34, 44, 58, 92
_OPEN_ARRAY, _CLOSE_ARRAY, _OPEN, _CLOSE = 91, 93, 123, 125


@njit(cache=True, nogil=True, inline="always")
def _space(text: NDArray[np.uint8], at: int, end: int) -> int:
    """Return the place of the next byte that is no white space."""
    while at < end and (text[at] == 32 or text[at] == 10 or text[at] == 13 or text[at] == 9):
        at += 1
    return at


@njit(cache=True, nogil=True)
def _after_string(text: NDArray[np.uint8], at: int, end: int) -> int:
    """Return the place after a string that begins at ``at`` with its quote."""
    at += 1
    while at < end and text[at] != _QUOTE:
        at += 2 if text[at] == _BACKSLASH else 1
    return at + 1


@njit(cache=True, nogil=True)
def after_value(text: NDArray[np.uint8], at: int, end: int) -> int:
    """Return the place after the JSON value at ``at``; beyond ``end`` if it never ends."""
    depth = 0
    while at < end:
        byte = text[at]
        if byte == _QUOTE:
            at = _after_string(text, at, end)
            if depth == 0:
                return at
            continue
        if byte in (_OPEN, _OPEN_ARRAY):
            depth += 1
        elif byte in (_CLOSE, _CLOSE_ARRAY):
            depth -= 1
            if depth <= 0:
                return at + 1 if depth == 0 else at
        elif depth == 0 and (byte == _COMMA or byte <= 32):
            return at
        at += 1
    return end if depth == 0 else end + 1


@njit(cache=True, nogil=True)
def _which_key(text: NDArray[np.uint8], begin: int, end: int, keys: NDArray[np.uint8]) -> int:
    """Return the row of ``keys`` (zero-padded) that equals text[begin:end], -1 for none."""
    size = end - begin
    for k in range(len(keys)):
        if size >= keys.shape[1] or keys[k, size] != 0:
            continue
        same = True
        for i in range(size):
            if keys[k, i] != text[begin + i]:
                same = False
                break
        if same:
            return k
    return -1


@njit(cache=True, nogil=True)
def next_object(text: NDArray[np.uint8], at: int, end: int) -> int:
    """Return where an object seems to begin after another has ended, at or after ``at``.

    It may be mistaken inside strings or nested values; ``scan_rows`` up to there then says ODD.
    """
    while at < end:
        if text[at] == _CLOSE:
            then = _space(text, at + 1, end)
            if then < end and text[then] == _COMMA:
                then = _space(text, then + 1, end)
                if then < end and text[then] == _OPEN:
                    return then
        at += 1
    return end


@njit(cache=True, nogil=True, inline="always")
def _read_value(
    text: NDArray[np.uint8],
    at: int,
    end: int,
    key: int,
    row: int,
    boxes: NDArray[np.float64],
    numbers: NDArray[np.float64],
    long: NDArray[np.int64],
    n_long: int,
) -> tuple[int, int, bool]:
    """Read the number of a key, or the four of key 0, into its row.

    Returns:
        The place after the value, the filled entries of ``long``, and whether it was plain.
    """
    plain = True
    if key == 0:
        plain = at < end and text[at] == _OPEN_ARRAY
        at = _space(text, at + 1, end)
    for part in range(4 if key == 0 else 1):
        if not plain:
            break
        value, after, how = read_number(text, at, end)
        plain = how != BROKEN and (how != LONG or n_long < len(long))
        if plain and how == LONG:
            long[n_long, 0], long[n_long, 1] = row, part if key == 0 else key + 3
            long[n_long, 2], long[n_long, 3] = at, after
            n_long += 1
        at = _space(text, after, end)
        if key > 0:
            numbers[row, key - 1] = value
        else:
            boxes[row, part] = value
            wanted = _COMMA if part < 3 else _CLOSE_ARRAY
            plain = plain and at < end and text[at] == wanted
            at = _space(text, at + 1, end)
    return at, n_long, plain


@njit(cache=True, nogil=True, inline="always")
def _read_object(
    text: NDArray[np.uint8],
    at: int,
    end: int,
    keys: NDArray[np.uint8],
    row: int,
    boxes: NDArray[np.float64],
    numbers: NDArray[np.float64],
    long: NDArray[np.int64],
    n_long: int,
) -> tuple[int, int, int, bool]:
    """Read one object whose brace is at ``at`` into a row.

    Returns:
        The place after it, the filled entries of ``long``, the keys seen as bits, and whether it was
        plain.
    """
    seen = 0
    plain = at < end and text[at] == _OPEN
    at = _space(text, at + 1, end)
    more = plain
    while more:
        if at >= end or text[at] != _QUOTE:
            plain = False
            break
        begin = at + 1
        at = _after_string(text, at, end)
        key = _which_key(text, begin, at - 1, keys)
        at = _space(text, at, end)
        plain = at < end and text[at] == _COLON
        at = _space(text, at + 1, end)
        if key < 0:
            at = after_value(text, at, end)
        elif plain:
            plain = not seen >> key & 1
            seen |= 1 << key
            if plain:
                at, n_long, plain = _read_value(
                    text, at, end, key, row, boxes, numbers, long, n_long
                )
        at = _space(text, at, end)
        plain = plain and at < end and (text[at] == _CLOSE or text[at] == _COMMA)
        more = plain and text[at] == _COMMA
        at += 1
        if more:
            at = _space(text, at, end)
    return at, n_long, seen, plain


@njit(cache=True, nogil=True)
def scan_rows(
    text: NDArray[np.uint8],
    at: int,
    stop: int,
    end: int,
    keys: NDArray[np.uint8],
    needed: int,
    boxes: NDArray[np.float64],
    numbers: NDArray[np.float64],
    long: NDArray[np.int64],
) -> tuple[int, int, int, int]:
    """Read objects from ``at`` until the array closes, or until one begins at ``stop``.

    Args:
        text: the bytes of the file.
        at: where the first object begins.
        stop: place of an object that another call reads, or ``end``.
        end: one past the last byte.
        keys: (1 + C, L) wanted keys, zero-padded; the first holds a box, the others numbers.
        needed: bit k is set where key k must be there; the others count as 0 when missing.
        boxes: (N, 4) output, N rows at most.
        numbers: (N, C) output.
        long: (P, 4) output: row, column (box first), begin and end of numbers for Python to read.

    Returns:
        Rows read, the place after them (after the bracket that closes the array, or ``stop``), how
        many entries of ``long`` were written, and PLAIN or ODD.
    """
    row, n_long = 0, 0
    while row < len(boxes):
        numbers[row] = 0.0
        at, n_long, seen, plain = _read_object(
            text, at, end, keys, row, boxes, numbers, long, n_long
        )
        if not plain or seen & needed != needed:
            break
        row += 1
        at = _space(text, at, end)
        if at < end and text[at] == _CLOSE_ARRAY:
            return row, at + 1, n_long, PLAIN if stop >= end else ODD
        if at >= end or text[at] != _COMMA:
            break
        at = _space(text, at + 1, end)
        if at >= stop:
            return row, at, n_long, PLAIN if at == stop else ODD
    return row, at, n_long, ODD
