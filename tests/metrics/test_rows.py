"""The compiled JSON scan: the same float64s as Python, the same rows as a general parser."""

import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from gazehound.kernels import decimals
from gazehound.metrics.rows import parse_json, read_bytes, rows_of, scan

KEYS = ("image_id", "category_id", "score")


@njit(cache=False)
def read(text):
    return decimals.read_number(text, 0, len(text))


def read_text(text):
    return read(np.frombuffer(text.encode(), np.uint8))


def same_bits(a, b):
    return struct.pack("d", a) == struct.pack("d", b)


@given(st.floats(-1e40, 1e40, allow_subnormal=False))
@settings(max_examples=1000, derandomize=True, deadline=None)
def test_any_float_reads_back_to_the_bit(value):
    text = repr(value)
    number, after, how = read_text(text)
    assert after == len(text)
    assert how == decimals.LONG or same_bits(number, value)


@given(st.integers(0, 10**19 - 1), st.integers(-45, 45))
@settings(max_examples=1000, derandomize=True, deadline=None)
def test_any_19_digits_round_as_python(digits, power):
    text = f"{digits}e{power}"
    number, _, how = read_text(text)
    assert how == decimals.FINE
    assert same_bits(number, float(text))


@given(st.integers(2**52, 2**53 - 1), st.integers(0, 9))
@settings(max_examples=300, derandomize=True, deadline=None)
def test_half_way_between_two_floats_goes_to_even(mantissa, power):
    text = str((2 * mantissa + 1) * 2**power)
    if len(text) <= 19:
        assert same_bits(read_text(text)[0], float(text))


@pytest.mark.parametrize("text", ["-", "01", "1.", "1.e5", "1e", ".5", "nan", "+1", ""])
def test_what_is_no_json_number_is_refused(text):
    assert read_text(text)[2] == decimals.BROKEN


@pytest.mark.parametrize("text", ["0.1234567890123456789012", "1e400", "1e-400", "5e-324"])
def test_what_needs_more_care_is_left_to_python(text):
    assert read_text(text)[2] == decimals.LONG


OBJECTS = [
    {"image_id": 3, "category_id": 7, "bbox": [1.5, -2, 3e1, 0.1], "score": 0.25},
    {"score": 1, "bbox": [0, 0, 0, 0], "category_id": 1, "image_id": 12, "note": 'a "}, {" b\\'},
    {
        "x": {"a": [1, {"b": "]"}]},
        "image_id": 1,
        "category_id": 2,
        "bbox": [1, 2, 3, 4],
        "score": 0,
    },
    {"image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4], "score": 0.12345678901234567890123},
]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("separators", [None, (",", ":"), (" , ", " : ")])
def test_scan_equals_a_general_parser(tmp_path, indent, separators):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(OBJECTS, indent=indent, separators=separators))
    text = read_bytes(path)
    first = path.read_text().index("{")
    scanned, after = scan(text, first, KEYS)
    expected = rows_of("rows", parse_json(path, text.tobytes()), KEYS)
    np.testing.assert_array_equal(scanned.boxes, expected.boxes)
    for key in KEYS:
        np.testing.assert_array_equal(scanned.columns[key], expected.columns[key])
    assert after == len(text)


def test_a_large_file_is_scanned_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr("gazehound.metrics.rows._WORTH_SPLITTING", 64)
    monkeypatch.setattr("gazehound.metrics.rows.thread_count", lambda: 3)
    rows = [
        {"image_id": i, "category_id": i % 7, "bbox": [i, i / 3, i / 7, 1], "score": 1 / (i + 1)}
        for i in range(500)
    ]
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(rows))
    scanned, _ = scan(read_bytes(path), 1, KEYS)
    assert scanned.columns["image_id"].tolist() == list(range(500))
    assert scanned.columns["score"].tolist() == [row["score"] for row in rows]
    assert scanned.boxes.tolist() == [row["bbox"] for row in rows]


@pytest.mark.parametrize(
    "text",
    [
        '[{"image_id": 1, "category_id": 2, "bbox": [1, 2, 3], "score": 0.5}]',
        '[{"image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4], "score": NaN}]',
        '[{"image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4]}]',
        '[{"image_id": 1, "image_id": 2, "category_id": 2, "bbox": [1, 2, 3, 4], "score": 1}]',
        '[{"image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4], "score": 1},]',
        '[{"image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4], "score": 1}',
        '[{"image_id": "1", "category_id": 2, "bbox": [1, 2, 3, 4], "score": 1}]',
    ],
)
def test_what_is_not_plain_is_left_to_the_general_parser(text):
    assert scan(np.frombuffer(text.encode(), np.uint8), 1, KEYS) is None
