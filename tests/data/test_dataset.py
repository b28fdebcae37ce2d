"""The columns of a data set: flat arrays, cheap to fork, right after every selection."""

import pickle
from dataclasses import fields
from pathlib import Path

import made
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gazehound.data import open_dataset
from gazehound.data.columns import Ragged, as_array, from_values
from gazehound.data.dataset import BoxTable, Dataset, ImageTable
from gazehound.errors import DataError
from gazehound.records import Classes


def numbered(counts):
    """A data set whose annotation ids say which image they belong to: 100 * image + row."""
    owner = np.repeat(np.arange(len(counts)), counts)
    ids = [100 * image + row for image, count in enumerate(counts) for row in range(count)]
    texts = from_values([{"id": value} for value in ids])
    truths = BoxTable.of(
        owner, np.zeros((len(ids), 4)), np.zeros(len(ids)), len(counts), ids=ids,
        extras={"text": texts},
    )  # fmt: skip
    files = np.array([f"{i}.png" for i in range(len(counts))], np.str_)
    sizes = np.full((len(counts), 2), 9, np.int64)
    images = ImageTable(Path("x"), files, np.arange(len(counts)), sizes)
    return Dataset(Classes(("a",)), images, truths, "numbered")


@given(st.lists(st.integers(0, 4), min_size=1, max_size=6), st.data())
def test_subset_keeps_each_image_with_its_rows(counts, data):
    dataset = numbered(counts)
    rows = data.draw(st.lists(st.integers(0, len(counts) - 1), max_size=8))
    chosen = dataset.subset(rows)
    assert chosen.image_ids.tolist() == rows
    for place, row in enumerate(rows):
        sample = chosen.annotations(place)
        expected = [100 * row + k for k in range(counts[row])]
        assert sample.ids.tolist() == expected
        assert sample.extras["text"].tolist() == [b'{"id":%d}' % value for value in expected]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=6), st.data())
def test_rows_can_be_left_out_of_their_images(counts, data):
    dataset = numbered(counts)
    size = len(dataset.boxes)
    keep = np.array(data.draw(st.lists(st.booleans(), min_size=size, max_size=size)), bool)
    left = dataset.truths.take(keep)
    assert left.ids.tolist() == dataset.ids[keep].tolist()
    assert (left.ids // 100).tolist() == left.owner().tolist()


def test_mask_negative_index_and_bounds():
    dataset = numbered([1, 0, 2])
    assert dataset.subset([True, False, True]).image_ids.tolist() == [0, 2]
    assert dataset.subset([-1]).image_ids.tolist() == [2]
    assert dataset.annotations(-1).image_id == 2
    with pytest.raises(IndexError, match="has 3 images; got index 3"):
        dataset.annotations(3)


def test_rows_in_any_order_are_grouped():
    table = BoxTable.of([2, 0, 2], np.arange(12).reshape(3, 4), [5, 6, 7], 3)
    assert table.starts.tolist() == [0, 1, 1, 3]
    assert table.labels.tolist() == [6, 5, 7]


def test_wrong_columns_are_refused():
    with pytest.raises(DataError, match="column 'score' must have 1 rows, one per box; got 2"):
        BoxTable.of([0], [[0, 0, 1, 1]], [0], 1, extras={"score": np.zeros((1, 1))}).__class__(
            np.array([0, 1]), np.zeros((1, 4), np.float32), *[np.zeros(1)] * 5,
            extras={"score": np.zeros(2)},
        )  # fmt: skip
    with pytest.raises(DataError, match="grouped into 2 images, but there are 1"):
        Dataset(Classes(("a",)), numbered([1]).images, numbered([1, 1]).truths)


@pytest.mark.parametrize("form", made.SOUND)
def test_no_python_object_per_annotation(form, tmp_path):
    dataset = open_dataset(made.SOUND[form](tmp_path))
    columns = [getattr(dataset.truths, f.name) for f in fields(BoxTable) if f.name != "extras"]
    columns += [dataset.files, dataset.image_ids, dataset.sizes]
    for column in (*columns, *dataset.extras.values(), *dataset.images.extras.values()):
        parts = (column.data, column.starts) if isinstance(column, Ragged) else (column,)
        for part in parts:
            assert isinstance(part, np.ndarray)
            assert part.dtype.kind in "biufU"


@pytest.mark.parametrize("form", made.SOUND)
def test_a_worker_gets_the_same(form, tmp_path):
    dataset = open_dataset(made.SOUND[form](tmp_path))
    copy = pickle.loads(pickle.dumps(dataset))
    for a, b in zip(dataset, copy, strict=True):
        np.testing.assert_array_equal(a.image, b.image)
        np.testing.assert_array_equal(a.boxes, b.boxes)
        assert (a.image_id, a.file, a.size) == (b.image_id, b.file, b.size)


def test_ragged_rows_as_array():
    column = from_values([[1], [1, 2], "x"])
    assert as_array(column, 1, 3).tolist() == [b"[1,2]", b'"x"']
