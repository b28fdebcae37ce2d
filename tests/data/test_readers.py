"""Opening folders: formats and splits are recognised, faults name file and line."""

import json
import logging
import os
import shutil
import subprocess
import sys

import made
import numpy as np
import pytest

from gazehound.data import available_splits, open_dataset
from gazehound.data.opening import hash_split
from gazehound.errors import ConfigError, DataError, GazehoundError


@pytest.mark.parametrize("form", made.SOUND)
def test_format_is_recognised(form, tmp_path):
    dataset = open_dataset(made.SOUND[form](tmp_path / "set"))
    assert dataset.format == form
    assert dataset.name == "set"
    assert len(dataset) == 2
    assert dataset[0].image.shape == (made.HEIGHT, made.WIDTH, 3)
    assert dataset[0].size == (made.HEIGHT, made.WIDTH)


def test_coco_boxes_ids_and_order(tmp_path):
    dataset = open_dataset(made.coco(tmp_path))
    assert dataset.classes.names == ("cat", "dog")
    assert dataset.classes.ids == (1, 5)
    assert dataset.image_ids.tolist() == [10, 20]
    sample = dataset.annotations(0)
    assert sample.boxes.tolist() == [[10, 12, 30, 28], [5, 5, 35, 14]]
    assert sample.labels.tolist() == [0, 1]
    assert sample.ids.tolist() == [7, 9]
    assert sample.area.tolist() == [320, 270]
    assert len(dataset.annotations(1)) == 0


def test_voc_pixels_count_from_one(tmp_path):
    made.voc(tmp_path, {"a": made.voc_xml([made.voc_object(corners=(1, 1, 80, 60))])})
    assert open_dataset(tmp_path).boxes.tolist() == [[0, 0, 80, 60]]


def test_yolo_fractions(tmp_path):
    boxes = open_dataset(made.yolo(tmp_path)).boxes
    assert boxes.tolist() == [[30, 15, 50, 45], [20, 15, 60, 45]]


def test_kitti_corners_and_columns(tmp_path):
    dataset = open_dataset(made.kitti(tmp_path))
    assert dataset.boxes[0].tolist() == [10, 12, 30, 28]
    assert dataset.extras["dimensions"].shape == (2, 3)
    assert dataset.extras["rotation_y"].tolist() == [0.01, 0.01]


def test_json_file_given_directly(tmp_path):
    made.coco(tmp_path)
    file = tmp_path / "annotations/instances_train.json"
    assert len(open_dataset(file)) == len(open_dataset(file, "train")) == 2
    with pytest.raises(DataError, match="has no split 'val'; it has train"):
        open_dataset(file, "val")
    moved = tmp_path / "elsewhere.json"
    file.rename(moved)
    (tmp_path / "train").rename(tmp_path / "images")
    assert open_dataset(moved)[0].image.shape[0] == made.HEIGHT


def test_coco_json_beside_its_images(tmp_path):
    for split in ("train", "valid"):
        made.coco(tmp_path / "x", split=split)
        (tmp_path / split).mkdir()
        source = tmp_path / f"x/annotations/instances_{split}.json"
        source.rename(tmp_path / split / "_annotations.coco.json")
        for image in (tmp_path / "x" / split).iterdir():
            image.rename(tmp_path / split / image.name)
    shutil.rmtree(tmp_path / "x")
    assert available_splits(tmp_path) == ("train", "val")
    assert len(open_dataset(tmp_path, "valid")) == 2


def test_only_instances_count_beside_captions(tmp_path):
    made.coco(tmp_path)
    captions = made.coco_document(annotations=[{"id": 1, "image_id": 10, "caption": "hm"}])
    (tmp_path / "annotations/captions_train.json").write_text(json.dumps(captions))
    assert available_splits(tmp_path) == ("train",)


def test_voc_flat_folder(tmp_path):
    made.voc(tmp_path / "a")
    for file in (tmp_path / "a").rglob("*.*"):
        file.rename(tmp_path / file.name)
    dataset = open_dataset(tmp_path)
    assert dataset.format == "voc"
    assert len(dataset.boxes) == 2


def test_voc_classes_agree_between_splits(tmp_path):
    files = {
        "a": made.voc_xml([made.voc_object("person")]),
        "b": made.voc_xml([made.voc_object("bird")]),
    }
    made.voc(tmp_path, files, {"train": ["a"], "val": ["b"], "bird_val": ["a -1"]})
    names = {split: open_dataset(tmp_path, split).classes.names for split in ("train", "val")}
    assert names == {"train": ("bird", "person"), "val": ("bird", "person")}
    assert available_splits(tmp_path) == ("train", "val")
    (tmp_path / "labels.txt").write_text("person\nbird\nfish\n")
    assert open_dataset(tmp_path, "train").classes.names == ("person", "bird", "fish")


def test_voc_declared_order_of_its_own_classes(tmp_path):
    files = {n: made.voc_xml([made.voc_object(n)]) for n in ("tvmonitor", "aeroplane", "person")}
    made.voc(tmp_path, files)
    assert open_dataset(tmp_path).classes.names == ("aeroplane", "person", "tvmonitor")


@pytest.mark.parametrize("nested", [True, False])
def test_yolo_without_yaml(nested, tmp_path):
    made.yolo(tmp_path / "a")
    (tmp_path / "a/data.yaml").unlink()
    (tmp_path / "a/classes.txt").write_text("cat\ndog\n")
    if nested:
        root = tmp_path / "a"
    else:
        root = tmp_path / "b"
        for kind in ("images", "labels"):
            (root / "train").mkdir(parents=True, exist_ok=True)
            (tmp_path / "a" / kind / "train").rename(root / "train" / kind)
        (tmp_path / "a/classes.txt").rename(root / "classes.txt")
    dataset = open_dataset(root, "train")
    assert dataset.classes.names == ("cat", "dog")
    assert len(dataset.boxes) == 2


def test_yolo_names_by_id_and_lists(tmp_path):
    made.yolo(tmp_path, {"a": "3 .5 .5 .5 .5", "b": None})
    (tmp_path / "val.txt").write_text("./images/train/a.png\n./images/train/b.png\n")
    text = "path: .\ntrain: [images/train]\nval: val.txt\ntest:\nnc: 2\nnames: {3: owl, 1: elk}\n"
    (tmp_path / "data.yaml").write_text(text)
    assert available_splits(tmp_path) == ("train", "val")
    dataset = open_dataset(tmp_path / "data.yaml", "val")
    assert dataset.classes.names == ("elk", "owl")
    assert dataset.classes.ids == (1, 3)
    assert dataset.labels.tolist() == [1]


def test_yolo_labels_beside_images(tmp_path):
    made.picture(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("1 .5 .5 .5 .5\n")
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    dataset = open_dataset(tmp_path)
    assert dataset.format == "yolo"
    assert dataset.labels.tolist() == [1]


def test_yolo_unnamed_classes_agree_between_splits(tmp_path):
    made.yolo(tmp_path, {"a": "0 .5 .5 .5 .5"}, names=None)
    made.yolo(tmp_path, {"b": "4 .5 .5 .5 .5"}, names=None, split="val")
    (tmp_path / "data.yaml").write_text("train: images/train\nval: images/val\n")
    assert len(open_dataset(tmp_path, "train").classes) == 5


def test_kitti_split_lists(tmp_path):
    made.kitti(tmp_path)
    (tmp_path / "ImageSets").mkdir()
    (tmp_path / "ImageSets/val.txt").write_text("000001\n")
    assert open_dataset(tmp_path, "val").files.tolist() == ["000001.png"]
    assert open_dataset(tmp_path, "val").classes.names == ("Car", "Cyclist")
    assert open_dataset(tmp_path / "training").format == "kitti"


def test_split_in_the_path(tmp_path):
    made.coco(tmp_path)
    made.coco(tmp_path, made.coco_document(1), split="val2017")
    assert available_splits(tmp_path) == ("train", "val")
    assert len(open_dataset(f"{tmp_path}:val")) == 1
    assert len(open_dataset(tmp_path, "val2017")) == 1
    assert open_dataset(tmp_path, "validation").split == "val"
    with pytest.raises(ConfigError, match="names the split 'val', but split='train'"):
        open_dataset(f"{tmp_path}:val", "train")
    with pytest.raises(DataError, match="has the splits train, val; choose one"):
        open_dataset(tmp_path)
    with pytest.raises(DataError, match="has no split 'test'; it has train, val"):
        open_dataset(tmp_path, "test")


def test_unsplit_folder_is_split_by_hash_and_says_so(tmp_path, caplog):
    made.voc(tmp_path, {f"{i}": made.voc_xml([made.voc_object()]) for i in range(10)})
    assert available_splits(tmp_path) == ()
    with caplog.at_level(logging.WARNING):
        train, val = (open_dataset(tmp_path, split) for split in ("train", "val"))
    assert "'val' is 2 of its 10 images" in caplog.text
    assert (len(train), len(val), len(open_dataset(tmp_path))) == (8, 2, 10)
    assert not set(train.files) & set(val.files)
    with pytest.raises(DataError, match="declares no splits"):
        open_dataset(tmp_path, "test")


def test_hash_split_does_not_depend_on_order_and_moves_little():
    files = [f"{i}.png" for i in range(100)]
    chosen = {f for f, held in zip(files, hash_split(files), strict=True) if held}
    backward = {f for f, held in zip(files[::-1], hash_split(files[::-1]), strict=True) if held}
    more = [*files, *(f"x{i}.png" for i in range(5))]
    grown = {f for f, held in zip(more, hash_split(more), strict=True) if held}
    assert chosen == backward
    assert len(chosen) == 20
    assert len(chosen - grown) <= 5
    assert hash_split(["a.png"]).sum() == 0
    assert hash_split(["a.png", "b.png"]).sum() == 1


def test_images_without_objects(tmp_path):
    made.coco(tmp_path / "coco", made.coco_document(annotations=[]))
    made.voc(tmp_path / "voc", {"a": made.voc_xml([made.voc_object()]), "b": made.voc_xml()})
    made.yolo(tmp_path / "yolo", {"a": "", "b": None})
    made.kitti(tmp_path / "kitti", {"000000": made.kitti_line(), "000001": ""})
    for form in made.SOUND:
        dataset = open_dataset(tmp_path / form)
        sample = dataset[len(dataset) - 1]
        assert sample.boxes.shape == (0, 4)
        assert sample.image.shape[2] == 3


def test_sizes_that_are_not_told_come_from_the_files(tmp_path):
    document = made.coco_document()
    for image in document["images"]:
        del image["height"], image["width"]
    made.coco(tmp_path / "coco", document)
    xml = made.voc_xml([made.voc_object()], 0, 0)
    made.voc(tmp_path / "voc", {"a": xml, "b": xml})
    for form in ("coco", "voc"):
        sizes = open_dataset(tmp_path / form).sizes
        assert sizes.tolist() == [[made.HEIGHT, made.WIDTH]] * 2


def message(path, *arguments):
    with pytest.raises(GazehoundError) as caught:
        open_dataset(path, *arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_errors_say_what_was_looked_for_and_found(tmp_path):
    assert "no such file or folder" in message(tmp_path / "nowhere")
    assert "found an empty folder" in message(tmp_path)
    (tmp_path / "readme.md").write_text("hm")
    text = message(tmp_path)
    assert "found readme.md" in text
    assert "data.yaml" in text
    assert "label_2" in text
    assert "not a data set" in message(tmp_path / "readme.md")
    assert "did you mean coco" in message(tmp_path, None, "coca")
    assert "looked for VOC" in message(tmp_path, None, "voc")


def test_wrong_root_names_the_folders_that_were_tried(tmp_path):
    made.coco(tmp_path)
    (tmp_path / "train").rename(tmp_path / "pictures")
    text = message(tmp_path)
    assert "none of its images (1.png, ...)" in text
    assert str(tmp_path / "train") in text


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", ":1:1: not JSON"),
        ("[1]", "COCO JSON is an object; got a list"),
        ('{"images": []}', "needs a list 'categories'; its keys are images"),
        ('{"images": [3], "annotations": [], "categories": []}', "images[0]: must be an object"),
        ("{\n  oops", ":2:3: not JSON"),
    ],
)
def test_broken_json(text, where, tmp_path):
    made.coco(tmp_path, text)
    assert where in message(tmp_path)


def test_broken_yaml(tmp_path):
    made.yolo(tmp_path)
    (tmp_path / "data.yaml").write_text("names: [a\ntrain: x")
    assert "data.yaml:2: not YAML" in message(tmp_path)
    (tmp_path / "data.yaml").write_text("names: 3\ntrain: images/train")
    assert "'names' must be a list" in message(tmp_path)
    (tmp_path / "data.yaml").write_text("names: [a]\ntrain: images/tarin")
    assert "images/tarin: no such folder or list; " in message(tmp_path)


def test_wrong_types_in_json_are_faults_and_not_tracebacks(tmp_path):
    document = made.coco_document()
    document["annotations"] += [
        {"id": 1, "image_id": [10], "category_id": 1, "bbox": [1, 2, 3, 4]},
        {"id": 2, "image_id": 10, "category_id": {}, "bbox": [1, 2, 3, 4]},
        {"id": 3, "image_id": 10, "category_id": 1, "bbox": {"x": 1}},
        {"id": 4, "image_id": 10, "category_id": 1, "bbox": [1, 2, 3, None]},
        {},
    ]
    document["images"].append({"id": None, "file_name": "x.png"})
    document["categories"].append({"id": "1", "name": "x"})
    made.coco(tmp_path, document)
    from gazehound.data.check import check

    places = {fault.place for fault in check(tmp_path).faults}
    assert places >= {*(f"annotations[{i}]" for i in range(2, 7)), "images[2]", "categories[2]"}


def test_picture_of_another_size_is_refused(tmp_path):
    made.coco(tmp_path)
    made.picture(tmp_path / "train/1.png", height=10, width=20)
    with pytest.raises(DataError, match=r"1\.png: the picture is 20x10, its annotation says 80x60"):
        open_dataset(tmp_path)[0]


def test_opening_imports_neither_torch_nor_numba(tmp_path):
    made.coco(tmp_path)
    code = (
        "import sys; from gazehound.data import open_dataset; open_dataset(sys.argv[1])[0]; "
        "assert not {'torch', 'numba', 'lightning'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, env=os.environ)


def test_boxes_survive_float32(tmp_path):
    box = [0.1, 0.2, 79.9 - 0.1, 59.8 - 0.2]
    document = made.coco_document()
    document["annotations"][0]["bbox"] = box
    boxes = open_dataset(made.coco(tmp_path, document)).boxes
    np.testing.assert_array_equal(boxes[0], np.array([0.1, 0.2, 79.9, 59.8], np.float32))


def test_file_names_of_other_systems(tmp_path):
    document = made.coco_document()
    made.coco(tmp_path, document)
    (tmp_path / "train").rename(tmp_path / "pictures")
    document["images"][0]["file_name"] = "pictures\\1.png"
    document["images"][1]["file_name"] = "./pictures/2.png"
    (tmp_path / "annotations/instances_train.json").write_text(json.dumps(document))
    assert [len(sample) for sample in open_dataset(tmp_path)] == [2, 0]
