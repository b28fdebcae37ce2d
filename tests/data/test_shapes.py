"""The procedural data set: tight boxes, honest occlusion, the same pictures every time."""

import pickle

import numpy as np
import pytest

from gazehound.data import available_splits, open_dataset
from gazehound.data.check import check
from gazehound.data.shapes import HALF, SHAPES, shapes
from gazehound.data.shapes_drawing import crop, outline, stamp
from gazehound.data.writing import write_dataset
from gazehound.errors import ConfigError, DataError


def painted(scenes, index):
    """Paint the layout anew, shape over shape: which shape is seen in each pixel (-1: none)."""
    height, width, placed = scenes.layout(index)
    owner = np.full((height, width), -1)
    for number, shape in enumerate(placed):
        side = shape.drawn.cover.shape[0]
        canvas = np.zeros((height + 2 * side, width + 2 * side), np.uint8)
        y, x = shape.drawn.y + side, shape.drawn.x + side
        canvas[y : y + side, x : x + side] = shape.drawn.cover
        owner[canvas[side:-side, side:-side] >= HALF] = number
    return owner, placed


def test_boxes_are_the_extent_of_the_pixels_that_can_be_seen():
    dataset = shapes(40, seed=3, size=128, hidden=0.8, objects=(3, 10))
    assert (dataset.extras["visible"] < 0.7).any()
    for index in range(len(dataset)):
        owner, placed = painted(dataset.images.render, index)
        expected = []
        for number in range(len(placed)):
            ys, xs = np.nonzero(owner == number)
            if len(ys):
                expected.append([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
        np.testing.assert_array_equal(dataset.annotations(index).boxes, expected)


def test_visible_pixels_are_those_that_are_painted():
    dataset = shapes(12, seed=5, size=96, clutter=0)
    scenes = dataset.images.render
    for index in range(len(dataset)):
        owner, placed = painted(scenes, index)
        image = scenes(index).astype(int)
        for number, shape in enumerate(placed):
            seen = owner == number
            if seen.sum() > 400:  # a lit inside differs from any background around it
                x1, y1, x2, y2 = shape.box
                around = np.zeros_like(seen)
                around[max(y1 - 3, 0) : y2 + 3, max(x1 - 3, 0) : x2 + 3] = True
                around &= owner == -1
                if around.any():
                    difference = np.abs(image[seen].mean(0) - image[around].mean(0)).sum()
                    assert difference > 25


def test_hidden_share_is_kept_and_wholly_hidden_shapes_have_no_box():
    dataset = shapes(30, seed=1, size=96, objects=(8, 12), hidden=0.3)
    assert dataset.extras["visible"].min() >= 0.7
    crowded = shapes(30, seed=1, size=96, objects=(15, 25), scale=(0.2, 0.9), hidden=1.0)
    hidden = [s for i in range(30) for s in crowded.images.render.layout(i)[2] if s.seen == 0]
    assert hidden
    assert (crowded.boxes[:, 2:] > crowded.boxes[:, :2]).all()


def test_pictures_depend_on_seed_and_index_only():
    few, many, other = shapes(2, seed=4), shapes(5, seed=4), shapes(2, seed=5)
    np.testing.assert_array_equal(few[1].image, many[1].image)
    np.testing.assert_array_equal(few.annotations(1).boxes, many.annotations(1).boxes)
    assert not np.array_equal(few[1].image, other[1].image)
    later = many.subset([3, 1])
    np.testing.assert_array_equal(later[1].image, many[1].image)
    worker = pickle.loads(pickle.dumps(many))
    np.testing.assert_array_equal(worker[2].image, many[2].image)


def test_sizes_and_emptiness():
    ranged = shapes(20, size=((40, 60), (90, 80)), empty=0.5)
    assert set(map(len, (ranged.annotations(i) for i in range(20)))) > {0}
    assert ranged.sizes.min(0).tolist() >= [40, 60]
    assert (ranged.sizes <= [90, 80]).all()
    assert len(set(ranged.sizes[:, 0].tolist())) > 5
    for sample in ranged:
        assert sample.image.shape[:2] == sample.size
    assert len(shapes(4, empty=1.0).boxes) == 0
    assert shapes(1, size=(32, 700))[0].image.shape == (32, 700, 3)
    assert len(shapes(0)) == 0


def test_all_classes_occur_and_differ():
    dataset = shapes(60, classes=SHAPES, size=96)
    assert (np.bincount(dataset.labels, minlength=len(SHAPES)) > 5).all()
    covers = [stamp(name, (30.0, 30.0), 25.0, 0.0).cover.astype(int) for name in SHAPES]
    for place, one in enumerate(covers):
        assert np.abs(np.vstack(outline(SHAPES[place]))).max() <= 1.0001
        for other in covers[place + 1 :]:
            assert np.abs(one - other).mean() > 8


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("at", [(20.0, 20.0), (20.3, 19.6)])
def test_coverage_adds_up_to_the_area_of_the_outline(name, at):
    """The anti-aliased pixels hold the area that the shoelace formula gives."""
    radius = 15.0
    areas = []
    for points in outline(name):
        x, y = (points * radius).T.astype(float)
        areas.append(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)
    expected = areas[0] - sum(areas[1:])
    drawn = stamp(name, at, radius, 0.4)
    assert drawn.cover.sum() / 255 == pytest.approx(expected, rel=0.05)


def test_a_stamp_beyond_the_frame_is_cropped():
    drawn = stamp("circle", (0.0, 10.0), 6.0, 0.0)
    rows, columns, patch_rows, patch_columns = crop(drawn, 20, 20)
    assert columns.start == 0
    assert drawn.cover[patch_rows, patch_columns].shape == np.zeros((20, 20))[rows, columns].shape


def test_opened_by_name():
    assert available_splits("shapes") == ("train", "val", "test")
    val = open_dataset("shapes:val")
    assert (len(val), val.split, val.format) == (100, "val", "shapes")
    assert not np.array_equal(val.boxes, open_dataset("shapes", "test").boxes)
    with pytest.raises(DataError, match="shapes has the splits train, val, test"):
        open_dataset("shapes")


def test_written_to_disk_it_has_no_fault(tmp_path):
    dataset = shapes(6, size=96, split="train")
    write_dataset(dataset, tmp_path / "out", "coco")
    report = check(tmp_path / "out", input_size=96)
    assert report.passed
    assert not {"box-duplicate", "box-out-of-frame", "image-alike"} & set(report.by_code())
    np.testing.assert_array_equal(open_dataset(tmp_path / "out")[3].image, dataset[3].image)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"classes": ("circel",)}, "unknown shape 'circel'; did you mean circle"),
        ({"size": 4}, "16 or more"),
        ({"empty": 2.0}, "lie in 0..1"),
        ({"scale": (0, 1)}, "above 0"),
        ({"objects": (5, 2)}, "fewest"),
        ({"count": -1}, "0 or more"),
        ({"classes": ()}, "must name a shape"),
    ],
)
def test_wrong_options(options, text):
    with pytest.raises(ConfigError, match=text):
        shapes(**{"count": 1} | options)
