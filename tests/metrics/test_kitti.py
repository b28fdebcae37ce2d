"""KITTI's rules, one scene each, computed by hand."""

import numpy as np
import pytest

from gazehound.metrics import Evaluation, evaluate_kitti
from gazehound.metrics.kitti import score_thresholds
from gazehound.records import Classes, Detections, Sample

CLASSES = Classes(("Car", "Van", "Pedestrian", "Person_sitting", "Cyclist"))
CAR, VAN, PEDESTRIAN = 0, 1, 2


def box(x, height=60, width=60, y=100):
    return [x, y, x + width, y + height]


def evaluate(truths, found, occluded=None, truncated=None, dontcare=()):
    """Truths and detections are (box, label) and (box, label, score); one image."""
    count = len(truths)
    flags = np.isin(np.arange(count), dontcare)
    extras = {
        "occluded": np.zeros(count) if occluded is None else np.asarray(occluded, float),
        "truncated": np.zeros(count) if truncated is None else np.asarray(truncated, float),
        "dontcare": flags,
    }
    sample = Sample.of(
        None, [b for b, _ in truths], [k for _, k in truths], extras=extras, crowd=flags
    )
    rows = sorted(found, key=lambda row: -row[2])
    detections = Detections(
        np.asarray([r[0] for r in rows], np.float32).reshape(-1, 4),
        np.asarray([r[2] for r in rows], np.float32),
        np.asarray([r[1] for r in rows], np.int64),
        CLASSES,
        (375, 1242),
    )
    evaluation = Evaluation(CLASSES)
    evaluation.add(sample, detections)
    return {row["name"]: row for row in evaluate_kitti(evaluation.tables).per_class}


def test_one_car_found():
    # One object gives one threshold, recall position 0: R11 sees it, R40 leaves it out.
    car = evaluate([(box(0), CAR)], [(box(0), CAR, 0.9)])["Car"]
    assert car["easy_R11"] == pytest.approx(1 / 11)
    assert car["easy_R40"] == 0.0


def forty_cars(wrong=0):
    truths = [(box(70 * i), CAR) for i in range(41)]
    found = [(b, CAR, 0.99 - 0.01 * i) for i, (b, _) in enumerate(truths)]
    found += [(box(70 * i, y=250), CAR, 1.0) for i in range(wrong)]
    return truths, found


def test_all_cars_found():
    car = evaluate(*forty_cars())["Car"]
    assert [car[f"{d}_R{n}"] for d in ("easy", "moderate", "hard") for n in (11, 40)] == [1.0] * 6
    assert car["AP"] == 1.0


def test_a_false_positive_on_top_lowers_every_position():
    car = evaluate(*forty_cars(wrong=1))["Car"]
    # Position i has i + 1 hits and one error; made monotone from the right: the last is highest.
    assert car["easy_R40"] == pytest.approx(41 / 42)


def test_dontcare_takes_a_false_positive_back():
    truths, found = forty_cars(wrong=1)
    truths = [*truths, (box(-20, y=240, height=90, width=100), CAR)]
    car = evaluate(truths, found, dontcare=[41])["Car"]
    assert car["easy_R40"] == 1.0


def test_a_van_found_as_a_car_is_neither_right_nor_wrong():
    truths, found = forty_cars()
    truths = [*truths, (box(0, y=250), VAN)]
    car = evaluate(truths, [*found, (box(0, y=250), CAR, 1.0)])["Car"]
    assert car["easy_R40"] == 1.0
    assert car["truths"] == 41


def test_cars_need_an_overlap_of_more_than_seven_tenths():
    shifted = [0, 100, 60, 142]  # 0.7 of the height
    assert evaluate([(box(0), CAR)], [(shifted, CAR, 0.9)])["Car"]["easy_R11"] == 0.0
    assert evaluate([(box(0), PEDESTRIAN)], [(shifted, PEDESTRIAN, 0.9)])["Pedestrian"][
        "easy_R11"
    ] == pytest.approx(1 / 11)


@pytest.mark.parametrize(
    ("height", "occluded", "truncated", "counts"),
    [
        (41, 0, 0.15, {"easy", "moderate", "hard"}),
        (40, 0, 0.0, {"moderate", "hard"}),
        (60, 1, 0.0, {"moderate", "hard"}),
        (60, 2, 0.0, {"hard"}),
        (60, 0, 0.4, {"hard"}),
        (26, 0, 0.0, {"moderate", "hard"}),
        (25, 0, 0.0, set()),
        (60, 3, 0.0, set()),
    ],
)
def test_difficulty(height, occluded, truncated, counts):
    truth = box(0, height=height)
    car = evaluate([(truth, CAR)], [(truth, CAR, 0.9)], [occluded], [truncated])["Car"]
    for name in ("easy", "moderate", "hard"):
        value = car[f"{name}_R11"]
        assert value == (pytest.approx(1 / 11) if name in counts else None)


def test_a_small_false_positive_is_not_counted():
    truths, found = forty_cars()
    small = (box(0, height=24, y=250), CAR, 1.0)
    assert evaluate(truths, [*found, small])["Car"]["moderate_R40"] == 1.0
    high = (box(0, height=26, y=250), CAR, 1.0)
    assert evaluate(truths, [*found, high])["Car"]["moderate_R40"] == pytest.approx(41 / 42)


def test_neighbours_have_no_result_of_their_own():
    assert set(evaluate([(box(0), CAR)], [])) == {"Car", "Pedestrian", "Cyclist"}


def test_thresholds_follow_the_recall_positions():
    assert score_thresholds(np.array([0.5, 0.9, 0.7]), 3) == [0.9, 0.7, 0.5]
    # 400 truths all found: recall rises by 1/400, so every tenth score or so is taken.
    taken = score_thresholds(np.linspace(1, 0, 400), 400)
    assert len(taken) == 41


def test_real_labels_found_as_they_are(real_data):
    from gazehound.data import open_dataset
    from gazehound.metrics import Annotations, Found

    truth = Annotations.from_dataset(open_dataset(real_data / "kitti-mini"))
    t = truth.truths
    real = t.extras["dontcare"] == 0
    found = Found(t.image[real], t.label[real], t.xywh[real], np.linspace(1, 0.5, real.sum()))
    result = evaluate_kitti(truth.with_found(found))
    for row, positives in enumerate(result.positives):
        for difficulty, count in enumerate(positives):
            # Few objects reach few positions, and every one of those has precision 1.
            reached = result.precision[row, difficulty] > 0
            assert set(result.precision[row, difficulty][reached]) <= {1.0}
            assert (reached.sum() == 0) == (count == 0)
