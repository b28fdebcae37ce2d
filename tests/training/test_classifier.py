"""A backbone that learned to classify goes into a detector, whole."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from gazehound.checkpoints.native import load_tensors
from gazehound.checkpoints.rebuild import build
from gazehound.cli.lr_range import CSV, PLOT, write_range_test
from gazehound.errors import ConfigError, DataError
from gazehound.records import Classes
from gazehound.training.classifier import Schooling, backbone_of, open_folders, train_classifier
from gazehound.training.range_test import RangeTest
from gazehound.training.transfer import transfer


def folders(root, count=4, names=("dark", "light"), splits=("train", "val")):
    generator = np.random.default_rng(0)
    for split in splits:
        for level, name in enumerate(names):
            (root / split / name).mkdir(parents=True)
            for k in range(count):
                pixels = generator.integers(0, 80, (40, 50, 3), dtype=np.uint8) + 150 * level
                Image.fromarray(pixels.astype(np.uint8)).save(root / split / name / f"{k}.png")
    return root


@pytest.mark.slow
def test_two_phases_and_the_backbone_of_a_detector(tmp_path):
    console = Console(file=io.StringIO(), width=200)
    schooling = Schooling(
        epochs=3, size=32, fine_epochs=1, fine_size=64, batch=4, lr=0.02, workers=0, smoothing=0.0
    )
    data, out = folders(tmp_path / "data"), tmp_path / "run"
    network = train_classifier("resnet10t", data, out, schooling, console=console)
    rows = (out / "history.csv").read_text().splitlines()
    assert [row.split(",")[1] for row in rows] == ["size", "32", "32", "32", "64"]
    assert "8 pictures of 2 classes to learn from, 8 to test on" in console.file.getvalue()
    tensors, header = load_tensors(out / "last.safetensors")
    assert header.classes.names == ("dark", "light")
    assert json.dumps(header.notes["accuracy"])
    arguments = {"backbone": "resnet10t", "channels": 16}
    detector, own = build("retinanet_r18", Classes(("cell",)), arguments)
    report = transfer(detector, own, tensors, header)
    backbone = {
        n for n in detector.state_dict() if n.startswith("backbone.") and "num_batches" not in n
    }
    assert set(report.loaded) == backbone
    assert set(report.left_out) == {"classify.weight", "classify.bias"}
    for name in backbone:
        assert torch.equal(detector.state_dict()[name], network.state_dict()[name].cpu()), name


def test_folders_are_checked(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        open_folders(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="needs one folder per class with images in it"):
        open_folders(tmp_path / "empty")
    root = folders(tmp_path / "both", 1)
    (root / "val" / "light").rename(root / "val" / "bright")
    with pytest.raises(DataError, match=r"its class folders are \['bright', 'dark'\]"):
        open_folders(root)
    train, val = open_folders(folders(tmp_path / "one", 1, splits=("train",)))
    assert (len(train), val) == (2, None)


def test_settings_are_checked():
    with pytest.raises(ConfigError, match="epochs must be 1 or more; got 0"):
        Schooling(epochs=0)
    with pytest.raises(ConfigError, match="unknown model 'resnot'"):
        backbone_of("resnot")
    assert Schooling(fine_epochs=0).phases() == [(20, 224, 0.05)]
    assert Schooling().phases()[1] == (10, 448, pytest.approx(0.005))


def test_the_range_test_is_written_as_numbers_and_as_a_plot(tmp_path):
    rates = tuple(10.0 ** (k / 4 - 6) for k in range(20))
    losses = tuple(2.0 - k / 20 for k in range(20))
    write_range_test(tmp_path, RangeTest(rates, losses, losses))
    assert len((tmp_path / CSV).read_text().splitlines()) == 21
    assert "learning rate, power of ten" in (tmp_path / PLOT).read_text()
