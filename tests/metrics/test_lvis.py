"""LVIS against COCO where the two agree, by hand, and against lvis-api where it is installed."""

import json

import numpy as np
import pytest
from coco_cases import large_case, official

from gazehound.errors import DataError
from gazehound.metrics import Federation, evaluate_lvis, read_coco_annotations, read_coco_results


def lvis_case(seed):
    rng = np.random.default_rng(seed)
    truth, results = large_case(seed, images=4, truths=50, results=300)
    truth["categories"] = [
        {"id": category, "name": f"class {category}", "frequency": frequency}
        for category, frequency in zip((4, 11, 20, 31), "rccf", strict=True)
    ]
    ids = [category["id"] for category in truth["categories"]]
    for row in truth["annotations"]:
        row["category_id"] = int(rng.choice(ids[:3]))
        del row["iscrowd"]
    for row in results:
        row["category_id"] = int(rng.choice(ids))
    for image in truth["images"]:
        own = {row["category_id"] for row in truth["annotations"] if row["image_id"] == image["id"]}
        absent = [category for category in ids if category not in own]
        image["neg_category_ids"] = absent[: rng.integers(0, len(absent) + 1)]
        present = sorted(own)
        image["not_exhaustive_category_ids"] = present[: rng.integers(0, 2)]
    return truth, results


def evaluated(case, folder, limit=300):
    truth, results = case
    (folder / "truth.json").write_text(json.dumps(truth))
    (folder / "results.json").write_text(json.dumps(results))
    annotations = read_coco_annotations(folder / "truth.json")
    federation = Federation.of(annotations.images, annotations.categories)
    found = read_coco_results(folder / "results.json", annotations)
    return evaluate_lvis(annotations.with_found(found), federation, limit)


def plain_federated(case, limit):
    """What is left for COCO's rules once the federated ones are applied, or None if they cannot be.

    With no partly annotated class, LVIS is COCO on the detections that are decided.
    """
    truth, results = case
    kept = []
    for image in truth["images"]:
        mine = [row for row in results if row["image_id"] == image["id"]]
        mine = sorted(mine, key=lambda row: -row["score"])[:limit]
        own = {r["category_id"] for r in truth["annotations"] if r["image_id"] == image["id"]}
        kept += [r for r in mine if r["category_id"] in own | set(image["neg_category_ids"])]
    annotations = [{**row, "iscrowd": 0} for row in truth["annotations"]]
    return {**truth, "annotations": annotations}, kept


@pytest.mark.parametrize("seed", range(3))
def test_without_partly_annotated_classes_it_is_coco_on_what_is_decided(tmp_path, seed):
    truth, results = lvis_case(seed)
    for image in truth["images"]:
        image["not_exhaustive_category_ids"] = []
    mine = evaluated((truth, results), tmp_path, limit=60)
    expected = official(*plain_federated((truth, results), 60), maxDets=[60])
    np.testing.assert_array_equal(mine.coco.precision, expected.eval["precision"])
    np.testing.assert_array_equal(mine.coco.recall, expected.eval["recall"])


def test_by_hand_an_unmatched_detection_of_a_partly_annotated_class_does_not_count(tmp_path):
    box = [10.0, 10.0, 40.0, 40.0]
    image = {"id": 1, "width": 200, "height": 200, "neg_category_ids": [2]}
    truth = {
        "images": [{**image, "not_exhaustive_category_ids": [1]}],
        "categories": [
            {"id": 1, "name": "a", "frequency": "r"},
            {"id": 2, "name": "b", "frequency": "f"},
            {"id": 3, "name": "c", "frequency": "c"},
        ],
        "annotations": [
            {"id": 5, "image_id": 1, "category_id": 1, "bbox": box, "area": 1600.0},
        ],
    }
    results = [
        {"image_id": 1, "category_id": 1, "bbox": [100.0, 100.0, 40.0, 40.0], "score": 0.9},
        {"image_id": 1, "category_id": 1, "bbox": box, "score": 0.8},
        {"image_id": 1, "category_id": 3, "bbox": box, "score": 0.7},
    ]
    assert evaluated((truth, results), tmp_path).summary["AP"] == pytest.approx(1.0)
    truth["images"][0]["not_exhaustive_category_ids"] = []
    summary = evaluated((truth, results), tmp_path).summary
    assert summary["AP"] == pytest.approx(0.5)
    assert summary["APr"] == pytest.approx(0.5)
    assert summary["APc"] is None
    assert summary["APf"] is None


@pytest.mark.parametrize("seed", range(3))
def test_equal_to_lvis_api(tmp_path, seed, monkeypatch):
    monkeypatch.setattr(np, "float", float, raising=False)  # lvis-api is older than NumPy 2
    pytest.importorskip("lvis")
    from lvis import LVIS, LVISEval, LVISResults

    truth, results = lvis_case(seed)
    mine = evaluated((truth, results), tmp_path)
    annotations = LVIS(str(tmp_path / "truth.json"))
    official_one = LVISEval(annotations, LVISResults(annotations, results), "bbox")
    official_one.run()
    for name in ("precision", "recall"):
        expected = official_one.eval[name]
        np.testing.assert_array_equal(getattr(mine.coco, name)[..., 0], expected)
    numbers = official_one.get_results()
    for name in ("AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf"):
        value = mine.summary[name]
        assert (-1.0 if value is None else value) == pytest.approx(numbers[name], abs=1e-12)


def test_a_file_without_the_sets_is_one_line(tmp_path):
    truth, results = lvis_case(0)
    del truth["images"][0]["neg_category_ids"]
    with pytest.raises(DataError, match="has no 'neg_category_ids', which LVIS needs"):
        evaluated((truth, results), tmp_path)
    truth["categories"][0].pop("frequency")
    with pytest.raises(DataError, match="frequency must be r, c or f"):
        evaluated((truth, results), tmp_path)
