"""Bulk prediction: every image once in the shards, whatever happens to the workers."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from rich.console import Console
from skimage.data import astronaut

from gazehound.cli.bulk import PLAN, BulkOptions, Worker, claim, run_bulk, write_shard
from gazehound.cli.bulk_images import list_images
from gazehound.errors import ConfigError, GazehoundError
from gazehound.model import load

MODEL = "viola-jones-face"
COLUMNS = ["image", "height", "width", "boxes", "scores", "labels", "names", "fault"]


def picture(path, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "in"
    path.mkdir()
    for k in range(6):
        picture(path / f"{k}.png", k)
    return path


def rows_of(out):
    return [
        row for file in sorted(out.glob("*.parquet")) for row in pq.read_table(file).to_pylist()
    ]


def test_every_kind_of_word_leads_to_images(folder, tmp_path):
    (folder / "notes.md").write_text("no image")
    everything = [str(folder / f"{k}.png") for k in range(6)]
    assert list_images([str(folder)]) == everything
    assert list_images([str(folder / "[0-2].png"), everything[1]]) == everything[:3]
    assert list_images([f"file://{folder}/*.png"]) == [f"file://{name}" for name in everything]
    listed = tmp_path / "list.txt"
    listed.write_text("\n".join(["https://example.org/a.jpg", everything[0]]) + "\n")
    assert list_images([str(listed)]) == [everything[0], "https://example.org/a.jpg"]
    for word in ("no/such", str(tmp_path / "*.bmp")):
        with pytest.raises(ConfigError, match="no images there"):
            list_images([word])
    with pytest.raises(ConfigError, match="abc"):
        list_images(["abc://bucket/x"])


def test_a_folder_belongs_to_one_run(folder, tmp_path):
    options, images = BulkOptions(MODEL, 0.5, tmp_path / "out"), list_images([str(folder)])
    claim(options, images)
    claim(BulkOptions(MODEL, 0.5, tmp_path / "out", batch=4, device="cpu"), images)
    with pytest.raises(ConfigError, match=r"another run \(score, images differ\)"):
        claim(BulkOptions(MODEL, 0.4, tmp_path / "out"), images[1:])
    assert json.loads((tmp_path / "out" / PLAN).read_text())["score"] == 0.5


def test_a_shard_holds_what_predict_finds_and_what_cannot_be_read(folder, tmp_path):
    face = folder / "face.png"
    Image.fromarray(astronaut()).save(face)
    (folder / "cut.png").write_bytes((folder / "0.png").read_bytes()[:300])
    names = [str(folder / "cut.png"), str(face), "no/such.png"]
    options = BulkOptions(MODEL, 0.0, tmp_path, batch=2)
    told = Worker(options)({"shard": 7, "names": names})
    found = load(MODEL).predict(str(face), score=0.0)
    assert told == {"shard": 7, "images": 3, "objects": len(found.scores)}
    assert len(found.scores) > 0
    bad, good, gone = pq.read_table(options.file(7)).to_pylist()
    assert list(good) == COLUMNS
    np.testing.assert_array_equal(np.float32(good["boxes"]), found.boxes)
    np.testing.assert_array_equal(np.float32(good["scores"]), found.scores)
    assert (good["height"], good["width"]) == found.image_size
    assert good["names"] == list(found.names)
    assert good["fault"] is None
    assert "cut.png: " in bad["fault"]
    assert "no/such.png: cannot be read" in gone["fault"]
    assert gone["scores"] == []


def test_a_write_that_fails_leaves_no_shard(tmp_path):
    with pytest.raises(GazehoundError, match=r"shard-000000\.parquet: cannot be written"):
        write_shard(tmp_path / "missing" / "shard-000000.parquet", [])


def test_a_shard_that_kills_every_worker_is_given_up(folder, tmp_path):
    options = BulkOptions(MODEL, 0.5, tmp_path)
    options.begun(2).write_text("....")  # what four workers left that died
    with pytest.raises(GazehoundError, match="shard 2: its worker died 4 times"):
        Worker(options)({"shard": 2, "names": [str(folder / "0.png")]})
    assert not options.file(2).exists()


def workers():
    """Return the processes of Ray's that run our workers."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
        except OSError:
            continue
        if command.startswith(b"ray::") and b"Worker" in command:
            found.append(int(entry.name))
    return found


@pytest.mark.slow
def test_a_killed_worker_loses_and_doubles_nothing(folder, tmp_path):
    """One image is a pipe that nobody fills: the worker that opens it waits, and is killed there."""
    ray = pytest.importorskip("ray")
    trap, options = folder / "3.png", BulkOptions(MODEL, 0.5, tmp_path / "out", per_shard=2)
    trap.unlink()
    os.mkfifo(trap)
    answer: list[object] = []
    console = Console(file=(tmp_path / "told.txt").open("w"), width=200)
    before = set(workers())
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        run = threading.Thread(
            target=lambda: answer.append(run_bulk([str(folder)], options, console))
        )
        run.start()
        wanted = {options.file(0), options.file(2)}
        deadline = time.monotonic() + 120
        while not all(file.exists() for file in wanted):
            assert run.is_alive(), answer
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert not options.file(1).exists()
        picture(tmp_path / "new.png")
        (tmp_path / "new.png").replace(trap)  # for whoever opens it after the kill
        hit = set(workers()) - before
        assert hit
        for process in hit:
            os.kill(process, signal.SIGKILL)
        run.join(timeout=240)
        assert answer == [[]]
        assert [row["image"] for row in rows_of(options.out)] == list_images([str(folder)])

        stamps = {file: file.stat().st_mtime_ns for file in options.out.glob("*.parquet")}
        options.file(1).unlink()
        assert run_bulk([str(folder)], options, console) == []
        again = {file for file, stamp in stamps.items() if file.stat().st_mtime_ns != stamp}
        assert again == {options.file(1)}
        assert [row["image"] for row in rows_of(options.out)] == list_images([str(folder)])
    finally:
        ray.shutdown()
    console.file.close()
    assert "3 shards, 2 of them done" in (tmp_path / "told.txt").read_text()
