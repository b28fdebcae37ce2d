"""Tracks keep their ids through crossings, gaps and blurs; the filter is Kalman's."""

import numpy as np
import pytest

from gazehound.errors import ConfigError
from gazehound.features import kalman
from gazehound.features.tracking import Tracker
from gazehound.records import Classes, Detections

CLASSES = Classes(("car", "dog"))


def frame(*rows):
    """Return detections of rows (centre x, centre y, score, label), squares of 40 pixels."""
    table = np.asarray(rows, np.float64).reshape(-1, 4)
    boxes = np.concatenate([table[:, :2] - 20, table[:, :2] + 20], axis=1)
    return Detections(
        boxes.astype(np.float32), table[:, 2].astype(np.float32), table[:, 3].astype(np.int64),
        CLASSES, (500, 500),
    )  # fmt: skip


def ids(tracker, *rows):
    return tracker.update(frame(*rows)).extras["track_id"].tolist()


def test_the_filter_is_kalmans_equations():
    """Against the textbook's form, one object at a time."""
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 300, (5, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(20, 90, (5, 2))], axis=1)
    first = kalman.measured(boxes.astype(np.float32))
    np.testing.assert_allclose(kalman.boxes_of(np.pad(first, ((0, 0), (0, 4)))), boxes, rtol=1e-5)
    means, covariances = kalman.begin(first)
    second = first + rng.normal(0, 2, first.shape) * [1, 1, 0.01, 1]
    moved = kalman.predict(means, covariances)
    got_mean, got_covariance = kalman.update(*moved, second)
    F, H = np.eye(8), np.eye(4, 8)
    F[:4, 4:] = np.eye(4)
    for k in range(5):
        h = means[k, 3]
        Q = np.diag([h / 20, h / 20, 1e-2, h / 20, h / 160, h / 160, 1e-5, h / 160]) ** 2
        x, P = F @ means[k], F @ covariances[k] @ F.T + Q
        R = np.diag([x[3] / 20, x[3] / 20, 1e-1, x[3] / 20]) ** 2
        K = P @ H.T @ np.linalg.inv(H @ P @ H.T + R)
        np.testing.assert_allclose(got_mean[k], x + K @ (second[k] - H @ x), rtol=1e-8)
        np.testing.assert_allclose(got_covariance[k], (np.eye(8) - K @ H) @ P, rtol=1e-6, atol=1e-9)


def test_objects_that_cross_keep_their_ids():
    tracker = Tracker()
    for t in range(40):
        left, right = (20 + 10 * t, 100 + 3 * t), (420 - 10 * t, 220 - 3 * t)
        found = ids(tracker, (*left, 0.9, 0), (*right, 0.8, 0))
        assert found == [1, 2]


def test_a_gap_is_waited_for_and_not_longer():
    tracker = Tracker(buffer=10)
    for t in range(10):
        assert ids(tracker, (100 + 4 * t, 100, 0.9, 0)) == [1]
    for _ in range(8):
        assert ids(tracker) == []
    assert ids(tracker, (100 + 4 * 18, 100, 0.9, 0)) == [1]
    for _ in range(11):
        ids(tracker)
    assert ids(tracker, (100 + 4 * 30, 100, 0.9, 0)) == [-1]  # new, not yet confirmed
    assert ids(tracker, (100 + 4 * 31, 100, 0.9, 0)) == [2]


def test_low_scores_continue_a_track_but_begin_none():
    tracker = Tracker(high=0.5, low=0.1)
    assert ids(tracker, (100, 100, 0.9, 0), (300, 300, 0.3, 0)) == [1, -1]
    assert ids(tracker, (102, 100, 0.2, 0), (300, 300, 0.3, 0)) == [1, -1]
    assert ids(tracker, (104, 100, 0.05, 0)) == [-1]  # below low: left alone
    assert ids(tracker, (106, 100, 0.55, 0), (300, 300, 0.55, 0)) == [1, -1]  # 0.6 begins one
    assert ids(tracker, (108, 100, 0.55, 0), (300, 300, 0.55, 0)) == [1, -1]


def test_one_frame_makes_no_track():
    tracker = Tracker()
    assert ids(tracker, (100, 100, 0.9, 0)) == [1]  # the first frame is believed
    assert ids(tracker, (100, 100, 0.9, 0), (300, 300, 0.9, 0)) == [1, -1]
    assert ids(tracker, (100, 100, 0.9, 0)) == [1]
    assert ids(tracker, (100, 100, 0.9, 0), (300, 300, 0.9, 0)) == [1, -1]
    assert ids(tracker, (100, 100, 0.9, 0), (300, 300, 0.9, 0)) == [1, 2]


def test_a_track_keeps_to_its_class():
    tracker = Tracker()
    assert ids(tracker, (100, 100, 0.9, 0)) == [1]
    assert ids(tracker, (100, 100, 0.9, 1)) == [-1]
    assert ids(tracker, (100, 100, 0.9, 1), (100, 100, 0.8, 0)) == [2, 1]


def test_the_order_of_detections_and_what_they_carry_does_not_matter():
    one, other = Tracker(), Tracker()
    rng = np.random.default_rng(1)
    places = rng.uniform(50, 450, (6, 2))
    speeds = rng.uniform(-4, 4, (6, 2))
    for t in range(15):
        rows = [(*(place + t * speed), 0.9, 0) for place, speed in zip(places, speeds, strict=True)]
        shuffled = rng.permutation(6)
        first = one.update(frame(*rows)).extras["track_id"]
        found = frame(*(rows[k] for k in shuffled))
        second = other.update(found)
        assert second.boxes is found.boxes
        if t == 0:
            name = dict(
                zip(second.extras["track_id"].tolist(), first[shuffled].tolist(), strict=True)
            )
        assert [name[k] for k in second.extras["track_id"].tolist()] == first[shuffled].tolist()


def test_wrong_values():
    for options in ({"low": 0.6}, {"high": 1.2}, {"buffer": -1}, {"match": 2.0}):
        with pytest.raises(ConfigError, match="tracking needs"):
            Tracker(**options)
