"""The command line from a folder of images to boxes, and what it says to a user's mistake."""

import json
import subprocess
import sys

import pytest
import torch

from gazehound.checkpoints.native import load_tensors
from gazehound.cli import main
from gazehound.data import write_dataset
from gazehound.data.shapes import shapes


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
    path = tmp_path_factory.mktemp("data") / "set"
    splits = [
        shapes(count=6, seed=0, size=(64, 96), split="train"),
        shapes(count=3, seed=1, size=(64, 96), split="val"),
    ]
    write_dataset(splits, path, "voc")
    return path


TINY = ("--size", "64", "--batch", "2", "--workers", "0", "--set", "arguments.backbone=resnet10t",
        "--set", "arguments.channels=16")  # fmt: skip


def test_train_predict_evaluate(folder, tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    train = ("train", "retinanet_r18", "--data", folder, "--epochs", "2", "--out", out, *TINY)
    code, _, err = run(monkeypatch, capsys, *train)
    assert code == 0, err
    assert "6 images to learn from (train), 3 to evaluate on (val)" in err
    assert "an epoch" in err
    names = {file.name for file in out.iterdir()}
    assert names >= {"recipe.yaml", "best.safetensors", "last.safetensors", "last.ckpt",
                     "history.csv", "steps.csv", "report.html", "tensorboard"}  # fmt: skip
    assert "<svg" in (out / "report.html").read_text()

    code, _, err = run(monkeypatch, capsys, *train)
    assert (code, "holds a run already; go on with --resume" in err) == (1, True)
    code, _, err = run(monkeypatch, capsys, "train", "--resume", "--out", out, "--epochs", "3")
    assert code == 0, err
    assert len((out / "history.csv").read_text().splitlines()) == 4

    found = tmp_path / "found"
    predict = ("predict", out / "last.safetensors", folder / "JPEGImages", "--score", "0.001")
    code, _, err = run(monkeypatch, capsys, *predict, "--format", "coco", "--out", found)
    assert code == 0, err
    rows = json.loads(next(found.rglob("*.json")).read_bytes())
    assert isinstance(rows, list | dict)

    scores = tmp_path / "scores.json"
    evaluate = ("evaluate", out / "last.safetensors", "--data", folder, "--split", "val")
    code, _, err = run(monkeypatch, capsys, *evaluate, "--json", scores)
    assert code == 0, err
    assert {"AP", "AP50", "AR100"} <= set(json.loads(scores.read_bytes()))

    sweep = (*evaluate, "--sizes", "64,96", "--json", scores, "--chart", tmp_path / "sizes.svg")
    code, _, err = run(monkeypatch, capsys, *sweep)
    assert code == 0, err
    assert [row["size"] for row in json.loads(scores.read_bytes())] == [64, 96]
    assert (tmp_path / "sizes.svg").read_text().startswith("<svg")

    tuned = ("train", "--from", out / "last.safetensors", "--data", folder, "--freeze", "backbone")
    code, _, err = run(
        monkeypatch, capsys, *tuned, "--epochs", "1", "--out", tmp_path / "tuned", *TINY[:6]
    )
    assert code == 0, err
    assert "made new: 0" in err
    assert "left out: 0" in err
    before, after = (load_tensors(f / "last.safetensors")[0] for f in (out, tmp_path / "tuned"))
    for name, tensor in before.items():
        if name.startswith("backbone."):
            assert torch.equal(tensor, after[name]), name
    assert not torch.equal(before["head.box_deltas.weight"], after["head.box_deltas.weight"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("train",), "train needs a MODEL and --data"),
        (("train", "retinanet_r18", "--data", "/no/such/folder"), "/no/such/folder: no such file"),
        (("train", "retinanet_r19", "--data", "{folder}"), "unknown model 'retinanet_r19'; did you mean"),
        (("train", "retinanet_r18", "--data", "{folder}", "--epochs", "0"), "epochs: input should be"),
        (("train", "retinanet_r18", "--data", "{folder}", "--sizes", "a"), "--sizes must be whole numbers"),
        (("train", "retinanet_r18", "--data", "{folder}", "--train-split", "holiday"), "holiday"),
        (("train", "--resume"), "--resume needs the run folder"),
        (("train", "--from", "retinanet_r18", "--data", "{folder}"), "has no trained weights in this"),
        (("evaluate", "--sizes", "64", "--data", "{folder}"), "--sizes evaluates a MODEL on --data"),
        (("train-classifier", "resnet10t", "--data", "{folder}", "--out", "x"), "one folder per class"),
        (("train", "retinanet_r18", "--data", "{folder}", "--set", "spin=1"), "spin: unexpected"),
        (
            ("train", "retinanet_r18", "--data", "{folder}", "--set", "arguments.backbone=resnet19"),
            "unknown backbone (timm model) 'resnet19'",
        ),
        (("import", "/no/file.pth", "--source", "torchvision", "--model", "retinanet_r50", "--out", "x"),
         "/no/file.pth: no such file"),
        (("import", "x", "--source", "keras", "--out", "x"), "unknown source of weights 'keras'"),
        (("predict", "{folder}/labels.safetensors", "{folder}"), "cannot be read"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(words, message, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(monkeypatch, capsys, *(word.format(folder=folder) for word in words))
    assert code == 1, err
    assert message in err
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) == 1


def test_models_for_people_and_programs(monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "models", "--json")
    rows = json.loads(out)
    assert code == 0
    assert {"retinanet_r18", "retinanet_r50"} <= {row["name"] for row in rows}
    assert [row["year"] for row in rows] == sorted(row["year"] for row in rows)
    assert run(monkeypatch, capsys, "models")[0] == 0


@pytest.mark.parametrize(
    "words", [["--help"], ["train", "--help"], ["predict", "--help"], ["--version"]]
)
def test_help_imports_nothing_heavy(words):
    script = (
        "import sys\nfrom gazehound.cli import main\n"
        f"sys.argv = ['gazehound', *{words!r}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'torchvision', 'lightning', 'timm', 'numba', 'matplotlib', 'scipy', 'numpy'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert "HEAVY []" in done.stdout


def test_importing_the_package_is_light():
    script = "import sys, gazehound; print({'torch', 'numba', 'numpy'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
