"""Targets and decoding of detectors of points, against loops that anyone can read."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gazehound.boxes.iou import iou
from gazehound.data.batching import pad_targets
from gazehound.nn.heatmaps import (
    PeakLimits,
    channel_peaks,
    decode_points,
    gaussian_radius,
    point_targets,
)
from gazehound.nn.losses.heatmap import HeatmapLoss, masked_l1

CLASSES, GRID, STRIDE = 3, (24, 32), 4


def published_radius(width, height, overlap=0.7):
    """As the trained networks have it: the larger root's numerator, halved, of three equations."""
    candidates = []
    for a, b, c in (
        (1, height + width, width * height * (1 - overlap) / (1 + overlap)),
        (4, 2 * (height + width), (1 - overlap) * width * height),
        (4 * overlap, -2 * overlap * (height + width), (overlap - 1) * width * height),
    ):
        candidates.append((b + math.sqrt(b * b - 4 * a * c)) / 2)
    return min(candidates)


def plain_targets(boxes, labels):
    """One image; one box after another; one cell after another."""
    heat = np.zeros((CLASSES, *GRID))
    rows = []
    for box, label in zip(boxes, labels, strict=True):
        x1, y1, x2, y2 = (value / STRIDE for value in box)
        width, height = x2 - x1, y2 - y1
        if width <= 0 or height <= 0:
            rows.append(None)
            continue
        cx, cy = (x1 + x2) / 2, (y1 + y2) / 2
        column, row = min(int(cx), GRID[1] - 1), min(int(cy), GRID[0] - 1)
        radius = int(published_radius(math.ceil(width), math.ceil(height)))
        sigma = (2 * radius + 1) / 6
        for y in range(max(0, row - radius), min(GRID[0], row + radius + 1)):
            for x in range(max(0, column - radius), min(GRID[1], column + radius + 1)):
                value = math.exp(-((x - column) ** 2 + (y - row) ** 2) / (2 * sigma**2))
                heat[label, y, x] = max(heat[label, y, x], value)
        rows.append((row * GRID[1] + column, cx - column, cy - row, width, height))
    return heat, rows


def boxes_strategy():
    corner = st.tuples(st.integers(0, 120), st.integers(0, 90))
    size = st.tuples(st.integers(0, 80), st.integers(0, 60))
    box = st.tuples(corner, size, st.integers(0, CLASSES - 1))
    return st.lists(box, max_size=12)


@settings(max_examples=40, deadline=None)
@given(boxes_strategy(), boxes_strategy())
def test_targets_are_those_of_plain_loops(first, second):
    images = (first, second)
    boxes = [
        [(x, y, min(x + w, 128), min(y + h, 96)) for (x, y), (w, h), _ in image] for image in images
    ]
    labels = [[label for *_, label in image] for image in images]
    got = point_targets(
        pad_targets(
            [torch.tensor(b, dtype=torch.float32).reshape(-1, 4) for b in boxes],
            [torch.tensor(k, dtype=torch.int64) for k in labels],
        ),
        CLASSES,
        GRID,
        STRIDE,
    )
    for i in range(2):
        heat, rows = plain_targets(boxes[i], labels[i])
        assert np.allclose(got.heat[i].numpy(), heat, atol=1e-5)
        assert np.array_equal(got.heat[i].numpy() == 1, heat == 1)
        assert got.valid[i].sum() == sum(row is not None for row in rows)
        for m, row in enumerate(rows):
            if row is not None:
                assert int(got.cell[i, m]) == row[0]
                numbers = torch.cat((got.offset[i, m], got.size[i, m]))
                assert np.allclose(numbers.numpy(), row[1:], atol=1e-4)


@settings(max_examples=60, deadline=None)
@given(st.floats(4, 300), st.floats(4, 300), st.sampled_from([0.3, 0.5, 0.7, 0.9]))
def test_the_exact_radius_keeps_the_overlap(width, height, overlap):
    """The three cases of CornerNet with corners moved by the radius along both axes."""
    radius = float(gaussian_radius(torch.tensor([width, height]), overlap, published=False))
    truth = np.array([0, 0, width, height], np.float64)
    moves = ([1, 1, 1, 1], [1, 1, -1, -1], [-1, -1, 1, 1])
    overlaps = [float(iou(truth, truth + radius * np.array(move, np.float64))) for move in moves]
    assert min(overlaps) == pytest.approx(overlap, abs=1e-3)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 200), st.integers(0, 200))
def test_the_published_radius_is_the_published_one(width, height):
    got = float(gaussian_radius(torch.tensor([float(width), float(height)])))
    assert got == pytest.approx(published_radius(width, height), rel=1e-4, abs=1e-4)


def plain_focal(probability, heat):
    """CornerNet's equation, cell by cell."""
    total, count = 0.0, 0
    for p, y in zip(probability.flatten().tolist(), heat.flatten().tolist(), strict=True):
        if y == 1:
            total -= (1 - p) ** 2 * math.log(p)
            count += 1
        else:
            total -= (1 - y) ** 4 * p**2 * math.log(1 - p)
    return total / max(count, 1)


@pytest.mark.parametrize("boxes", [[], [[10, 10, 60, 70], [30, 20, 120, 90]]], ids=["none", "two"])
def test_focal_loss_is_the_published_one(boxes):
    targets = pad_targets(
        [torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)], [torch.arange(len(boxes))]
    )
    heat = point_targets(targets, CLASSES, GRID, STRIDE).heat
    logits = 2 * torch.randn(heat.shape, generator=torch.Generator().manual_seed(0))
    wanted = plain_focal(torch.sigmoid(logits.double()), heat)
    assert float(HeatmapLoss()(logits, heat)) == pytest.approx(wanted, rel=1e-4)


def test_extreme_logits_still_have_a_gradient():
    """The published clamp to 1e-4 .. 1 - 1e-4 cuts the gradient off; a lost peak must come back."""
    logits = torch.full((1, 1, 2, 2), -30.0, requires_grad=True)
    heat = torch.zeros(1, 1, 2, 2)
    heat[0, 0, 0, 0] = 1
    HeatmapLoss()(logits, heat).backward()
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[0, 0, 0, 0] == pytest.approx(-1.0, abs=1e-3)


def test_truths_smaller_than_a_cell_identical_ones_and_shared_centres():
    """A speck has a peak of one cell; twins change nothing but the weight of their size."""
    speck = [41.0, 41, 42, 42]
    small = [40.0, 40, 56, 56]
    large = [20.0, 20, 76, 76]  # the same centre
    one, twins, shared = (
        point_targets(
            pad_targets([torch.tensor(b)], [torch.zeros(len(b), dtype=torch.int64)]),
            CLASSES, GRID, STRIDE,
        )
        for b in ([speck], [small, small], [small, large])
    )  # fmt: skip
    assert one.heat.sum() == 1
    assert one.heat[0, 0, 10, 10] == 1
    assert (twins.heat == 1).sum() == (shared.heat == 1).sum() == 1
    assert twins.cell[0, 0] == twins.cell[0, 1] == shared.cell[0, 1]
    assert shared.size[0, :2].tolist() == [[4, 4], [14, 14]]
    assert (shared.heat >= twins.heat).all()  # the wider Gaussian wins


def test_peaks_are_local_maxima_and_give_the_boxes_back():
    """From the truths' own maps, decoding returns the truths."""
    boxes = torch.tensor([[10.0, 10, 60, 70], [64, 20, 127, 90], [3, 80, 17, 95]])
    labels = torch.tensor([0, 1, 1])
    wanted = point_targets(pad_targets([boxes], [labels]), CLASSES, GRID, STRIDE)
    maps = torch.zeros(1, 4, GRID[0] * GRID[1])
    numbers = torch.cat((wanted.offset, wanted.size), dim=2)[0, :3]
    maps[0][:, wanted.cell[0, :3]] = numbers.T
    maps = maps.reshape(1, 4, *GRID)
    heat = torch.logit(wanted.heat, eps=1e-4)
    found, cell = decode_points(
        heat, maps[:, :2], maps[:, 2:], torch.tensor([[96.0, 128]]), STRIDE, PeakLimits(score=0.5)
    )
    assert set(cell[found.valid].tolist()) == set(wanted.cell[0, :3].tolist())
    assert found.valid.sum() == 3
    assert {tuple(row) for row in found.boxes[0][found.valid[0]].round().tolist()} == {
        tuple(row) for row in boxes.tolist()
    }
    assert sorted(found.labels[0][found.valid[0]].tolist()) == [0, 1, 1]


def test_peaks_of_each_channel():
    heat = torch.zeros(1, 2, 4, 5)
    heat[0, 0, 1, 1], heat[0, 0, 1, 2], heat[0, 0, 3, 4], heat[0, 1, 2, 2] = 0.9, 0.8, 0.5, 0.3
    scores, cell = channel_peaks(heat, 2)
    assert torch.allclose(scores, torch.tensor([[[0.9, 0.5], [0.3, 0.0]]]))
    assert cell[0, 0].tolist() == [6, 19]
    assert cell[0, 1, 0] == 12


def test_masked_l1_counts_numbers():
    predicted, wanted = torch.tensor([[[1.0, 2], [9, 9]]]), torch.tensor([[[0.0, 0], [0, 0]]])
    counted = torch.tensor([[[True], [False]]])
    assert float(masked_l1(predicted, wanted, counted)) == pytest.approx(1.5, rel=1e-4)
    assert float(masked_l1(predicted, wanted, ~counted & False)) == 0
