"""``gazehound predict`` as its user meets it: outputs, summaries, and one line for each bad input."""

import json
import sys

import av
import numpy as np
import pytest
from PIL import Image

import gazehound.model
from gazehound.cli import main
from gazehound.records import Classes, Detections

CLASSES = Classes(("cat", "red [fox]"), (3, 17))


class FakeModel:
    """Finds a cat in the middle of every picture and a fox in its corner; notes what it was given."""

    classes = CLASSES

    def __init__(self):
        self.batches = []
        self.device = None

    def to(self, device):
        self.device = device
        return self

    def predict(self, images, *, score=None, batch=1):
        self.batches.append(len(images))
        found = []
        for image in images:
            assert image.dtype == np.uint8
            h, w = image.shape[:2]
            record = Detections(
                np.float32([[w / 4, h / 4, w * 3 / 4, h * 3 / 4], [0, 0, w / 3, h / 3]]),
                np.float32([0.9, 0.3]), np.array([0, 1]), CLASSES, (h, w),
            )  # fmt: skip
            found.append(record.above(score))
        return found


@pytest.fixture
def model(monkeypatch):
    fake = FakeModel()
    monkeypatch.setattr(gazehound.model, "load", lambda name: fake)
    return fake


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["gazehound", "predict", "m", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            main()
        told = capsys.readouterr()
        assert "Traceback" not in told.out + told.err
        return caught.value.code, told.out, told.err

    return call


def picture(path, size=(90, 60), mode="RGB", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.effect_noise(size, 60).convert(mode).save(path, **options)
    return path


def test_draws_by_default_and_tells_what_it_found(model, run, tmp_path):
    picture(tmp_path / "in" / "a.png")
    picture(tmp_path / "in" / "sub" / "b.jpg")
    code, out, err = run("in", "--out", "out")
    assert code in (0, None)
    assert err == ""
    for name in ("a.jpg", "sub/b.jpg"):
        with Image.open(tmp_path / "out" / name) as drawn:
            assert drawn.size == (90, 60)
    lines = out.splitlines()
    assert lines[0].startswith("in/a.png  90x60  1 cat, 1 red [fox]")
    assert lines[2].startswith("2 pictures, 4 objects (2 cat, 2 red [fox])")
    assert "pictures a second" in lines[2]
    assert lines[3] == "written: out/"


def test_score_classes_batch_and_device(model, run, tmp_path):
    for k in range(5):
        picture(tmp_path / "in" / f"{k}.png")
    _, out, _ = run("in", "--score", "0.5", "--batch", "2", "--device", "cpu")
    assert "5 objects (5 cat)" in out
    assert model.batches == [2, 2, 1]
    assert model.device == "cpu"
    _, out, _ = run("in", "--score", "0.1", "--classes", "red [fox]")
    assert "5 objects (5 red [fox])" in out
    code, _, err = run("in", "--classes", "cats")
    assert code == 1
    assert err.strip() == "gazehound: unknown class 'cats'; did you mean cat?"


def test_every_format(model, run, tmp_path):
    picture(tmp_path / "in" / "a.png")
    picture(tmp_path / "in" / "b.png", (30, 40))
    words = [w for f in ("coco", "yolo", "voc", "csv") for w in ("--format", f)]
    code, out, _ = run("in", *words, "--out", "out")
    assert code in (0, None)
    entries = json.loads((tmp_path / "out/detections.json").read_text())
    assert {(e["file_name"], e["category_id"]) for e in entries} == {
        ("a.png", 3), ("a.png", 17), ("b.png", 3), ("b.png", 17)
    }  # fmt: skip
    assert entries[0]["bbox"] == [22.5, 15, 45, 30]
    assert len((tmp_path / "out/yolo/labels/a.txt").read_text().splitlines()) == 2
    assert "<name>red [fox]</name>" in (tmp_path / "out/voc/annotations/b.xml").read_text()
    assert len((tmp_path / "out/detections.csv").read_text().splitlines()) == 5
    assert not list((tmp_path / "out").glob("*.jpg"))
    assert "detections.json" in out


def test_a_video(model, run, tmp_path):
    with av.open(str(tmp_path / "v.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for k in range(7):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 * k, np.uint8), "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    code, out, _ = run("v.mp4", "-f", "images", "-f", "yolo", "--out", "out", "--batch", "3")
    assert code in (0, None)
    assert out.splitlines()[0].startswith("v.mp4  7 frames  7 cat, 7 red [fox]")
    with av.open(str(tmp_path / "out/v.mp4")) as container:
        assert len(list(container.decode(video=0))) == 7
    labels = sorted(path.name for path in (tmp_path / "out/yolo/labels").iterdir())
    assert labels[0] == "v_000000.txt"
    assert len(labels) == 7


def test_the_original_is_never_overwritten(model, run, tmp_path):
    path = picture(tmp_path / "a.jpg")
    before = path.read_bytes()
    run("a.jpg", "--out", ".")
    assert path.read_bytes() == before
    assert (tmp_path / "a_detections.jpg").is_file()


def sixteen_bits(path):
    Image.fromarray(np.arange(5400, dtype=np.uint16).reshape(60, 90) * 12).save(path)


KINDS = {
    "sixteen.png": sixteen_bits,
    "grey.png": lambda p: picture(p, mode="L"),
    "rgba.png": lambda p: picture(p, mode="RGBA"),
    "cmyk.jpg": lambda p: picture(p, mode="CMYK"),
    "palette.gif": lambda p: picture(p, mode="P"),
    "bit.png": lambda p: picture(p, mode="1"),
    "one.png": lambda p: picture(p, (1, 1)),
    "wide.png": lambda p: picture(p, (5000, 1)),
    "tall.png": lambda p: picture(p, (1, 5000)),
}


@pytest.mark.parametrize("name", KINDS)
def test_unusual_pictures_work(model, run, tmp_path, name):
    KINDS[name](tmp_path / name)
    code, out, err = run(name, "--format", "images", "--format", "voc", "--out", "out")
    assert (code or 0, err) == (0, "")
    assert "1 picture, 2 objects" in out
    with (
        Image.open(tmp_path / name) as image,
        Image.open((tmp_path / "out" / name).with_suffix(".jpg")) as drawn,
    ):
        assert drawn.size == image.size


def truncated(path):
    picture(path)
    path.write_bytes(path.read_bytes()[:-200])


BAD = {
    "cut.jpg": (truncated, "cannot be read as an image"),
    "text.jpg": (lambda p: p.write_text("hello"), "not an image"),
    "empty.png": (lambda p: p.touch(), "the file is empty"),
    "absent.jpg": (lambda p: None, "no such file or folder"),
    "folder": (lambda p: p.mkdir(), "no pictures or videos in this folder (it is empty)"),
    "v.mp4": (lambda p: p.write_bytes(b"\0" * 99), "cannot be read as a video"),
    "*.bmp": (lambda p: None, "the pattern matches no file"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_the_rest_is_done(model, run, tmp_path, name):
    make, reason = BAD[name]
    make(tmp_path / name)
    picture(tmp_path / "good.png")
    code, out, err = run(name, "good.png", "--out", "out")
    assert code == 1
    (line,) = err.strip().splitlines()
    assert line.startswith(f"gazehound: {name}: {reason}")
    assert "1 picture, 2 objects" in out
    assert "1 could not be read" in out
    assert (tmp_path / "out" / "good.jpg").is_file()
    code, out, err = run(name)
    assert code == 1
    assert len(err.strip().splitlines()) == 1


def test_every_bad_input_at_once(model, run, tmp_path):
    for name, (make, _) in BAD.items():
        make(tmp_path / name)
    code, _, err = run(*BAD)
    assert code == 1
    assert len(err.strip().splitlines()) == len(BAD)


def test_a_folder_that_cannot_be_written(model, run, tmp_path):
    picture(tmp_path / "a.png")
    (tmp_path / "file").write_text("x")
    for wanted in ("images", "csv", "voc", "yolo", "coco"):
        code, _, err = run("a.png", "--out", "file", "--format", wanted)
        assert code == 1
        assert len(err.strip().splitlines()) == 1, err
        assert "cannot be written" in err


def test_a_missing_model_is_one_line(run, tmp_path):
    code, _, err = run("a.png")
    assert code == 1
    assert err.startswith("gazehound: ")
    assert len(err.strip().splitlines()) == 1
