"""Selective search: its similarities, its grouping, and the boxes that come out."""

import itertools

import cv2
import numpy as np
import pytest

from gazehound.data.shapes import shapes
from gazehound.detectors.detector import Proposer
from gazehound.errors import ConfigError, ImageError
from gazehound.features.colour_spaces import SPACES, in_space
from gazehound.features.selective_search import MODES, Mode, SelectiveSearch, gaussian_slope, recall
from gazehound.kernels import region_grouping as grouping

QUICK = SelectiveSearch("single", smallest=0)


@pytest.fixture(scope="module")
def picture():
    return shapes(1, seed=5, size=(96, 112))[0].image


def made_up(count, seed=0):
    """Regions on a 4-connected grid of blocks, with random histograms."""
    generator = np.random.default_rng(seed)
    side = 4
    labels = np.kron(np.arange(count).reshape(-1, 3), np.ones((side, side))).astype(np.int32)
    sizes, boxes = grouping.measure_regions(labels, count)
    colour, texture = (generator.random((count, n)).astype(np.float32) for n in (6, 8))
    colour /= colour.sum(1, keepdims=True)
    texture /= texture.sum(1, keepdims=True)
    pairs = np.stack(np.divmod(np.unique(grouping.touching(labels, count)), count), 1)
    return labels, sizes, boxes, colour, texture, pairs


def plain_similarity(a, b, sizes, boxes, colour, texture, parts, area):
    """Equations 2, 4, 5 and 6 of the paper."""
    x1, y1 = np.minimum(boxes[a][:2], boxes[b][:2])
    x2, y2 = np.maximum(boxes[a][2:], boxes[b][2:])
    each = (
        np.minimum(colour[a], colour[b]).sum(),
        np.minimum(texture[a], texture[b]).sum(),
        1 - (sizes[a] + sizes[b]) / area,
        1 - ((x2 - x1) * (y2 - y1) - sizes[a] - sizes[b]) / area,
    )
    return sum(value for value, counts in zip(each, parts, strict=True) if counts)


def plain_grouping(sizes, boxes, colour, texture, pairs, parts, area):
    """Algorithm 1, every similarity computed anew in every round."""
    sizes, boxes, colour, texture = (list(x) for x in (sizes, boxes, colour, texture))
    neighbours = {frozenset(p) for p in pairs.tolist()}
    made = []
    while neighbours:
        table = (sizes, boxes, colour, texture, parts, area)
        scores = {p: plain_similarity(*sorted(p), *table) for p in neighbours}
        best = max(scores.values())
        a, b = sorted(min(sorted(p) for p, s in scores.items() if s == best))
        new = len(sizes)
        made.append((a, b))
        share = sizes[a] / (sizes[a] + sizes[b])
        sizes.append(sizes[a] + sizes[b])
        colour.append(share * colour[a] + (1 - share) * colour[b])
        texture.append(share * texture[a] + (1 - share) * texture[b])
        low, high = np.minimum(boxes[a][:2], boxes[b][:2]), np.maximum(boxes[a][2:], boxes[b][2:])
        boxes.append(np.concatenate((low, high)))
        moved = {frozenset(new if r in (a, b) else r for r in p) for p in neighbours}
        neighbours = {p for p in moved if len(p) == 2}
    return np.array(boxes), np.array(made)


@pytest.mark.parametrize("measure", ["CTSF", "TSF", "F", "S", "C"])
@pytest.mark.parametrize("seed", [0, 1])
def test_grouping_equals_algorithm_1(measure, seed):
    _, sizes, boxes, colour, texture, pairs = made_up(24, seed)
    sizes = sizes * np.random.default_rng(seed).integers(1, 1000, 24)  # no ties between sizes
    parts = tuple(letter in measure for letter in "CTSF")
    area = int(sizes.sum())
    table = (sizes, boxes, colour, texture, pairs, parts, area)
    got_boxes, got_made = grouping.group_regions(*table)
    wanted_boxes, wanted_made = plain_grouping(*table)
    assert np.array_equal(np.sort(got_made, axis=1), wanted_made)
    assert np.array_equal(got_boxes, wanted_boxes)
    assert np.array_equal(
        got_boxes[-1], boxes[:, :2].min(0).tolist() + boxes[:, 2:].max(0).tolist()
    )


@pytest.mark.parametrize("parts", list(itertools.product([False, True], repeat=4))[1:])
def test_similarities(parts):
    labels, sizes, boxes, colour, texture, _ = made_up(6)
    got = grouping.similarity(1, 3, sizes, boxes, colour, texture, parts, labels.size)
    wanted = plain_similarity(1, 3, sizes, boxes, colour, texture, parts, labels.size)
    assert got == pytest.approx(wanted, abs=1e-6)


def test_regions_are_measured():
    labels = np.array([[0, 0, 1], [0, 2, 1], [2, 2, 1]], np.int32)
    sizes, boxes = grouping.measure_regions(labels, 3)
    assert sizes.tolist() == [3, 3, 3]
    assert boxes.tolist() == [[0, 0, 2, 2], [2, 0, 3, 3], [0, 1, 2, 3]]
    assert sorted(set(grouping.touching(labels, 3).tolist())) == [0 * 3 + 1, 0 * 3 + 2, 1 * 3 + 2]
    codes = np.array([[[0, 1, 1], [0, 1, 0], [2, 2, 2]]], np.uint8)
    assert grouping.count_codes(codes, labels, 3, 3)[:, 0].tolist() == [
        [2, 1, 0],
        [1, 1, 1],
        [0, 1, 2],
    ]


def test_texture_codes_and_histograms():
    """A ramp to the right rises along 0 and 45 degrees, falls along 135, and is flat along 90."""
    across, down = np.full((1, 2, 2), 3, np.float32), np.zeros((1, 2, 2), np.float32)
    codes = grouping.texture_codes(across, down)
    assert codes[:, 0, 0].tolist() == [18, 18, 9, 0]
    counts = grouping.texture_histograms(codes, np.zeros((2, 2), np.int32), 1).reshape(4, 2, 10)
    assert counts.sum(axis=2).tolist() == [[4, 4]] * 4
    assert [int(c[0].argmax()) for c in counts] == [9, 9, 0, 0]
    assert [int(c[1].argmax()) for c in counts] == [0, 0, 0, 9]


def test_slope_of_a_ramp():
    ramp = np.arange(30, dtype=np.float32) * 2
    assert np.correlate(ramp, gaussian_slope(1.0), "valid") == pytest.approx(2.0, abs=1e-3)


@pytest.mark.parametrize(
    ("space", "code", "tolerance"),
    [
        ("lab", cv2.COLOR_RGB2LAB, 1.5),
        ("intensity", cv2.COLOR_RGB2GRAY, 1.0),
        ("hsv", cv2.COLOR_RGB2HSV_FULL, 1.5),
    ],
)
def test_colour_spaces_are_opencvs_but_for_rounding(space, code, tolerance):
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    theirs = np.atleast_3d(cv2.cvtColor(image, code)).transpose(2, 0, 1).astype(np.float32)
    apart = np.abs(in_space(image, space) - theirs)
    if space == "hsv":
        apart[0] = np.minimum(apart[0], 256 - apart[0])  # the hue is a circle
    assert apart.max() <= tolerance


@pytest.mark.parametrize("space", SPACES)
def test_colour_spaces_stay_in_range(space):
    levels = np.array([0, 1, 127, 254, 255], np.uint8)
    image = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(5, 25, 3)
    planes = in_space(image, space)
    assert planes.dtype == np.float32
    assert planes.shape[1:] == (5, 25)
    assert planes.min() >= 0
    assert planes.max() <= 255
    assert planes.flags.c_contiguous


def test_normalised_colours_do_not_see_brightness():
    dim = np.array([[[20, 40, 60]]], np.uint8)
    for space in ("nrgb", "hue"):
        assert np.allclose(in_space(dim, space), in_space(2 * dim, space), atol=1e-3)


def test_proposals_are_boxes_of_the_image(picture):
    boxes = QUICK.propose(picture)
    height, width = picture.shape[:2]
    assert boxes.dtype == np.float32
    assert np.all(boxes[:, :2] >= 0)
    assert np.all(boxes[:, 2:] <= [width, height])
    assert np.all(boxes[:, 2:] > boxes[:, :2])
    assert len(np.unique(boxes, axis=0)) == len(boxes)
    assert [0, 0, width, height] in boxes.tolist()  # the last region is the image
    assert np.array_equal(boxes, QUICK.propose(picture))
    assert np.array_equal(boxes[:5], QUICK.propose(picture, 5))
    assert isinstance(QUICK, Proposer)


def test_small_boxes_are_left_out(picture):
    boxes = SelectiveSearch("single", smallest=30).propose(picture)
    assert (boxes[:, 2:] - boxes[:, :2]).min() >= 30


def test_objects_are_found():
    data = shapes(
        6, seed=1, size=(120, 140), objects=(1, 3), scale=(0.25, 0.6), clutter=0, hidden=0.1
    )
    samples = [data[i] for i in range(len(data))]
    found = [QUICK.propose(s.image) for s in samples]
    share, overlap = recall(found, [s.boxes for s in samples])
    assert share == 1.0
    assert overlap > 0.85


def test_more_looks_find_more(picture):
    """The modes of the paper nest: whatever single proposes, quality's own space and scale do too."""
    both = Mode(("hsv", "lab"), ("CTSF", "S"), (100,))
    some = {tuple(b) for b in QUICK.propose(picture, 10**6).tolist()}
    more = {tuple(b) for b in SelectiveSearch(both, smallest=0).propose(picture, 10**6).tolist()}
    assert some < more
    assert MODES["quality"].spaces == ("hsv", "lab", "rgi", "hue", "intensity")


def test_a_hierarchy_holds_every_region(picture):
    for hierarchy in SelectiveSearch("fast").hierarchies(picture):
        count = hierarchy.labels.max() + 1
        assert len(hierarchy.boxes) == 2 * count - 1
        assert sorted(hierarchy.made.ravel().tolist()) == list(range(2 * count - 2))


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (3, 2)])
def test_tiny_images(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert QUICK.propose(image).tolist() == [[0, 0, shape[1], shape[0]]]
    assert SelectiveSearch("single").propose(image).shape == (0, 4)


def test_one_colour_is_one_region():
    image = np.full((30, 40, 3), 90, np.uint8)
    assert QUICK.propose(image).tolist() == [[0, 0, 40, 30]]


def test_recall():
    truths = [
        np.array([[0, 0, 10, 10], [50, 50, 60, 60]], np.float32),
        np.zeros((0, 4), np.float32),
    ]
    proposals = [np.array([[0, 0, 10, 5], [0, 0, 8, 8]], np.float32), np.ones((3, 4), np.float32)]
    share, overlap = recall(proposals, truths)
    assert share == 0.5
    assert overlap == pytest.approx(0.32)
    nothing = [np.zeros((0, 4), np.float32)] * 2
    assert recall(nothing, truths) == (0.0, 0.0)
    assert np.isnan(recall([], [])).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "qualty"}, "unknown mode of selective search 'qualty'; did you mean quality"),
        ({"mode": Mode(("hsl",), ("S",), (50,))}, "unknown colour space 'hsl'"),
        ({"mode": Mode(("hsv",), ("SX",), (50,))}, "letters CTSF; got 'SX'"),
        ({"connected": 6}, "connected must be 4 or 8; got 6"),
        ({"smallest": -1}, "must not be negative"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ConfigError, match=message):
        SelectiveSearch(**options)


def test_wrong_images():
    with pytest.raises(ImageError, match=r"must be \(H, W, 3\) uint8 RGB"):
        QUICK.propose(np.zeros((5, 5), np.uint8))
    with pytest.raises(ImageError, match="with pixels"):
        QUICK.propose(np.zeros((0, 5, 3), np.uint8))
