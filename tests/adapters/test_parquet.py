"""Detections survive a Parquet file: rows, columns of the detector's own, and images without any."""

import sys

import numpy as np
import pytest

from gazehound.adapters.detections import write_detections
from gazehound.adapters.parquet import read_parquet
from gazehound.errors import DataError, MissingDependency
from gazehound.records import Classes, Detections

pandas = pytest.importorskip("pandas")
pytest.importorskip("pyarrow")
CLASSES = Classes(("cat", "fox", "never seen"), (3, 17, 20))


def record(count, file, seed=0, image_id=None, **extras):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 50, (count, 2))
    boxes = np.concatenate([low, low + rng.uniform(1, 9, (count, 2))], 1).astype(np.float32)
    scores = np.sort(rng.random(count).astype(np.float32))[::-1]
    return Detections(
        boxes, scores, rng.integers(0, 2, count), CLASSES, (60, 90), image_id, file, extras
    )


FOUND = [
    record(4, "a/b.jpg", 1, 11, track_id=np.array([5, -1, 7, 2])),
    record(0, "none.jpg", image_id="x"),
    record(2, "c.jpg", 2, None, track_id=np.array([-1, 1])),
]


def test_round_trip(tmp_path):
    file = write_detections(FOUND, CLASSES, "parquet", tmp_path / "new", ["a", "none", "c"])
    assert file == tmp_path / "new" / "detections.parquet"
    back = read_parquet(file)
    assert len(back) == 3
    for got, expected in zip(back, FOUND, strict=True):
        np.testing.assert_array_equal(got.boxes, expected.boxes)
        np.testing.assert_array_equal(got.scores, expected.scores)
        np.testing.assert_array_equal(got.labels, expected.labels)
        assert got.boxes.dtype == np.float32
        assert got.classes == CLASSES
        facts = (got.file, got.image_id, got.image_size)
        assert facts == (expected.file, expected.image_id, (60, 90))
        if len(expected):
            assert got.extras["track_id"].tolist() == expected.extras["track_id"].tolist()


def test_another_program_reads_it(tmp_path):
    frame = pandas.read_parquet(write_detections(FOUND, CLASSES, "parquet", tmp_path, ["", "", ""]))
    assert frame["track_id"].isna().sum() == 2  # no track is no number
    assert frame["class"].tolist() == [*FOUND[0].names, *FOUND[2].names]
    assert frame["score"].dtype == np.float32
    assert set(frame["category_id"]) <= {3, 17}
    mine = pandas.concat([FOUND[0].to_pandas(), FOUND[2].to_pandas()])
    assert list(frame) == list(mine)


def test_nothing_at_all(tmp_path):
    file = write_detections([], CLASSES, "parquet", tmp_path, [])
    assert read_parquet(file) == []
    frame = pandas.read_parquet(file)
    assert frame.shape == (0, 10)
    assert frame["x1"].dtype == np.float32


def test_a_name_stands_in_for_a_file(tmp_path):
    file = write_detections([record(1, "")], CLASSES, "parquet", tmp_path, ["frame_0"])
    assert read_parquet(file)[0].file == "frame_0"


def test_csv_has_the_tracks_too(tmp_path):
    file = write_detections(FOUND, CLASSES, "csv", tmp_path, ["a", "none", "c"])
    frame = pandas.read_csv(file)
    assert frame["track_id"].dropna().tolist() == [5, 7, 2, 1]
    assert len(frame) == 6
    plain = write_detections([record(1, "x")], CLASSES, "csv", tmp_path, ["x"])
    assert "track_id" not in plain.read_text()


def test_faults(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read_parquet(tmp_path / "absent.parquet")
    (tmp_path / "text.parquet").write_text("hello")
    with pytest.raises(DataError, match=r"text\.parquet: cannot be read as Parquet"):
        read_parquet(tmp_path / "text.parquet")
    pandas.DataFrame({"a": [1]}).to_parquet(tmp_path / "other.parquet")
    with pytest.raises(DataError, match="not written by gazehound"):
        read_parquet(tmp_path / "other.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingDependency, match=r"pyarrow.*pip install .gazehound.frames"):
        write_detections(FOUND, CLASSES, "parquet", tmp_path, ["", "", ""])
