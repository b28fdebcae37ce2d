"""Pascal VOC against a plain reading of the devkit's rules, and cases computed by hand."""

import numpy as np
import pytest
from coco_cases import data_sets, large_case, tables_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gazehound.metrics import Evaluation, evaluate_voc
from gazehound.records import Classes, Detections, Sample


def plain_voc(truth, results, difficult, category, eleven, margin=0.0):
    """Average precision of one class, as the devkit's text says: no arrays, no shortcuts."""
    objects = {}
    positives = 0
    for row, annotation in enumerate(truth["annotations"]):
        if annotation["category_id"] != category:
            continue
        skip = row in difficult or annotation["iscrowd"] == 1
        positives += not skip
        entry = {"box": annotation["bbox"], "skip": skip, "found": False}
        objects.setdefault(annotation["image_id"], []).append(entry)
    mine = [r for r in results if r["category_id"] == category]
    mine.sort(key=lambda r: (-r["score"], r["image_id"]))
    marks = []
    for result in mine:
        best, which = -1.0, None
        for entry in objects.get(result["image_id"], []):
            overlap = plain_overlap(result["bbox"], entry["box"], margin)
            if overlap > best:
                best, which = overlap, entry
        if which is None or best <= 0.5:
            marks.append("false")
        elif which["skip"]:
            continue
        elif which["found"]:
            marks.append("false")
        else:
            which["found"] = True
            marks.append("true")
    if positives == 0:
        return None
    true = false = 0
    points = []
    for mark in marks:
        true += mark == "true"
        false += mark == "false"
        points.append((true / positives, true / (true + false)))
    if eleven:
        levels = np.arange(0.0, 1.1, 0.1)
        return sum(max([p for r, p in points if r >= level], default=0.0) / 11 for level in levels)
    area, last = 0.0, 0.0
    for place, (recall, _) in enumerate(points):
        if recall > last:
            area += (recall - last) * max(p for _, p in points[place:])
            last = recall
    return area


def plain_overlap(a, b, margin):
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0]) + margin
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1]) + margin
    if width <= 0 or height <= 0:
        return 0.0
    both = (a[2] + margin) * (a[3] + margin) + (b[2] + margin) * (b[3] + margin)
    return width * height / (both - width * height)


@pytest.mark.parametrize("eleven", [False, True])
@given(data_sets(), st.sets(st.integers(0, 7)))
@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
def test_random_cases_equal_the_plain_rules(eleven, case, difficult):
    truth, results = case
    difficult = {row for row in difficult if row < len(truth["annotations"])}
    result = evaluate_voc(tables_of(truth, results, difficult), eleven_points=eleven)
    for category, row in zip(result.classes.ids, result.per_class, strict=True):
        expected = plain_voc(truth, results, difficult, category, eleven)
        assert row["AP"] == (None if expected is None else pytest.approx(expected, abs=1e-12))


@pytest.mark.parametrize("seed", [0, 1])
def test_many_detections_and_inclusive_pixels(seed):
    truth, results = large_case(seed)
    result = evaluate_voc(tables_of(truth, results, {1, 5}), inclusive=True)
    for category, row in zip(result.classes.ids, result.per_class, strict=True):
        expected = plain_voc(truth, results, {1, 5}, category, False, margin=1.0)
        assert row["AP"] == pytest.approx(expected, abs=1e-12)


def scene(boxes, scores, difficult=()):
    classes = Classes(("cat",))
    truths = [[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]]
    flags = np.isin(np.arange(3), difficult)
    evaluation = Evaluation(classes)
    found = Detections(
        np.asarray(boxes, np.float32).reshape(-1, 4),
        np.asarray(scores, np.float32),
        np.zeros(len(scores), np.int64),
        classes,
        (20, 60),
    )
    evaluation.add(Sample.of(None, truths, [0, 0, 0], difficult=flags), found)
    return evaluation


def test_by_hand_one_hit_one_duplicate_one_more_hit():
    # Hits at ranks 1 and 3 of 3, three truths: precision 1 up to recall 1/3, 2/3 up to 2/3.
    evaluation = scene([[0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 10]], [0.9, 0.8, 0.7])
    assert evaluation.voc().summary["AP"] == pytest.approx(1 / 3 + 2 / 9)
    # Recalls 0, .1, .2, .3 see precision 1; .4, .5, .6 see 2/3.
    assert evaluation.voc07().summary["AP50"] == pytest.approx((4 + 3 * 2 / 3) / 11)


def test_by_hand_a_difficult_object_neither_counts_nor_hurts():
    evaluation = scene([[20, 0, 30, 10], [0, 0, 10, 10]], [0.9, 0.8], difficult=[1, 2])
    assert evaluation.voc().summary["AP"] == 1.0
    assert evaluation.voc().per_class[0]["truths"] == 1


def test_an_overlap_of_exactly_one_half_needs_the_closed_rule():
    evaluation = scene([[0, 0, 10, 5]], [0.9])
    assert evaluation.voc().summary["AP"] == 0.0
    assert evaluation.voc(closed=True).summary["AP"] == pytest.approx(1 / 3)


def test_no_detections_and_no_truths():
    assert scene([], []).voc07().summary["AP"] == 0.0
    assert Evaluation(Classes(("cat",))).voc().summary["AP"] is None
