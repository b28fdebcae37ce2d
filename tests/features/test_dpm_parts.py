"""Mixtures of parts: scores, placements, mirror images, boxes, cascade."""

import numpy as np
import pytest

from gazehound.errors import CheckpointError
from gazehound.features.dpm_features import feature_pyramid
from gazehound.features.part_boxes import (
    BoxRegression,
    filter_boxes,
    fit_box_regression,
    mirror_boxes,
    mirrored_coefficients,
    suppress_covered,
)
from gazehound.features.part_cascade import Cascade, calibrate, cascade_level, score_terms
from gazehound.features.part_model import PartModel
from gazehound.features.part_placing import place_object
from gazehound.features.part_structure import Layout, describe, with_mirrors
from gazehound.features.parts import Component, Mixture, find_placements, score_level

RNG = np.random.default_rng(11)


def component(root=(5, 3), parts=3, size=4):
    rng = np.random.default_rng(sum(root) + parts)
    return Component(
        rng.normal(scale=0.1, size=(*root, 32)).astype(np.float32),
        rng.normal(scale=0.1, size=(parts, size, size, 32)).astype(np.float32),
        np.stack(
            [
                rng.integers(0, 2 * root[1] - size + 1, parts),
                rng.integers(0, 2 * root[0] - 3, parts),
            ],
            axis=1,
        ),
        rng.uniform(0.01, 0.1, (parts, 4)) * (1, 0.5, 1, -0.5),
        -0.3,
        np.array([0.05, -0.05]),
    )


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(5).random((150, 120, 3)) * 255


@pytest.fixture(scope="module")
def mixture():
    return with_mirrors([component(), component((4, 5))], 8, 4)


@pytest.fixture(scope="module")
def pyramid(image, mixture):
    return feature_pyramid(image, 8, 3, mixture.padding)


def plain_score(mixture, pyramid, index, level, y, x):
    """The model's formula, one place at a time."""
    own, reach = mixture.components[index], mixture.reach
    coarse, fine = pyramid.coarse[level], pyramid.part_level(level)
    height, width = own.root.shape[:2]
    score = own.bias + own.scale_bias[0 if level < pyramid.interval else 1]
    score += (coarse[:, y : y + height, x : x + width].transpose(1, 2, 0) * own.root).sum()
    size = own.parts.shape[1]
    for k in range(len(own.parts)):
        ax, bx, ay, by = own.deformations[k]
        best = -np.inf
        wanted_y = own.anchors[k, 1] + 2 * y - pyramid.padding[0]
        wanted_x = own.anchors[k, 0] + 2 * x - pyramid.padding[1]
        for dy in range(-reach, reach + 1):
            for dx in range(-reach, reach + 1):
                j, i = wanted_y - dy, wanted_x - dx
                if 0 <= j <= fine.shape[1] - size and 0 <= i <= fine.shape[2] - size:
                    under = fine[:, j : j + size, i : i + size].transpose(1, 2, 0)
                    cost = ax * dx * dx + bx * dx + ay * dy * dy + by * dy
                    best = max(best, (under * own.parts[k]).sum() - cost)
        score += best
    return score


@pytest.mark.parametrize("level", [0, 2, 3, 4])
def test_scores_follow_the_formula(mixture, pyramid, level):
    scored = score_level(mixture, pyramid, level)
    for index in range(4):
        height, width = mixture.components[index].root.shape[:2]
        for _ in range(6):
            y = RNG.integers(pyramid.coarse[level].shape[1] - height + 1)
            x = RNG.integers(pyramid.coarse[level].shape[2] - width + 1)
            got = scored.scores[index, y, x]
            if np.isfinite(got):  # else a wanted place lies beyond the part level
                assert got == pytest.approx(
                    plain_score(mixture, pyramid, index, level, y, x), abs=1e-4
                )


def test_unbounded_reach_beats_bounded(mixture, pyramid):
    free = Mixture(mixture.components, mixture.cell, -1)
    bounded, unbounded = (score_level(m, pyramid, 1).scores for m in (mixture, free))
    assert (unbounded >= bounded - 1e-4).all()
    found = find_placements(free, pyramid, -np.inf, 30)
    assert len(found) == 30


def test_a_mirrored_image_has_mirrored_placements(mixture, image):
    # Sides of whole cells at the first level: there the grid of cells has a mirror image.
    image = image[:144, :112]
    plain, turned = (
        score_level(mixture, feature_pyramid(im, 8, 3, mixture.padding), 0).scores
        for im in (image, image[:, ::-1])
    )
    for index in range(0, 4, 2):
        width = mixture.components[index].root.shape[1]
        count = plain.shape[2] - (width - mixture.smallest[1])
        want = turned[index, :, :count][:, ::-1]
        got = plain[index + 1, :, :count]
        both = np.isfinite(want) & np.isfinite(got)
        assert both.sum() > 50
        np.testing.assert_allclose(got[both], want[both], atol=1e-4)


def test_placements_are_sorted_and_made_of_their_terms(mixture, pyramid):
    found = find_placements(mixture, pyramid, -2.0)
    assert (np.diff(found.scores) <= 0).all()
    assert (found.scores > -2.0).all()
    for row in range(0, len(found), max(len(found) // 20, 1)):
        own = mixture.components[found.components[row]]
        terms = score_terms(own, pyramid, found.select(np.array([row])))[0]
        total = terms[:, 0].sum() - terms[:, 1].sum()
        assert total == pytest.approx(found.scores[row], abs=1e-4)


def test_described_placements_times_weights_are_scores(mixture, pyramid):
    found = find_placements(mixture, pyramid, -np.inf, 400)
    assert set(found.components) == {0, 1, 2, 3}
    layouts = [Layout.of(c) for c in mixture.components[::2]]
    vectors = [la.to_vector(c) for la, c in zip(layouts, mixture.components[::2], strict=True)]
    for row in range(0, 400, 7):
        group = int(found.components[row]) // 2
        score = describe(mixture, pyramid, found, row) @ vectors[group]
        assert score == pytest.approx(found.scores[row], abs=1e-4)


def test_weights_survive_the_way_to_a_vector_and_back():
    own = component()
    layout = Layout.of(own)
    again = layout.to_component(layout.to_vector(own), own.anchors)
    for name in ("root", "parts", "anchors", "deformations", "scale_bias"):
        np.testing.assert_allclose(getattr(again, name), getattr(own, name), rtol=1e-6)
    assert again.bias == pytest.approx(own.bias)
    assert len(layout.multipliers()) == len(layout.lower()) == sum(layout.sizes)


def test_the_mirror_of_a_mirror_is_the_component():
    own = component()
    again = own.mirrored().mirrored()
    np.testing.assert_array_equal(again.root, own.root)
    np.testing.assert_array_equal(again.anchors, own.anchors)
    np.testing.assert_array_equal(again.deformations, own.deformations)


def test_filter_boxes_are_cells_of_the_image(mixture, pyramid):
    found = find_placements(mixture, pyramid, -np.inf, 50)
    boxes = filter_boxes(mixture, pyramid, found)
    assert boxes.shape == (50, 4, 4)
    cell = 8 * 2 ** (found.levels / 3)
    sizes = [mixture.components[c].root.shape for c in found.components]
    np.testing.assert_allclose(boxes[:, 0, 2] - boxes[:, 0, 0], [s[1] for s in sizes] * cell)
    part_sides = np.repeat(4 * cell[:, None] / 2, 3, axis=1)
    np.testing.assert_allclose(boxes[:, 1:, 3] - boxes[:, 1:, 1], part_sides)
    # A part stands within reach of its anchor: at most four of its cells away.
    for row in range(50):
        anchors = mixture.components[found.components[row]].anchors
        away = boxes[row, 1:, :2] - boxes[row, 0, :2] - anchors * cell[row] / 2
        # Padding is the same number of cells on both levels, so anchors need no correction.
        assert (abs(away) <= 4 * cell[row] / 2 + 1e-3).all()


def test_the_best_place_on_an_object_overlaps_it(mixture, image):
    box = np.array([30.0, 40.0, 75.0, 110.0])
    placed = place_object(mixture, (image).astype(np.uint8), box, 5, 0.6)
    window = filter_boxes(mixture, placed.pyramid, placed.found)[0, 0]
    window = np.clip(window, 0, [*placed.pyramid.image_size[::-1]] * 2)
    low = np.maximum(window[:2], placed.box[:2])
    high = np.minimum(window[2:], placed.box[2:])
    shared = np.prod(np.maximum(high - low, 0))
    union = np.prod(window[2:] - window[:2]) + np.prod(placed.box[2:] - placed.box[:2]) - shared
    assert shared / union >= 0.6
    assert place_object(mixture, image, np.array([0.0, 0, 4, 4]), 5, 0.6) is None


def test_suppression_follows_the_releases_rule():
    rng = np.random.default_rng(3)
    boxes = rng.uniform(0, 60, (80, 2))
    boxes = np.concatenate([boxes, boxes + rng.uniform(5, 40, (80, 2))], axis=1)
    scores = rng.normal(size=80).astype(np.float32)
    kept = []
    for row in np.argsort(-scores):
        own = (boxes[row, 2] - boxes[row, 0]) * (boxes[row, 3] - boxes[row, 1])
        covered = [
            max(min(boxes[row, 2], boxes[k, 2]) - max(boxes[row, 0], boxes[k, 0]), 0)
            * max(min(boxes[row, 3], boxes[k, 3]) - max(boxes[row, 1], boxes[k, 1]), 0)
            / own
            for k in kept
        ]
        if max(covered, default=0) <= 0.5:
            kept.append(row)
    assert suppress_covered(boxes, scores, 0.5).tolist() == kept
    assert suppress_covered(np.zeros((0, 4)), np.zeros(0, np.float32), 0.5).size == 0


def test_box_regression_recovers_a_linear_law_and_its_mirror_image():
    rng = np.random.default_rng(4)
    boxes = np.tile([10.0, 20.0, 60.0, 120.0], (200, 1)) + rng.normal(size=(200, 1))
    filters = boxes[:, None] + rng.normal(scale=5, size=(200, 3, 1))
    law = BoxRegression(rng.normal(scale=0.2, size=(1, 4, 7)))
    truths = law.predict(boxes, filters, np.zeros(200, int))
    fitted = fit_box_regression(boxes, filters, truths, np.zeros(200, int), 1)
    got = fitted.predict(boxes, filters, np.zeros(200, int))
    np.testing.assert_allclose(got, truths, atol=1e-6)
    mirrored = fitted.predict(mirror_boxes(boxes), mirror_boxes(filters), np.ones(200, int))
    # Boxes of the release include their last pixel: its mirror image lies one pixel further.
    np.testing.assert_allclose(mirrored, mirror_boxes(truths), atol=1.0)
    again = mirrored_coefficients(mirrored_coefficients(law.coefficients[0]))
    np.testing.assert_allclose(again, law.coefficients[0])


def test_a_group_with_few_objects_keeps_its_windows():
    boxes = np.array([[0.0, 0, 10, 10]])
    fitted = fit_box_regression(boxes, boxes[:, None], boxes + 3, np.zeros(1, int), 1)
    np.testing.assert_array_equal(fitted.predict(boxes, boxes[:, None], np.zeros(1, int)), boxes)


def test_a_cascade_that_never_gives_up_scores_as_all_parts(mixture, pyramid):
    never = Cascade(np.tile([2, 0, 1], (4, 1)), np.full((4, 3, 2), -np.inf))
    for level in (0, 3):
        want = score_level(mixture, pyramid, level).scores
        got = cascade_level(mixture, never, pyramid, level).scores
        np.testing.assert_allclose(got, want, atol=1e-4)


def test_a_calibrated_cascade_loses_nothing_it_was_calibrated_on(mixture, pyramid):
    found = find_placements(mixture, pyramid, -np.inf, 300)
    terms = [
        score_terms(c, pyramid, found.select(found.components == index))
        for index, c in enumerate(mixture.components)
    ]
    cascade = calibrate(terms)
    for level in range(len(pyramid.coarse)):
        here = found.select(found.levels == level)
        scored = cascade_level(mixture, cascade, pyramid, level).scores
        places = scored[here.components, here.roots[:, 0], here.roots[:, 1]]
        np.testing.assert_allclose(places, here.scores, atol=1e-4)
        gave_up = (
            np.isneginf(scored).sum()
            - np.isneginf(score_level(mixture, pyramid, level).scores).sum()
        )
        assert gave_up > 0


def test_a_model_survives_the_way_to_arrays_and_back(mixture):
    cascade = Cascade(np.tile([2, 0, 1], (4, 1)), np.zeros((4, 3, 2)))
    model = PartModel(mixture, -0.7, BoxRegression(np.ones((4, 4, 9))), cascade)
    arrays = model.to_arrays()
    again = PartModel.from_arrays(arrays)
    assert again.threshold == -0.7
    for name, array in again.to_arrays().items():
        np.testing.assert_array_equal(array, arrays[name])


@pytest.mark.parametrize(
    ("name", "array", "text"),
    [
        ("component1.root", None, "component1.root"),
        ("component0.root", np.zeros((3, 3, 31), np.float32), "component0.root has shape"),
        ("component2.anchors", np.zeros((2, 2), np.int64), "component2.anchors has shape"),
        ("regression", np.zeros((4, 4, 5)), "regression has shape"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(mixture, name, array, text):
    arrays = PartModel(mixture, 0.0, BoxRegression(np.ones((4, 4, 9)))).to_arrays()
    if array is None:
        del arrays[name]
    else:
        arrays[name] = array
    with pytest.raises(CheckpointError, match=text):
        PartModel.from_arrays(arrays)
