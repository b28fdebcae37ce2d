"""Detections written in each format come back as they were, by other programs' readers too."""

import csv
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gazehound.adapters.detections import (
    CSV_COLUMNS,
    WRITERS,
    as_dataset,
    image_ids,
    read_coco,
    to_coco,
    write_detections,
)
from gazehound.data import open_dataset
from gazehound.errors import ConfigError, DataError
from gazehound.records import Classes, Detections

CLASSES = Classes(("person", "traffic light", "ice & <cream>"), (1, 10, 90))


def record(count, seed=0, size=(480, 640), file="a.jpg", image_id=None):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 0.7, (count, 2)) * size[::-1]
    high = low + rng.uniform(0.01, 0.29, (count, 2)) * size[::-1]
    scores = np.sort(rng.random(count))[::-1]
    return Detections(
        np.concatenate([low, high], 1).astype(np.float32), scores.astype(np.float32),
        rng.integers(0, 3, count), CLASSES, size, image_id, file,
    )  # fmt: skip


FOUND = [record(5, 1, file="x/a.jpg"), record(0, 2, file="b.png"), record(9, 3, (99, 77), "c.jpg")]
NAMES = ["x/a", "b", "c"]


def same(got, expected):
    np.testing.assert_array_equal(got.boxes, expected.boxes)
    np.testing.assert_array_equal(got.scores, expected.scores)
    np.testing.assert_array_equal(got.labels, expected.labels)


def test_coco_round_trip_under_original_ids(tmp_path):
    file = write_detections(FOUND, CLASSES, "coco", tmp_path, NAMES)
    entries = json.loads(file.read_text())
    assert {e["category_id"] for e in entries} <= {1, 10, 90}
    assert {e["image_id"] for e in entries} == {1, 3}
    back = read_coco(file, CLASSES, {1: (480, 640), 2: (480, 640), 3: (99, 77)})
    for got, expected in zip(back.values(), FOUND, strict=True):
        same(got, expected)
        assert got.image_size == expected.image_size


def test_pycocotools_reads_the_results(tmp_path, capsys):
    coco = pytest.importorskip("pycocotools.coco")
    truth = coco.COCO()
    truth.dataset = {
        "info": {},
        "images": [{"id": k, "width": 640, "height": 480} for k in (1, 2, 3)],
        "categories": [
            {"id": k, "name": n} for k, n in zip(CLASSES.ids, CLASSES.names, strict=True)
        ],
        "annotations": [],
    }
    truth.createIndex()
    file = write_detections(FOUND, CLASSES, "coco", tmp_path, NAMES)
    results = truth.loadRes(str(file))
    assert len(results.anns) == 14
    capsys.readouterr()


def test_image_ids():
    assert image_ids([record(1, image_id=7), record(1, image_id=9)]) == [7, 9]
    assert image_ids([record(1, file="val/000139.jpg"), record(1, file="000285.jpg")]) == [139, 285]
    assert image_ids([record(1, file="a/1.jpg"), record(1, file="b/1.jpg")]) == [1, 2]
    assert image_ids([record(1, file="a.jpg"), record(1, image_id=3)]) == [1, 2]
    assert "file_name" not in to_coco([record(1, image_id=7)])[0]


def test_yolo_round_trip_through_the_reader_of_data_sets(tmp_path):
    from PIL import Image

    names = ["a", "b", "c"]
    write_detections(FOUND, CLASSES, "yolo", tmp_path, names)
    for found, name in zip(FOUND, names, strict=True):
        path = tmp_path / "images" / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", found.image_size[::-1]).save(path)
    assert (tmp_path / "labels/b.txt").read_text() == ""
    dataset = open_dataset(tmp_path)
    assert tuple(dataset.classes.names) == CLASSES.names
    read = {dataset.files[k]: dataset.annotations(k) for k in range(3)}
    for found, name in zip(FOUND, names, strict=True):
        (sample,) = (s for file, s in read.items() if file.endswith(f"{name}.jpg"))
        np.testing.assert_array_equal(sample.boxes, found.boxes)
        np.testing.assert_array_equal(sample.labels, found.labels)
        if len(found):
            np.testing.assert_array_equal(sample.extras["score"].astype(np.float32), found.scores)


def test_voc_files_are_one_based_inclusive_and_carry_scores(tmp_path):
    import xml.etree.ElementTree as ElementTree

    write_detections(FOUND, CLASSES, "voc", tmp_path, NAMES)
    for found, name in zip(FOUND, NAMES, strict=True):
        tree = ElementTree.parse(tmp_path / "annotations" / f"{name}.xml")
        objects = tree.findall("object")
        assert int(tree.findtext("size/width")) == found.image_size[1]
        corners = [
            [float(o.findtext(f"bndbox/{k}")) for k in ("xmin", "ymin", "xmax", "ymax")]
            for o in objects
        ]
        back = np.reshape(corners, (-1, 4)) - [1, 1, 0, 0]
        np.testing.assert_array_equal(back.astype(np.float32), found.boxes)
        assert [o.findtext("name") for o in objects] == found.names
        scores = [float(o.findtext("score")) for o in objects]
        np.testing.assert_array_equal(np.float32(scores), found.scores)


def test_csv_round_trip(tmp_path):
    file = write_detections(FOUND, CLASSES, "csv", tmp_path, NAMES)
    with file.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0]) == CSV_COLUMNS
    for found in FOUND:
        mine = [row for row in rows if row["file"] == found.file]
        boxes = np.float32([[row[k] for k in ("x1", "y1", "x2", "y2")] for row in mine])
        np.testing.assert_array_equal(boxes.reshape(-1, 4), found.boxes)
        assert np.float32([row["score"] for row in mine]).tolist() == found.scores.tolist()
        assert [row["class"] for row in mine] == found.names
        assert [int(row["category_id"]) for row in mine] == [CLASSES.ids[k] for k in found.labels]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 5000, width=32), min_size=4, max_size=4), st.floats(0, 1, width=32))
def test_any_float_survives_coco(numbers, score):
    x1, y1, x2, y2 = numbers
    box = np.float32([[min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)]])
    one = Detections(box, np.float32([score]), np.array([0]), CLASSES, (5000, 5000), 1)
    (entry,) = json.loads(json.dumps(to_coco([one])))
    x, y, w, h = entry["bbox"]
    np.testing.assert_array_equal(np.float32([x, y, x + w, y + h]), box[0])
    assert np.float32(entry["score"]) == np.float32(score)


@pytest.mark.parametrize("wanted", WRITERS)
def test_nothing_found_at_all(tmp_path, wanted):
    assert write_detections([record(0)], CLASSES, wanted, tmp_path, ["a"]).exists()


def test_faults_name_the_place(tmp_path):
    with pytest.raises(ConfigError, match="did you mean coco"):
        write_detections([], CLASSES, "coc", tmp_path, [])
    other = Detections(
        np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64),
        Classes(("x",)), (1, 1), file="odd.jpg",
    )  # fmt: skip
    with pytest.raises(DataError, match=r"odd\.jpg"):
        as_dataset([other], CLASSES)
    file = tmp_path / "r.json"
    for text, reason in (
        ("{}", "a list"),
        ("[", "not JSON"),
        ('[{"image_id": 1, "category_id": 5, "bbox": [0,0,1,1], "score": 1}]', "entry 0"),
        ('[{"image_id": 8, "category_id": 1, "bbox": [0,0,1,1], "score": 1}]', "entry 0"),
        ('[{"image_id": 1, "category_id": 1, "bbox": [0,0,1], "score": 1}]', "4 numbers"),
    ):
        file.write_text(text)
        with pytest.raises(DataError, match=reason):
            read_coco(file, CLASSES, {1: (9, 9)})
    with pytest.raises(DataError, match="cannot be read"):
        read_coco(tmp_path / "absent.json", CLASSES, {})
