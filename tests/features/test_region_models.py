"""What R-CNN learns on features: SVMs with mined negatives, box regression; against scikit-learn."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.svm import LinearSVC

from gazehound.errors import ConfigError
from gazehound.features.box_ridge import RidgeExamples, fit_box_ridge
from gazehound.features.region_models import RegionModels
from gazehound.features.region_svms import MinedSvm, SvmRules, feature_scale
from gazehound.features.region_truths import RegionTruths


def clouds(objects=60, others=3000, length=12, seed=0):
    generator = np.random.default_rng(seed)
    positives = generator.normal(0.8, 1, (objects, length)).astype(np.float32)
    negatives = generator.normal(-0.8, 1, (others, length)).astype(np.float32)
    return positives, negatives


def test_mining_finds_what_training_on_everything_finds():
    """Easy negatives have no say in a hinge loss, so a cache of the hard ones is enough."""
    positives, negatives = clouds()
    rules = SvmRules(c=0.01, every=100, first=100)
    svm = MinedSvm(positives, rules)
    for _ in range(3):
        for chunk in np.array_split(negatives, 30):
            svm.offer(chunk)
    svm.train()
    whole = LinearSVC(
        C=0.01,
        loss="hinge",
        intercept_scaling=10,
        class_weight={1: 2.0},
        tol=1e-4,
        max_iter=100_000,
    ).fit(
        np.concatenate((positives, negatives)), np.repeat([1, 0], [len(positives), len(negatives)])
    )
    assert len(svm.negatives) < len(negatives) / 3

    def objective(weights, bias):
        hinges = (
            np.maximum(0, 1 - sign * (rows @ weights + bias))
            for sign, rows in ((1, positives), (-1, negatives))
        )
        lost, wrong = (float(hinge.sum()) for hinge in hinges)
        return 0.5 * float(weights @ weights + (bias / 10) ** 2) + 0.01 * (2 * lost + wrong)

    best = objective(whole.coef_[0], whole.intercept_[0])
    assert objective(svm.weights, svm.bias) <= 1.15 * best  # ours stops at liblinear's coarse 0.1
    assert objective(np.zeros(12), 0.0) > 3 * best


def test_the_cache_keeps_hard_negatives_only():
    positives, negatives = clouds()
    svm = MinedSvm(positives, SvmRules(first=200, every=50))
    assert svm.offer(negatives[:1000]) == 200  # knows nothing yet: takes a random part
    taken = svm.offer(negatives[1000:])
    assert taken == (svm.margins(negatives[1000:]) > -1.0001).sum() or taken >= 50
    svm.train()
    assert svm.margins(svm.negatives).min() >= -1.2


def test_a_class_without_objects_scores_nothing():
    svm = MinedSvm(np.zeros((0, 4), np.float32), SvmRules(first=2))
    svm.offer(np.ones((5, 4), np.float32))
    svm.train()
    assert svm.margins(np.ones((3, 4), np.float32)).tolist() == [-1, -1, -1]
    assert svm.scorer()(np.ones((1, 4), np.float32))[0] < 0.5


def test_scale_of_features():
    features = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    scaled = features * feature_scale(features)
    assert np.linalg.norm(scaled, axis=1).mean() == pytest.approx(20, rel=1e-5)
    assert feature_scale(np.zeros((3, 8), np.float32)) == 1.0
    assert feature_scale(np.zeros((0, 8), np.float32)) == 1.0


@pytest.mark.parametrize("examples", [20, 200])  # the dual problem and the primal one
def test_box_ridge_equals_scikit_learn(examples):
    generator = np.random.default_rng(0)
    features = generator.normal(size=(examples, 50)).astype(np.float32)
    deltas = (features @ generator.normal(size=(50, 4)) * 0.05).astype(np.float32)
    deltas += generator.normal(0, 0.05, deltas.shape).astype(np.float32)
    got = fit_box_ridge(features, deltas, 10.0)(features)
    centred = deltas - deltas.mean(0)
    values, vectors = np.linalg.eigh(np.cov(centred.T, bias=True) + 1e-3 * np.eye(4))
    white = vectors / np.sqrt(values) @ vectors.T
    model = Ridge(alpha=10.0).fit(features, centred @ white)
    wanted = model.predict(features) @ np.linalg.inv(white) + deltas.mean(0)
    assert np.abs(got - wanted).max() < 1e-4


def test_box_ridge_without_examples_moves_nothing():
    examples = RidgeExamples(10)
    examples.add(np.zeros((0, 6), np.float32), np.zeros((0, 4), np.float32))
    assert np.array_equal(examples.fit(1000.0)(np.ones((3, 6), np.float32)), np.zeros((3, 4)))


def test_examples_stop_at_the_limit():
    examples = RidgeExamples(5)
    for _ in range(3):
        examples.add(np.ones((3, 2), np.float32), np.zeros((3, 4), np.float32))
    assert examples.room == 0


def test_models_survive_a_file():
    positives, negatives = clouds()
    svm = MinedSvm(positives, SvmRules())
    svm.offer(negatives)
    svm.train()
    ridge = fit_box_ridge(positives, np.ones((len(positives), 4), np.float32))
    models = RegionModels(2.0, (svm.scorer(), svm.scorer()), (ridge, ridge))
    again = RegionModels.of_arrays(models.arrays(), 2, scorers=True)
    assert np.array_equal(models.probabilities(negatives), again.probabilities(negatives))
    assert np.array_equal(models.deltas(negatives), again.deltas(negatives))
    with pytest.raises(KeyError, match=r"2\.svm\.numbers"):
        RegionModels.of_arrays(models.arrays(), 3, scorers=True)


def test_regions_and_their_truths():
    objects = np.array([[0, 0, 10, 10], [20, 20, 40, 40]], np.float32)
    proposals = np.array(
        [[0, 0, 10, 6], [0, 0, 10, 4], [60, 60, 70, 70], [20, 20, 40, 33]], np.float32
    )
    truths = RegionTruths.of(proposals, objects, np.array([2, 0]))
    assert truths.region_labels(background=3).tolist() == [2, 0, 2, 3, 3, 0]
    assert truths.truth[[0, 1, 2, 5]].tolist() == [0, 1, 0, 1]
    assert truths.beside(2, 0.3).tolist() == [
        1,
        4,
        5,
    ]  # IoU 0.4 is neither a positive nor a negative
    assert truths.beside(1, 0.3).tolist() == list(range(6))  # a class without objects
    assert truths.near(2, 0.6).tolist() == [0, 2]
    assert truths.near(0, 0.6).tolist() == [1, 5]


def test_regions_without_truths():
    boxes = np.ones((3, 4), np.float32)
    truths = RegionTruths.of(boxes, np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
    assert truths.region_labels(background=5).tolist() == [5, 5, 5]
    assert truths.beside(0, 0.3).tolist() == [0, 1, 2]
    assert truths.near(0, 0.6).tolist() == []
    nothing = RegionTruths.of(boxes[:0], boxes[:0], np.zeros(0, np.int64))
    assert nothing.region_labels(background=5).tolist() == []


def test_wrong_rules():
    for options in ({"c": 0}, {"easy": 0.0, "hard": -1.0}, {"passes": 0}):
        with pytest.raises(ConfigError):
            SvmRules(**options)
