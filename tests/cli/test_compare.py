"""``gazehound compare`` from the command line: trained beside loaded, stopped and gone on with."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

import gazehound
from gazehound.cli import comparing, main, measuring
from gazehound.data import write_dataset
from gazehound.data.shapes import shapes
from gazehound.errors import ConfigError
from gazehound.records import Classes, Detections

CLASSES = Classes(("person", "face"))
RECIPE = """
model: retinanet_r18
data: elsewhere
arguments: {backbone: test_resnet, channels: 32, depth: 1}
"""


def run(monkeypatch, capsys, *words):
    """Run one command in this process; return its exit code and what it printed."""
    monkeypatch.setattr(sys, "argv", ["gazehound", *(str(word) for word in words)])
    try:
        main()
        code = 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("compare")
    easy = {"size": (96, 96), "objects": (1, 2), "classes": ("circle", "square")}
    splits = [
        replace(shapes(count, seed, split=split, **easy), classes=CLASSES, name="crowd")
        for seed, (split, count) in enumerate((("train", 4), ("val", 2), ("test", 3)))
    ]
    write_dataset(splits, path / "crowd", "coco")
    (path / "tiny.yaml").write_text(RECIPE)
    other = gazehound.create("retinanet_r18", ["cat"], backbone="test_resnet", channels=32, depth=1)
    other.save(path / "cats.safetensors")
    return path


BUDGET = ("--epochs", 1, "--size", 64, "--batch", 2, "--workers", 0, "--draws", 30)


def test_train_load_and_go_on(folder, tmp_path, monkeypatch, capsys):
    out, numbers = tmp_path / "out", tmp_path / "numbers.json"
    words = ("compare", folder / "tiny.yaml", "viola-jones-face", "hog-person",
             folder / "cats.safetensors", "--data", folder / "crowd", "--out", out,
             "--json", numbers, *BUDGET)  # fmt: skip
    code, printed, err = run(monkeypatch, capsys, *words)
    assert code == 1  # one could not take part
    assert "cats: its classes do not fit the data's" in err
    assert "1 of 4 could not take part: cats" in err
    assert "hog-person knows 1 of the 2 classes" in err
    assert "hog-person" in printed
    found = json.loads(numbers.read_text())
    rows = {row["name"]: row for row in found["models"]}
    assert set(rows) == {"tiny", "hog-person", "viola-jones-face"}
    assert set(found["failed"]) == {"cats"}
    assert (found["split"], found["images"]) == ("test", 3)
    assert rows["tiny"]["classes"] == ["person", "face"]
    assert rows["viola-jones-face"]["classes"] == ["face"]
    assert rows["tiny"]["flops"] > 1e6
    assert rows["hog-person"]["flops"] is None
    assert rows["tiny"]["training"] > 0
    assert rows["hog-person"]["training"] is None
    weights = gazehound.load(out / "tiny/best.safetensors").detector
    assert rows["tiny"]["parameters"] == sum(w.numel() for w in weights.parameters())
    page = (out / "comparison.html").read_text()
    assert page.count("<tr data-model=") == 3

    changed = (out / "tiny/best.safetensors").stat().st_mtime_ns
    (out / "comparison.html").unlink()
    monkeypatch.setattr(measuring, "measure", None)
    monkeypatch.setattr(comparing, "measure", None)  # nothing is measured again
    code, _, err = run(monkeypatch, capsys, *words)
    assert code == 1
    assert "tiny: measured before" in err
    assert (out / "tiny/best.safetensors").stat().st_mtime_ns == changed
    again = {row["name"]: row for row in json.loads(numbers.read_text())["models"]}
    assert again == rows
    assert (out / "comparison.html").exists()

    words = ["2" if word == 1 else word for word in words]
    code, _, err = run(monkeypatch, capsys, *words)
    assert code == 1
    assert "holds a run under another budget; give another --out" in err


def test_stopped_in_the_middle_leaves_a_page(folder, tmp_path, monkeypatch, capsys):
    real = comparing.take_part

    def stops(one, *rest):
        if one.name == "viola-jones-face":
            raise KeyboardInterrupt
        return real(one, *rest)

    monkeypatch.setattr(comparing, "take_part", stops)
    code, _, err = run(
        monkeypatch, capsys, "compare", "hog_person", "viola-jones-face", "--data",
        folder / "crowd", "--split", "val", "--out", tmp_path, "--draws", 0, "--protocol", "voc07",
    )  # fmt: skip
    assert code == 130
    assert "not finished: viola-jones-face" in err
    page = (tmp_path / "comparison.html").read_text()
    assert page.count("<tr data-model=") == 1
    assert "run the same command again" in page
    assert "Pascal VOC 2007" in page


def test_a_wrong_name_is_said_before_anything_is_done(folder, tmp_path, monkeypatch, capsys):
    code, _, err = run(
        monkeypatch, capsys, "compare", "hog-person", "yolox_nanu", "--data", folder / "crowd",
        "--out", tmp_path / "none",
    )  # fmt: skip
    assert code == 1
    assert "yolox_nanu" in err
    assert "yolox_nano" in err
    assert not (tmp_path / "none").exists()


def test_names_in_the_table_are_different(folder):
    given = (f"{folder}/a/best.safetensors", f"{folder}/a/last.safetensors", "hog-svm", "hog_svm")
    options = comparing.Options(given, "shapes", None, None, "coco", {}, 0, 0, None)
    named = comparing.name_models(options)
    assert [one.name for one in named] == ["a", "a-2", "hog-svm", "hog-svm-2"]
    assert [one.recipe is None for one in named] == [True, True, False, False]


def test_which_classes_are_judged():
    data = Classes(("a", "b", "c"))
    assert measuring.shared_classes(Classes(("c", "a")), data) == ("a", "c")
    assert measuring.shared_classes(Classes(("x", "c", "b", "a")), data) == ("a", "b", "c")
    for other in (("x",), ("a", "x")):
        with pytest.raises(ConfigError, match="do not fit"):
            measuring.shared_classes(Classes(other), data)


def test_labels_follow_the_names():
    model, data = Classes(("b", "x", "a")), Classes(("a", "b"))
    boxes = np.float32([[0, 0, 1, 1], [0, 0, 2, 2], [0, 0, 3, 3]])
    found = Detections(boxes, np.float32([0.9, 0.8, 0.7]), np.array([0, 1, 2]), model, (9, 9))
    moved = measuring.relabelled(found, data)
    assert moved.names == ["b", "a"]
    assert moved.boxes[:, 2].tolist() == [1, 3]
    assert found.names == ["b", "x", "a"]


def test_flops_are_those_of_the_convolutions():
    model = gazehound.create(
        "retinanet_r18",
        ["cat"],
        preprocess={"size": 64},
        backbone="test_resnet",
        channels=32,
        depth=1,
    )
    counted = [0]

    def count(layer, _, output):
        counted[0] += 2 * layer.weight.numel() // layer.out_channels * output.numel()

    hooks = [
        layer.register_forward_hook(count)
        for layer in model.detector.modules()
        if isinstance(layer, torch.nn.Conv2d)
    ]
    picture = np.zeros((64, 96, 3), np.uint8)
    found = measuring.flops(model.detector, picture)
    assert found == counted[0] > 0
    assert model.detector.training  # as it was
    for hook in hooks:
        hook.remove()
    assert measuring.flops(gazehound.load("hog-person").detector, picture) is None


def test_memory_counts_what_was_held_in_between():
    class Idle:
        pass

    with measuring.peak_memory(Idle()) as held:
        block = np.ones(32 * 2**20, np.uint8)
        del block
    if held:  # Linux
        assert 24 * 2**20 < held[0] < 200 * 2**20
