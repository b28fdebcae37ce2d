"""CenterNet2's first stage, against loops over truths, levels and points."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gazehound.data.batching import pad_targets
from gazehound.errors import ConfigError
from gazehound.nn.centres import SIZES, CentreHeatLoss, CentreTargeter, Places
from gazehound.nn.points import PointGrid

STRIDES, IMAGE = (8, 16, 32, 64, 128), (256, 384)
GRIDS = tuple((IMAGE[0] // s, IMAGE[1] // s) for s in STRIDES)
PLACES = Places(PointGrid(STRIDES)(GRIDS, IMAGE), GRIDS, STRIDES)
DELTA = 0.2 / 1.8


def plain(boxes):
    """One image: the heat of each point, the truth of each, and the peaks, all as lists."""
    heat, owner, peaks = [], [], []
    for level, ((rows, columns), stride) in enumerate(zip(GRIDS, STRIDES, strict=True)):
        low, high = SIZES[level]
        for row in range(rows):
            for column in range(columns):
                x, y = column * stride + stride // 2, row * stride + stride // 2
                best, chosen = (math.inf, math.inf), None
                warmest = 0.0
                for m, (x1, y1, x2, y2) in enumerate(boxes):
                    if x2 <= x1 or y2 <= y1:
                        continue
                    cx, cy = (x1 + x2) / 2, (y1 + y2) / 2
                    at = (int(cx / stride), int(cy / stride))
                    squared = 0.0 if at == (column, row) else (x - cx) ** 2 + (y - cy) ** 2
                    area = (x2 - x1) * (y2 - y1)
                    distance = squared / max(2 * DELTA**2 * area, 16)
                    warmest = max(warmest, math.exp(-distance))
                    half = math.hypot(x2 - x1, y2 - y1) / 2
                    inside = x1 < x < x2 and y1 < y < y2
                    near = abs(at[0] - column) <= 1 and abs(at[1] - row) <= 1
                    fits = inside and near and low <= half <= high
                    if fits and (distance, area) < best:
                        best, chosen = (distance, area), m
                heat.append(warmest if warmest >= 1e-4 else 0.0)
                owner.append(chosen)
    for x1, y1, x2, y2 in boxes:
        half = math.hypot(x2 - x1, y2 - y1) / 2
        first = 0
        for level, ((rows, columns), stride) in enumerate(zip(GRIDS, STRIDES, strict=True)):
            if x2 > x1 and y2 > y1 and SIZES[level][0] <= half <= SIZES[level][1]:
                cell = int((y1 + y2) / 2 / stride) * columns + int((x1 + x2) / 2 / stride)
                peaks.append(first + cell)
            first += rows * columns
    return heat, owner, peaks


def targets_of(boxes):
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return pad_targets([boxes], [torch.zeros(len(boxes), dtype=torch.int64)])


def check(boxes):
    got = CentreTargeter()(PLACES, targets_of(boxes))
    heat, owner, peaks = plain(boxes)
    assert torch.allclose(got.heat[0], torch.tensor(heat, dtype=torch.float32), atol=1e-4)
    assert got.positive[0].tolist() == [chosen is not None for chosen in owner]
    for found, chosen in zip(got.truth[0].tolist(), owner, strict=True):
        assert chosen is None or boxes[found] == boxes[chosen]
    assert sorted(got.peak[got.is_peak].tolist()) == sorted(peaks)


SIDE = st.sampled_from([0, 2, 5, 13, 40, 90, 150, 240])
BOX = st.tuples(st.integers(0, 380), st.integers(0, 250), SIDE, SIDE)


@settings(max_examples=12, deadline=None)
@given(st.lists(BOX, max_size=6))
def test_targets_are_those_of_plain_loops(corners):
    check([(x, y, min(x + w, 384), min(y + h, 256)) for x, y, w, h in corners])


@pytest.mark.parametrize(
    "boxes",
    [
        [],
        [(100, 100, 103, 103)],  # smaller than every stride
        [(40, 40, 140, 140)] * 3,
        [(40, 40, 140, 140), (60, 60, 120, 120)],  # one centre
        [(0, 0, 384, 256)],
    ],
    ids=["none", "speck", "identical", "one centre", "whole image"],
)
def test_edges(boxes):
    check(boxes)


def test_of_two_truths_with_one_centre_the_smaller_has_the_peak():
    """And in either order."""
    boxes = [(40.0, 40, 140, 140), (60.0, 60, 120, 120)]
    for given_boxes in (boxes, boxes[::-1]):
        got = CentreTargeter()(PLACES, targets_of(given_boxes))
        peak = int(got.peak[0, 0, 0])
        assert got.positive[0, peak]
        assert given_boxes[int(got.truth[0, peak])] == boxes[1]


def test_heat_loss_is_the_published_one():
    wanted = CentreTargeter()(PLACES, targets_of([(40, 40, 140, 140), (200, 100, 380, 250)]))
    logits = 2 * torch.randn(wanted.heat.shape, generator=torch.Generator().manual_seed(0))
    chance = torch.sigmoid(logits.double())[0]
    peaks = chance[wanted.peak[wanted.is_peak]]
    positive = -(((1 - peaks) ** 2) * peaks.log()).sum()
    rest = -((1 - wanted.heat[0].double()) ** 4) * chance**2 * (1 - chance).log()
    negative = rest[chance < 0.85].sum()
    total = 0.5 * (0.25 * positive + 0.75 * negative) / len(peaks)
    assert float(CentreHeatLoss()(logits, wanted)) == pytest.approx(float(total), rel=1e-4)


def test_an_empty_range_of_sizes_is_told():
    with pytest.raises(ConfigError, match="least, most"):
        CentreTargeter([(10.0, 5.0)])
