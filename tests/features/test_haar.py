"""Integral images, and the Haar-like features of a window."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gazehound.errors import ConfigError
from gazehound.features.haar import HaarFeatures, corner_points, haar_features
from gazehound.features.stumps import Patches
from gazehound.kernels.integral import integrate, integrate_tilted


def random_image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**31))
def test_integral_images_are_opencv_s(height, width, seed):
    image = random_image(height, width, seed)
    sums, squares = (np.empty((height + 1, width + 1), np.int64) for _ in range(2))
    cones = np.empty((height + 1, width + 1), np.int64)
    integrate(image, sums, squares)
    integrate_tilted(image, cones)
    expected = cv2.integral3(image)
    for ours, theirs in zip((sums, squares, cones), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_narrow_squares_wrap_and_their_differences_are_right():
    image = np.full((300, 300), 255, np.uint8)
    sums, squares = np.empty((301, 301), np.int32), np.empty((301, 301), np.uint32)
    integrate(image, sums, squares)
    assert 300 * 300 * 255**2 > 2**32
    corners = squares[[300, 280, 300, 280], [300, 300, 280, 280]].astype(np.int64)
    window = corners @ np.asarray([1, -1, -1, 1])
    assert window % 2**32 == 20 * 20 * 255**2


def test_a_window_of_24_pixels_has_162336_features():
    features = haar_features((24, 24))
    assert len(features) == 162_336
    kind = [27_600, 43_200, 20_736]  # three, two (each way), four rectangles: known counts
    areas = np.sort(np.unique(features.weights, axis=0, return_counts=True)[1])
    assert areas.tolist() == sorted([2 * kind[0], 2 * kind[1], kind[2]])


@pytest.mark.parametrize("window", [(5, 4), (6, 6), (3, 9)])
def test_every_feature_is_there_once(window):
    height, width = window
    expected = 0
    for across, down in [(2, 1), (1, 2), (3, 1), (1, 3), (2, 2)]:
        for w in range(across, width + 1, across):
            for h in range(down, height + 1, down):
                expected += (width - w + 1) * (height - h + 1)
    features = haar_features(window)
    rows = np.concatenate([features.rects.reshape(len(features), -1), features.weights], axis=1)
    assert len(features) == expected == len(np.unique(rows, axis=0))


@pytest.mark.parametrize("tilted", [False, True])
def test_even_patches_give_zero(tilted):
    features = haar_features((9, 8), tilted)
    assert features.tilted.any() == tilted
    responses = Patches(np.full((2, 9, 8), 77, np.uint8), tilted).responses(features)
    np.testing.assert_array_equal(responses, 0)


def brute_response(patch, rects, weights):
    sums = [int(patch[y : y + h, x : x + w].astype(int).sum()) for x, y, w, h in rects.astype(int)]
    return float(np.dot(sums, weights))


def test_upright_responses_are_weighted_sums_over_the_deviation():
    rng = np.random.default_rng(3)
    patches = rng.integers(0, 256, (4, 12, 10), dtype=np.uint8)
    features = haar_features((12, 10))
    rows = np.sort(rng.permutation(len(features))[:200])
    chosen = features.take(rows)
    responses = Patches(patches).responses(chosen)
    for n, patch in enumerate(patches):
        inner = patch[1:-1, 1:-1].astype(float)
        norm = inner.size * inner.std()
        expected = [
            brute_response(patch, r, w) / norm
            for r, w in zip(chosen.rects, chosen.weights, strict=True)
        ]
        np.testing.assert_allclose(responses[:, n], expected, rtol=1e-4, atol=1e-6)


def test_tilted_corners_give_the_sums_of_opencv_s_tilted_integral():
    image = random_image(20, 20)
    cones = cv2.integral3(image)[2]
    features = haar_features((20, 20), tilted=True)
    lean = features.take(np.flatnonzero(features.tilted)[::97])
    xs, ys = corner_points(lean.rects, lean.tilted)
    entries = cones[ys, xs].reshape(len(lean), 3, 4) @ np.asarray([1, -1, -1, 1])
    expected = (entries * lean.weights).sum(axis=1)
    patches = Patches(image[None], tilted=True)
    np.testing.assert_allclose(
        patches.responses(lean)[:, 0], expected * patches.inverse[0], rtol=1e-4, atol=1e-6
    )


def test_a_feature_outside_its_window_is_refused():
    rects = np.zeros((1, 3, 4), np.int16)
    rects[0, 0] = 3, 3, 8, 2
    weights = np.asarray([[1, 0, 0]], np.float32)
    with pytest.raises(ConfigError, match="feature 0 leaves the window of 8 x 8"):
        HaarFeatures((8, 8), rects, weights, np.zeros(1, bool))


def test_a_window_without_room_is_refused():
    with pytest.raises(ConfigError, match="no room"):
        haar_features((1, 1))
