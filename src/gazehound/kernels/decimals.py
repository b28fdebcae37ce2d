"""Decimal text to the nearest float64, as exactly as Python's ``float``.

Numbers of at most 19 digits go the way of Lemire, "Number parsing at a gigabyte per second" (2021),
section 5: one or two 64-bit products with a table of truncated powers of five decide the rounding.
What that cannot decide (longer numbers, subnormals) is reported, and the caller asks Python.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

_LEAST, _MOST = -60, 60  # powers of ten in the table; boxes and scores stay far inside
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_ONE = np.uint64(1)
_EXACT = np.uint64(1 << 53)  # integers up to here are float64s

FINE, LONG, BROKEN = 0, 1, 2  # how a number ended: done, ask Python, not a JSON number


def _powers_of_five() -> NDArray[np.uint64]:
    """Return the leading 128 bits of 5^q, (n, 2) as high and low words; rounded up for q < 0."""
    rows = []
    for q in range(_LEAST, _MOST + 1):
        if q >= 0:
            power = 5**q
            shift = 128 - power.bit_length()
            value = power << shift if shift >= 0 else power >> -shift
        else:
            power = 5**-q
            value = (1 << (power.bit_length() + 127)) // power + 1
            value >>= max(value.bit_length() - 128, 0)
        rows.append((value >> 64, value & (1 << 64) - 1))
    return np.asarray(rows, np.uint64)


_FIVES = _powers_of_five()
_TENS = 10.0 ** np.arange(23)  # exact in float64


@njit(cache=True, nogil=True)
def _product(a: np.uint64, b: np.uint64) -> tuple[np.uint64, np.uint64]:
    """Return the high and low words of a 64 x 64 bit product."""
    a0, a1, b0, b1 = a & _LOW, a >> _HALF, b & _LOW, b >> _HALF
    low, mid = a0 * b0, a1 * b0
    mid2 = a0 * b1 + (low >> _HALF) + (mid & _LOW)
    return a1 * b1 + (mid >> _HALF) + (mid2 >> _HALF), (mid2 << _HALF) | (low & _LOW)


@njit(cache=True, nogil=True)
def _leading_zeros(value: np.uint64) -> int:
    count = 0
    for step in (32, 16, 8, 4, 2, 1):
        if value >> np.uint64(64 - step) == 0:
            value <<= np.uint64(step)
            count += step
    return count


@njit(cache=True, nogil=True)
def _bits_of(digits: np.uint64, power: int) -> tuple[np.uint64, bool]:
    """Return the float64 bits nearest to digits * 10^power, and whether that is certain."""
    zeros = _leading_zeros(digits)
    shifted = digits << np.uint64(zeros)
    high, low = _product(shifted, _FIVES[power - _LEAST, 0])
    if high & np.uint64(0x1FF) == np.uint64(0x1FF):  # the truncated bits could carry: look further
        more, _ = _product(shifted, _FIVES[power - _LEAST, 1])
        low += more
        if low < more:
            high += _ONE
    if low == ~np.uint64(0) and (power < -27 or power > 55):
        return np.uint64(0), False
    top = np.int64(high >> np.uint64(63))
    drop = np.uint64(top + 9)
    mantissa = high >> drop  # 53 bits and one to round with
    exponent = ((217706 * power) >> 16) + 63 + top - zeros + 1023
    if exponent <= 0 or exponent >= 2046:
        return np.uint64(0), False
    tie = low <= _ONE and -4 <= power <= 23 and mantissa & np.uint64(3) == _ONE
    if tie and mantissa << drop == high:
        mantissa &= ~_ONE  # exactly half way: to even
    mantissa = (mantissa + (mantissa & _ONE)) >> _ONE
    if mantissa >= np.uint64(1 << 53):
        mantissa = np.uint64(1 << 52)
        exponent += 1
    return (mantissa & np.uint64((1 << 52) - 1)) | (np.uint64(exponent) << np.uint64(52)), True


@njit(cache=True, nogil=True)
def scaled(digits: np.uint64, power: int) -> tuple[float, bool]:
    """Return the float64 nearest to digits * 10^power, and whether that is certain.

    Args:
        digits: all significant digits as one integer.
        power: of ten.
    """
    if digits == 0:
        return 0.0, True
    if digits <= _EXACT and -22 <= power <= 22:
        number = float(digits)
        return (number * _TENS[power] if power >= 0 else number / _TENS[-power]), True
    if not _LEAST <= power <= _MOST:
        return 0.0, False
    bits, certain = _bits_of(digits, power)
    return np.uint64(bits).view(np.float64), certain


@njit(cache=True, nogil=True, inline="always")
def _digits(text: NDArray[np.uint8], at: int, end: int, value: np.uint64) -> tuple[np.uint64, int]:
    """Read digits on top of ``value``; return the number (modulo 2^64) and the place after."""
    while at < end:
        digit = text[at] - np.uint8(48)
        if digit > 9:
            break
        value = value * np.uint64(10) + np.uint64(digit)
        at += 1
    return value, at


@njit(cache=True, nogil=True)
def _zeros_ahead(text: NDArray[np.uint8], at: int, end: int) -> int:
    """Return how many zeros begin a number; they are no significant digits."""
    zeros = 0
    while at < end and (text[at] == 48 or text[at] == 46):
        zeros += text[at] == 48
        at += 1
    return zeros


@njit(cache=True, nogil=True)
def _exponent(text: NDArray[np.uint8], at: int, end: int) -> tuple[int, int, int]:
    """Read what follows the letter e; return the exponent, the place after, and how it ended."""
    down = at < end and text[at] == 45
    if at < end and (text[at] == 45 or text[at] == 43):
        at += 1
    value, after = _digits(text, at, end, np.uint64(0))
    if after == at:
        return 0, at, BROKEN
    if after - at > 4:
        return 0, after, LONG
    power: Any = np.int64(value)  # signed, or Numba would mix it to a float
    return (-power if down else power), after, FINE


@njit(cache=True, nogil=True, inline="always")
def read_number(text: NDArray[np.uint8], at: int, end: int) -> tuple[float, int, int]:
    """Read one JSON number.

    Args:
        text: the bytes.
        at: where the number begins.
        end: one past the last byte to look at.

    Returns:
        The value, the place after it, and FINE, LONG (ask Python: the value is no use) or BROKEN.
    """
    negative = at < end and text[at] == 45
    begin = at + 1 if negative else at
    digits, at = _digits(text, begin, end, np.uint64(0))
    whole = at - begin
    how = BROKEN if whole == 0 or (whole > 1 and text[begin] == 48) else FINE
    power = 0
    if at < end and text[at] == 46:
        point = at + 1
        digits, at = _digits(text, point, end, digits)
        power = point - at
        if power == 0:
            how = BROKEN
    if whole - power > 19 and whole - power - _zeros_ahead(text, begin, at) > 19:
        how = max(how, LONG)
    if at < end and (text[at] | np.uint8(32)) == 101:  # e or E
        exponent, at, ended = _exponent(text, at + 1, end)
        power += exponent
        how = max(how, ended)
    number = 0.0
    if how == FINE:
        number, certain = scaled(digits, power)
        if negative:
            number = -number
        if not certain:
            how = LONG
    return number, at, how
