"""The real folders open with the counts that their makers give."""

import json

import numpy as np
import pytest

from gazehound.data import available_splits, open_dataset, write_dataset
from gazehound.data.check import check
from gazehound.data.columns import record_at


def test_bccd(real_data):
    counts = {
        s: len(open_dataset(real_data / "bccd", s)) for s in available_splits(real_data / "bccd")
    }
    assert counts == {"train": 205, "val": 87, "trainval": 292, "test": 72}
    test = open_dataset(f"{real_data / 'bccd'}:test")
    assert test.classes.names == ("Platelets", "RBC", "WBC")
    assert np.bincount(test.labels).tolist() == [69, 805, 71]
    assert test[0].image.shape == (480, 640, 3)


def test_coco_tiny_has_gaps_and_crowds(real_data):
    val = open_dataset(real_data / "coco-tiny", "val")
    assert (len(val), len(val.boxes), int(val.crowd.sum())) == (80, 815, 11)
    assert len(val.classes) == 80
    assert val.classes.ids[-1] == 90
    assert 12 not in val.classes.ids
    assert available_splits(real_data / "coco-tiny") == ("train", "val")


def test_coco_person(real_data):
    sizes = {s: len(open_dataset(real_data / "coco-person-320", s)) for s in ("train", "val")}
    assert sizes == {"train": 1400, "val": 300}


def test_kitti_mini(real_data):
    kitti = open_dataset(real_data / "kitti-mini")
    assert kitti.classes.names == ("Car", "Truck", "Pedestrian", "Cyclist", "Misc")
    assert (len(kitti), len(kitti.boxes), int(kitti.crowd.sum())) == (3, 10, 4)
    assert kitti.crowd.tolist() == kitti.extras["dontcare"].tolist()


def test_official_coco_annotations_come_back_number_for_number(real_data, tmp_path):
    file = real_data / "coco-tiny/annotations/instances_val2017.json"
    official = json.loads(file.read_text())
    write_dataset(open_dataset(file), tmp_path, "coco", images="none")
    written = json.loads((tmp_path / "annotations/instances_val.json").read_text())
    assert written["images"] == official["images"]
    assert written["categories"] == official["categories"]
    by_id = {a["id"]: a for a in written["annotations"]}
    assert len(by_id) == len(official["annotations"])
    for annotation in official["annotations"]:
        mine = by_id[annotation["id"]]
        assert mine["bbox"] == annotation["bbox"]
        assert mine["area"] == pytest.approx(annotation["area"], rel=1e-6)
        for key in ("segmentation", "iscrowd", "image_id", "category_id"):
            assert mine[key] == annotation[key]


def test_official_kitti_labels_come_back_letter_for_letter(real_data, tmp_path):
    write_dataset(open_dataset(real_data / "kitti-mini"), tmp_path / "out", "kitti", images="link")
    for file in (real_data / "kitti-mini/training/label_2").iterdir():
        written = tmp_path / "out/training/label_2" / file.name
        mine, theirs = ([w.split() for w in f.read_text().splitlines()] for f in (written, file))
        assert [w[0] for w in mine] == [w[0] for w in theirs]
        for a, b in zip(mine, theirs, strict=True):
            assert list(map(float, a[1:])) == list(map(float, b[1:]))


def test_voc_files_come_back_with_all_they_said(real_data, tmp_path):
    source = open_dataset(real_data / "bccd", "test")
    write_dataset(source, tmp_path / "out", "voc", images="link")
    read = open_dataset(tmp_path / "out", "test")
    np.testing.assert_array_equal(read.boxes, source.boxes)
    for row in range(len(source.boxes)):
        assert record_at(dict(read.extras), row) == record_at(dict(source.extras), row)


@pytest.mark.parametrize("name", ["bccd", "coco-tiny", "coco-person-320", "kitti-mini"])
def test_gate_passes_the_annotations(name, real_data):
    report = check(real_data / name, images=False)
    assert report.passed
    assert not {"box-duplicate", "boxes-one-based", "boxes-zero-based"} & set(report.by_code())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bccd", "coco-tiny", "kitti-mini"])
def test_gate_passes_the_images(name, real_data):
    codes = set(check(real_data / name).by_code())
    assert codes <= {"box-tiny", "box-small"}
