"""The programs in examples/ run, and do what they say."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from blocks import ROOT, lay_out

EXAMPLES = ROOT / "examples"


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    lay_out(folder)
    return folder


@pytest.fixture
def example(setting, monkeypatch):
    """Return a function that gives the ``main`` of an example, with the folder of data around it."""
    monkeypatch.chdir(setting)

    def main_of(name):
        spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.main

    return main_of


def test_every_example_is_tested_here():
    here = Path(__file__).read_text(encoding="utf-8")
    assert all(f"def test_{file.stem}(" in here for file in EXAMPLES.glob("*.py"))


def test_faces(example, capsys):
    example("faces")("photo.jpg", "drawn.jpg")
    assert "1 faces" in capsys.readouterr().out
    assert Path("drawn.jpg").stat().st_size > 1000


def test_check_data(example, capsys):
    assert example("check_data")("cells")
    assert "train: 8 images" in capsys.readouterr().out
    next(Path("cells").rglob("train/*.txt")).write_text("0 0.5 0.5\n")
    assert not example("check_data")("cells")
    assert "line-malformed: 1" in capsys.readouterr().out


def test_swap_parts(example):
    positives = example("swap_parts")()
    assert set(positives) == {"max-iou", "atss", "simota", "ota"}
    assert all(count > 0 for count in positives.values())


def test_evaluate_another_tool(example, capsys):
    evaluate = example("evaluate_another_tool")
    better = evaluate("val.json", "results.json", "old.json", draws=20)
    assert better > evaluate("val.json", "old.json", draws=20)
    assert "points of AP50" in capsys.readouterr().out


def test_explain_photo(example):
    assert "survivors" in example("explain_photo")("small.jpg", "page.html")
    assert "<svg" in Path("page.html").read_text(encoding="utf-8")


def test_large_image(example, capsys):
    example("large_image")("runs/cells/best.safetensors", "photos/1.jpg", 96)
    assert "in tiles of 96 pixels" in capsys.readouterr().out


@pytest.mark.slow
def test_export_onnx(setting):
    """In a process of its own: a graph cannot be recorded while shapes are checked (conftest.py)."""
    program = [sys.executable, EXAMPLES / "export_onnx.py"]
    given = ["runs/cells/best.safetensors", "cells.onnx"]
    done = subprocess.run(
        [*program, *given], cwd=setting, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "objects found by cells.onnx" in done.stdout
    assert (setting / "cells.onnx").exists()


@pytest.mark.slow
def test_train_shapes(example):
    example("train_shapes")(epochs=1, out="runs/shapes", pictures=8, size=64)
    assert Path("runs/shapes/shapes.safetensors").exists()
