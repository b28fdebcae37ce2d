"""Mosaic, mixup, distortion, pasted objects, colour: boxes stay on their objects, by stated rules."""

import colorsys
import dataclasses

import numpy as np
import pytest
import torch
from made import picture

from gazehound.boxes.iou import pairwise
from gazehound.data.augment import Augment
from gazehound.data.batching import Collate, Draw, EpochOrder, TrainingSamples, training_loader
from gazehound.data.distortion import distort, draw_matrix, extents
from gazehound.data.mixing import HIDDEN, compose, mixup, mosaic, paste
from gazehound.data.preprocess import Preprocess
from gazehound.data.recolour import shift_hsv
from gazehound.data.scene import Scene
from gazehound.data.shapes import shapes
from gazehound.data.transforms import prepare
from gazehound.errors import ConfigError, DataError, ImageError
from gazehound.records import Sample

PLAIN = Preprocess(resize="longer", size=96, mean=(0, 0, 0), std=(1, 1, 1))
ALL = Augment(
    mosaic=0.7, mosaic_nine=0.5, mixup=0.5, mixup_beta=8.0, paste=0.5, degrees=15, translate=0.1,
    shear=5, perspective=0.1, hsv=(0.02, 0.5, 0.4), vertical_flip=0.3, quarter_turns=True,
)  # fmt: skip
COLOURS = np.array(
    [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [255, 0, 255], [0, 255, 255],
     [255, 255, 255], [255, 128, 0], [128, 0, 255]], np.uint8
)  # fmt: skip


def blocks(label, size=(80, 100), box=(30, 20, 70, 60)):
    """One block of a class's own colour on black; its box is known from its pixels."""
    image = np.zeros((*size, 3), np.uint8)
    image[box[1] : box[3], box[0] : box[2]] = COLOURS[label]
    return Scene.of(Sample.of(image, [box], [label]))


def extent_of(image, label, tolerance=24):
    """The extent of a class's colour in a picture, and how many pixels have it."""
    near = (np.abs(image.astype(int) - COLOURS[label]) <= tolerance).all(axis=2)
    rows, columns = np.nonzero(near)
    if not len(rows):
        return None, 0
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]), len(rows)


def need_boxes_on_colours(scene, slack=2.5):
    """Every box hugs its colour, and every colour that shows has its box."""
    for label in range(len(COLOURS)):
        wanted, pixels = extent_of(scene.image, label)
        boxes = scene.boxes[scene.labels == label]
        if pixels > 30:
            assert len(boxes) == 1, label
            assert np.allclose(boxes[0], wanted, atol=slack), (label, boxes[0], wanted)


@pytest.mark.parametrize("seed", range(12))
def test_mosaic_of_four_keeps_boxes_on_objects(seed):
    torch.manual_seed(seed)
    tiles = [blocks(k, size=(60 + 20 * k, 100)) for k in range(4)]
    scene = mosaic(tiles, 96)
    assert scene.image.shape == (192, 192, 3)
    need_boxes_on_colours(scene)
    assert ((scene.seen > 0) & (scene.seen <= 1 + 1e-6)).all()


@pytest.mark.parametrize("seed", range(6))
def test_mosaic_of_nine_shows_all_nine(seed):
    torch.manual_seed(seed)
    scene = mosaic([blocks(k) for k in range(9)], 180)
    assert scene.image.shape == (360, 360, 3)
    need_boxes_on_colours(scene)
    assert len(scene.boxes) >= 8  # a small corner cell may cut one away


def test_mosaic_cell_arithmetic():
    """With the cuts in the middle, tiles touch the middle and nothing else is cut."""
    torch.manual_seed(0)
    tile = Scene.of(Sample.of(np.full((50, 100, 3), 200, np.uint8), [[0, 0, 100, 50]], [0]))
    middle = torch.zeros(())
    original = torch.Tensor.uniform_
    try:
        torch.Tensor.uniform_ = lambda self, low=0, high=1: self.copy_(middle + (low + high) / 2)
        scene = mosaic([tile] * 4, 100, fill=7)
    finally:
        torch.Tensor.uniform_ = original
    wanted = [[0, 50, 100, 100], [100, 50, 200, 100], [0, 100, 100, 150], [100, 100, 200, 150]]
    assert scene.boxes.tolist() == wanted
    assert (scene.image[50:150] == 200).all()
    assert (scene.image[:50] == 7).all()
    assert (scene.seen == 1).all()


@pytest.mark.parametrize("seed", range(12))
def test_distortion_keeps_boxes_on_objects(seed):
    """The extent of a distorted convex block is the extent of its corners, whatever the matrix."""
    torch.manual_seed(seed)
    strong = Augment(degrees=40, translate=0.2, shear=15, perspective=0.2)
    scene = blocks(6)
    matrix = draw_matrix(strong, (80, 100), (90, 110), (0.7, 1.5))
    need_boxes_on_colours(distort(scene, matrix, (90, 110), 0))


def test_distortion_by_nothing_and_by_a_shift_moves_whole_pixels():
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    scene = Scene.of(Sample.of(image, [[5, 6, 20, 30]], [1]))
    same = distort(scene, draw_matrix(Augment(), (40, 60), (40, 60), (1, 1)), (40, 60), 0)
    assert np.array_equal(same.image, image)
    assert np.array_equal(same.boxes, scene.boxes)
    matrix = np.array([[1, 0, 10.0], [0, 1, -6], [0, 0, 1]])
    moved = distort(scene, matrix, (40, 60), 9)
    assert np.array_equal(moved.image[:34, 10:], image[6:, :50])
    assert (moved.image[34:] == 9).all()
    assert moved.boxes.tolist() == [[15, 0, 30, 24]]


def test_extents_of_a_quarter_turn():
    turn = np.array([[0, -1, 100], [1, 0, 0], [0, 0, 1.0]])  # (x, y) -> (100 - y, x)
    boxes = np.array([[10, 20, 30, 60]], np.float32)
    assert extents(boxes, turn).tolist() == [[40, 10, 80, 30]]


@pytest.mark.parametrize("seed", range(8))
def test_mixup_is_the_mean_of_two_pictures_with_both_their_boxes(seed):
    torch.manual_seed(seed)
    black = Scene.of(Sample.of(np.zeros((96, 96, 3), np.uint8), [[1, 2, 3, 4]], [5]))
    mixed = mixup(black, blocks(6, size=(96, 96)), Augment(), fill=0)
    assert mixed.labels.tolist()[0] == 5
    bright = np.nonzero((mixed.image > 100).all(axis=2))
    assert mixed.image.max() <= 128  # half of 255
    box = mixed.boxes[mixed.labels == 6]
    if len(bright[0]) > 30:
        wanted = [bright[1].min(), bright[0].min(), bright[1].max() + 1, bright[0].max() + 1]
        assert np.allclose(box[0], wanted, atol=2)


@pytest.mark.parametrize("seed", range(8))
def test_pasted_objects_bring_their_pixels_and_hide_little(seed):
    torch.manual_seed(seed)
    scene, other = blocks(0), blocks(1, size=(160, 200), box=(40, 40, 100, 110))
    before = scene.image.copy()
    result = paste(scene, other)
    assert np.array_equal(scene.image, before)
    assert result.labels.tolist() in ([0], [0, 1])
    if len(result.boxes) == 2:
        x1, y1, x2, y2 = result.boxes[1].astype(int)
        assert (x2 - x1, y2 - y1) == (30, 35)  # half of it, as the picture is half as large
        assert (result.image[y1:y2, x1:x2] == COLOURS[1]).all()
        hidden = pairwise(result.boxes[:1], result.boxes[1:], "ioa")[0, 0]
        assert hidden <= HIDDEN
        assert result.seen[0] == pytest.approx(1 - hidden)
        assert result.seen[1] == 1


def test_the_two_rules_for_what_is_left_of_a_box():
    image = np.zeros((100, 100, 3), np.uint8)
    scene = Scene.of(
        Sample.of(image, [[-50, 0, 50, 10], [90, 0, 190, 10], [10, 10, 30, 30]], [0, 1, 2])
    )
    cut = scene.cut((0, 0, 100, 100))
    assert cut.seen.tolist() == pytest.approx([0.5, 0.1, 1.0])
    again = cut.cut((0, 0, 25, 100))  # shares multiply; the second box is gone
    assert again.labels.tolist() == [0, 2]
    assert again.seen.tolist() == pytest.approx([0.25, 0.75])
    sample = Sample.of(image, [[10, 10, 30, 30], [50, 50, 51.5, 90]], [0, 1])
    calm = {"colour": 0, "flip": 0, "scale": (1, 1)}
    kept = [
        prepare(sample, Augment(**calm, smallest=least), Preprocess(resize="longer", size=100))
        for least in (1.0, 2.0)
    ]
    assert [k.labels.tolist() for k in kept] == [[0, 1], [0]]


def test_boxes_mostly_cut_away_by_the_random_crop_are_dropped():
    image = np.zeros((64, 64, 3), np.uint8)
    sample = Sample.of(image, [[0, 0, 64, 64], [0, 0, 8, 8], [56, 56, 64, 64]], [0, 1, 2])
    zoom = Augment(colour=0, flip=0, scale=(2, 2), visible=0.9)
    for seed in range(8):
        torch.manual_seed(seed)
        done = prepare(sample, zoom, Preprocess(resize="longer", size=64))
        assert 0 not in done.labels.tolist()  # a quarter of it is left
        sides = done.boxes[:, 2:] - done.boxes[:, :2]
        assert (sides >= 0.8 * 16).all()


def test_hsv_agrees_with_the_textbook_formula():
    generator = np.random.default_rng(1)
    image = torch.from_numpy(generator.integers(0, 256, (3, 6, 7), dtype=np.uint8))
    torch.manual_seed(4)
    hue, saturation, value = (float(torch.empty(()).uniform_(-g, g)) for g in (0.1, 0.5, 0.4))
    torch.manual_seed(4)
    got = shift_hsv(image, (0.1, 0.5, 0.4)).permute(1, 2, 0).reshape(-1, 3)
    for pixel, changed in zip(image.permute(1, 2, 0).reshape(-1, 3), got, strict=True):
        h, s, v = colorsys.rgb_to_hsv(*(pixel / 255).tolist())
        wanted = colorsys.hsv_to_rgb(
            (h + hue) % 1, min(1, s * (1 + saturation)), min(1, v * (1 + value))
        )
        assert np.allclose(np.array(wanted) * 255, changed, atol=8)  # HSV of 8 bits


@pytest.mark.parametrize("seed", range(15))
def test_everything_at_once_gives_valid_boxes(seed):
    data = shapes(count=5, seed=1, size=(60, 80))
    done = TrainingSamples(data, ALL, PLAIN, seed=seed)[Draw(0, seed % 5, 64)]
    height, width = done.pixels.shape[1:]
    assert max(height, width) <= 64
    assert (done.boxes[:, :2] >= 0).all()
    assert (done.boxes[:, 2] <= width).all()
    assert (done.boxes[:, 3] <= height).all()
    assert (done.boxes[:, 2:] - done.boxes[:, :2] >= 1).all()
    assert len(done.boxes) == len(done.labels)


def test_it_is_a_function_of_seed_epoch_and_image_whatever_the_workers():
    data = shapes(count=6, seed=0, size=(60, 80))
    samples = TrainingSamples(data, ALL, PLAIN, seed=3, calm_from=5)
    batches = [
        [
            (b.images, b.targets.boxes)
            for b in training_loader(samples, EpochOrder(6, 2, 1), workers)
        ]
        for workers in (0, 1)
    ]
    for (images, boxes), (other_images, other_boxes) in zip(*batches, strict=True):
        assert torch.equal(images, other_images)
        assert torch.equal(boxes, other_boxes)


def test_the_last_epochs_are_calm():
    data = shapes(count=4, seed=0, size=(60, 80))
    strong = Augment(mosaic=1.0, mixup=1.0, degrees=20)
    calm = strong.calm()
    assert not calm.mixes
    assert not calm.distorts
    assert (calm.colour, calm.flip, calm.scale) == (strong.colour, strong.flip, strong.scale)
    samples = TrainingSamples(data, strong, PLAIN, seed=1, calm_from=2)
    quiet = TrainingSamples(data, calm, PLAIN, seed=1)
    assert torch.equal(samples[Draw(2, 1)].pixels, quiet[Draw(2, 1)].pixels)
    assert samples[Draw(1, 1)].pixels.shape == (3, 96, 96)  # a mosaic is square
    assert samples[Draw(2, 1)].pixels.shape == (3, 72, 96)


def test_an_absent_probability_draws_nothing():
    """Recipes without the mixing steps give the very pictures they gave before there were any."""
    scene = blocks(0)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    same, fitted = compose(scene, Augment(), PLAIN, lambda: scene)
    assert same is scene
    assert not fitted
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mosaic": 1.1}, r"augment.mosaic must lie in 0..1; got 1.1"),
        ({"perspective": 0.5}, "augment.perspective must lie in 0..0.5"),
        ({"hsv": (0.1, 2, 0)}, "augment.hsv must be three numbers in 0..1"),
        ({"mosaic_scale": (0, 1)}, "augment.mosaic_scale must be 0 < low <= high"),
        ({"degrees": 181}, "augment.degrees must lie in 0..180; got 181"),
    ],
)
def test_numbers_out_of_range_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        Augment(**values)


def test_a_drawn_size_is_held_and_shared_by_all_processes():
    def sizes(**more):
        order = EpochOrder(64, 2, seed=1, sizes=(32, 64, 96, 128), world=2, **more)
        return [rows[0].size for rows in order]

    for rank in (0, 1):
        drawn = sizes(hold=5, rank=rank)
        assert drawn == sizes(hold=5)
        assert [len(set(drawn[i : i + 5])) for i in range(0, 16, 5)] == [1, 1, 1, 1]
        assert len(set(drawn)) > 1
    assert len(set(sizes(hold=0))) == 1


def test_square_inputs_are_padded_to_the_drawn_size():
    data = shapes(count=2, seed=0, size=(60, 80))
    square = dataclasses.replace(PLAIN, square=True)
    samples = TrainingSamples(data, Augment(scale=(1, 1)), square, seed=0)
    for size in (64, 96, 128):
        assert Collate(square)([samples[Draw(0, i, size)] for i in (0, 1)]).images.shape == (
            2,
            3,
            size,
            size,
        )


def test_unreadable_images_are_replaced_and_told_or_stop(tmp_path):
    data = shapes(count=3, seed=0, size=(60, 80))
    files = [picture(tmp_path / f"{i}.png", seed=i, height=60, width=80) for i in range(3)]
    images = dataclasses.replace(
        data.images, render=None, root=tmp_path, files=np.array([f.name for f in files])
    )
    data = dataclasses.replace(data, images=images)
    files[1].write_bytes(b"not a picture")
    samples = TrainingSamples(data, Augment(), PLAIN, on_unreadable="replace")
    batch = Collate(PLAIN)([samples[Draw(0, i)] for i in range(3)])
    assert len(batch.unreadable) >= 1
    assert "1.png" in batch.unreadable[0]
    with pytest.raises(ImageError, match=r"1\.png"):
        TrainingSamples(data, Augment(), PLAIN)[Draw(0, 1)]
    for file in files:
        file.write_bytes(b"")
    with pytest.raises(
        DataError, match="10 images drawn one after another cannot be read; the last"
    ):
        samples[Draw(0, 0)]
