"""The latent SVM and where it starts, against known answers."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from sklearn.svm import LinearSVC

from gazehound.errors import ConfigError, TrainingError
from gazehound.features.dpm_features import mirror_filter
from gazehound.features.latent_svm import Cache, Problem
from gazehound.features.part_mining import is_background
from gazehound.features.part_plan import Scene, TrainingPlan
from gazehound.features.part_start import (
    facing_one_way,
    place_first_parts,
    root_size,
    split_by_aspect,
    warped_features,
)
from gazehound.features.part_training import Trainer


def problem(cache, dimensions, c=0.01):
    return Problem(
        cache,
        [np.ones(d) for d in dimensions],
        [np.full(d, -np.inf) for d in dimensions],
        [np.zeros(d, bool) for d in dimensions],
        c,
    )


def test_without_latent_choices_it_is_a_linear_svm():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 6)).astype(np.float32)
    y = np.sign(x @ rng.normal(size=6) + rng.normal(scale=0.5, size=120))
    cache = Cache.empty([6])
    for row, (features, sign) in enumerate(zip(x, y, strict=True)):
        if sign > 0:
            cache.add_positive(0, features)
        else:
            cache.add_negative(0, features, row, 0)
    own = problem(cache, [6], c=0.5)
    vectors = own.solve([np.zeros(6)])
    peer = LinearSVC(C=0.5, loss="hinge", fit_intercept=False, max_iter=10**6, tol=1e-9).fit(x, y)
    best = own.objective([peer.coef_[0]])
    assert best <= own.objective(vectors) <= 1.005 * best


def test_the_gradient_is_the_slope():
    rng = np.random.default_rng(1)
    cache = Cache.empty([4, 3])
    for row in range(10):
        cache.add_positive(0, rng.normal(size=4).astype(np.float32), 2.0)
        cache.add_positive(1, rng.normal(size=3).astype(np.float32))
        for latent in range(3):
            cache.add_negative(0, rng.normal(size=4).astype(np.float32), row, latent)
        cache.add_negative(1, rng.normal(size=3).astype(np.float32), row, 9)
    own = problem(cache, [4, 3], c=0.1)
    order = own._example_order()
    # Near-equal norms, so that the soft maximum shares between the groups.
    point = np.array([0.3, -0.2, 0.1, 0.25, 0.35, -0.1, 0.26])

    def value(w):
        return own._value([w[:4], w[4:]], *order)[0]

    gradient = own._value([point[:4], point[4:]], *order)[1]
    np.testing.assert_allclose(gradient, approx_fprime(point, value, 1e-4), atol=5e-2)


def test_only_the_best_entry_of_a_negative_counts():
    cache = Cache.empty([1])
    cache.add_negative(0, np.float32([2.0]), "place", 0)
    cache.add_negative(0, np.float32([5.0]), "place", 1)
    cache.add_negative(0, np.float32([5.0]), "place", 1)  # seen before
    assert cache.groups[0].count == 2
    assert cache.negatives() == 1
    value = problem(cache, [1], c=1.0).objective([np.array([0.1])])
    assert value == pytest.approx(0.1**2 / 2 + 1 + 0.5, abs=1e-6)


def test_bounds_and_fixed_weights_hold():
    cache = Cache.empty([3])
    for _ in range(5):
        cache.add_positive(0, np.float32([-1, 1, 1]))
        cache.add_negative(0, np.float32([1, -1, -1]), 0, 0)
    own = Problem(
        cache, [np.ones(3)], [np.array([0.001, -np.inf, -np.inf])], [np.array([False, False, True])], 1.0
    )  # fmt: skip
    solved = own.solve([np.array([0.0, 0.0, 0.25])])[0]
    assert solved[0] == pytest.approx(0.001)
    assert solved[1] > 0.1
    assert solved[2] == 0.25


def test_easy_negatives_are_dropped_and_can_come_back():
    cache = Cache.empty([1])
    cache.add_positive(0, np.float32([3.0]))
    for place, value in enumerate([-9.0, -5.0, -2.0, -0.5, 0.3]):
        cache.add_negative(0, np.float32([value]), place, 0)
    cache.drop_easy([np.array([1.0])], room=3)
    assert sorted(cache.groups[0].used[:, 0].tolist()) == [-2.0, -0.5, pytest.approx(0.3), 3.0]
    cache.add_negative(0, np.float32([-9.0]), 0, 0)
    assert cache.negatives() == 4
    cache.drop_easy([np.array([1.0])], room=0)  # those inside the margin stay whatever the room
    assert sorted(cache.groups[0].used[:, 0].tolist()) == [-0.5, pytest.approx(0.3), 3.0]
    cache.drop_positives()
    assert cache.positive_loss([np.array([1.0])]) == 0
    assert cache.groups[0].count == 2


def test_aspect_groups_are_equal_and_ordered():
    sizes = np.stack([np.random.default_rng(2).uniform(10, 90, 30), np.full(30, 30.0)], axis=1)
    groups = split_by_aspect(sizes, 3)
    assert np.bincount(groups).tolist() == [10, 10, 10]
    assert sizes[groups == 0, 0].max() <= sizes[groups == 1, 0].min()


def test_root_size_takes_the_commonest_aspect_and_a_bounded_area():
    sizes = np.array([[128.0, 64.0]] * 8 + [[60.0, 60.0]] * 3)
    rows, columns = root_size(sizes, 8, (3000, 5000))
    assert rows / columns == pytest.approx(2, rel=0.25)
    assert 0.6 * 3000 <= rows * columns * 64 <= 1.3 * 5000


def test_objects_are_turned_to_face_one_way():
    rng = np.random.default_rng(3)
    pattern = rng.random((5, 4, 32)).astype(np.float32)
    turned = rng.random(40) < 0.5
    objects = np.stack([mirror_filter(pattern) if t else pattern for t in turned])
    objects += rng.normal(scale=0.05, size=objects.shape).astype(np.float32)
    answer = facing_one_way(objects, rng)
    assert (answer == turned).all() or (answer == ~turned).all()


def test_first_parts_cover_the_energy():
    root = np.zeros((8, 6, 32), np.float32)
    root[0:3, 0:3], root[5:8, 3:6] = 1, 2
    anchors, filters = place_first_parts(root, 2, 6, np.random.default_rng(0))
    assert filters.shape == (2, 6, 6, 32)
    assert {tuple(a) for a in anchors.tolist()} == {(0, 0), (6, 10)}
    np.testing.assert_allclose(np.linalg.norm(filters.reshape(2, -1), axis=1), 0.1, rtol=1e-5)
    # A root smaller than a part still gets its parts.
    anchors, filters = place_first_parts(root[:2, :2], 3, 6, np.random.default_rng(0))
    assert filters.shape == (3, 6, 6, 32)
    assert (anchors == 0).all()


def test_warped_features_do_not_depend_on_the_size_of_the_object():
    small = np.random.default_rng(4).random((60, 50, 3)).repeat(2, 0).repeat(2, 1) * 255
    large = small.repeat(2, 0).repeat(2, 1)
    box = np.float32([30, 30, 70, 80])
    a, b = (warped_features(im, bx, (5, 4), 8) for im, bx in ((small, box), (large, box * 2)))
    assert a.shape == (5, 4, 32)
    assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.9
    # A box that leaves the image is filled with its border.
    assert np.isfinite(warped_features(small, np.float32([-40, -40, 20, 20]), (5, 4), 8)).all()


def test_background_is_away_from_what_is_to_be_avoided():
    boxes = np.array([[0.0, 0, 10, 10], [50, 50, 60, 60]])
    avoid = np.float32([[0, 0, 10, 9]])
    assert is_background(boxes, avoid, 0.3).tolist() == [False, True]
    assert is_background(boxes, avoid[:0], 0.3).all()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"components": 0}, "components must be at least 1; got 0"),
        ({"cell": 7}, "cell must be even"),
        ({"c": 0.0}, "c must be above 0"),
        ({"positive_overlap": 1.5}, "positive_overlap must be between 0 and 1"),
        ({"part_rounds": (1,)}, "part_rounds must be two numbers"),
        ({"root_area": (5.0, 3.0)}, "root_area"),
    ],
)
def test_plans_check_themselves(options, text):
    with pytest.raises(ConfigError, match=text):
        TrainingPlan(**options)


def test_too_few_or_too_small_objects_are_told():
    blank = np.zeros((40, 40, 3), np.uint8)
    few = Scene(lambda: blank, np.float32([[1, 1, 5, 9]]), np.float32([[1, 1, 5, 9]]))
    plan = TrainingPlan(components=1)
    with pytest.raises(TrainingError, match="at least 2 objects; got 1"):
        Trainer([few], plan, np.random.default_rng(0)).train()
    with pytest.raises(TrainingError, match="no object of a group has half the sides"):
        Trainer([few] * 3, plan, np.random.default_rng(0)).train()
