"""The page and the command: self-contained, well formed, and one line for each bad input."""

import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from gazehound import Model
from gazehound.checkpoints.native import Header
from gazehound.cli import main
from gazehound.cli.explaining import truths_of
from gazehound.data.shapes import shapes
from gazehound.data.writing import write_dataset
from gazehound.errors import ConfigError
from gazehound.explain.canvas import Canvas
from gazehound.explain.colours import colour_of, heat, signed, stretched
from gazehound.explain.explaining import explain
from gazehound.explain.glyphs import glyphs, strokes
from gazehound.explain.plots import log_bars
from gazehound.records import Classes, Detections, Sample
from gazehound.reports.explanation import page, write
from gazehound.watching import Suppression, show

CLASSES = Classes(("circle", "a <b> & 'c'"))


class Shower:
    """Finds one box, and shows the suppression that it came from."""

    classes = CLASSES

    def predict(self, images, *, score=None):
        boxes = np.float32([[5, 5, 40, 40], [7, 6, 42, 41], [50, 20, 90, 60]])
        scores, labels = np.float32([0.9, 0.8, 0.7]), np.array([1, 1, 0])
        kept = np.array([0, 2])
        show(Suppression(boxes, scores, labels, kept, 0.5))
        return [
            Detections(boxes[kept], scores[kept], labels[kept], CLASSES, image.shape[:2])
            for image in images
        ]


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (80, 120, 3), dtype=np.uint8)


class Addresses(HTMLParser):
    """Collects everything that a browser would fetch."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        self.found += [
            value
            for name, value in attributes
            if name in ("src", "href", "srcset", "data", "action")
        ]


def test_the_page_needs_nothing_else(image, tmp_path):
    explained = explain(Shower(), image, name="shower <1>")
    text = write(explained, tmp_path / "deep" / "page.html", file="x & y.jpg").read_text()
    seen = Addresses()
    seen.feed(text)
    assert seen.found
    assert all(address.startswith(("data:", "#")) for address in seen.found)
    assert not re.search(r"url\(\s*['\"]?(?!data:|#)", text)
    assert "shower &lt;1&gt;" in text
    assert "x &amp; y.jpg" in text
    assert "a <b>" not in text
    assert "prefers-color-scheme: dark" in text
    assert text.count('id="photo"') == 1


def test_drawings_are_well_formed(image):
    explained = explain(Shower(), image)
    assert explained.keys == ["suppression", "score-iou"]
    for panel in explained.panels:
        assert panel.title
        assert panel.text.count(". ") >= 1
        for figure in panel.figures:
            ElementTree.fromstring(str(figure.svg))
    with pytest.raises(ConfigError, match="no panel 'anchors' here; there are: suppression"):
        explained.panel("anchors")


def test_truths_are_drawn_and_large_pictures_are_reduced(image):
    truths = Sample.of(image, [[6, 6, 41, 40]], [1])
    explained = explain(Shower(), image, truths=truths)
    assert explained.panel("score-iou").values["iou"].max() > 0.8
    assert explained.panel("score-iou").note == ""
    large = replace(explained, image=np.zeros((300, 3000, 3), np.uint8))
    assert len(page(large)) < len(page(explained)) + 20_000


def test_names_stay_inside_the_drawing():
    canvas = Canvas((100, 200)).label(199, 1, "a long name", "#fff")
    (text,) = ElementTree.fromstring(str(canvas.svg())).iter("text")
    assert 0 <= float(text.get("x")) < 199
    assert float(text.get("y")) > 0


def test_colours_run_from_end_to_end():
    assert heat(np.array([0.0, 1.0, np.nan])).tolist() == [[0, 0, 4], [252, 255, 164], [0, 0, 4]]
    assert signed(np.array(0.0)).tolist() == [247, 247, 247]
    assert colour_of(13) == colour_of(3)
    assert stretched(np.array([0.0, np.inf, 2.0, 1.0]), 100).tolist() == [0, 0, 1, 0.5]
    assert stretched(np.zeros((0, 3))).shape == (0, 3)


def test_a_glyph_draws_the_edge_across_its_gradient():
    marks = strokes(2, 21, first=0.0)  # gradients to the right, and downwards
    assert marks[0][:, 10].sum() > 5 * marks[0][10].sum()
    assert marks[1][10].sum() > 5 * marks[1][:, 10].sum()
    drawn = glyphs(np.array([[[1.0, -1.0]]]), 21, first=0.0)
    assert drawn.shape == (21, 21)
    assert drawn[:, 10].mean() > 100 > drawn[10, :5].mean()


def test_bars_of_nothing_have_no_height():
    svg = ElementTree.fromstring(str(log_bars([100, 0, 1], ["a", "b", "c"], "x", "y", "z", "#000")))
    heights = [float(bar.get("height")) for bar in svg.iter("rect")]
    assert heights[0] > heights[2] > heights[1] == 0


@pytest.fixture
def run(monkeypatch, capsys, tmp_path, image):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(image).save(tmp_path / "photo.png")
    model = Model(Shower(), Header("shower", {}, CLASSES, {}))
    monkeypatch.setattr("gazehound.cli.explaining.load", lambda name: model)

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["gazehound", "explain", "m", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            main()
        told = capsys.readouterr()
        return caught.value.code, told.out, told.err

    return call


def test_the_command_writes_a_page(run, tmp_path):
    code, out, _ = run("photo.png")
    assert code == 0
    assert "wrote runs/explain/photo.html: 2 steps of shower, 2 detections" in out
    assert "<h2>" in (tmp_path / "runs/explain/photo.html").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["none.png"], "none.png"),
        (["photo.png", "--out", "page.pdf"], "--out must be an .html file; got page.pdf"),
        (
            ["photo.png", "--split", "val"],
            "--split chooses a split of --truths, which is not given",
        ),
        (["photo.png", "--truths", "nowhere"], "nowhere: no such file or folder"),
    ],
)
def test_bad_input_is_one_line(run, words, said):
    code, _, err = run(*words)
    assert code == 1
    assert said in err
    assert err.count("\n") == 1
    assert err.startswith("gazehound: ")


@pytest.fixture
def folder(tmp_path):
    dataset = shapes(3, seed=0, size=(64, 64), classes=("circle", "star"), objects=(2, 2))
    write_dataset(dataset, tmp_path / "set", format="coco")
    return dataset, tmp_path / "set"


def test_truths_come_from_the_data_set_by_name(folder):
    dataset, path = folder
    names = [sample.file for sample in dataset]
    wanted = dataset.annotations(1)
    found = next((path).rglob(names[1].rsplit("/", 1)[-1]))
    sample, said = truths_of(found, path, None, Classes(("star", "circle")))
    assert np.array_equal(sample.boxes, wanted.boxes)
    assert sample.labels.tolist() == [1 - label for label in wanted.labels]
    assert said == ""


def test_truths_of_other_classes_are_counted(folder):
    dataset, path = folder
    both = next(i for i in range(3) if len(set(dataset.annotations(i).labels.tolist())) == 2)
    found = next(path.rglob(dataset.annotations(both).file.rsplit("/", 1)[-1]))
    sample, said = truths_of(found, path, None, Classes(("star",)))
    assert len(sample) == 1
    assert said == "; 1 truths of other classes left out"
