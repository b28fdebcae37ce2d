"""Detections as tables, as other libraries' records, and in a notebook."""

import re
import sys
from base64 import b64decode
from io import BytesIO
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from gazehound.errors import DataError, MissingDependency
from gazehound.records import Classes, Detections

CLASSES = Classes(("cat", "red <fox>"), (3, 17))


def found(file="a.jpg", tracks=None, size=(60, 90)):
    extras = {} if tracks is None else {"track_id": np.array(tracks)}
    return Detections(
        np.float32([[1, 2, 11, 22], [5.25, 6, 7, 8.5]]), np.float32([0.9, 0.25]), np.array([1, 0]),
        CLASSES, size, 7, file, extras,
    )  # fmt: skip


def nothing():
    return found().select(np.array([], int))


def test_joined_looks_keep_every_row_and_its_extras():
    one, two = found(tracks=[4, -1]), found(tracks=[9, 8])
    both = Detections.joined([one, nothing(), two])
    assert both.scores.tolist() == [*one.scores, *two.scores]
    assert both.extras["track_id"].tolist() == [4, -1, 9, 8]
    assert both.boxes.dtype == np.float32
    assert len(Detections.joined([nothing(), nothing()])) == 0
    for records in ([], [one, found()], [one, found(tracks=[1, 2], size=(60, 91))]):
        with pytest.raises(DataError):
            Detections.joined(records)


def test_pandas():
    frame = found(tracks=[4, -1]).to_pandas()
    tracks = frame.pop("track_id")
    assert (tracks[0], tracks.isna().tolist(), str(tracks.dtype)) == (4, [False, True], "Int64")
    assert frame.to_dict("list") == {
        "file": ["a.jpg"] * 2, "x1": [1, 5.25], "y1": [2, 6], "x2": [11, 7], "y2": [22, 8.5],
        "score": [np.float32(0.9), 0.25], "class": ["red <fox>", "cat"], "category_id": [17, 3],
        "image_width": [90] * 2, "image_height": [60] * 2,
    }  # fmt: skip
    assert frame["x1"].dtype == np.float32
    empty = nothing().to_pandas()
    assert empty.shape == (0, 10)
    assert str(empty["category_id"].dtype) == "int64"


def test_supervision():
    there = found(tracks=[4, -1]).to_supervision()
    np.testing.assert_array_equal(there.xyxy, found().boxes)
    np.testing.assert_array_equal(there.confidence, found().scores)
    assert there.class_id.tolist() == [1, 0]
    assert there.tracker_id.tolist() == [4, -1]
    assert there["class_name"].tolist() == ["red <fox>", "cat"]
    best = there[there.confidence > 0.5]
    assert best.tracker_id.tolist() == [4]
    assert found().to_supervision().tracker_id is None
    assert len(nothing().to_supervision()) == 0


def test_coco():
    first, second = found(tracks=[4, -1]).to_coco()
    score = float(np.float32(0.9))
    assert first == {
        "image_id": 7, "category_id": 17, "bbox": [1, 2, 10, 20], "score": score, "track_id": 4
    }  # fmt: skip
    assert second["bbox"] == [5.25, 6, 1.75, 2.5]
    assert "track_id" not in second
    assert [entry["image_id"] for entry in found().to_coco(31)] == [31, 31]
    assert nothing().to_coco() == []


@pytest.mark.parametrize(
    ("package", "method"), [("pandas", "to_pandas"), ("supervision", "to_supervision")]
)
def test_a_missing_package_is_named(package, method, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependency, match=f"{package}.*pip install .gazehound.frames"):
        getattr(found(), method)()


def svg_of(html):
    return ElementTree.fromstring(re.search(r"<svg.*</svg>", html, re.S)[0])


def test_a_notebook_shows_the_picture(tmp_path):
    file = tmp_path / "a.png"
    Image.new("RGB", (90, 60), (250, 0, 0)).save(file)
    html = found(str(file), tracks=[4, -1])._repr_html_()
    assert "90 x 60, 1 red &lt;fox&gt;, 1 cat" in html
    svg = svg_of(html)
    assert svg.get("viewBox") == "0 0 90 60"
    name = "{http://www.w3.org/2000/svg}"
    frames = [
        [float(frame.get(side)) for side in ("x", "y", "width", "height")]
        for frame in svg.iter(f"{name}rect")
    ]
    assert frames == [[1, 2, 10, 20], [5.25, 6, 1.75, 2.5]]
    assert [text.text for text in svg.iter(f"{name}text")] == ["red <fox> 90%", "cat 25%"]
    data = svg.find(f"{name}image").get("href").removeprefix("data:image/jpeg;base64,")
    with Image.open(BytesIO(b64decode(data))) as shown:
        assert shown.getpixel((45, 30))[0] > 200
    assert "<th>track_id</th>" in html


def test_a_notebook_shows_a_table_where_there_is_no_picture(tmp_path):
    other = tmp_path / "other.png"
    Image.new("RGB", (91, 60)).save(other)
    text = tmp_path / "text.png"
    text.write_text("no image")
    for file in ("", str(tmp_path / "absent.png"), str(other), str(text)):
        html = found(file)._repr_html_()
        assert "<svg" not in html
        assert "<td>red &lt;fox&gt;</td><td>0.9</td><td>1</td>" in html
    many = found().select(np.zeros(25, int))
    assert "and 5 more" in many._repr_html_()
    assert "nothing found" in nothing()._repr_html_()


def test_a_turned_photograph_is_upright(tmp_path):
    file = tmp_path / "turned.jpg"
    image = Image.new("RGB", (60, 90))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(file, exif=exif)
    assert svg_of(found(str(file))._repr_html_()).get("viewBox") == "0 0 90 60"
