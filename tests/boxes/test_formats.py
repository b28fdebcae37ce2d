"""Box formats: exact values, round trips, clipping, for NumPy and torch alike."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import boxes

from gazehound.boxes import formats
from gazehound.errors import ConfigError

FORMATS = ("xyxy", "xywh", "cxcywh")


def test_known_values():
    box = np.float32([[1, 2, 5, 10]])
    np.testing.assert_array_equal(formats.convert(box, "xyxy", "xywh"), [[1, 2, 4, 8]])
    np.testing.assert_array_equal(formats.convert(box, "xyxy", "cxcywh"), [[3, 6, 4, 8]])
    np.testing.assert_array_equal(formats.area(box), [32])


@given(boxes(), st.sampled_from(FORMATS), st.sampled_from(FORMATS))
def test_round_trips_for_both_kinds_of_array(rows, source, target):
    there = formats.convert(rows, source, target)
    np.testing.assert_array_equal(formats.convert(there, target, source), rows)
    tensor = formats.convert(torch.from_numpy(rows), source, target)
    assert tensor.dtype == torch.float32
    assert there.dtype == np.float32
    np.testing.assert_array_equal(tensor.numpy(), there)


@given(boxes())
def test_conversions_agree_with_torchvision(rows):
    from torchvision.ops import box_convert

    for source in FORMATS:
        for target in FORMATS:
            expected = box_convert(torch.from_numpy(rows), source, target).numpy()
            np.testing.assert_array_equal(formats.convert(rows, source, target), expected)


@given(boxes(), st.integers(1, 12), st.integers(1, 12))
def test_clip_stays_inside_and_keeps_what_is_inside(rows, height, width):
    before = rows.copy()
    clipped = formats.clip(rows, height, width)
    assert (clipped >= 0).all()
    assert (clipped[:, [0, 2]] <= width).all()
    assert (clipped[:, [1, 3]] <= height).all()
    np.testing.assert_array_equal(formats.clip(clipped, height, width), clipped)
    np.testing.assert_array_equal(rows, before)
    expected = np.stack([np.clip(rows[:, k], 0, (width, height)[k % 2]) for k in range(4)], 1)
    np.testing.assert_array_equal(clipped, expected)


@pytest.mark.parametrize("limit", [5, np.float64(5), np.int64(5), np.full(2, 5), np.full(2, 5.0)])
def test_clip_takes_any_kind_of_limit_and_keeps_the_dtype(limit):
    rows = np.float32([[-3, 2, 9, 4], [1, 1, 2, 7]])
    got = formats.clip(rows, limit, limit)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, np.clip(rows, 0, 5))
    if isinstance(limit, np.ndarray):
        limit = torch.from_numpy(limit)
    tensor = formats.clip(torch.from_numpy(rows), limit, limit)
    assert tensor.dtype == torch.float32
    np.testing.assert_array_equal(tensor.numpy(), got)


def test_wrong_shapes_and_names_are_refused():
    with pytest.raises(ConfigError, match=r"\(\.\.\., 4\)"):
        formats.area(np.zeros((2, 5)))
    with pytest.raises(ConfigError, match="did you mean xyxy"):
        formats.convert(np.zeros((2, 4)), "xyxx", "xywh")
