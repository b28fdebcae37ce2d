"""``gazehound predict`` on films and large pictures: tracks, tiles, looks, and Parquet."""

import json
import sys

import av
import numpy as np
import pytest
from PIL import Image
from tests.detectors.squares import CLASSES, Squares, as_set, canvas

import gazehound.model
from gazehound.adapters.parquet import read_parquet
from gazehound.checkpoints.native import Header
from gazehound.cli import main
from gazehound.model import Model


@pytest.fixture
def model(monkeypatch):
    made = Model(
        Squares(), Header("squares", {"size": 3}, CLASSES, notes={"licence": {"code": "x"}})
    )
    monkeypatch.setattr(gazehound.model, "load", lambda name: made)
    return made


@pytest.fixture
def run(model, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["gazehound", "predict", "m", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            main()
        told = capsys.readouterr()
        return caught.value.code or 0, told.out, told.err

    return call


def film(path, count=12):
    """Write a film in which two red squares cross; the lower one is hidden in two frames."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 192, 128, "yuv420p"
        stream.options = {"crf": "10"}
        for t in range(count):
            upper = (8 + 10 * t, 8, 48 + 10 * t, 48, 0)
            lower = (140 - 10 * t, 72, 180 - 10 * t, 112, 0)
            shown = (upper,) if t in (5, 6) else (upper, lower)
            image = canvas((128, 192), *shown)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode())


def test_tracks_keep_their_ids_through_a_film(run, tmp_path):
    film(tmp_path / "f.mp4")
    forms = [word for form in ("images", "csv", "coco", "parquet") for word in ("-f", form)]
    code, out, err = run("f.mp4", "--track", *forms, "-o", "out", "--batch", "5")
    assert (code, err) == (0, "")
    assert out.splitlines()[0].startswith("f.mp4  12 frames, 2 tracks  22 red")
    found = read_parquet(tmp_path / "out/detections.parquet")
    assert len(found) == 12
    upper = upper_of(found)
    assert upper in (1, 2)
    for t, record in enumerate(found):
        by_height = record.extras["track_id"][record.boxes[:, 1].argsort()].tolist()
        assert by_height == ([upper] if t in (5, 6) else [upper, 3 - upper])
    entries = json.loads((tmp_path / "out/detections.json").read_text())
    assert {entry["track_id"] for entry in entries} == {1, 2}
    lines = (tmp_path / "out/detections.csv").read_text().splitlines()
    assert lines[0].endswith(",track_id")
    assert {line.rsplit(",", 1)[1] for line in lines[1:]} == {"1", "2"}
    with av.open(str(tmp_path / "out/f.mp4")) as container:
        assert len(list(container.decode(video=0))) == 12


def upper_of(found):
    """Return the id of the upper square in the first frame."""
    return int(found[0].extras["track_id"][found[0].boxes[:, 1].argmin()])


def test_every_film_has_tracks_of_its_own_and_pictures_none(run, tmp_path):
    for name in ("a.mp4", "b.mp4"):
        film(tmp_path / name, 3)
    Image.fromarray(canvas((40, 40), (5, 5, 20, 20, 1))).save(tmp_path / "p.png")
    _, out, _ = run("a.mp4", "b.mp4", "p.png", "--track", "-f", "coco", "-o", "out")
    assert "1 of the sources are pictures, which have no tracks" in out
    assert out.count("3 frames, 2 tracks") == 2
    entries = json.loads((tmp_path / "out/detections.json").read_text())
    assert [entry.get("track_id") for entry in entries if entry["category_id"] == 1] == [None]


def test_without_track_there_are_no_ids(run, tmp_path):
    film(tmp_path / "f.mp4", 2)
    _, out, _ = run("f.mp4", "-f", "csv", "-o", "out")
    assert "tracks" not in out
    assert "track_id" not in (tmp_path / "out/detections.csv").read_text()


def test_tiles_and_looks(run, model, tmp_path):
    image = canvas((150, 200), (40, 40, 80, 80, 0), (3, 3, 9, 9, 1))
    Image.fromarray(image).save(tmp_path / "p.png")
    run("p.png", "--tile", "64", "--overlap", "0.25", "-f", "parquet", "-o", "out")
    assert (150, 200) in model.detector.shown
    assert model.detector.shown.count((64, 64)) == 12
    assert as_set(read_parquet(tmp_path / "out/detections.parquet")[0]) == [
        (3, 3, 9, 9, 1), (40, 40, 80, 80, 0)
    ]  # fmt: skip
    model.detector.shown.clear()
    run("p.png", "--tile", "64", "--no-whole-image", "-o", "out")
    assert (150, 200) not in model.detector.shown
    model.detector.shown.clear()
    run("p.png", "--tta", "-o", "out")
    assert len(model.detector.shown) == 6


def test_from_python(model, tmp_path):
    image = canvas((100, 120), (50, 40, 90, 80, 0))
    file = tmp_path / "p.png"
    Image.fromarray(image).save(file)
    expected = [(50, 40, 90, 80, 0)]
    for options in ({}, {"tile": 64}, {"tile": 64, "whole_image": False, "batch": 4}):
        assert as_set(model.predict(image, **options)) == expected
    found = model.predict([str(file), image], tta=True, tile=64)
    assert [record.file for record in found] == [str(file), ""]
    np.testing.assert_allclose(found[0].boxes, [expected[0][:4]], atol=1.5)
    assert "<svg" in found[0]._repr_html_()


def test_a_model_in_a_notebook(model):
    shown = model._repr_html_()
    for part in ("squares", "3: red, green, blue", "licence code", "size"):
        assert part in shown


def test_ray_goes_without(run, tmp_path):
    Image.new("RGB", (9, 9)).save(tmp_path / "p.png")
    code, _, err = run("p.png", "--engine", "ray", "--tile", "64")
    assert code == 1
    assert "goes without --tile, --tta and --track" in err
