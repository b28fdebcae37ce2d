"""What counts as a difference between a checkpoint and its exported file."""

import shutil

import numpy as np
import pytest

from gazehound.data.shapes import shapes
from gazehound.errors import ExportError
from gazehound.export.evidence import Evidence, evidence_of
from gazehound.export.proof import compare, prove
from gazehound.records import Classes, Detections

CLASSES = Classes(("a", "b"))
LIMITS = {"score": 0.05, "iou": 0.5, "per_image": 100}
BOXES = [[10, 10, 60, 60], [100, 20, 180, 90], [30, 120, 50, 150]]


def found(boxes=BOXES, scores=(0.9, 0.8, 0.4), labels=(0, 1, 0)):
    order = np.argsort(-np.asarray(scores, np.float32), kind="stable")
    return Detections(
        np.asarray(boxes, np.float32).reshape(-1, 4)[order],
        np.asarray(scores, np.float32)[order],
        np.asarray(labels, np.int64)[order],
        CLASSES,
        (200, 200),
    )


def told(exported, native=None, **limits):
    return compare(found() if native is None else native, exported, {**LIMITS, **limits}, "cat.jpg")


def test_equal_detections_are_equal_in_any_order():
    result = told(found(BOXES[::-1], (0.4, 0.8, 0.9), (0, 1, 0)))
    assert (result.pairs, result.box, result.score, result.ties) == (3, 0, 0, 0)
    assert not result.differences
    nothing = found([], [], [])
    assert not told(nothing, nothing).differences


@pytest.mark.parametrize(("by", "differs"), [(0.4, False), (0.6, True), (7.0, True)])
def test_a_box_may_move_by_half_a_pixel(by, differs):
    boxes = np.array(BOXES, float)
    boxes[1, 2] += by
    result = told(found(boxes))
    assert result.box == pytest.approx(by, abs=1e-4)
    assert len(result.differences) == differs
    if differs:
        text = result.differences[0].text
        assert f"moved by {by:.2f} px" in text
        assert text.startswith("cat.jpg: detection 2 (b 0.8000 at 100.0, 20.0, 180.0, 90.0)")


def test_scores_may_move_by_a_hundredth():
    assert not told(found(scores=(0.9, 0.795, 0.4))).differences
    (difference,) = told(found(scores=(0.9, 0.78, 0.4))).differences
    assert "has score 0.7800 in the exported file" in difference.text


def test_another_class_is_another_detection():
    texts = [d.text for d in told(found(labels=(0, 0, 0))).differences]
    assert len(texts) == 2
    assert any("is not found by the exported file" in text for text in texts)
    assert any("is not found by the checkpoint" in text for text in texts)


def test_what_lies_at_the_score_limit_may_be_missing():
    more = found([*BOXES, [5, 150, 25, 190]], (0.9, 0.8, 0.4, 0.055), (0, 1, 0, 1))
    assert told(found(), more).ties == 1
    assert told(found(), more, score=0.01).differences


def test_the_last_of_a_full_list_may_be_another_one():
    other = found([*BOXES[:2], [150, 150, 190, 190]], (0.9, 0.8, 0.398), (0, 1, 0))
    assert told(other, per_image=3).ties == 2
    assert len(told(other).differences) == 2


def test_an_overlap_at_the_threshold_of_nms_is_a_tie():
    at_half = [[10, 10, 60, 60], [10, 35, 60, 85]]  # IoU 1/3
    both, one = found(at_half, (0.9, 0.6), (0, 0)), found(at_half[:1], (0.9,), (0,))
    assert told(one, both, iou=1 / 3).ties == 1
    assert told(one, both, iou=0.5).differences


def test_what_a_tie_suppressed_is_explained_by_it():
    chain = [[10, 10, 60, 60], [10, 35, 60, 85], [10, 40, 60, 90]]
    # The first overlaps the second by 1/3, the second the third by 9/11: one keeps it, one the third.
    left = found([chain[0], chain[1]], (0.9, 0.6), (0, 0))
    right = found([chain[0], chain[2]], (0.9, 0.5), (0, 0))
    result = told(right, left, iou=1 / 3)
    assert not [d for d in result.differences if "is not found" in d.text]


class Shifted:
    """Finds the truths of its pictures, all moved to the right."""

    def __init__(self, data, by):
        self.classes, self.by = data.classes, by
        self.truths = {data[i].image.tobytes(): data[i] for i in range(len(data))}

    def predict(self, images, *, score=None):
        sample = self.truths[images[0].tobytes()]
        boxes = sample.boxes + np.float32([self.by, 0, self.by, 0])
        scores = np.linspace(0.9, 0.5, len(sample), dtype=np.float32)
        return [Detections(boxes, scores, sample.labels, self.classes, sample.size)]


def test_a_proof_demands_equal_boxes_and_equal_precision():
    data = shapes(count=4, seed=1, size=(160, 200))
    evidence = Evidence(data, "4 shapes", True)
    same = prove(Shifted(data, 0), Shifted(data, 0.1), evidence, LIMITS)
    assert same.native == pytest.approx(1.0)
    assert same.exported == pytest.approx(1.0)
    same.demand()
    assert same.box == pytest.approx(0.1, abs=1e-3)
    assert "mAP 1.0000 of the checkpoint, 1.0000 of the exported file" in same.lines[1]
    moved = prove(Shifted(data, 0), Shifted(data, 3), evidence, LIMITS)
    with pytest.raises(ExportError, match=r"finds something else: .* moved by 3\.00 px"):
        moved.demand()
    assert moved.loss > 0


def test_pictures_come_from_data_from_folders_or_are_made(tmp_path, real_data):
    made = evidence_of(None, CLASSES)
    assert not made.truths
    assert len({sample.image.shape for sample in made}) >= 3
    bccd = evidence_of(str(real_data / "bccd"), Classes(("Platelets", "RBC", "WBC")))
    assert bccd.truths
    assert not evidence_of(str(real_data / "bccd"), CLASSES).truths
    for image in sorted((real_data / "bccd" / "JPEGImages").iterdir())[:2]:
        shutil.copy(image, tmp_path)
    folder = evidence_of(str(tmp_path), CLASSES)
    assert not folder.truths
    assert len(folder) == 2
