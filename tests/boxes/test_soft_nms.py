"""Soft-NMS against the paper's pseudo-code in plain Python."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import boxes, random_boxes

from gazehound.boxes.iou import iou
from gazehound.boxes.nms import nms
from gazehound.boxes.soft_nms import soft_nms
from gazehound.errors import ConfigError


def plain(rows, scores, labels, method, threshold, sigma, lowest):
    """Bodla et al. 2017, figure 2: take the best, decay the rest, prune below ``lowest``."""
    left = {i: float(s) for i, s in enumerate(scores) if s >= lowest}
    taken = []
    while left:
        best = max(left, key=lambda i: (left[i], -i))
        taken.append((best, left.pop(best)))
        for i in list(left):
            overlap = float(iou(rows[best].astype(float), rows[i].astype(float)))
            if labels is not None and labels[i] != labels[best]:
                continue
            if method == "gaussian":
                left[i] *= math.exp(-(overlap**2) / sigma)
            elif overlap > threshold:
                left[i] *= 1 - overlap
            if left[i] < lowest:
                del left[i]
    return taken


@settings(deadline=None, max_examples=60)
@given(
    boxes(most=15), st.integers(0, 9), st.sampled_from(["linear", "gaussian"]),
    st.sampled_from([0.2, 0.31, 0.5]), st.sampled_from([0.1, 0.5, 2.0]), st.booleans(),
)  # fmt: skip
def test_equals_the_pseudo_code(rows, seed, method, threshold, sigma, by_class):
    rng = np.random.default_rng(seed)
    scores = rng.random(len(rows)).astype(np.float32)
    labels = rng.integers(0, 2, len(rows)) if by_class else None
    expected = plain(rows, scores, labels, method, threshold, sigma, 0.05)
    options = {"method": method, "iou_threshold": threshold, "sigma": sigma, "lowest": 0.05}
    keep, decayed = soft_nms(rows, scores, labels, **options)
    assert keep.tolist() == [i for i, _ in expected]
    np.testing.assert_allclose(decayed, [s for _, s in expected], rtol=1e-5)
    assert decayed.dtype == np.float32
    as_tensors = None if labels is None else torch.from_numpy(labels)
    keep_t, decayed_t = soft_nms(*map(torch.from_numpy, (rows, scores)), as_tensors, **options)
    assert keep_t.tolist() == keep.tolist()
    assert decayed_t.tolist() == decayed.tolist()


@pytest.mark.parametrize("method", ["linear", "gaussian"])
def test_many_boxes(method):
    rows, scores = random_boxes(150, 0, "clusters")
    scores += np.arange(150, dtype=np.float32) * 1e-6  # no ties
    expected = plain(rows, scores, None, method, 0.3, 0.5, 0.001)
    keep, decayed = soft_nms(rows, scores, method=method)
    assert keep.tolist() == [i for i, _ in expected]
    assert (np.diff(decayed) <= 0).all()
    shorter, _ = soft_nms(rows, scores, method=method, limit=20)
    assert shorter.tolist() == keep[:20].tolist()


def test_a_tiny_sigma_is_hard_nms_without_overlap():
    rows, scores = random_boxes(200, 1, "sparse")
    keep, _ = soft_nms(rows, scores + np.float32(0.01), sigma=1e-30, lowest=0.005)
    np.testing.assert_array_equal(keep, nms(rows, scores, 0.0))


def test_nan_scores_are_dropped_and_nan_boxes_touch_nothing():
    rows = np.float32([[0, 0, 9, 9], [np.nan, 0, 9, 9], [0, 0, 9, 8]])
    keep, decayed = soft_nms(rows, np.float32([0.5, 0.9, np.nan]))
    assert keep.tolist() == [1, 0]
    np.testing.assert_array_equal(decayed, np.float32([0.9, 0.5]))


def test_nothing_and_wrong_arguments():
    empty = np.zeros((0, 4), np.float32)
    assert [len(x) for x in soft_nms(empty, empty[:, 0])] == [0, 0]
    rows, scores = random_boxes(3)
    with pytest.raises(ConfigError, match="did you mean gaussian"):
        soft_nms(rows, scores, method="gauss")
    with pytest.raises(ConfigError, match="sigma must be above 0"):
        soft_nms(rows, scores, sigma=0.0)
    with pytest.raises(ConfigError, match="scores per box"):
        soft_nms(rows, scores[:1])
