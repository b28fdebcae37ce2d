"""COCO: every number and every array entry equals pycocotools, through files and through columns."""

import json

import numpy as np
import pytest
from coco_cases import data_sets, large_case, official, tables_of
from hypothesis import HealthCheck, given, settings

from gazehound.errors import ConfigError
from gazehound.metrics import evaluate_coco, read_coco

QUIET = {"deadline": None, "derandomize": True, "suppress_health_check": list(HealthCheck)}


def assert_equal_to_official(case, folder=None):
    truth, results = case
    expected = official(truth, results)
    if folder is None:
        tables = tables_of(truth, results)
    else:
        (folder / "truth.json").write_text(json.dumps(truth))
        (folder / "results.json").write_text(json.dumps(results))
        tables = read_coco(folder / "truth.json", folder / "results.json")
    result = evaluate_coco(tables)
    for name in ("precision", "recall", "scores"):
        np.testing.assert_array_equal(getattr(result, name), expected.eval[name], name)
    numbers = [-1.0 if value is None else value for value in result.summary.values()]
    assert numbers == expected.stats.tolist()


@given(data_sets())
@settings(max_examples=100, **QUIET)
def test_random_cases_equal_pycocotools(case):
    assert_equal_to_official(case)


@pytest.mark.slow
@given(data_sets())
@settings(max_examples=2000, **QUIET)
def test_two_thousand_random_cases_through_files_equal_pycocotools(tmp_path_factory, case):
    folder = tmp_path_factory.getbasetemp() / "cases"
    folder.mkdir(exist_ok=True)
    assert_equal_to_official(case, folder)


@pytest.mark.parametrize("seed", range(4))
def test_more_detections_than_the_limit_with_ties(tmp_path, seed):
    assert_equal_to_official(large_case(seed), tmp_path)


def test_real_annotations_with_made_up_detections(real_data, tmp_path):
    truth = json.loads((real_data / "coco-tiny/annotations/instances_val2017.json").read_text())
    rng = np.random.default_rng(3)
    categories = [category["id"] for category in truth["categories"]]
    results = []
    for row in truth["annotations"]:
        for _ in range(rng.integers(0, 4)):
            w, h = row["bbox"][2:]
            box = np.array(row["bbox"]) + rng.normal(0, 0.1, 4) * [w, h, w, h]
            results.append(
                {
                    "image_id": row["image_id"],
                    "category_id": int(rng.choice([row["category_id"], rng.choice(categories)])),
                    "bbox": np.abs(box).round(2).tolist(),
                    "score": float(np.float32(rng.random()) if rng.random() < 0.5 else 0.5),
                }
            )
    assert any(row["iscrowd"] for row in truth["annotations"])
    assert_equal_to_official((truth, results), tmp_path)


def test_own_thresholds_limits_and_areas_equal_pycocotools():
    truth, results = large_case(11)
    areas = {"all": (0.0, 1e10), "tiny": (0.0, 500.0), "rest": (500.0, 1e10)}
    expected = official(
        truth,
        results,
        iouThrs=np.array([0.3, 0.75]),
        maxDets=[2, 30],
        areaRng=[list(ends) for ends in areas.values()],
        areaRngLbl=list(areas),
        recThrs=np.linspace(0, 1, 11),
    )
    result = evaluate_coco(
        tables_of(truth, results),
        thresholds=[0.3, 0.75],
        limits=(2, 30),
        areas=areas,
        recalls=np.linspace(0, 1, 11),
    )
    for name in ("precision", "recall", "scores"):
        np.testing.assert_array_equal(getattr(result, name), expected.eval[name], name)
    assert list(result.summary) == ["AP", "AP75", "APt", "APr", "AR2", "AR30", "ARt", "ARr"]


def test_per_class_rows_equal_pycocotools_slices():
    truth, results = large_case(5)
    expected = official(truth, results).eval["precision"]
    for label, row in enumerate(evaluate_coco(tables_of(truth, results)).per_class):
        assert row["AP"] == pytest.approx(expected[:, :, label, 0, 2].mean(), abs=1e-12)
        assert row["AP50"] == pytest.approx(expected[0, :, label, 0, 2].mean(), abs=1e-12)
        assert row["APm"] == pytest.approx(expected[:, :, label, 2, 2].mean(), abs=1e-12)


def test_no_detections_give_zeros_and_no_truths_give_undefined():
    truth, results = large_case(1)
    assert set(evaluate_coco(tables_of(truth, [])).summary.values()) == {0.0}
    bare = {**truth, "annotations": []}
    assert set(evaluate_coco(tables_of(bare, results)).summary.values()) == {None}
    assert evaluate_coco(tables_of(bare, [])).per_class[0]["AP"] is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"thresholds": []}, "need 1..32 IoU thresholds; got 0"),
        ({"thresholds": [1.5]}, "must lie in 0..1"),
        ({"limits": (0,)}, "at least 1"),
    ],
)
def test_options_out_of_range_are_one_line(options, message):
    with pytest.raises(ConfigError, match=message):
        evaluate_coco(tables_of(*large_case(1)), **options)
