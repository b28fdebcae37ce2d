"""The commands as a user runs them: what they print, what they write, how they leave."""

import json

import made
import numpy as np
from typer.testing import CliRunner

from gazehound.cli.data import app
from gazehound.data import open_dataset

RUN = CliRunner()


def spoiled(root):
    document = made.coco_document()
    document["annotations"][0]["bbox"] = [10, 12, 0, 16]
    return made.coco(root, document)


def test_check_fails_with_the_place_and_writes_json(tmp_path):
    root = spoiled(tmp_path / "a")
    result = RUN.invoke(app, ["check", str(root), "--json", str(tmp_path / "found.json")])
    assert result.exit_code == 1
    assert "instances_train.json:annotations[0]: box" in result.output
    assert "error box-degenerate x 1" in result.output
    assert "failed: 1 errors" in result.output
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["codes"] == {"box-degenerate": 1}
    assert found["faults"][0]["place"] == "annotations[0]"
    assert found["splits"]["train"]["boxes"] == 2


def test_check_fixes_into_a_copy(tmp_path):
    root = spoiled(tmp_path / "a")
    out = tmp_path / "b"
    result = RUN.invoke(app, ["check", str(root), "--fix", str(out), "--no-images"])
    assert result.exit_code == 0, result.output
    assert "1 repairs" in result.output
    assert "passes the check" in result.output
    assert len(open_dataset(out).boxes) == 1
    assert "annotations[0]: box-degenerate" in (out / "repairs.txt").read_text()


def test_check_passes_and_limits_what_it_shows(tmp_path):
    small = [made.voc_object(corners=(5 * i + 1, 1, 5 * i + 2, 9)) for i in range(8)]
    made.voc(tmp_path, {"a": made.voc_xml(small)})
    arguments = ["check", str(tmp_path), "--input-size", "80", "--limit", "3"]
    result = RUN.invoke(app, arguments)
    assert result.exit_code == 0
    assert "warning box-tiny x 8" in result.output
    assert "and 5 more" in result.output
    assert "passed: 0 errors, 8 warnings, 0 notes" in result.output
    assert "more (--limit" not in RUN.invoke(app, [*arguments[:-1], "0"]).output


def test_convert_all_splits_and_tell_losses(tmp_path):
    made.coco(tmp_path / "a")
    made.coco(tmp_path / "a", made.coco_document(1), split="val")
    out = tmp_path / "b"
    result = RUN.invoke(app, ["convert", str(tmp_path / "a"), str(out), "--to", "yolo"])
    assert result.exit_code == 0, result.output
    assert "train: 2 images, 2 boxes as yolo" in result.output
    assert "not held by yolo: category ids become 0 to K-1" in result.output
    np.testing.assert_array_equal(
        open_dataset(out, "val").boxes, open_dataset(tmp_path / "a", "val").boxes
    )


def test_convert_one_split_with_links(tmp_path):
    made.coco(tmp_path / "a")
    made.coco(tmp_path / "a", made.coco_document(1), split="val")
    arguments = ["convert", f"{tmp_path / 'a'}:val", str(tmp_path / "b"), "--to", "voc"]
    result = RUN.invoke(app, [*arguments, "--images", "link"])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "b/JPEGImages/1.png").is_symlink()
    assert open_dataset(tmp_path / "b").split == "val"


def test_shapes_are_written(tmp_path):
    arguments = ["shapes", str(tmp_path / "s"), "--count", "3", "--val", "2", "--size", "48"]
    result = RUN.invoke(app, [*arguments, "--format", "kitti"])
    assert result.exit_code == 0, result.output
    assert (
        len(open_dataset(tmp_path / "s", "train")),
        len(open_dataset(tmp_path / "s", "val")),
    ) == (3, 2)
