"""What happens in real runs: early stops and more epochs, broken images, memory over many epochs."""

import gc
import io
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from gazehound.checkpoints.native import read_header
from gazehound.checkpoints.rebuild import build
from gazehound.data import open_dataset, write_dataset
from gazehound.data.shapes import shapes
from gazehound.errors import ImageError
from gazehound.training.fit import fit
from gazehound.training.recipe import for_input, make_recipe
from gazehound.training.run_folder import BEST, HEALTH, HISTORY, CsvLog

SMALL = {"backbone": "test_resnet", "channels": 16, "depth": 1}


def train(folder, data, resume=False, watch=None, **settings):
    """Train; return what was printed and the rows of history.csv."""
    recipe = make_recipe(
        {"model": "retinanet_r18", "data": "shapes", "arguments": SMALL, "size": 64, "batch": 2,
         "workers": 0, "seed": 1, "ema": 0, **settings}
    )  # fmt: skip
    torch.manual_seed(0)
    network, header = build(recipe.model, data[0].classes, recipe.arguments)
    recipe, network.preprocess = for_input(recipe, network.preprocess)
    told = io.StringIO()
    console = Console(file=told, width=300)
    fit(network, header, recipe, folder, data=data, resume=resume, console=console, watch=watch)
    return told.getvalue(), CsvLog(folder / HISTORY, "epoch").read()


def few(count=4):
    return tuple(shapes(count=count, seed=seed, size=(64, 64)) for seed in (0, 1))


def test_an_early_stopped_run_is_resumed_with_more_epochs(tmp_path):
    """A rate of almost 0 never gets better than the first evaluation, so that patience ends."""
    data = few()
    still = {"lr": 1e-12, "patience": 2, "schedule": "constant"}
    _, rows = train(tmp_path, data, epochs=9, **still)
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    assert read_header(tmp_path / BEST).notes["epoch"] == 0
    _, rows = train(tmp_path, data, resume=True, epochs=12, **still)
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3, 4]
    _, rows = train(tmp_path, data, resume=True, epochs=7, **{**still, "patience": 0})
    assert [row["epoch"] for row in rows] == list(range(7))


@pytest.fixture
def spoiled(tmp_path):
    """Four images on the disk; one is cut off."""
    write_dataset([replace(few()[0], split="train")], tmp_path / "data", "voc")
    data = open_dataset(tmp_path / "data", split="train")
    bad = Path(data.image_path(2))
    bad.write_bytes(bad.read_bytes()[:60])
    return data, bad


def test_a_broken_image_is_named_replaced_and_counted(spoiled, tmp_path):
    data, bad = spoiled
    told, rows = train(tmp_path / "run", (data, None), epochs=3)
    assert len(rows) == 3
    assert told.count(f"unreadable, another image takes its place: {bad}") == 1
    counted = re.search(r"(\d+) times an image could not be read and another one took its", told)
    assert counted is not None
    assert int(counted[1]) >= 3  # once per epoch, and whenever it was drawn to stand in for itself
    assert bad.name in (tmp_path / "run" / HEALTH).read_text()


def test_a_broken_image_can_end_the_run(spoiled, tmp_path):
    data, bad = spoiled
    with pytest.raises(ImageError, match=bad.name):
        train(tmp_path / "run", (data, None), epochs=3, on_unreadable="stop")


def resident():
    """Return the megabytes of their own that this process and its loader processes hold."""
    me = os.getpid()
    children = Path(f"/proc/{me}/task/{me}/children").read_text().split()
    told = [Path(f"/proc/{pid}/status").read_text() for pid in (me, *children)]
    return sum(int(re.search(r"RssAnon:\s+(\d+) kB", text)[1]) for text in told) / 1024


@pytest.mark.slow
@pytest.mark.skipif(
    not Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").exists(), reason="reads /proc"
)
def test_memory_stays_flat_over_epochs_with_workers(tmp_path):
    """A batch (3 MB) that something keeps in every epoch would show in every epoch."""
    held = []

    def watch(epoch, scores):
        gc.collect()
        held.append(resident())
        return False

    data = tuple(shapes(count=count, seed=count, size=(256, 256)) for count in (4, 1))
    train(tmp_path, data, epochs=9, workers=1, size=256, batch=4, lr=1e-6, watch=watch)
    assert len(held) == 9
    assert np.median(np.diff(held[1:])) < 1.5, held  # the allocator may take a step now and then
