"""Weighted box fusion against the paper's procedure in plain Python."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import boxes

from gazehound.boxes.fusion import fuse
from gazehound.boxes.iou import iou
from gazehound.errors import ConfigError


def plain(rows, scores, labels, looks, threshold):
    clusters = []  # [label, fused box, members]
    for k in sorted(range(len(rows)), key=lambda k: (-scores[k], k)):
        mine = [c for c in clusters if c[0] == labels[k]]
        overlaps = [float(iou(rows[k].astype(float), c[1])) for c in mine]
        if overlaps and max(overlaps) > threshold:
            cluster = mine[overlaps.index(max(overlaps))]
            cluster[2].append(k)
        else:
            cluster = [labels[k], None, [k]]
            clusters.append(cluster)
        total = sum(float(scores[m]) for m in cluster[2])
        cluster[1] = sum(rows[m].astype(float) * float(scores[m]) for m in cluster[2]) / total
    out = []
    for label, box, members in clusters:
        mean = sum(float(scores[m]) for m in members) / len(members)
        out.append((mean * min(len(members), looks) / looks, label, box))
    return sorted(out, key=lambda row: -row[0])


@settings(deadline=None, max_examples=50)
@given(boxes(most=14), st.integers(0, 99), st.integers(1, 4), st.sampled_from([0.31, 0.55]))
def test_equals_the_procedure(rows, seed, looks, threshold):
    rng = np.random.default_rng(seed)
    scores = rng.uniform(0.05, 1, len(rows)).astype(np.float32)
    labels = rng.integers(0, 2, len(rows))
    expected = plain(rows, scores, labels, looks, threshold)
    fused, means, best = fuse(rows, scores, labels, looks, threshold)
    assert len(fused) == len(expected)
    np.testing.assert_allclose(means, [row[0] for row in expected], rtol=1e-5)
    assert (np.diff(means) <= 0).all()
    if len({round(float(s), 5) for s in means}) == len(means):  # an order without ties
        assert labels[best].tolist() == [row[1] for row in expected]
        wanted = np.reshape([row[2] for row in expected], (-1, 4))
        np.testing.assert_allclose(fused, wanted, rtol=1e-4, atol=1e-3)


def test_looks_that_agree_change_nothing_and_a_lonely_box_counts_less():
    box = np.float32([[10, 10, 20, 20]])
    fused, scores, best = fuse(np.repeat(box, 3, 0), np.float32([0.6] * 3), np.zeros(3, int), 3)
    np.testing.assert_allclose(fused, box)
    assert scores == pytest.approx([0.6])
    assert best.tolist() == [0]
    assert fuse(box, np.float32([0.6]), np.zeros(1, int), 3)[1] == pytest.approx([0.2])


def test_wrong_values():
    none = (np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, int))
    assert [len(part) for part in fuse(*none, 2)] == [0, 0, 0]
    for looks, threshold in ((0, 0.5), (1, 1.5)):
        with pytest.raises(ConfigError):
            fuse(*none, looks, threshold)
