"""Files of detections: every form reads to the same boxes, every fault is one line that says where."""

import json

import numpy as np
import pytest
from coco_cases import large_case

from gazehound.errors import ConfigError, DataError
from gazehound.metrics import (
    evaluate_coco,
    read_coco,
    read_coco_annotations,
    read_text_results,
)


@pytest.fixture
def files(tmp_path):
    truth, results = large_case(3, images=3, truths=20, results=40)
    (tmp_path / "truth.json").write_text(json.dumps(truth))

    def read(change=None, truths=None, text=None, **options):
        rows = [dict(row) for row in results]
        rows = change(rows) or rows if change else rows
        found = tmp_path / "found.json"
        found.write_text(text if text is not None else json.dumps(rows))
        if truths is not None:
            new = truths(json.loads(json.dumps(truth))) or truth
            (tmp_path / "truth.json").write_text(json.dumps(new))
        return read_coco(tmp_path / "truth.json", found, **options)

    read.truth, read.results, read.folder = truth, results, tmp_path
    return read


def put(index, key, value):
    def change(rows):
        rows[index][key] = value

    return change


def drop(index, key):
    return lambda rows: rows[index].pop(key) and None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put(7, "image_id", 99999), r"found.json: \[7\]: image_id 99999 is none of the 3 images"),
        (put(7, "category_id", 4711), r"\[7\]: category_id 4711 is none of the 2 categories"),
        (put(7, "score", float("nan")), r"\[7\]: score must be a number in 0..1; got nan"),
        (put(7, "score", 1.5), r"\[7\]: score must be a number in 0..1; got 1.5 \(1 such"),
        (put(7, "score", "high"), r"\[7\]: score must be a number; got 'high'"),
        (put(7, "bbox", [1, 2, float("inf"), 4]), r"\[7\]: bbox must be finite numbers"),
        (put(7, "bbox", [1, 2, -3, 4]), r"\[7\]: bbox must be x, y, width, height with sizes"),
        (
            put(7, "bbox", [1, 2, 3]),
            r"\[7\]: bbox must be four numbers x, y, w, h; got \[1, 2, 3\]",
        ),
        (drop(7, "score"), r"\[7\]: has no 'score'; expected the keys bbox, image_id"),
        (drop(0, "bbox"), r"\[0\]: has no 'bbox'"),
        (put(7, "image_id", 1.5), r"\[7\]: image_id must be a whole number; got 1.5"),
    ],
)
def test_a_wrong_detection_is_named(files, change, message):
    with pytest.raises(DataError, match=message) as caught:
        files(change)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "expected an array of {image_id, category_id, bbox, score}; got an empty object"),
        ('{"images": [], "annotations": []}', "this is an annotation file"),
        ("", "not JSON"),
        ("[1]", r"\[0\]: expected an object; got a number"),
        ('[{"image_id": 1,', "not JSON: .*line 1"),
    ],
)
def test_a_wrong_root_is_named(files, text, message):
    with pytest.raises(DataError, match=message):
        files(text=text)


def test_a_missing_file_is_one_line(files):
    with pytest.raises(DataError, match=r"nowhere.json: cannot be read"):
        read_coco(files.folder / "truth.json", files.folder / "nowhere.json")


def test_corners_given_as_sizes_are_noticed(files):
    def as_corners(rows):
        for row in rows:
            x, y, w, h = row["bbox"]
            row["bbox"] = [x + 70, y + 70, min(x + 70 + w, 200), min(y + 70 + h, 200)]

    with pytest.raises(DataError, match=r"these look like x1, y1, x2, y2"):
        files(as_corners)


def test_no_detections_read_as_none(files):
    assert set(evaluate_coco(files(text="[]")).summary.values()) == {0.0}


def test_other_scores_are_accepted_when_asked_for(files):
    assert files(put(0, "score", -3.5), any_score=True).found.score[0] == -3.5


def edit(*path, value):
    def change(truth):
        place = truth
        for key in path[:-1]:
            place = place[key]
        if value is None:
            place.pop(path[-1])
        else:
            place[path[-1]] = value
        return truth

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (edit("annotations", 3, "image_id", value=5), r"annotations\[3\]: image_id 5 is none of"),
        (edit("annotations", 3, "area", value=None), r"annotations\[3\]: has no 'area'"),
        (edit("annotations", 3, "area", value=-1), r"annotations\[3\]: area must be a number of"),
        (
            edit("annotations", 3, "id", value=1),
            r"annotations\[3\]: id 1 was used by annotations\[0",
        ),
        (edit("images", value=None), "expected a COCO annotation file with an array 'images'"),
        (
            edit("images", 0, "id", value="x"),
            r"images\[0\]: expected an object with a whole number",
        ),
        (edit("categories", 1, "name", value=None), r"has no 'name'"),
        (edit("images", 0, "width", value="w"), r"height and width must be numbers; got 200 and"),
        (edit("images", 0, "id", value=10**30), r"images\[0\]: expected an object with a whole"),
        (edit("annotations", value=None), "expected an object with images, annotations and categ"),
    ],
)
def test_a_wrong_annotation_is_named(files, change, message):
    with pytest.raises(DataError, match=message):
        files(truths=change)


def test_a_missing_crowd_flag_means_none(files):
    def without(truth):
        for row in truth["annotations"]:
            row.pop("iscrowd")
        return truth

    assert not files(truths=without).truths.crowd.any()


def test_unusual_layout_reads_the_same(files):
    plain = files()
    (files.folder / "truth.json").write_text("\ufeff".strip() + json.dumps(files.truth, indent=3))
    other = files(text=json.dumps(files.results, indent=1, sort_keys=True))
    np.testing.assert_array_equal(plain.found.xywh, other.found.xywh)
    np.testing.assert_array_equal(plain.truths.xywh, other.truths.xywh)


def write_text(folder, form, truth, results):
    """Write results in a text form; the reader must give back the same boxes."""
    folder.mkdir()
    names = {c["id"]: c["name"].replace(" ", "") for c in truth["categories"]}
    order = sorted(names)
    for r in results:
        x, y, w, h = r["bbox"]
        name = names[r["category_id"]]
        if form == "voc":
            file, line = (
                f"comp4_det_test_{name}",
                f"{r['image_id']} {r['score']} {x + 1} {y + 1} {x + w} {y + h}",
            )
        elif form == "yolo":
            file = str(r["image_id"])
            cx, cy = (x + w / 2) / 200, (y + h / 2) / 200
            line = f"{order.index(r['category_id'])} {cx} {cy} {w / 200} {h / 200} {r['score']}"
        elif form == "kitti":
            file = str(r["image_id"])
            line = f"{name} -1 -1 -10 {x} {y} {x + w} {y + h} -1 -1 -1 -1 -1 -1 -10 {r['score']}"
        else:
            file, line = str(r["image_id"]), f"{name} {r['score']} {x} {y} {x + w} {y + h}"
        with (folder / f"{file}.txt").open("a") as stream:
            stream.write(line + "\n")


@pytest.mark.parametrize("form", ["voc", "yolo", "kitti", "corners"])
@pytest.mark.parametrize("told", [True, False])
def test_every_text_form_is_recognised_and_evaluates_alike(files, form, told):
    truth = json.loads(json.dumps(files.truth))
    for category in truth["categories"]:
        category["name"] = category["name"].replace(" ", "")
    (files.folder / "truth.json").write_text(json.dumps(truth))
    for place, row in enumerate(files.results):
        row["score"] = (place + 1) / 64
        row["bbox"] = [float(round(v)) for v in row["bbox"]]
    expected = evaluate_coco(files()).precision
    write_text(files.folder / form, form, truth, files.results)
    annotations = read_coco_annotations(files.folder / "truth.json")
    found = read_text_results(files.folder / form, annotations, form if told else None)
    result = evaluate_coco(annotations.with_found(found)).precision
    np.testing.assert_allclose(result, expected, atol=1e-12)


@pytest.mark.parametrize(
    ("form", "line", "message"),
    [
        ("corners", "cat 0.5 1 2 3", r"1.txt:1: expected 6 values .*; got 5"),
        ("corners", "zebra 0.5 1 2 3 4", r"1.txt:1: class 'zebra' is none of the 2"),
        ("corners", "class1 0.5 1 2 x 4", r"1.txt:1: expected a number; got 'x'"),
        ("corners", "class1 1.5 1 2 3 4", r"1.txt:1: score must be a number in 0..1; got 1.5"),
        ("corners", "class1 0.5 9 2 3 4", r"1.txt:1: bbox must be x, y, width, height"),
        ("yolo", "7 0.5 0.5 0.1 0.1 0.9", r"1.txt:1: class must be 0..1; got 7"),
        ("voc", "1 0.5 1 2 3 4", "must end in a class"),
        (None, "what is this", "not a known form of detections"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, form, line, message):
    truth = {
        "images": [{"id": 1, "file_name": "1.jpg", "width": 10, "height": 10}],
        "categories": [{"id": 1, "name": "class1"}, {"id": 2, "name": "class2"}],
        "annotations": [],
    }
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    folder = tmp_path / "found"
    folder.mkdir()
    (folder / "1.txt").write_text(line + "\n")
    with pytest.raises(DataError, match=message):
        read_text_results(folder, read_coco_annotations(tmp_path / "truth.json"), form)


def test_an_image_that_nobody_knows_and_an_empty_folder(tmp_path, files):
    annotations = read_coco_annotations(files.folder / "truth.json")
    folder = tmp_path / "other"
    folder.mkdir()
    with pytest.raises(DataError, match=r"expected .txt files with detections; found none"):
        read_text_results(folder, annotations)
    (folder / "ghost.txt").write_text("0 0.5 0.5 0.1 0.1 0.9")
    with pytest.raises(DataError, match=r"ghost.txt:1: image 'ghost' is none of the 3"):
        read_text_results(folder, annotations, "yolo")
    with pytest.raises(
        ConfigError, match="unknown format of detections 'yolol'; did you mean yolo"
    ):
        read_text_results(folder, annotations, "yolol")
