"""The accumulator: any order and any sharding give the same digits; mistakes are one line."""

import json

import numpy as np
import pytest
from coco_cases import official
from hypothesis import given, settings
from hypothesis import strategies as st

from gazehound.errors import ConfigError, DataError
from gazehound.metrics import Evaluation
from gazehound.records import Classes, Detections, Sample

CLASSES = Classes(("cat", "dog"), (3, 9))


def record(image_id, seed=0):
    rng = np.random.default_rng([seed, image_id])
    corners = rng.random((4, 2)) * 50
    boxes = np.concatenate([corners, corners + rng.random((4, 2)) * 90 + 1], axis=1)
    truth = Sample.of(
        None,
        boxes,
        rng.integers(0, 2, 4),
        image_id=image_id,
        size=(200, 200),
        crowd=rng.random(4) < 0.2,
    )
    noise = rng.normal(0, 4, (4, 4)).astype(np.float32)
    found = np.concatenate([truth.boxes + noise, truth.boxes[::-1]])
    scores = np.sort(rng.choice([0.2, 0.5, 0.7, 0.9], len(found)))[::-1].astype(np.float32)
    labels = rng.integers(0, 2, len(found))
    return truth, Detections(found.astype(np.float32), scores, labels, CLASSES, (200, 200))


def whole(ids):
    evaluation = Evaluation(CLASSES)
    for i in ids:
        evaluation.add(*record(i))
    return evaluation


def assert_same(a, b):
    for name in ("precision", "recall", "scores"):
        np.testing.assert_array_equal(getattr(a.coco(), name), getattr(b.coco(), name))
    assert a.voc07().summary == b.voc07().summary


@given(st.permutations(range(8)), st.lists(st.integers(0, 2), min_size=8, max_size=8))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_any_order_and_sharding_gives_the_same_digits(order, shard_of):
    shards = [whole([i for i in order if shard_of[i] == s]) for s in range(3)]
    merged = Evaluation.from_state([shard.state() for shard in reversed(shards)])
    assert_same(merged, whole(range(8)))
    first = shards[0]
    first.merge(shards[1])
    first.merge(shards[2])
    assert_same(first, merged)


def test_an_image_that_two_processes_saw_counts_once():
    merged = Evaluation.from_state([whole([1, 2, 3]).state(), whole([3, 4]).state()])
    assert len(merged) == 4
    assert_same(merged, whole([1, 2, 3, 4]))


def test_records_equal_pycocotools_on_the_same_boxes_in_a_file():
    truth = {"images": [], "categories": [{"id": 3}, {"id": 9}], "annotations": []}
    results = []

    def xywh(box):
        x1, y1, x2, y2 = (float(v) for v in box)
        return [x1, y1, x2 - x1, y2 - y1]

    for i in range(6):
        sample, found = record(i)
        truth["images"].append({"id": i})
        for k in range(len(sample)):
            truth["annotations"].append(
                {
                    "id": len(truth["annotations"]) + 1,
                    "image_id": i,
                    "category_id": CLASSES.ids[sample.labels[k]],
                    "bbox": xywh(sample.boxes[k]),
                    "area": float(sample.area[k]),
                    "iscrowd": int(sample.crowd[k]),
                }
            )
        for k in range(len(found)):
            results.append(
                {
                    "image_id": i,
                    "category_id": CLASSES.ids[found.labels[k]],
                    "bbox": xywh(found.boxes[k]),
                    "score": float(found.scores[k]),
                }
            )
    expected = official(truth, json.loads(json.dumps(results)))
    result = whole(range(6)).coco()
    np.testing.assert_array_equal(result.precision, expected.eval["precision"])
    assert list(result.summary.values()) == [None if v == -1 else v for v in expected.stats]


def test_empty_accumulator_is_undefined_and_survives_a_gather():
    empty = Evaluation(CLASSES)
    assert set(empty.coco().summary.values()) == {None}
    assert len(Evaluation.from_state(empty.state())) == 0
    assert_same(Evaluation.from_state([empty.state(), whole([5]).state()]), whole([5]))


def test_text_ids_sort_as_text():
    evaluation = Evaluation(CLASSES)
    for name in ("b", "a"):
        truth, found = record(1)
        evaluation.add(Sample.of(None, truth.boxes, truth.labels, image_id=name), found)
    assert evaluation.tables.image_ids.tolist() == ["a", "b"]
    assert evaluation.coco().summary["AP"] is not None


def test_the_second_copy_of_an_image_is_refused():
    with pytest.raises(DataError, match="image 1 was added twice"):
        whole([1, 1])


def test_different_truths_of_one_image_are_refused():
    other = Evaluation(CLASSES)
    other.add(*record(1, seed=5))
    with pytest.raises(DataError, match="image 1 came twice, with different truths"):
        whole([1]).merge(other)


def test_other_classes_are_refused():
    truth, found = record(1)
    strange = Classes(("dog", "cat"))
    with pytest.raises(DataError, match="other classes"):
        Evaluation(strange).add(truth, found)
    with pytest.raises(ConfigError, match="different classes"):
        whole([1]).merge(Evaluation(strange))


def test_numbers_that_are_not_finite_are_named():
    truth, found = record(1)
    found.scores[2] = np.nan
    with pytest.raises(DataError, match="image 1: detection 2: score must be finite; got nan"):
        Evaluation(CLASSES).add(truth, found)


def test_number_and_text_ids_do_not_mix():
    evaluation = whole([1])
    truth, found = record(2)
    evaluation.add(Sample.of(None, truth.boxes, truth.labels, image_id="x"), found)
    with pytest.raises(DataError, match="all numbers or all text"):
        evaluation.coco()
