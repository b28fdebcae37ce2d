"""Stable grouping and sorting of detections: counting sort by label, radix sort by score.

Both are stable, because the official evaluators order equal scores by image id and then by their
place in the results file. Everything here releases the GIL, so that callers can spread ranges of
labels over threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

_DIGITS = 11  # bits per radix pass; six passes cover a float64
_PASSES = 6
_SIGN = np.uint64(1 << 63)
_INSERTION = 48  # below this length insertion sort wins over the radix passes


@njit(cache=True, nogil=True)
def counting_order(
    keys: NDArray[Any], order: NDArray[np.int32], n_keys: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Sort ``order`` stably by ``keys[order]``.

    Args:
        keys: (N,) integers in 0..n_keys-1.
        order: (M,) rows of ``keys``, the order among equal keys.
        n_keys: number of key values.

    Returns:
        The sorted rows (M,), and the offsets (n_keys + 1,) of each key's run among them.
    """
    offsets = np.zeros(n_keys + 1, np.int64)
    for row in order:
        offsets[keys[row] + 1] += 1
    for key in range(n_keys):
        offsets[key + 1] += offsets[key]
    place = offsets[:-1].copy()
    out = np.empty_like(order)
    for row in order:
        key = keys[row]
        out[place[key]] = row
        place[key] += 1
    return out, offsets


@njit(cache=True, nogil=True)
def is_sorted(keys: NDArray[Any]) -> bool:
    """Return whether the keys never fall."""
    for i in range(1, len(keys)):  # noqa: SIM110 - Numba compiles loops, not generators
        if keys[i] < keys[i - 1]:
            return False
    return True


@njit(cache=True, nogil=True)
def _descending_key(bits: np.uint64) -> np.uint64:
    """Return an unsigned key that rises as the float64 with these bits falls (-0.0 equals 0.0)."""
    if bits == _SIGN:
        bits = np.uint64(0)
    if bits & _SIGN:
        return bits
    return ~(bits | _SIGN)


@njit(cache=True, nogil=True)
def _insertion_sort(keys: NDArray[np.uint64], rows: NDArray[np.int32], n: int) -> None:
    for i in range(1, n):
        key, row = keys[i], rows[i]
        j = i
        while j > 0 and keys[j - 1] > key:
            keys[j], rows[j] = keys[j - 1], rows[j - 1]
            j -= 1
        keys[j], rows[j] = key, row


@njit(cache=True, nogil=True)
def _radix_sort(
    keys: NDArray[np.uint64],
    rows: NDArray[np.int32],
    n: int,
    spare_keys: NDArray[np.uint64],
    spare_rows: NDArray[np.int32],
    counts: NDArray[np.int64],
) -> None:
    """Sort the first ``n`` keys and rows in place, stably; ``counts`` is (passes, buckets)."""
    mask = np.uint64((1 << _DIGITS) - 1)
    counts[:] = 0
    for i in range(n):
        key = keys[i]
        for digit in range(_PASSES):
            counts[digit, (key >> np.uint64(digit * _DIGITS)) & mask] += 1
    a_keys, a_rows, b_keys, b_rows = keys, rows, spare_keys, spare_rows
    swapped = False
    for digit in range(_PASSES):
        shift = np.uint64(digit * _DIGITS)
        bucket = counts[digit]
        if bucket[(a_keys[0] >> shift) & mask] == n:
            continue  # all keys agree in this digit
        total = 0
        for value in range(len(bucket)):
            count = bucket[value]
            bucket[value] = total
            total += count
        for i in range(n):
            key = a_keys[i]
            value = (key >> shift) & mask
            to = bucket[value]
            bucket[value] = to + 1
            b_keys[to] = key
            b_rows[to] = a_rows[i]
        a_keys, b_keys = b_keys, a_keys
        a_rows, b_rows = b_rows, a_rows
        swapped = not swapped
    if swapped:
        keys[:n] = spare_keys[:n]
        rows[:n] = spare_rows[:n]


@njit(cache=True, nogil=True)
def sort_by_score(
    order: NDArray[np.int32],
    offsets: NDArray[np.int64],
    score_bits: NDArray[np.uint64],
    labels: tuple[int, int],
) -> None:
    """Sort each label's run of ``order`` by falling score, in place and stably.

    Args:
        order: (N,) rows, grouped by label.
        offsets: (K + 1,) where each label's run begins.
        score_bits: (N,) the float64 scores, viewed as uint64.
        labels: first label to sort and one past the last.
    """
    longest = 0
    for label in range(labels[0], labels[1]):
        longest = max(longest, offsets[label + 1] - offsets[label])
    keys, spare_keys = np.empty(longest, np.uint64), np.empty(longest, np.uint64)
    spare_rows = np.empty(longest, np.int32)
    counts = np.empty((_PASSES, 1 << _DIGITS), np.int64)
    for label in range(labels[0], labels[1]):
        rows = order[offsets[label] : offsets[label + 1]]
        n = len(rows)
        for i in range(n):
            keys[i] = _descending_key(score_bits[rows[i]])
        if n <= _INSERTION:
            _insertion_sort(keys, rows, n)
        else:
            _radix_sort(keys, rows, n, spare_keys, spare_rows, counts)


@njit(cache=True, nogil=True)
def rank_in_group(
    order: NDArray[np.int32],
    offsets: NDArray[np.int64],
    group: NDArray[np.int32],
    n_groups: int,
    labels: tuple[int, int],
    rank: NDArray[np.int32],
) -> None:
    """Write for each place of ``order`` how many of the same group precede it within its label.

    Args:
        order: (N,) rows, grouped by label, each run in score order.
        offsets: (K + 1,) where each label's run begins.
        group: (N,) the group (image) of each row.
        n_groups: number of groups.
        labels: first label to rank and one past the last.
        rank: (N,) output, by place in ``order``.
    """
    seen = np.zeros(n_groups, np.int32)
    for label in range(labels[0], labels[1]):
        for i in range(offsets[label], offsets[label + 1]):
            rank[i] = seen[group[order[i]]]
            seen[group[order[i]]] += 1
        for i in range(offsets[label], offsets[label + 1]):
            seen[group[order[i]]] = 0


@njit(cache=True, nogil=True)
def index_of_ids(ids: NDArray[np.int64], known: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return the place of each id in the sorted array ``known``, -1 where it is not there."""
    out = np.empty(len(ids), np.int32)
    last, place = np.int64(0), np.int32(-1)
    for i in range(len(ids)):
        value = ids[i]
        if i == 0 or value != last:  # results files are usually grouped by image
            last = value
            at = np.searchsorted(known, value)
            place = np.int32(at) if at < len(known) and known[at] == value else np.int32(-1)
        out[i] = place
    return out
