"""What one format writes, its reader gives back: the same float32 boxes, labels, flags and more."""

import json
from pathlib import Path

import made
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gazehound.data import open_dataset, write_dataset
from gazehound.data.columns import Ragged, from_values, record_at
from gazehound.data.dataset import BoxTable, Dataset, ImageTable
from gazehound.errors import ConfigError, ImageError
from gazehound.records import Classes

NAMES = ("zebra", "traffic light", "Ärger & <Söhne>", "a'b\"c")
many_files = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def blank(index):
    return np.full((48 + index, 64, 3), 90, np.uint8)


@st.composite
def datasets(draw, names=NAMES, ids=None, crowd=True):
    images = draw(st.integers(1, 3))
    count = draw(st.integers(0, 5))
    owner = sorted(draw(st.lists(st.integers(0, images - 1), min_size=count, max_size=count)))
    sizes = np.array([blank(i).shape[:2] for i in range(images)])
    shares = st.integers(0, 2**24).map(lambda n: n / 2**24)
    boxes = []
    for image in owner:
        height, width = sizes[image]
        x, y = draw(shares) * (width - 1), draw(shares) * (height - 1)
        w, h = (draw(shares) * (side - 1 - at) + 1 for side, at in ((width, x), (height, y)))
        if draw(st.booleans()):  # decimals, as people and programs write them
            x, y, w, h = np.floor(x), round(y, 2), np.ceil(w), round(h, 2)
        boxes.append((x, y, min(x + w, width), min(y + h, height)))
    flags = st.lists(st.booleans(), min_size=count, max_size=count)
    truths = BoxTable.of(
        owner,
        np.array(boxes, np.float32).reshape(-1, 4),
        draw(st.lists(st.integers(0, len(names) - 1), min_size=count, max_size=count)),
        images,
        crowd=np.array(draw(flags), bool) & crowd,
        difficult=np.array(draw(flags), bool),
        ids=draw(st.permutations(range(5, 5 + count))),
    )
    files = np.array([f"{i}.png" for i in range(images)])
    table = ImageTable(Path("made"), files, np.arange(images), sizes, render=blank)
    return Dataset(Classes(names, ids or ()), table, truths, "made", "shapes", "train")


def same(written, read, *columns):
    assert len(read) == len(written)
    assert read.split == written.split
    np.testing.assert_array_equal(read.sizes, written.sizes)
    np.testing.assert_array_equal(read.starts, written.starts)
    for column in ("boxes", "labels", *columns):
        np.testing.assert_array_equal(getattr(read, column), getattr(written, column), column)


@many_files
@given(datasets(ids=(4, 9, 90, 2**40)))
def test_coco(tmp_path_factory, dataset):
    out = tmp_path_factory.mktemp("coco")
    assert write_dataset(dataset, out, "coco") == ()
    read = open_dataset(out, "train")
    same(dataset, read, "crowd", "difficult", "ids", "area", "image_ids")
    assert read.classes == dataset.classes


@many_files
@given(datasets(crowd=False))
def test_voc(tmp_path_factory, dataset):
    out = tmp_path_factory.mktemp("voc")
    write_dataset(dataset, out, "voc")
    read = open_dataset(out, "train")
    same(dataset, read, "difficult")
    assert read.classes.names == dataset.classes.names


@many_files
@given(datasets(crowd=False))
def test_yolo(tmp_path_factory, dataset):
    out = tmp_path_factory.mktemp("yolo")
    write_dataset(dataset, out, "yolo")
    read = open_dataset(out, "train")
    same(dataset, read)
    assert read.classes.names == dataset.classes.names


@many_files
@given(datasets(names=("Car", "Van", "tuk-tuk")))
def test_kitti(tmp_path_factory, dataset):
    out = tmp_path_factory.mktemp("kitti")
    write_dataset(dataset, out, "kitti")
    read = open_dataset(out, "train")
    seen = ~dataset.crowd
    assert read.classes.names == dataset.classes.names
    np.testing.assert_array_equal(read.boxes, dataset.boxes)
    np.testing.assert_array_equal(read.crowd, dataset.crowd)
    np.testing.assert_array_equal(read.labels[seen], dataset.labels[seen])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)  # fmt: skip


@given(st.lists(json_values, max_size=4))
def test_columns_give_values_back(values):
    column = from_values(values)
    given_back = [record_at({"it": column}, row)["it"] for row in range(len(values))]
    assert json.dumps(given_back) == json.dumps(values)


def test_coco_keeps_unknown_keys(tmp_path):
    document = made.coco_document()
    document["info"] = {"year": 2001}
    document["images"][0]["license"] = 3
    document["categories"][0]["keypoints"] = ["nose"]
    first, second = document["annotations"]
    first |= {"segmentation": [[1, 2, 3, 4, 5, 6]], "score": 0.25, "keypoints": [1, 2, 2]}
    second |= {"segmentation": {"counts": "abc", "size": [60, 80]}, "keypoints": [4, 5, 1]}
    second |= {"iscrowd": 1, "area": 50.5, "attributes": {"occluded": True}}
    made.coco(tmp_path / "a", document)
    dataset = open_dataset(tmp_path / "a")
    assert dataset.extras["keypoints"].tolist() == [[1, 2, 2], [4, 5, 1]]
    write_dataset(dataset, tmp_path / "b", "coco")
    written = json.loads((tmp_path / "b/annotations/instances_train.json").read_text())
    assert written["info"] == document["info"]
    assert written["annotations"] == [first, second | {"bbox": [5, 5, 30, 9]}]
    assert written["categories"] == sorted(document["categories"], key=lambda c: c["id"])
    assert written["images"] == document["images"]


def test_voc_keeps_unknown_elements(tmp_path):
    part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"
    more = f"<pose>Left</pose><truncated>1</truncated>{part}{part}<difficult>1</difficult>"
    text = made.voc_xml([made.voc_object(more=more)]).replace(
        "<size>", "<source><database>x &amp; y</database></source><size>"
    )
    made.voc(tmp_path / "a", {"a": text})
    dataset = open_dataset(tmp_path / "a")
    assert dataset.classes.names == ("cat",)
    assert dataset.difficult.tolist() == [True]
    write_dataset(dataset, tmp_path / "b", "voc")
    read = open_dataset(tmp_path / "b")
    assert record_at(dict(read.extras), 0) == record_at(dict(dataset.extras), 0)
    assert record_at(dict(read.images.extras), 0)["source"] == {"database": "x & y"}


def test_yolo_keeps_polygons_and_scores(tmp_path):
    lines = "0 0.1 0.2 0.5 0.2 0.3 0.6\n1 0.5 0.5 0.25 0.5 0.75\n"
    made.yolo(tmp_path / "a", {"a": lines})
    dataset = open_dataset(tmp_path / "a")
    expected = np.array([[0.1 * 80, 0.2 * 60, 0.5 * 80, 0.6 * 60], [30, 15, 50, 45]], np.float32)
    np.testing.assert_array_equal(dataset.boxes, expected)
    assert write_dataset(dataset, tmp_path / "b", "yolo") == ()
    assert (tmp_path / "b/labels/train/a.txt").read_text() == lines


def test_kitti_text_comes_back_unchanged(tmp_path):
    lines = [
        made.kitti_line(),
        "Cyclist 0.88 3 -0.69 0.00 12.40 77.05 58.00 1.60 1.57 3.23 -2.70 1.74 3.68 -1.29 0.875",
        "DontCare -1 -1 -10.00 5.00 6.00 20.00 21.50 -1.00 -1.00 -1.00 -1000.00 -1000.00 "
        "-1000.00 -10.00",
    ]
    made.kitti(tmp_path / "a", {"7": "\n".join(lines)})
    dataset = open_dataset(tmp_path / "a")
    assert dataset.crowd.tolist() == dataset.extras["dontcare"].tolist() == [False, False, True]
    assert dataset.classes.names == ("Car", "Cyclist")
    write_dataset(dataset, tmp_path / "b", "kitti")
    assert (tmp_path / "b/training/label_2/7.txt").read_text().splitlines() == lines


def named_boxes(dataset):
    return sorted(
        (Path(sample.file).stem, dataset.classes.names[label], *box)
        for sample in map(dataset.annotations, range(len(dataset)))
        for label, box in zip(sample.labels, sample.boxes.tolist(), strict=True)
    )


@pytest.mark.parametrize("middle", ["coco", "voc", "yolo", "kitti"])
@pytest.mark.parametrize("source", ["coco", "voc", "yolo", "kitti"])
def test_every_format_reaches_every_other(source, middle, tmp_path):
    made.SOUND[source](tmp_path / "a")
    dataset = open_dataset(tmp_path / "a")
    write_dataset(dataset, tmp_path / "b", middle, images="link")
    read = open_dataset(tmp_path / "b")
    assert named_boxes(read) == named_boxes(dataset)
    assert set(read.classes) == set(dataset.classes)
    np.testing.assert_array_equal(read[0].image, dataset[0].image)


def test_losses_are_told(tmp_path):
    document = made.coco_document()
    document["annotations"][0] |= {"iscrowd": 1, "segmentation": [[0, 0, 9, 0, 9, 9]]}
    document["info"] = {"year": 2001}
    made.coco(tmp_path / "a", document)
    told = " | ".join(write_dataset(open_dataset(tmp_path / "a"), tmp_path / "b", "yolo"))
    for word in ("1 crowd regions", "annotation ids", "image ids", "category ids", "segmentation"):
        assert word in told
    assert "info" in told
    assert len(open_dataset(tmp_path / "b").boxes) == 1


def test_images_with_one_name_are_kept_apart(tmp_path):
    made.coco(tmp_path / "a", made.coco_document(1))
    made.coco(tmp_path / "a", made.coco_document(1), split="val")
    parts = [open_dataset(tmp_path / "a", split) for split in ("train", "val")]
    write_dataset(parts, tmp_path / "b", "voc")
    for part in parts:
        read = open_dataset(tmp_path / "b", part.split)
        np.testing.assert_array_equal(read[0].image, part[0].image)
    assert set(open_dataset(tmp_path / "b", "val").files) == {"val_1.png"}


def test_a_split_that_shares_images_becomes_a_list(tmp_path):
    files = {stem: made.voc_xml([made.voc_object()]) for stem in "abc"}
    made.voc(tmp_path / "a", files, {"train": "a", "val": "bc", "trainval": "abc"})
    parts = [open_dataset(tmp_path / "a", split) for split in ("train", "val", "trainval")]
    write_dataset(parts, tmp_path / "b", "yolo")
    assert len(list((tmp_path / "b").rglob("*.png"))) == 3
    for part in parts:
        np.testing.assert_array_equal(open_dataset(tmp_path / "b", part.split).boxes, part.boxes)


@pytest.mark.parametrize("form", ["coco", "voc", "yolo", "kitti"])
def test_a_file_listed_twice_loses_no_boxes(form, tmp_path):
    document = made.coco_document()
    document["images"].append(document["images"][0] | {"id": 77})
    document["annotations"][1]["image_id"] = 77
    dataset = open_dataset(made.coco(tmp_path / "a", document))
    write_dataset(dataset, tmp_path / "b", form)
    assert len(open_dataset(tmp_path / "b").boxes) == 2


def test_nothing_is_overwritten(tmp_path):
    made.coco(tmp_path / "a")
    dataset = open_dataset(tmp_path / "a")
    with pytest.raises(ConfigError, match="must be a new or an empty folder"):
        write_dataset(dataset, tmp_path / "a", "voc")
    with pytest.raises(ConfigError, match="different splits"):
        write_dataset([dataset, dataset], tmp_path / "b", "voc")
    with pytest.raises(ConfigError, match="unknown data format 'cocoa'; did you mean coco"):
        write_dataset(dataset, tmp_path / "b", "cocoa")
    (tmp_path / "a/train/1.png").unlink()
    with pytest.raises(ImageError, match="no such file"):
        write_dataset(dataset, tmp_path / "b", "voc")


def test_ragged_columns_are_flat():
    column = from_values([{"a": 1}, [1, 2], "x" * 99])
    assert isinstance(column, Ragged)
    assert column.data.dtype == np.uint8
    assert [len(column.value(row)) for row in range(3)] == [7, 5, 101]
