"""OpenCV's rectangle grouping, against OpenCV."""

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gazehound.features.grouping import group_rectangles


def clustered(seed, objects, each):
    rng = np.random.default_rng(seed)
    centre = rng.integers(0, 300, (objects, 2))
    side = rng.integers(20, 120, (objects, 1))
    boxes = np.concatenate([centre, side, side], axis=1).repeat(each, axis=0)
    return boxes + rng.integers(-4, 5, boxes.shape)


@settings(deadline=None)
@given(
    st.integers(0, 2**31), st.integers(1, 12), st.integers(1, 12), st.integers(0, 6),
    st.sampled_from([0.1, 0.2, 0.5]),
)  # fmt: skip
def test_grouping_is_opencv_s(seed, objects, each, neighbors, eps):
    boxes = clustered(seed, objects, each)
    scores = np.random.default_rng(seed).random(len(boxes))
    ours, best, count = group_rectangles(boxes, scores, neighbors, eps)
    theirs, weights = cv2.groupRectangles(boxes.tolist(), neighbors, eps)
    expected = sorted(zip(map(tuple, np.reshape(theirs, (-1, 4))), np.ravel(weights), strict=True))
    assert sorted(zip(map(tuple, ours), count, strict=True)) == expected
    assert np.isin(best, scores.astype(np.float32)).all()


def test_no_boxes():
    boxes, scores, count = group_rectangles(np.zeros((0, 4), np.int64), np.zeros(0))
    assert boxes.shape == (0, 4)
    assert len(scores) == len(count) == 0
