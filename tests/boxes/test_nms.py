"""NMS: the indices of torchvision and of a plain loop, at every threshold, on every odd input."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import SCORES, THRESHOLDS, boxes, random_boxes
from torchvision import ops

from gazehound.boxes.iou import iou
from gazehound.boxes.nms import batched_nms, nms, not_above
from gazehound.errors import ConfigError
from gazehound.kernels import nms as kernel


def plain(rows, scores, threshold, labels=None):
    """Greedy NMS as everybody writes it first; float32 arithmetic."""
    order = np.argsort(-scores, kind="stable")
    kept = []
    for j in order:
        same = (i for i in kept if labels is None or labels[i] == labels[j])
        if all(not float(iou(rows[i], rows[j])) > threshold for i in same):
            kept.append(j)
    return kept


def peer(rows, scores, threshold):
    return ops.nms(torch.from_numpy(rows), torch.from_numpy(scores), threshold).numpy()


@given(boxes(most=30), st.data(), THRESHOLDS)
@settings(deadline=None)
def test_equals_the_plain_loop(rows, data, threshold):
    scores = np.asarray(
        data.draw(st.lists(SCORES, min_size=len(rows), max_size=len(rows))), np.float32
    )
    got = nms(rows, scores, threshold)
    assert got.dtype == np.int64
    assert got.tolist() == plain(rows, scores, threshold)
    assert got.tolist() == peer(rows, scores, threshold).tolist()


def by_grid(rows, scores, threshold):
    """Send any number of boxes through the grid, which `nms` lays only once many are kept."""
    order = np.argsort(-scores, kind="stable")
    columns = kernel._columns(rows, order)
    safe, extent, mean = kernel._measure(columns)
    if not safe:
        return nms(rows, scores, threshold).tolist()
    keep = np.zeros(order.size, np.bool_)
    near = not_above(threshold, rows.dtype)
    kernel._suppress_by_grid(columns, near, 1 << 60, keep, extent, mean, 0)
    return order[keep].tolist()


def check(rows, scores, threshold):
    """Compare all paths with torchvision."""
    expected = peer(rows, scores, threshold).tolist()
    assert nms(rows, scores, threshold).tolist() == expected, threshold
    if not np.isnan(scores).any():
        assert by_grid(rows, scores, threshold) == expected, threshold


@given(boxes(2, 30), st.data(), THRESHOLDS)
@settings(deadline=None)
def test_the_grid_alone_equals_the_plain_loop(rows, data, threshold):
    scores = np.asarray(
        data.draw(st.lists(SCORES, min_size=len(rows), max_size=len(rows))), np.float32
    )
    assert by_grid(rows, scores, threshold) == plain(rows, scores, threshold)


@pytest.mark.parametrize("kind", ["sparse", "clusters"])
@pytest.mark.parametrize("count", [97, 700, 3000])
def test_equals_torchvision_on_many_boxes_at_every_threshold(kind, count):
    rows, scores = random_boxes(count, count, kind)
    for threshold in [0.0, 0.01, *np.linspace(0.05, 0.95, 19), 0.999, 1.0]:
        check(rows, scores, float(threshold))


@pytest.mark.parametrize("places", [1, 4, 64])
def test_thresholds_that_an_iou_hits_exactly(places):
    """Boxes on a coarse lattice have few different IoUs; each of them is used as threshold."""
    rng = np.random.default_rng(places)
    low = rng.integers(0, places, (400, 2)).astype(np.float32)
    rows = np.concatenate([low, low + rng.integers(1, 8, (400, 2))], 1).astype(np.float32)
    scores = rng.integers(0, 20, 400).astype(np.float32)
    values = np.unique(iou(rows[:, None], rows[None]))
    for value in rng.permutation(values)[:40]:
        for threshold in (float(value), float(np.nextafter(value, 0)), float(value) - 1e-12):
            threshold = max(threshold, 0.0)
            check(rows, scores, threshold)


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e-3, 1e6, 1e18, 1e25])
def test_any_scale(scale):
    rows, scores = random_boxes(500, 3, "clusters")
    rows = (rows * np.float32(scale)).astype(np.float32)
    for threshold in (0.1, 0.5, 0.8):
        check(rows, scores, threshold)


def test_far_from_the_origin_and_mixed_sizes():
    rows, scores = random_boxes(800, 5, "clusters")
    rows[::3] *= 0.01
    for shift in (-1e5, 1e7):
        moved = rows + np.float32(shift)
        for threshold in (0.05, 0.3, 0.5, 0.7):
            check(moved, scores, threshold)


@pytest.mark.parametrize("count", [40, 400])
def test_nan_infinite_inverted_and_empty_boxes(count):
    rows, scores = random_boxes(count, 7, "clusters")
    rng = np.random.default_rng(0)
    for value in (np.nan, np.inf, -np.inf):
        rows[rng.integers(0, count, 3), rng.integers(0, 4, 3)] = value
        scores[rng.integers(0, count, 2)] = value
    rows[5] = rows[5, [2, 3, 0, 1]]
    rows[6, 2:] = rows[6, :2]
    rows[8] = [-np.inf, -np.inf, np.inf, np.inf]
    for threshold in (0.0, 0.3, 0.5, 1.0):
        check(rows, scores, threshold)


def test_order_of_scores_like_torch():
    rng = np.random.default_rng(0)
    scores = rng.standard_normal(5000).astype(np.float32).round(2)
    scores[:9] = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e-45, 3.4e38, -3.4e38]
    scores[100:110] = np.nan
    scores[200] = np.copysign(np.float32(np.nan), np.float32(-1))
    expected = torch.sort(torch.from_numpy(scores), descending=True, stable=True)[1]
    np.testing.assert_array_equal(kernel.argsort_descending(scores), expected)


def test_kinds_of_array():
    rows, scores = random_boxes(300, 1, "clusters")
    expected = peer(rows, scores, 0.5)
    boxes_t, scores_t = torch.from_numpy(rows), torch.from_numpy(scores)
    got = nms(boxes_t, scores_t, 0.5)
    assert isinstance(got, torch.Tensor)
    assert got.dtype == torch.int64
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(nms(boxes_t.requires_grad_(), scores_t, 0.5), expected)
    turned = np.asfortranarray(rows)
    np.testing.assert_array_equal(nms(turned, scores, 0.5), expected)
    rows = rows.copy()
    rows.flags.writeable = False
    np.testing.assert_array_equal(nms(rows, scores, 0.5), expected)
    double = nms(rows.astype(np.float64), scores.astype(np.float64), 0.5)
    np.testing.assert_array_equal(
        double, ops.nms(boxes_t.detach().double(), scores_t.double(), 0.5).numpy()
    )
    half = nms(boxes_t.detach().bfloat16(), scores_t.bfloat16(), 0.5)
    assert half.dtype == torch.int64
    whole = nms(rows.astype(np.int64), scores, 0.5)
    np.testing.assert_array_equal(whole, nms(rows.astype(np.int64).astype(np.float32), scores, 0.5))


def test_limit_gives_the_first_of_the_whole_answer():
    rows, scores = random_boxes(500, 2, "clusters")
    labels = np.arange(500) % 3
    for limit in (0, 1, 17, 10_000):
        np.testing.assert_array_equal(nms(rows, scores, 0.5, limit), nms(rows, scores, 0.5)[:limit])
        np.testing.assert_array_equal(
            batched_nms(rows, scores, labels, 0.5, limit),
            batched_nms(rows, scores, labels, 0.5)[:limit],
        )


@given(boxes(most=25), st.data(), THRESHOLDS)
@settings(deadline=None)
def test_class_aware_equals_the_plain_loop(rows, data, threshold):
    n = len(rows)
    scores = np.asarray(data.draw(st.lists(SCORES, min_size=n, max_size=n)), np.float32)
    labels = np.asarray(
        data.draw(st.lists(st.sampled_from([-5, 0, 1, 90, 10**12]), min_size=n, max_size=n)),
        np.int64,
    )
    got = batched_nms(rows, scores, labels, threshold)
    assert got.tolist() == plain(rows, scores, threshold, labels)
    tensors = batched_nms(*map(torch.from_numpy, (rows, scores, labels)), threshold)
    assert tensors.tolist() == got.tolist()


def test_class_aware_is_exact_where_moved_boxes_are_not():
    """torchvision's coordinate trick rounds: far boxes of a high class lose their fractions."""
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 4000, (3000, 2))
    rows = np.concatenate([low, low + rng.uniform(0.5, 3, (3000, 2))], 1).astype(np.float32)
    rows = np.repeat(rows, 3, 0) + rng.uniform(0, 0.3, (9000, 4)).astype(np.float32)
    scores, labels = rng.random(9000).astype(np.float32), rng.integers(0, 1000, 9000) // 10
    labels = np.repeat(labels[:3000], 3)
    expected = [
        rows_of_class[peer(rows[rows_of_class], scores[rows_of_class], 0.5)]
        for rows_of_class in (np.flatnonzero(labels == k) for k in np.unique(labels))
    ]
    got = batched_nms(rows, scores, labels, 0.5)
    np.testing.assert_array_equal(np.sort(got), np.sort(np.concatenate(expected)))
    assert (np.diff(scores[got]) <= 0).all()


@given(boxes(1, 20), THRESHOLDS)
@settings(deadline=None)
def test_invariants(rows, threshold):
    scores = np.linspace(1, 0, len(rows), dtype=np.float32)
    keep = nms(rows, scores, threshold)
    assert keep[0] == 0
    overlap = iou(rows[keep][:, None], rows[keep][None])
    np.fill_diagonal(overlap, 0)
    assert (overlap <= threshold).all()
    shuffled = np.random.default_rng(0).permutation(len(rows))
    np.testing.assert_array_equal(shuffled[nms(rows[shuffled], scores[shuffled], threshold)], keep)
    np.testing.assert_array_equal(nms(rows[keep], scores[keep], threshold), np.arange(len(keep)))


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_compiled_and_traced_code_uses_the_operator():
    rows, scores = map(torch.from_numpy, random_boxes(50, 0, "clusters"))
    traced = torch.jit.trace(lambda b, s: nms(b, s, 0.5), (rows, scores))
    other = tuple(map(torch.from_numpy, random_boxes(80, 1, "clusters")))
    torch.testing.assert_close(traced(*other), ops.nms(*other, 0.5))


def test_wrong_arguments_are_refused():
    rows, scores = random_boxes(3)
    with pytest.raises(ConfigError, match=r"boxes \(N, 4\)"):
        nms(rows[:, :3], scores, 0.5)
    with pytest.raises(ConfigError, match="scores per box"):
        nms(rows, scores[:2], 0.5)
    with pytest.raises(ConfigError, match="labels per box"):
        batched_nms(rows, scores, np.zeros(2, int), 0.5)
    for threshold in (-0.1, 1.1, float("nan")):
        with pytest.raises(ConfigError, match=r"0\.\.1"):
            nms(rows, scores, threshold)


def test_no_boxes():
    nothing = np.zeros((0, 4), np.float32)
    assert nms(nothing, nothing[:, 0], 0.5).shape == (0,)
    assert batched_nms(nothing, nothing[:, 0], np.zeros(0, np.int64), 0.5).shape == (0,)
