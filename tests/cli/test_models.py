"""``gazehound models``: the table, one row in full, JSON, and what this machine has."""

import json
import sys

import pytest

from gazehound.catalog import ENTRIES
from gazehound.checkpoints.published import store
from gazehound.checkpoints.published.rows import ROWS
from gazehound.cli import main


@pytest.fixture
def models(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("GAZEHOUND_HOME", str(tmp_path))

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["gazehound", "models", *words])
        with pytest.raises(SystemExit) as caught:
            main()
        told = capsys.readouterr()
        return caught.value.code or 0, told.out, told.err

    return call


def have(title):
    file = store._native_name(next(row for row in ROWS if row.title == title))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    return file


def test_the_table_at_100_columns(models):
    have("yolox_s@yolox")
    code, out, _ = models()
    assert code == 0
    lines = out.splitlines()
    assert max(map(len, lines)) <= 100
    named = {line.split()[0]: line for line in lines if line.startswith("  ")}
    assert {entry.name for entry in ENTRIES} <= named.keys()
    assert "2017  Lin et al., Focal Loss for Dense Object Detection" in lines
    assert named["retinanet_r50"].split()[1:] == [
        "33.8", "torchvision", "36.4", "AP", "137", "(BSD-3-Clause)"
    ]  # fmt: skip
    assert named["yolox_s"].endswith("cached")
    assert named["yolox_m"].split()[-1] == "(Apache-2.0)"
    assert named["viola-jones-face"].endswith("bundled")
    assert "    @detectron2" in out


def test_one_row_in_full(models):
    _, out, _ = models("fasterrcnn_r50_fpn")
    for part in (
        "faster_rcnn_r50  Faster R-CNN R50-FPN",
        "2016, Lin et al., Feature Pyramid Networks for Object Detection",
        "41.8 million",
        'gazehound.load("faster_rcnn_r50")  (or faster_rcnn_r50@torchvision)',
        "37.0 box AP, COCO val2017",
        "fasterrcnn_resnet50_fpn_coco-258fb6c6.pth",
        "sha256:258fb6c6",
        "of the weights: not stated by torchvision",
        "of the code that made them: BSD-3-Clause",
        'gazehound.load("faster_rcnn_r50@detectron2")',
        "of the weights: CC BY-SA 3.0",
        "not here; goes to",
    ):
        assert part in out
    file = have("faster_rcnn_r50@detectron2")
    assert str(file) in models("faster_rcnn_r50")[1]
    assert "none: gazehound train retinanet_r18" in models("retinanet_r18")[1]
    assert "viola_jones_face.safetensors (in the package" in models("viola-jones-face")[1]
    code, _, err = models("retinanet_r51")
    assert code == 1
    assert err.startswith("gazehound: unknown model 'retinanet_r51'; did you mean")


def test_json(models):
    file = have("yolov3@darknet")
    rows = {row["name"]: row for row in json.loads(models("--json")[1])}
    assert rows.keys() == {entry.name for entry in ENTRIES}
    (weights,) = rows["yolov3"]["weights"]
    assert weights["cached"] == str(file)
    assert weights["measure"] == "AP50, COCO test-dev, 416 px"
    assert rows["yolov4"]["weights"][0]["cached"] is None
    assert rows["hog-person"]["bundled_weights"]
    assert sum(len(row["weights"]) for row in rows.values()) == len(ROWS)
    assert json.loads(models("yolov3", "--json")[1]) == rows["yolov3"]
