"""A killed and resumed run continues with the very numbers of an unbroken one (on the CPU)."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from gazehound.checkpoints.native import load_tensors
from gazehound.training.run_folder import HISTORY, LAST, RESUME, STEPS, CsvLog

RUN = """
import sys
import torch
torch.set_num_threads(1)
from pathlib import Path
from rich.console import Console
from gazehound.cli.training import train_on
from gazehound.data.shapes import shapes
from gazehound.training.recipe import make_recipe
folder, resume, minutes = Path(sys.argv[1]), sys.argv[2] == "resume", float(sys.argv[3])
recipe = make_recipe(dict(
    model="retinanet_r18", data="shapes", arguments={"backbone": "resnet10t", "channels": 32},
    epochs=3, size=64, sizes=[64, 96], batch=4, workers=1, ema=0.9, lr=1e-3, seed=7,
    checkpoint_minutes=minutes, evaluate_every=2, size_every=2, close_mosaic=1,
    augment={"iou_crop": 0.3, "expand": 0.3, "mosaic": 0.4, "mixup": 0.5, "degrees": 5, "paste": 0.3},
    tune={"freeze": 2, "unfreeze_every": 1},
))
size = (64, 64)
data = shapes(count=22, seed=0, size=size), shapes(count=5, seed=1, size=size)
train_on(recipe, data, folder, resume=resume, console=Console(stderr=True))
"""


def start(tmp_path, folder, resume="fresh", minutes=0.0):
    script = tmp_path / "run.py"
    script.write_text(RUN)
    command = [sys.executable, str(script), str(tmp_path / folder), resume, str(minutes)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def finish(process):
    _, errors = process.communicate(timeout=500)
    assert process.returncode == 0, errors
    return errors


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    finish(start(folder, "run"))
    return folder / "run"


def kill_after(tmp_path, process, lines):
    """Kill -9 once steps.csv holds so many steps and a resume file is there."""
    steps = tmp_path / "run" / STEPS
    for _ in range(4000):
        if (tmp_path / "run" / RESUME).exists() and len(CsvLog(steps, "step").read()) >= lines:
            break
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lines", "minutes"), [(7, 0.0), (8, 1e-6)], ids=["after an epoch", "inside an epoch"]
)
def test_killed_and_resumed_run_is_bit_identical(unbroken, tmp_path, lines, minutes):
    kill_after(tmp_path, start(tmp_path, "run", minutes=minutes), lines)
    finish(start(tmp_path, "run", "resume"))
    wanted, got = (load_tensors(folder / LAST)[0] for folder in (unbroken, tmp_path / "run"))
    assert wanted.keys() == got.keys()
    assert all(torch.equal(wanted[name], got[name]) for name in wanted)
    for name, key in ((STEPS, "step"), (HISTORY, "epoch")):
        rows = [CsvLog(folder / name, key).read() for folder in (unbroken, tmp_path / "run")]
        for row in (*rows[0], *rows[1]):
            row.pop("seconds", None)
        assert rows[0] == rows[1]
