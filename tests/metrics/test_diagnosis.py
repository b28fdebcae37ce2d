"""Curves, confusion, error kinds, calibration, bootstrap, sizes: scenes whose answer is known."""

import copy

import numpy as np
import pytest
from coco_cases import large_case, official, tables_of

from gazehound.errors import ConfigError
from gazehound.metrics import (
    bootstrap,
    calibration,
    compare,
    confusion,
    curves,
    evaluate_coco,
    evaluate_voc,
    explain_difference,
    mistakes,
)
from gazehound.metrics.diagnosis import by_size, diagnose, pool
from gazehound.metrics.prices import price_errors

CAT, DOG = 1, 2


def scene(truths, found, crowd=()):
    """Truths are (category, box), detections (category, score, box); one image of 200 x 200."""
    truth = {
        "images": [{"id": 1, "width": 200, "height": 200}],
        "categories": [{"id": CAT, "name": "cat"}, {"id": DOG, "name": "dog"}],
        "annotations": [
            {
                "id": place + 1,
                "image_id": 1,
                "category_id": category,
                "bbox": box,
                "area": box[2] * box[3],
                "iscrowd": int(place in crowd),
            }
            for place, (category, box) in enumerate(truths)
        ],
    }
    results = [
        {"image_id": 1, "category_id": category, "bbox": box, "score": score}
        for category, score, box in found
    ]
    return tables_of(truth, results)


A, B, C, D = ([x, 0.0, 20.0, 20.0] for x in (0.0, 40.0, 80.0, 120.0))
NOWHERE = [160.0, 160.0, 20.0, 20.0]
LOOSE = [10.0, 0.0, 20.0, 20.0]  # IoU 1/3 with A


def test_curve_by_hand():
    curve = curves(
        scene([(CAT, A), (CAT, B)], [(CAT, 0.9, A), (CAT, 0.8, NOWHERE), (CAT, 0.7, B)])
    )[0]
    assert curve.precision.tolist() == [1.0, 0.5, 2 / 3]
    assert curve.recall.tolist() == [0.5, 0.5, 1.0]
    assert curve.best() == {"score": 0.7, "precision": 2 / 3, "recall": 1.0, "F1": 0.8}
    assert curve.at(0.75) == {
        "true": 1, "false": 1, "missed": 1, "precision": 0.5, "recall": 0.5, "F1": 0.5,
    }  # fmt: skip
    assert curve.at(0.95)["precision"] is None
    assert curve.at(0.95)["recall"] == 0.0


def test_equal_scores_stand_or_fall_together():
    curve = curves(scene([(CAT, A)], [(CAT, 0.5, A), (CAT, 0.5, NOWHERE)]))[0]
    assert curve.best()["precision"] == 0.5


def test_101_points_of_the_curve_are_cocos_ap50():
    case = large_case(3)
    tables = tables_of(*case)
    rows = evaluate_coco(tables).per_class
    for curve, row in zip(curves(tables), rows, strict=True):
        assert curve.at_recalls() == pytest.approx(row["AP50"], abs=1e-12)


def test_confusion_by_hand():
    tables = scene(
        [(CAT, A), (CAT, B), (DOG, C), (DOG, D)],
        [
            (CAT, 0.9, A),
            (DOG, 0.8, B),
            (CAT, 0.7, NOWHERE),
            (DOG, 0.6, C),
            (CAT, 0.1, D),
        ],
    )
    result = confusion(tables, score=0.5)
    assert result.counts.tolist() == [[1, 1, 0], [0, 1, 1], [1, 0, 0]]
    assert set(result.mistakes) == {
        ("cat", "dog", 1),
        ("dog", "background", 1),
        ("background", "cat", 1),
    }
    assert confusion(tables, score=0.0).counts.tolist() == [[1, 1, 0], [1, 1, 0], [1, 0, 0]]


def test_confusion_leaves_crowds_out_and_keeps_its_sums():
    tables = scene([(CAT, A), (CAT, B)], [(CAT, 0.9, A), (CAT, 0.8, B)], crowd=[1])
    assert confusion(tables, 0.5).counts.tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]
    counts = confusion(tables_of(*large_case(2)), 0.3).counts
    truths = tables_of(*large_case(2)).truths
    assert counts[:-1].sum() == (~truths.crowd).sum()


def test_confusion_without_truths_or_detections():
    assert confusion(scene([], [(CAT, 0.9, A)]), 0.5).counts[2, 0] == 1
    assert confusion(scene([(DOG, A)], []), 0.5).counts[1, 2] == 1


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        ((DOG, 0.8, A), "classification"),
        ((CAT, 0.8, LOOSE), "localisation"),
        ((DOG, 0.8, LOOSE), "both"),
        ((CAT, 0.8, NOWHERE), "background"),
    ],
)
def test_kind_of_a_single_error(found, kind):
    errors = mistakes(scene([(CAT, A), (DOG, D)], [found]))
    expected = dict.fromkeys(errors.counts, 0) | {kind: 1}
    expected["missed"] = 1 if kind in ("classification", "localisation") else 2
    assert errors.counts == expected


def test_a_second_detection_of_an_object_is_a_duplicate_and_costs_its_place():
    errors = mistakes(scene([(CAT, A), (CAT, B)], [(CAT, 0.9, A), (CAT, 0.8, A), (CAT, 0.7, B)]))
    assert errors.counts["duplicate"] == 1
    # Precision 1 at 51 of 101 recalls and 2/3 beyond; 1 everywhere without the duplicate.
    assert errors.base == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert errors.cost["duplicate"] == pytest.approx(1 - errors.base)
    assert errors.cost["background"] == 0.0


def test_prices_of_a_wrong_class_and_of_a_miss():
    errors = mistakes(scene([(CAT, A), (DOG, B)], [(DOG, 0.9, A), (DOG, 0.8, B)]))
    # Now: cat 0, dog 1/2. With the class right both are 1; without misses the cat leaves the mean.
    assert errors.base == pytest.approx(0.25)
    assert errors.cost["classification"] == pytest.approx(0.75)
    assert errors.counts["missed"] == 0
    assert errors.cost["false positives"] == pytest.approx(0.25)


def test_a_loose_box_above_the_true_one_takes_its_truth_when_fixed():
    errors = mistakes(scene([(CAT, A)], [(CAT, 0.9, LOOSE), (CAT, 0.8, A)]))
    assert errors.base == pytest.approx(0.5)
    assert errors.cost["localisation"] == pytest.approx(0.5)


def test_error_kinds_of_a_large_case_are_all_false_positives_and_prices_follow():
    tables = tables_of(*large_case(4))
    errors = mistakes(tables)
    assert sum(errors.counts[k] for k in list(errors.counts)[:5]) == len(errors.rows)
    assert errors.base == pytest.approx(evaluate_coco(tables).summary["AP50"], abs=1e-12)
    prices = price_errors(tables, errors, curves(tables))
    assert prices.false.min() >= 0
    assert prices.by_image.sum() == pytest.approx(prices.false.sum() + prices.missed.sum())


def test_the_price_of_one_false_positive_is_the_precision_it_takes():
    tables = scene([(CAT, A), (CAT, B)], [(CAT, 0.9, NOWHERE), (CAT, 0.8, A), (CAT, 0.7, B)])
    prices = price_errors(tables, mistakes(tables), curves(tables))
    # Precisions 1/2 and 2/3 become 1 and 1; two truths, one class with truths.
    assert prices.false.tolist() == [pytest.approx((1 / 2 + 1 / 3) / 2)]


def test_the_price_of_a_wrong_class_holds_the_truth_that_it_loses():
    tables = scene([(CAT, A), (DOG, B)], [(CAT, 0.9, A), (CAT, 0.8, B)])
    errors = mistakes(tables)
    assert errors.recovers.tolist() == [True]
    assert price_errors(tables, errors, curves(tables)).false.tolist() == [pytest.approx(0.5)]


def test_calibration_by_hand():
    tables = scene(
        [(CAT, A), (CAT, B)],
        [(CAT, 0.95, A), (CAT, 0.95, NOWHERE), (CAT, 0.25, B), (CAT, 1.0, C)],
    )
    result = calibration(tables, bins=10)
    assert result.counts.tolist() == [0, 0, 1, 0, 0, 0, 0, 0, 0, 3]
    assert result.precision[9] == pytest.approx(1 / 3)
    assert result.score[9] == pytest.approx(2.9 / 3)
    assert result.expected_error == pytest.approx((0.75 + 1.9) / 4)
    assert result.largest_error == pytest.approx(0.75)
    assert calibration(scene([(CAT, A)], [])).expected_error is None
    assert calibration(scene([(CAT, A)], [(CAT, 7.0, A)])).expected_error is None


def test_a_draw_equals_the_evaluation_of_a_data_set_with_the_copies():
    from gazehound.metrics.bootstrap import _Resampler
    from gazehound.metrics.coco import THRESHOLDS

    truth, results = large_case(6, images=4)
    # Distinct scores, so that copies and originals have one order.
    for place, row in enumerate(results):
        row["score"] = (place * 7919 % len(results) + 1) / (len(results) + 1)
    weights = np.array([2, 0, 1, 3])
    ids = sorted(image["id"] for image in truth["images"])
    copies = {"images": [], "categories": truth["categories"], "annotations": []}
    copied = []
    for place, weight in enumerate(weights):
        for again in range(weight):
            new = 10 * ids[place] + again
            copies["images"].append({"id": new})
            for row in truth["annotations"]:
                if row["image_id"] == ids[place]:
                    number = len(copies["annotations"]) + 1
                    copies["annotations"].append({**row, "image_id": new, "id": number})
            copied += [
                {**copy.deepcopy(row), "image_id": new}
                for row in results
                if row["image_id"] == ids[place]
            ]
    value = _Resampler(tables_of(truth, results), THRESHOLDS, 100).precision(weights)
    assert value == pytest.approx(official(copies, copied).stats[0], abs=1e-12)


def test_bootstrap_holds_the_value_and_repeats_itself():
    tables = tables_of(*large_case(7, images=12))
    one, two = bootstrap(tables, 60, seed=1), bootstrap(tables, 60, seed=1)
    np.testing.assert_array_equal(one.samples, two.samples)
    assert one.value == pytest.approx(evaluate_coco(tables).summary["AP"], abs=1e-12)
    assert one.low < one.value < one.high


def test_paired_comparison_sees_a_real_gain_and_no_gain():
    truth, _ = large_case(8, images=20, truths=80)
    results = [
        {key: row[key] for key in ("image_id", "category_id", "bbox")} | {"score": 0.5}
        for row in truth["annotations"]
        if not row["iscrowd"]
    ]
    worse = [{**r, "bbox": [r["bbox"][0] + 9, *r["bbox"][1:]]} for r in results]
    good, bad = tables_of(truth, results), tables_of(truth, worse)
    real = compare(bad, good, 80)
    assert real.difference.low > 0
    assert real.p_value < 0.1
    assert "the second is better" in real.verdict
    none = compare(good, good, 40)
    assert none.difference.value == 0.0
    assert none.p_value == 1.0
    assert "chance" in none.verdict
    with pytest.raises(ConfigError, match="same images"):
        compare(good, tables_of(*large_case(9)), 10)


def test_size_bins_share_out_the_truths():
    tables = tables_of(*large_case(10))
    bins = by_size(tables)
    assert sum(one.truths for one in bins) == (~tables.truths.crowd).sum()
    assert all((one.precision is None) == (one.truths == 0) for one in bins)


@pytest.mark.parametrize("pair", [("voc07", "coco"), ("coco", "voc"), ("voc", "kitti")])
def test_the_ladder_begins_and_ends_at_the_protocols_own_numbers(pair):
    from gazehound.metrics import evaluate_kitti

    tables = tables_of(*large_case(12), difficult={0, 3})
    own = {
        "coco": evaluate_coco(tables).summary["AP"],
        "voc": evaluate_voc(tables).summary["AP"],
        "voc07": evaluate_voc(tables, eleven_points=True).summary["AP"],
        "kitti": evaluate_kitti(tables).summary["AP"],
    }
    result = explain_difference(tables, *pair)
    assert result.start == pytest.approx(own[pair[0]], abs=1e-12)
    assert result.end == pytest.approx(own[pair[1]], abs=1e-12)
    change = sum(step.after - step.before for step in result.steps)
    assert change == pytest.approx(result.end - result.start, abs=1e-12)
    assert result.sentences[0].startswith(f"{pair[0]} gives")
    assert len(result.sentences) == len(result.steps) + 2


def test_unknown_protocols_and_lvis_without_sets():
    tables = tables_of(*large_case(1))
    with pytest.raises(ConfigError, match="unknown protocol 'voc7'; did you mean"):
        explain_difference(tables, "voc7", "coco")
    with pytest.raises(ConfigError, match="sets of LVIS"):
        explain_difference(tables, "coco", "lvis")


@pytest.mark.parametrize("case", [([], [(CAT, 0.9, A)]), ([(CAT, A)], []), ([], [])])
def test_every_diagnosis_of_nothing_is_undefined_not_a_crash(case):
    result = diagnose(scene(*case), draws=5)
    assert result.interval.value in (None, 0.0)
    assert result.best is None
    assert pool([]).best() is None
