"""Cells, the area-average reducer and the pyramid, against plain references."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gazehound.errors import ImageError
from gazehound.features.dpm_features import (
    feature_pyramid,
    image_features,
    level_sizes,
    mirror_filter,
    planes_of,
)
from gazehound.kernels.area_average import reduce_area

UNIT = [(math.cos(math.radians(20 * o)), math.sin(math.radians(20 * o))) for o in range(9)]


def plain_features(image, cell):
    """The definition of the paper, pixel by pixel, with the rounded directions of the release."""
    height, width, _ = image.shape
    rows, columns = int(height / cell + 0.5), int(width / cell + 0.5)
    histogram = np.zeros((rows, columns, 18))
    values = image.astype(float)
    for y in range(1, rows * cell - 1):
        for x in range(1, columns * cell - 1):
            sy, sx = min(y, height - 2), min(x, width - 2)
            best = (-1.0, 0.0, 0.0)
            for c in range(3):
                dx = values[sy, sx + 1, c] - values[sy, sx - 1, c]
                dy = values[sy + 1, sx, c] - values[sy - 1, sx, c]
                if dx * dx + dy * dy > best[0]:
                    best = (dx * dx + dy * dy, dx, dy)
            dots = [round(u, 4) * best[1] + round(v, 4) * best[2] for u, v in UNIT]
            scores = dots + [-d for d in dots]
            winner, top = 0, 0.0
            for o in range(9):
                for side in (o, o + 9):
                    if scores[side] > top:
                        winner, top = side, scores[side]
            for cy in range(rows):
                for cx in range(columns):
                    share_y = 1 - abs((y + 0.5) / cell - (cy + 0.5))
                    share_x = 1 - abs((x + 0.5) / cell - (cx + 0.5))
                    if share_y > 0 and share_x > 0:
                        histogram[cy, cx, winner] += share_y * share_x * math.sqrt(best[0])
    unsigned = histogram[..., :9] + histogram[..., 9:]
    energy = (unsigned**2).sum(axis=2)
    out = np.zeros((32, max(rows - 2, 0), max(columns - 2, 0)))
    for y in range(out.shape[1]):
        for x in range(out.shape[2]):
            both = [histogram[y + 1, x + 1], unsigned[y + 1, x + 1]]
            for k, (dy, dx) in enumerate([(1, 1), (0, 1), (1, 0), (0, 0)]):
                norm = 1 / math.sqrt(energy[y + dy : y + dy + 2, x + dx : x + dx + 2].sum() + 1e-4)
                signed, plain = (np.minimum(h * norm, 0.2) for h in both)
                out[:18, y, x] += 0.5 * signed
                out[18:27, y, x] += 0.5 * plain
                out[27 + k, y, x] = 0.2357 * signed.sum()
    return out


@pytest.mark.parametrize(("height", "width", "cell"), [(33, 40, 8), (27, 21, 4), (26, 38, 8)])
def test_features_follow_the_definition(height, width, cell):
    image = np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)
    want = plain_features(image, cell)
    # Voting order of the four norms: (+y, +x), (y, +x), (+y, x), (y, x) as in the release.
    got = image_features(image, cell)
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, atol=2e-6)


def test_a_ramp_votes_for_one_orientation():
    ramp = np.tile(np.arange(0, 240, 5, dtype=np.uint8), (48, 1))
    features = image_features(ramp)
    assert (features[:18].argmax(axis=0) == 0).all()  # to the right
    assert (image_features(ramp[:, ::-1])[:18].argmax(axis=0) == 9).all()


def test_a_mirrored_image_has_mirrored_features():
    # Not integers: a gradient exactly between two orientations goes to the first, not to the mirror.
    image = np.random.default_rng(1).random((40, 56, 3)) * 255
    channels_last = image_features(image).transpose(1, 2, 0)
    mirrored = image_features(image[:, ::-1]).transpose(1, 2, 0)
    np.testing.assert_allclose(mirror_filter(channels_last), mirrored, atol=1e-5)
    np.testing.assert_array_equal(mirror_filter(mirror_filter(channels_last)), channels_last)


def test_grey_equals_three_equal_channels_and_16_bit_equals_8_bit():
    grey = np.random.default_rng(2).integers(0, 256, (40, 48), np.uint8)
    want = image_features(np.repeat(grey[:, :, None], 3, axis=2))
    np.testing.assert_array_equal(image_features(grey), want)
    np.testing.assert_array_equal(image_features(grey[:, :, None]), want)
    np.testing.assert_allclose(image_features(grey.astype(np.uint16) * 257), want, atol=1e-6)


@pytest.mark.parametrize("image", [np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4, 3), np.uint8)])
def test_other_arrays_are_refused(image):
    with pytest.raises(ImageError, match="must have shape"):
        planes_of(image)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.floats(0.3, 1.0), st.integers(0, 1000))
def test_the_reducer_averages_areas(height, width, scale, seed):
    image = np.random.default_rng(seed).integers(0, 256, (1, height, width)).astype(np.float64)
    target = [max(int(side * scale + 0.5), 1) for side in (height, width)]

    def shares(source, count):
        edges = np.arange(count + 1) * source / count
        pixels = np.arange(source)
        inside = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
        return np.maximum(inside, 0) * count / source

    want = shares(height, target[0]) @ image[0] @ shares(width, target[1]).T
    # Fractions up to a thousandth of a pixel are left out, at both ends of both axes.
    np.testing.assert_allclose(reduce_area(image, *target)[0], want, atol=255 * 4e-3)


def test_a_flat_patch_stays_exactly_flat():
    image = np.full((1, 53, 47), 207.0)
    reduced = reduce_area(image, 40, 36)
    assert np.ptp(reduced) < 1e-11


def test_levels_follow_the_release():
    sizes = level_sizes((375, 500), 8, 10)
    assert len(sizes) == 1 + math.floor(math.log(375 / 40) / math.log(2**0.1))
    assert sizes[0] == (375, 500)
    assert sizes[10] == (188, 250)  # halves are rounded up
    assert sizes[3] == (round(375 * 2**-0.3), round(500 * 2**-0.3))


def test_part_levels_have_twice_the_cells():
    image = np.random.default_rng(3).integers(0, 256, (96, 128, 3), np.uint8)
    pyramid = feature_pyramid(image, 8, 4, (3, 2))
    assert len(pyramid.fine) == 4
    np.testing.assert_array_equal(pyramid.part_level(5), pyramid.coarse[1])
    for level in range(len(pyramid.coarse)):
        maps = (pyramid.coarse[level], pyramid.part_level(level))
        (rows, columns), (part_rows, part_columns) = (
            (m.shape[1] - 2 * (3 + 1), m.shape[2] - 2 * (2 + 1)) for m in maps
        )
        assert abs(part_rows - (2 * rows + 2)) <= 1  # the ring of cells counts on both
        assert abs(part_columns - (2 * columns + 2)) <= 1


def test_padding_is_truncation_only():
    image = np.random.default_rng(4).integers(0, 256, (64, 64, 3), np.uint8)
    level = feature_pyramid(image, 8, 3, (2, 4)).coarse[0]
    assert level.shape == (32, 6 + 2 * 3, 6 + 2 * 5)
    inside = np.zeros(level.shape[1:], bool)
    inside[3:-3, 5:-5] = True
    assert (level[31] == ~inside).all()
    assert not level[:31, ~inside].any()
    assert level[:31, inside].any()


def test_only_wanted_levels_are_computed_and_equal():
    image = np.random.default_rng(5).integers(0, 256, (96, 96, 3), np.uint8)
    every, some = feature_pyramid(image, 8, 3), feature_pyramid(image, 8, 3, only={1, 3})
    for level in (1, 3):
        np.testing.assert_array_equal(some.coarse[level], every.coarse[level])
        np.testing.assert_array_equal(some.part_level(level), every.part_level(level))
    assert not some.coarse[2].size


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (2, 2), (7, 9), (16, 300)])
def test_small_images_have_levels(shape):
    pyramid = feature_pyramid(np.full((*shape, 3), 9, np.uint8), 8, 5, (4, 4))
    assert len(pyramid.coarse) >= 5
    assert all(np.isfinite(level).all() for level in pyramid.coarse + pyramid.fine)


def test_a_flat_image_has_no_features():
    pyramid = feature_pyramid(np.full((90, 70, 3), 200, np.uint8), 8, 5)
    for level in pyramid.coarse + pyramid.fine:
        assert np.abs(level[:31]).max(initial=0) < 1e-6
