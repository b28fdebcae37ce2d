"""AdaBoost against a plain reference written here from the papers' tables."""

from itertools import pairwise

import numpy as np
import pytest

from gazehound.errors import ConfigError, TrainingError
from gazehound.features.boosting import Boosting, load_stumps, save_stumps
from gazehound.features.haar import haar_features
from gazehound.features.stumps import Patches, Stumps, StumpSearch, between

WINDOW = (8, 8)


@pytest.fixture(scope="module")
def faces():
    """Patches of two classes that overlap: a bright left half under much noise."""
    rng = np.random.default_rng(0)
    patches = rng.integers(0, 256, (120, *WINDOW)).astype(float)
    positive = np.arange(120) < 50
    patches[positive, :, :4] += 60
    return np.clip(patches, 0, 255).astype(np.uint8), positive


@pytest.fixture(scope="module")
def features():
    every = haar_features(WINDOW)
    return every.take(np.arange(0, len(every), 7))


def every_split(values):
    """All thresholds of one feature, as the search defines them."""
    ordered = np.unique(values)
    return [between(a, b) for a, b in pairwise(ordered)]


def reference_discrete(values, positive, rounds):
    """Viola and Jones 2001, Table 1, by trying every stump."""
    count, faces = len(positive), positive.sum()
    weights = np.where(positive, 0.5 / faces, 0.5 / (count - faces))
    score, total, errors = np.zeros(count), 0.0, []
    for _ in range(rounds):
        weights = weights / weights.sum()
        best = (2.0, None)
        for row in values:
            for threshold in every_split(row):
                for upper in (True, False):
                    guess = (row >= threshold) == upper
                    error = weights[guess != positive].sum()
                    if error < best[0] - 1e-13:
                        best = (error, guess)
        error, guess = best
        beta = error / (1 - error)
        weights = np.where(guess == positive, weights * beta, weights)
        score += np.where(guess, np.log(1 / beta), 0)
        total += np.log(1 / beta)
        errors.append(error)
    return score, total / 2, errors


def reference_gentle(values, positive, rounds):
    """Friedman, Hastie and Tibshirani 2000, Algorithm 4, by trying every stump."""
    y = np.where(positive, 1.0, -1.0)
    faces = positive.sum()
    weights = np.where(positive, 0.5 / faces, 0.5 / (len(y) - faces))
    score = np.zeros(len(y))
    for _ in range(rounds):
        weights = weights / weights.sum()
        best = (np.inf, None)
        for row in values:
            for threshold in every_split(row):
                left = row < threshold
                fit = np.empty(len(y))
                for side in (left, ~left):
                    fit[side] = np.average(y[side], weights=weights[side])
                loss = (weights * (y - fit) ** 2).sum()
                if loss < best[0] - 1e-13:
                    best = (loss, fit)
        score += best[1]
        weights = weights * np.exp(-y * best[1])
    return score


def test_discrete_boosting_is_the_paper_s(faces, features):
    patches, positive = faces
    data = Patches(patches)
    boosting = Boosting(StumpSearch(features, data), positive, "discrete")
    for _ in range(4):
        boosting.step()
    score, threshold, errors = reference_discrete(data.responses(features), positive, 4)
    votes = boosting.stumps.leaves.sum(axis=1)
    np.testing.assert_allclose(votes, np.log((1 - np.asarray(errors)) / errors), rtol=1e-9)
    np.testing.assert_allclose(boosting.scores, score, rtol=1e-9)
    assert boosting.threshold == pytest.approx(threshold, rel=1e-9)


def test_gentle_boosting_is_the_paper_s(faces, features):
    patches, positive = faces
    data = Patches(patches)
    boosting = Boosting(StumpSearch(features, data), positive, "gentle")
    for _ in range(4):
        boosting.step()
    expected = reference_gentle(data.responses(features), positive, 4)
    np.testing.assert_allclose(boosting.scores, expected, atol=1e-9)
    assert boosting.threshold == 0


def test_a_stump_round_agrees_with_scikit_learn(faces, features):
    from sklearn.tree import DecisionTreeRegressor

    patches, positive = faces
    data = Patches(patches)
    weights = np.random.default_rng(1).random(len(positive))
    split = StumpSearch(features, data).best(weights, positive, "gentle")
    y = np.where(positive, 1.0, -1.0)
    values = data.responses(features).T
    tree = DecisionTreeRegressor(max_depth=1).fit(values, y, sample_weight=weights)

    def loss(left):
        fit = np.empty(len(y))
        for side in (left, ~left):
            fit[side] = np.average(y[side], weights=weights[side])
        return (weights * (y - fit) ** 2).sum()

    theirs = values[:, tree.tree_.feature[0]] < tree.tree_.threshold[0]
    assert loss(split.left) == pytest.approx(loss(theirs), rel=1e-6)


@pytest.mark.parametrize("loss", ["discrete", "gentle"])
def test_memory_limit_and_entry_width_change_nothing(faces, features, loss, monkeypatch):
    patches, positive = faces
    data = Patches(patches)
    roomy = StumpSearch(features, data)
    monkeypatch.setattr("gazehound.features.stumps._BLOCK_BYTES", 4 * len(data) * 10)
    tight = StumpSearch(features, data, memory=3 * 10 * 2 * len(data))
    wide = StumpSearch(features, data)
    wide._entry, wide._flag = np.uint32, 1 << 31
    runs = [Boosting(search, positive, loss) for search in (roomy, tight, wide)]
    for run in runs:
        for _ in range(5):
            run.step()
    assert 0 < tight.table_bytes <= 3 * 10 * 2 * len(data)
    for run in runs[1:]:
        np.testing.assert_array_equal(run.stumps.feature, runs[0].stumps.feature)
        np.testing.assert_array_equal(run.stumps.threshold, runs[0].stumps.threshold)
        np.testing.assert_array_equal(run.scores, runs[0].scores)


@pytest.mark.parametrize("loss", ["discrete", "gentle"])
def test_histograms_of_few_patches_find_the_exact_stump(faces, features, loss):
    patches, positive = faces  # fewer patches than bins: every threshold is tried
    data = Patches(patches)
    runs = [
        Boosting(StumpSearch(features, data, method), positive, loss)
        for method in ("sorted", "histogram")
    ]
    for run in runs:
        for _ in range(5):
            run.step()
    np.testing.assert_array_equal(runs[1].stumps.feature, runs[0].stumps.feature)
    np.testing.assert_array_equal(runs[1].stumps.threshold, runs[0].stumps.threshold)


def test_histograms_of_many_patches_come_close():
    rng = np.random.default_rng(5)
    patches = rng.integers(0, 256, (3000, 6, 6), dtype=np.uint8)
    positive = patches[:, :, :3].mean(axis=(1, 2)) > patches[:, :, 3:].mean(axis=(1, 2))
    features = haar_features((6, 6))
    errors = []
    for method in ("sorted", "histogram"):
        search = StumpSearch(features, Patches(patches), method)
        split = search.best(np.ones(3000), positive, "discrete")
        error = (split.left == positive).mean()
        errors.append(min(error, 1 - error))
    assert errors[0] <= errors[1] <= errors[0] + 0.01


def test_equal_responses_are_never_split():
    patches = np.zeros((40, 6, 6), np.uint8)
    patches[20:, :, 3:] = 200
    positive = np.arange(40) % 4 == 0
    search = StumpSearch(haar_features((6, 6)), Patches(patches))
    split = search.best(np.ones(40), positive, "discrete")
    assert len(set(split.left[:20])) == len(set(split.left[20:])) == 1


def test_patches_that_no_feature_tells_apart_are_refused():
    search = StumpSearch(haar_features((6, 6)), Patches(np.full((4, 6, 6), 9, np.uint8)))
    with pytest.raises(ConfigError, match="nothing to learn"):
        search.best(np.ones(4), np.asarray([True, False, True, False]), "discrete")


def test_a_missing_class_is_refused(faces, features):
    search = StumpSearch(features, Patches(faces[0]))
    with pytest.raises(ConfigError, match="both classes"):
        Boosting(search, np.ones(120, bool))


def test_replay_restores_weights_to_the_bit(faces, features):
    patches, positive = faces
    search = StumpSearch(features, Patches(patches))
    whole, again = Boosting(search, positive), Boosting(search, positive)
    for _ in range(5):
        whole.step()
    again.replay(whole.stumps)
    np.testing.assert_array_equal(again.weights, whole.weights)
    np.testing.assert_array_equal(again.scores, whole.scores)


def test_saved_stumps_come_back_and_strangers_are_refused(tmp_path):
    stumps = Stumps.empty().then(3, np.float32(0.25), (0.0, 1.5))
    file = tmp_path / "state.npz"
    save_stumps(file, [stumps, stumps, Stumps.empty()], [0.5, 0.7], "job")
    stages, thresholds = load_stumps(file, "job")
    assert [len(stage) for stage in stages] == [1, 1, 0]
    assert thresholds == [0.5, 0.7]
    assert stages[1].leaves.tolist() == [[0.0, 1.5]]
    with pytest.raises(TrainingError, match="other data or options"):
        load_stumps(file, "another")
    file.write_bytes(b"PK broken")
    with pytest.raises(TrainingError, match="cannot be resumed"):
        load_stumps(file, "job")
