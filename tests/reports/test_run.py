"""The report of a training run: complete, self-contained, and right about its pictures."""

import re

import numpy as np
import pytest
from PIL import Image

from gazehound.errors import DataError
from gazehound.metrics import Evaluation
from gazehound.records import Classes, Detections, Sample
from gazehound.reports.pictures import choose, judge
from gazehound.reports.run import best_score, write_run_report

CLASSES = Classes(("round <b>", "square"), (1, 5))
HISTORY = [
    {"epoch": 0.0, "loss_total": 2.0, "loss_box": 1.0, "lr": 1e-3},
    {"epoch": 1.0, "loss_total": 1.0, "loss_box": 0.4, "lr": 1e-3, "AP": 0.2, "AP50": 0.5},
    {"epoch": 2.0, "loss_total": 0.5, "loss_box": 0.2, "lr": 1e-4, "AP": 0.4, "AP50": 0.8},
]
STEPS = [{"step": float(k), "total": 2 / (k + 1), "lr": 1e-3} for k in range(200)]


def found_in(sample, offset=1.0, scores=None, labels=None):
    boxes = np.float32(sample.boxes + offset)
    scores = np.linspace(0.9, 0.6, len(boxes)) if scores is None else scores
    return Detections(
        boxes, np.float32(scores), sample.labels if labels is None else np.asarray(labels),
        CLASSES, sample.size, sample.image_id, sample.file,
    )  # fmt: skip


def samples(count, folder=None):
    rng = np.random.default_rng(0)
    out = []
    for k in range(count):
        image = rng.integers(0, 255, (60, 80, 3), dtype=np.uint8)
        low = rng.uniform(0, 30, (3, 2))
        boxes = np.concatenate([low, low + rng.uniform(12, 25, (3, 2))], 1)
        sample = Sample.of(image, boxes, [0, 1, 1], image_id=k, file=f"p{k}.png")
        out.append(sample)
    return out


def evaluated(pairs):
    evaluation = Evaluation(CLASSES)
    for sample, found in pairs:
        evaluation.add(sample, found)
    return evaluation


def test_judging_an_image_by_hand():
    sample = Sample.of(
        np.zeros((90, 90, 3), np.uint8),
        [[0, 0, 10, 10], [20, 20, 40, 40], [50, 50, 80, 80], [0, 50, 30, 80]], [0, 1, 1, 0],
        crowd=np.array([False, False, False, True]),
    )  # fmt: skip
    found = Detections(
        np.float32([[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 40, 40], [0, 50, 30, 80], [21, 20, 40, 40],
                    [50, 50, 80, 80]]),
        np.float32([0.9, 0.8, 0.7, 0.6, 0.5, 0.1]), np.array([0, 0, 0, 0, 1, 1]), CLASSES, (90, 90),
    )  # fmt: skip
    judged = judge(sample, found, 0.4)
    # right: the first and the fifth; wrong: a duplicate, a wrong class; the fourth lies on a crowd.
    assert (judged.right, judged.wrong, judged.missed) == (2, 2, 1)
    assert judged.f1 == pytest.approx(4 / 7)
    empty = judge(Sample.of(None, size=(9, 9)), found.select(np.zeros(6, bool)), 0.5)
    assert empty.f1 == 1
    assert judge(Sample.of(None, size=(9, 9)), found, 0.5).f1 == 0


def test_choosing_shows_nothing_twice():
    judged = [judge(s, found_in(s, offset), 0.5) for offset in (0, 3, 9) for s in samples(12)]
    chosen = choose(judged, 16)
    everything = [id(one) for part in chosen.values() for one in part]
    assert len(everything) == len(set(everything)) <= 16
    worst, best = chosen["worst"], chosen["best"]
    assert max(one.f1 for one in worst) <= min(one.f1 for one in best)
    assert list(choose(judged[:5], 16)) == ["all"]


@pytest.mark.parametrize("count", [3, 30])
def test_the_page_is_whole_and_needs_nothing_else(tmp_path, count):
    pairs = [(s, found_in(s, offset=k % 7)) for k, s in enumerate(samples(count))]
    out = write_run_report(
        tmp_path / "sub" / "report.html", title="RetinaNet on <shapes>",
        facts={"Seed": "3", "Command": "gazehound train & more"}, history=HISTORY,
        evaluation=evaluated(pairs), gallery=pairs, steps=STEPS,
    )  # fmt: skip
    page = out.read_text()
    assert "RetinaNet on &lt;shapes&gt;" in page
    assert "round &lt;b&gt;" in page
    assert "gazehound train &amp; more" in page
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", page)
    assert "@import" not in page
    ap = evaluated(pairs).coco().summary["AP"]
    assert f"{100 * ap:.1f}" in page
    pictures = page.count("data:image/jpeg;base64")
    assert pictures == 2 * min(count, 16)
    for heading in ("Training", "Precision and recall", "Classes", "About this run"):
        assert f"<h2>{heading}</h2>" in page
    assert ("Worst pictures" in page) == (count > 16)
    assert len(page) < 4_000_000


def test_little_or_nothing_is_a_page_too(tmp_path):
    out = write_run_report(tmp_path / "r.html", title="t", facts={}, history=[])
    assert "there is no evaluation" in out.read_text()
    nothing = [(s, found_in(s).select(np.zeros(3, bool))) for s in samples(2)]
    page = write_run_report(
        tmp_path / "r.html", title="t", facts={}, history=HISTORY[:1],
        evaluation=evaluated(nothing), gallery=nothing,
    ).read_text()  # fmt: skip
    assert "0 of 3 found" in page
    empty = [(Sample.of(np.zeros((9, 9, 3), np.uint8)), None)]
    empty = [(s, found_in(s)) for s, _ in empty]
    page = write_run_report(
        tmp_path / "r.html", title="t", facts={}, history=[], evaluation=evaluated(empty),
        gallery=empty,
    ).read_text()  # fmt: skip
    assert "no objects, none found" in page


def test_pictures_are_read_from_their_files_and_a_lost_one_is_left_out(tmp_path):
    (here, lost) = samples(2)
    file = tmp_path / "here.png"
    Image.fromarray(here.image).save(file)
    pairs = [
        (
            Sample.of(None, s.boxes, s.labels, image_id=s.image_id, size=s.size, file=str(f)),
            found_in(s),
        )
        for s, f in ((here, file), (lost, tmp_path / "lost.png"))
    ]
    page = write_run_report(
        tmp_path / "r.html", title="t", facts={}, history=HISTORY, gallery=pairs, score=0.5
    ).read_text()
    assert page.count("data:image/jpeg;base64") == 2


def test_best_score_separates_right_from_wrong():
    pairs = []
    for sample in samples(12):
        right = found_in(sample, 0.0, [0.9, 0.85, 0.8])
        wrong = np.float32([[0, 0, 5, 5], [75, 55, 80, 60]])
        found = Detections(
            np.concatenate([right.boxes, wrong]), np.float32([0.9, 0.85, 0.8, 0.4, 0.3]),
            np.array([0, 1, 1, 0, 1]), CLASSES, sample.size, sample.image_id,
        )  # fmt: skip
        pairs.append((sample, found))
    assert 0.4 < best_score(evaluated(pairs).coco()) <= 0.9


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        write_run_report(tmp_path / "file" / "r.html", title="t", facts={}, history=[])
