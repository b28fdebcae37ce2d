"""Every fault of the table with a folder that has it: found in its place, gone from the copy."""

import json
from pathlib import Path

import made
import numpy as np
import pytest
from PIL import Image

from gazehound.data import open_dataset
from gazehound.data.check import check
from gazehound.data.faults import KINDS, Severity
from gazehound.data.repair import REPORT_FILE, repair, turn
from gazehound.errors import DataError

CASES = {}


def case(code, place="", note=""):
    """Register a folder that has the fault ``code``; ``place`` ends its ``where``."""

    def register(build):
        CASES[f"{code}-{build.__name__}"] = (code, place, build)
        return build

    return register


def with_box(box, **more):
    annotation = {"id": 11, "image_id": 10, "category_id": 1, "bbox": box} | more
    document = made.coco_document()
    return document | {"annotations": [*document["annotations"], annotation]}


@case("file-unreadable", "train.json:1:21")
def coco_not_json(root):
    made.coco(root, split="val")
    return made.coco(root, '{"annotations": [1, }, "images": [], "categories": 0}')


@case("file-unreadable", "b.xml:8")
def voc_not_xml(root):
    broken = made.voc_xml([made.voc_object()])[:-3]
    return made.voc(root, {"a": made.voc_xml([made.voc_object()]), "b": broken})


@case("file-unreadable", "b.xml:1")
def voc_other_root(root):
    return made.voc(root, {"a": made.voc_xml([made.voc_object()]), "b": "<html></html>"})


@case("file-unreadable", "b.txt")
def yolo_not_text(root):
    made.yolo(root)
    (root / "labels/train/b.txt").write_bytes(b"\xff\xfe0 0.5")
    return root


@case("line-malformed", "annotations[2]")
def coco_short_box(root):
    return made.coco(root, with_box([1, 2, 3]))


@case("line-malformed", "annotations[2]")
def coco_without_class(root):
    document = made.coco_document()
    document["annotations"].append({"id": 12, "image_id": 10, "bbox": [1, 2, 3, 4]})
    return made.coco(root, document)


@case("line-malformed", "images[2]")
def coco_image_without_name(root):
    document = made.coco_document()
    document["images"].append({"id": 99})
    return made.coco(root, document)


@case("line-malformed", "a.xml:8")
def voc_without_corner(root):
    wrong = made.voc_object().replace("<xmax>30</xmax>", "")
    return made.voc(root, {"a": made.voc_xml([made.voc_object(), wrong])})


@case("line-malformed", "a.txt:2")
def yolo_short_line(root):
    return made.yolo(root, {"a": "0 0.5 0.5 0.25 0.5\n0 0.5 0.5\n"})


@case("line-malformed", "000000.txt:1")
def kitti_word_for_number(root):
    return made.kitti(root, {"000000": made.kitti_line().replace("-0.20", "left"), "1": ""})


@case("annotation-missing", "c.xml")
def voc_image_without_xml(root):
    made.voc(root)
    made.picture(root / "JPEGImages/c.png", seed=9)
    return root


@case("annotation-orphan", "c.txt")
def yolo_label_without_image(root):
    made.yolo(root)
    (root / "labels/train/c.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    return root


@case("box-not-finite", "annotations[2]")
def coco_nan(root):
    return made.coco(root, with_box([float("nan"), 2, 3, 4]))


@case("box-not-finite", "a.txt:1")
def yolo_infinite(root):
    return made.yolo(root, {"a": "0 0.5 0.5 inf 0.5\n"})


@case("box-inverted", "annotations[2]")
def coco_negative_width(root):
    return made.coco(root, with_box([30, 20, -10, 10]))


@case("box-inverted", "a.xml:4")
def voc_swapped(root):
    return made.voc(root, {"a": made.voc_xml([made.voc_object(corners=(40, 30, 11, 45))])})


@case("box-degenerate", "annotations[2]")
def coco_no_width(root):
    return made.coco(root, with_box([30, 20, 0, 10]))


@case("box-outside", "annotations[2]")
def coco_far_away(root):
    return made.coco(root, with_box([100, 20, 10, 10]))


@case("box-out-of-frame", "annotations[2]")
def coco_over_edge(root):
    return made.coco(root, with_box([70, 20, 15, 10]))


@case("box-out-of-frame", "000000.txt:1")
def kitti_over_edge(root):
    return made.kitti(root, {"000000": made.kitti_line(box=(-3, 10, 20, 30))})


@case("box-duplicate", "annotations[2]")
def coco_twice(root):
    return made.coco(root, with_box(made.BOX))


@case("box-tiny", "annotations[2]")
def coco_tiny(root):
    return made.coco(root, with_box([30, 20, 0.4, 10]))


@case("box-small", "annotations[2]")
def coco_small(root):
    return made.coco(root, with_box([30, 20, 1.0, 10]))


def three_boxes(*boxes):
    document = made.coco_document()
    document["annotations"] = [
        {"id": i, "image_id": 10, "category_id": 1, "bbox": list(box)}
        for i, box in enumerate(boxes, 1)
    ]
    return document


@case("boxes-normalised", "annotations[0]")
def coco_fractions(root):
    return made.coco(root, three_boxes((0.1, 0.2, 0.5, 0.5), (0, 0, 1, 1), (0.3, 0.3, 0.2, 0.1)))


@case("boxes-in-pixels", "a.txt:1")
def yolo_pixels(root):
    return made.yolo(root, {"a": "0 40 30 20 20\n0 20 20 8 8\n1 50 40 10 12\n"})


@case("boxes-xyxy-as-xywh", "annotations[0]")
def coco_corners(root):
    return made.coco(root, three_boxes((50, 40, 70, 55), (30, 10, 60, 30), (45, 12, 60, 50)))


@case("boxes-xyxy-as-xywh", "a.txt:1")
def yolo_corners(root):
    return made.yolo(root, {"a": "0 .6 .6 .9 .9\n0 .7 .2 .8 .4\n1 .5 .6 .8 1.\n0 .1 .1 .2 .2\n"})


@case("boxes-xywh-as-xyxy", "a.xml:4")
def voc_sizes(root):
    boxes = [(40, 30, 20, 10), (50, 10, 25, 30), (30, 10, 20, 40)]
    return made.voc(root, {"a": made.voc_xml([made.voc_object(corners=box) for box in boxes])})


@case("boxes-one-based", "annotations[0]")
def coco_from_one(root):
    return made.coco(root, three_boxes((1, 20, 20, 20), (30, 1, 10, 10), (1, 1, 9, 9)))


@case("boxes-zero-based", "a.xml:4")
def voc_from_zero(root):
    boxes = [(0, 20, 20, 40), (30, 0, 40, 10), (0, 0, 9, 9)]
    return made.voc(root, {"a": made.voc_xml([made.voc_object(corners=box) for box in boxes])})


@case("class-none")
def coco_without_categories(root):
    return made.coco(root, made.coco_document(categories=[], annotations=[]))


@case("class-unknown", "annotations[2]")
def coco_other_category(root):
    return made.coco(root, with_box([1, 2, 30, 40], category_id=2))


@case("class-unknown", "b.xml:4")
def voc_outside_labels(root):
    made.voc(root)
    (root / "labels.txt").write_text("cat\n")
    return root


@case("class-unknown", "a.txt:2")
def yolo_beyond_names(root):
    return made.yolo(root, {"a": "0 0.5 0.5 0.5 0.5\n7 0.5 0.5 0.5 0.5\n"})


@case("class-id-duplicate", "categories[2]")
def coco_id_twice(root):
    document = made.coco_document()
    document["categories"].append({"id": 5, "name": "cow"})
    return made.coco(root, document)


@case("class-name-duplicate")
def coco_name_twice(root):
    document = made.coco_document()
    document["categories"].append({"id": 6, "name": "cat"})
    return made.coco(root, document)


@case("class-name-duplicate", "data.yaml")
def yolo_name_twice(root):
    return made.yolo(root, names=("cat", "cat"))


@case("class-one-based", "data.yaml")
def yolo_from_one(root):
    return made.yolo(root, {"a": "1 0.5 0.5 0.25 0.5\n", "b": "2 0.5 0.5 0.5 0.5\n"})


@case("class-zero-based", "train.json")
def coco_from_zero(root):
    document = made.coco_document()
    document["categories"] = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    for label, annotation in enumerate(document["annotations"]):
        annotation["category_id"] = label
    return made.coco(root, document)


@case("class-unnamed", "data.yaml")
def yolo_without_names(root):
    return made.yolo(root, names=None)


@case("class-unused")
def coco_idle_class(root):
    document = made.coco_document()
    document["categories"].append({"id": 6, "name": "cow"})
    return made.coco(root, document)


@case("annotation-id-duplicate", "annotations[2]")
def coco_annotation_id_twice(root):
    return made.coco(root, with_box([1, 2, 30, 40], id=7))


@case("annotation-id-duplicate", "annotations[2]")
def coco_annotation_id_text(root):
    return made.coco(root, with_box([1, 2, 30, 40], id="x"))


@case("image-id-duplicate", "images[2]")
def coco_image_id_twice(root):
    document = made.coco_document()
    image = {"id": 10, "file_name": "3.png", "height": made.HEIGHT, "width": made.WIDTH}
    document["images"].append(image)
    return made.coco(root, document)


@case("image-listed-twice", "1.png")
def coco_file_twice(root):
    document = made.coco_document()
    document["images"].append(document["images"][0] | {"id": 77})
    return made.coco(root, document)


@case("image-unknown", "annotations[2]")
def coco_other_image(root):
    return made.coco(root, with_box([1, 2, 30, 40], image_id=11))


@case("image-missing", "2.png")
def coco_lost_image(root):
    made.coco(root)
    (root / "train/2.png").unlink()
    return root


@case("image-missing", "b.png")
def yolo_lost_image(root):
    made.yolo(root)
    lines = [f"./images/train/{stem}.png" for stem in "ab"]
    (root / "list.txt").write_text("\n".join(lines))
    (root / "data.yaml").write_text("train: list.txt\nnames: [cat, dog]\n")
    (root / "images/train/b.png").unlink()
    return root


@case("image-damaged", "2.png")
def coco_truncated(root):
    made.coco(root)
    file = root / "train/2.png"
    file.write_bytes(file.read_bytes()[:-400])
    return root


@case("image-size-mismatch", "b.png")
def voc_other_size(root):
    files = {"a": made.voc_xml([made.voc_object()]), "b": made.voc_xml(height=99)}
    return made.voc(root, files)


def _exif(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@case("image-size-unturned", "1.jpg")
def coco_before_exif(root):
    document = made.coco_document()
    document["images"][0]["file_name"] = "1.jpg"
    made.coco(root, document)
    made.picture(root / "train/1.jpg", seed=5, exif=_exif(6), quality=95)
    return root


@case("image-turned", "a.jpg")
def yolo_upright(root):
    made.yolo(root, {"a": "0 .5 .5 .5 .5", "b": ""})
    (root / "images/train/a.png").unlink()
    made.picture(root / "images/train/a.jpg", seed=5, exif=_exif(6))
    return root


@case("image-unlisted", "c.png")
def coco_stray_image(root):
    made.coco(root)
    made.picture(root / "train/c.png", seed=77)
    return root


@case("image-duplicate", "1.png")
def coco_same_pixels(root):
    made.coco(root)
    (root / "train/2.png").write_bytes((root / "train/1.png").read_bytes())
    return root


@case("image-alike", "1.png")
def coco_other_quality(root):
    document = made.coco_document()
    document["images"][1]["file_name"] = "2.jpg"
    made.coco(root, document)
    with Image.open(root / "train/1.png") as image:
        image.save(root / "train/2.jpg", quality=60)
    return root


@case("image-in-two-splits", "train/1.png")
def coco_leak(root):
    made.coco(root, made.coco_document(3))
    made.coco(root, made.coco_document(1), split="val")
    (root / "val/1.png").write_bytes((root / "train/1.png").read_bytes())
    return root


@case("image-in-two-splits", "b.png")
def voc_listed_twice(root):
    files = {stem: made.voc_xml([made.voc_object()]) for stem in "abc"}
    return made.voc(root, files, {"train": "ab", "val": "bc"})


def test_every_fault_has_a_case():
    assert {code for code, _, _ in CASES.values()} == set(KINDS)


@pytest.mark.parametrize("name", CASES)
def test_fault_is_found_at_its_place(name, tmp_path):
    code, place, build = CASES[name]
    report = check(build(tmp_path / "set"), input_size=400)
    assert code in report.by_code(), report.faults
    assert any(fault.where.endswith(place) for fault in report.by_code()[code]), report.faults
    assert report.passed == all(f.severity is not Severity.ERROR for f in report.faults)
    json.dumps(report.as_dict())


@pytest.mark.parametrize("name", [name for name in CASES if KINDS[CASES[name][0]].repair])
def test_repaired_copy_passes_and_tells_what_was_done(name, tmp_path):
    code, _, build = CASES[name]
    report = check(build(tmp_path / "set"), input_size=400)
    told = repair(report, tmp_path / "out")
    assert any(f"{code}: " in line and KINDS[code].repair in line for line in told), told
    assert (tmp_path / "out" / REPORT_FILE).read_text().splitlines() == told
    again = check(tmp_path / "out", input_size=400)
    assert again.passed, again.faults
    assert code not in again.by_code()


@pytest.mark.parametrize("form", made.SOUND)
def test_sound_folder_has_no_fault(form, tmp_path):
    report = check(made.SOUND[form](tmp_path / "set"))
    assert report.faults == ()
    assert repair(report, tmp_path / "out") == []
    assert check(tmp_path / "out").faults == ()


@pytest.mark.parametrize("name", CASES)
def test_reader_raises_exactly_the_errors_of_annotations(name, tmp_path):
    code, _, build = CASES[name]
    root = build(tmp_path / "set")
    report = check(root, images=False)
    splits = report.located.splits or (None,)
    image_only = {"image-missing", "image-in-two-splits"}
    errors = [f for f in report.faults if f.severity is Severity.ERROR and f.code not in image_only]
    if errors:
        with pytest.raises(DataError) as caught:
            [open_dataset(root, split) for split in splits]
        assert str(errors[0].where) in str(caught.value)
        assert "\n" not in str(caught.value)
    elif code != "image-missing":
        assert [len(open_dataset(root, split)) for split in splits]


def test_repairs_leave_sound_boxes_alone(tmp_path):
    root = coco_negative_width(tmp_path / "set")
    repair(check(root), tmp_path / "out")
    boxes = open_dataset(tmp_path / "out").boxes
    expected = [[10, 12, 30, 28], [5, 5, 35, 14], [20, 20, 30, 30]]
    np.testing.assert_array_equal(boxes, np.array(expected, np.float32))


def test_boxes_of_a_wrong_convention_are_mended_as_meant(tmp_path):
    for name, build, expected in (
        ("a", coco_corners, [50, 40, 70, 55]),
        ("b", yolo_corners, [48, 36, 72, 54]),
        ("c", voc_sizes, [40, 30, 60, 40]),
        ("d", coco_fractions, [8, 12, 48, 42]),
        ("e", yolo_pixels, [30, 20, 50, 40]),
    ):
        repair(check(build(tmp_path / name)), tmp_path / f"{name}2")
        boxes = open_dataset(tmp_path / f"{name}2").boxes
        np.testing.assert_allclose(boxes[0], expected, atol=1e-4)


def test_one_inverted_box_is_no_convention(tmp_path):
    boxes = [(10, 10, 30, 30), (5, 5, 20, 20), (40, 20, 11, 30)]
    made.voc(tmp_path, {"a": made.voc_xml([made.voc_object(corners=box) for box in boxes])})
    assert set(check(tmp_path).by_code()) == {"box-inverted"}


def test_boxes_of_a_file_listed_twice_stay(tmp_path):
    document = made.coco_document()
    document["images"].append(document["images"][0] | {"id": 77})
    document["annotations"][1]["image_id"] = 77
    report = check(made.coco(tmp_path / "set", document))
    repair(report, tmp_path / "out")
    read = open_dataset(tmp_path / "out")
    assert len(read) == 2
    assert read.annotations(0).ids.tolist() == [7, 9]


def test_a_clipped_polygon_becomes_a_box(tmp_path):
    root = made.yolo(tmp_path / "set", {"a": "0 .5 .5 1.25 .5 .75 .75\n1 .1 .1 .3 .1 .2 .3\n"})
    repair(check(root), tmp_path / "out")
    assert check(tmp_path / "out").faults == ()
    lines = (tmp_path / "out/labels/train/a.txt").read_text().splitlines()
    assert [len(line.split()) for line in lines] == [5, 7]


def test_nothing_is_dropped_silently(tmp_path):
    root = made.coco(tmp_path / "set", with_box([30, 20, 0, 10]))
    report = check(root)
    told = repair(report, tmp_path / "out")
    before = len(json.loads((root / "annotations/instances_train.json").read_text())["annotations"])
    assert before - len(open_dataset(tmp_path / "out").boxes) == len(told) == 1
    assert "annotations[2]" in told[0]


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_boxes_turn_with_the_picture(orientation, tmp_path):
    stored = np.zeros((40, 60, 3), np.uint8)
    stored[5:15, 20:50] = 255
    file = tmp_path / "a.png"
    Image.fromarray(stored).save(file, exif=_exif(orientation))
    from gazehound.data.images import read_image

    upright = read_image(file)
    ys, xs = np.nonzero(upright[:, :, 0])
    expected = [[xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]]
    turned = turn(np.array([[20, 5, 50, 15]], np.float32), orientation, *upright.shape[:2])
    np.testing.assert_array_equal(turned, expected)


def test_trainval_is_no_leak(tmp_path):
    files = {stem: made.voc_xml([made.voc_object()]) for stem in "abc"}
    root = made.voc(tmp_path, files, {"train": "a", "val": "bc", "trainval": "abc"})
    report = check(root)
    assert report.faults == ()
    assert sum(report.size_histogram()) == 3


def test_counts_per_class_and_split(tmp_path):
    document = made.coco_document()
    document["annotations"][1]["iscrowd"] = 1
    made.coco(tmp_path, document)
    made.coco(tmp_path, made.coco_document(1), split="val")
    report = check(tmp_path)
    assert report.class_counts() == {"cat": {"train": 1, "val": 1}, "dog": {"train": 0, "val": 1}}
    assert report.as_dict()["splits"]["train"] == {
        "images": 2, "empty_images": 1, "boxes": 2, "crowd": 1, "difficult": 0,
    }  # fmt: skip


def test_different_pictures_are_not_alike(tmp_path):
    made.coco(tmp_path, made.coco_document(40))
    assert "image-alike" not in check(tmp_path).by_code()


def test_one_split_only(tmp_path):
    made.coco(tmp_path, with_box([30, 20, 0, 10]))
    made.coco(tmp_path, made.coco_document(1), split="val")
    assert check(tmp_path, "val").passed
    assert not check(f"{tmp_path}:train").passed
    with pytest.raises(DataError, match="has no split 'test'; it has train, val"):
        check(tmp_path, "test")


def test_path_objects_and_missing_folder(tmp_path):
    with pytest.raises(DataError, match="no such file or folder"):
        check(Path(tmp_path) / "nowhere")


def test_the_documented_table_of_faults_is_the_one_in_the_code():
    page = (Path(__file__).parent.parent.parent / "docs" / "data.md").read_text(encoding="utf-8")
    for code, kind in KINDS.items():
        assert f"| `{code}` | {kind.severity} | {kind.meaning} | {kind.repair} |" in page
