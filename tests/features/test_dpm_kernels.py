"""Distance transforms and correlation against brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import correlate as reference_correlate

from gazehound.kernels.correlation import correlate, filter_bank
from gazehound.kernels.distance_transform import add_deformed, best_place, distance_transform


def brute_force(scores, deformation, reach):
    """The definition, over all pairs of places."""
    ax, bx, ay, by = deformation
    height, width = scores.shape
    y, x, j, i = np.ix_(range(height), range(width), range(height), range(width))
    dy, dx = y - j, x - i
    values = scores[None, None] - (ay * dy * dy + by * dy + ax * dx * dx + bx * dx)
    if reach >= 0:
        values = np.where(np.maximum(abs(dy), abs(dx)) <= reach, values, -np.inf)
    return values.max(axis=(2, 3))


@st.composite
def maps(draw):
    shape = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    scores = rng.normal(size=shape).astype(np.float32)
    scores[rng.random(shape) < draw(st.sampled_from([0.0, 0.3, 0.9]))] = -np.inf
    quadratic = rng.uniform(0.001, 0.5, 2)
    linear = rng.normal(scale=draw(st.sampled_from([0.0, 0.1, 2.0])), size=2)
    return scores, np.array([quadratic[0], linear[0], quadratic[1], linear[1]])


@settings(max_examples=100, deadline=None)
@given(maps(), st.sampled_from([-1, 0, 1, 4]))
def test_the_transform_is_the_brute_force_maximum(case, reach):
    scores, deformation = case
    values, rows, columns = distance_transform(scores, deformation, reach)
    np.testing.assert_allclose(values, brute_force(scores, deformation, reach), atol=1e-5)
    ax, bx, ay, by = deformation
    for (y, x), value in np.ndenumerate(values):
        if np.isfinite(value):
            dy, dx = y - rows[y, x], x - columns[y, x]
            cost = ay * dy * dy + by * dy + ax * dx * dx + bx * dx
            assert value == pytest.approx(scores[rows[y, x], columns[y, x]] - cost, abs=1e-5)


def test_equal_values_take_the_smaller_index():
    scores = np.zeros((1, 3), np.float32)
    scores[0, 1] = -np.inf
    for reach in (-1, 4):
        _, _, columns = distance_transform(scores, np.array([0.1, 0, 0.1, 0]), reach)
        assert columns[0].tolist() == [0, 0, 2]


@settings(max_examples=100, deadline=None)
@given(
    maps(), st.integers(0, 4), st.integers(-6, 6), st.integers(-6, 6),
    st.tuples(st.integers(1, 7), st.integers(1, 7)), st.integers(0, 2), st.integers(0, 2),
)  # fmt: skip
def test_adding_a_part_samples_the_bounded_transform(case, reach, top, left, shape, more, wider):
    scores, deformation = case
    extent = (scores.shape[0] + more, scores.shape[1] + wider)
    stretched = np.full(extent, -np.inf, np.float32)
    stretched[: scores.shape[0], : scores.shape[1]] = scores
    whole = distance_transform(stretched, deformation, reach)[0]
    total = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    want = total.copy()
    for y in range(shape[0]):
        for x in range(shape[1]):
            j, i = top + 2 * y, left + 2 * x
            inside = 0 <= j < extent[0] and 0 <= i < extent[1]
            want[y, x] += whole[j, i] if inside else -np.inf
    add_deformed(total, scores, deformation, reach, (top, left), extent)
    np.testing.assert_allclose(total, want, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(maps(), st.integers(0, 4), st.integers(0, 8), st.integers(0, 8))
def test_the_best_place_reaches_the_transforms_value(case, reach, y, x):
    scores, deformation = case
    y, x = min(y, scores.shape[0] - 1), min(x, scores.shape[1] - 1)
    values, _, _ = distance_transform(scores, deformation, reach)
    row, column, value = best_place(scores, deformation, reach, y, x)
    assert value == pytest.approx(values[y, x], abs=1e-5)
    assert np.isneginf(value) or np.isfinite(scores[row, column])


@pytest.mark.parametrize("sizes", [[(3, 3)], [(6, 6)] * 5, [(4, 11), (5, 2), (1, 1)]])
def test_correlation_is_scipys(sizes):
    rng = np.random.default_rng(7)
    features = rng.normal(size=(32, 14, 17)).astype(np.float32)
    filters = [rng.normal(size=(*size, 32)).astype(np.float32) for size in sizes]
    for response, weights in zip(correlate(features, filter_bank(filters)), filters, strict=True):
        want = reference_correlate(features, weights.transpose(2, 0, 1), mode="valid")[0]
        np.testing.assert_allclose(response, want, atol=2e-4)


@pytest.mark.parametrize("shape", [(3, 9), (9, 3), (1, 1), (0, 0)])
def test_filters_larger_than_the_map_have_empty_responses(shape):
    bank = filter_bank([np.ones((4, 4, 32), np.float32)])
    response = correlate(np.zeros((32, *shape), np.float32), bank)[0]
    assert response.size == 0
