"""Preparing, ordering and padding: what reaches the network depends on the seed and on nothing else."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gazehound.data.augment import Augment
from gazehound.data.batching import (
    Collate,
    Draw,
    EpochOrder,
    TrainingSamples,
    ValidationSamples,
    pad_targets,
    training_loader,
)
from gazehound.data.preprocess import Preprocess
from gazehound.data.shapes import shapes
from gazehound.data.transforms import prepare
from gazehound.errors import ConfigError
from gazehound.records import Geometry, Sample

PREPROCESS = Preprocess(resize="longer", size=96)
EVERYTHING = Augment(colour=1.0, expand=0.5, iou_crop=0.5, vertical_flip=0.5, quarter_turns=True)


@given(
    images=st.integers(1, 60),
    batch=st.integers(1, 9),
    world=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_every_epoch_sees_every_image_and_processes_agree_on_the_length(images, batch, world, seed):
    ranks = [EpochOrder(images, batch, seed, rank=r, world=world) for r in range(world)]
    epochs = [[list(order) for order in ranks] for _ in range(2)]
    for number, shares in enumerate(epochs):
        assert {len(share) for share in shares} == {len(ranks[0])}
        draws = [draw for share in shares for rows in share for draw in rows]
        assert {draw.image for draw in draws} == set(range(images))
        assert {draw.epoch for draw in draws} == {number}
        assert all(len(rows) == batch for share in shares for rows in share)


def test_resuming_inside_an_epoch_gives_the_rest_of_it():
    whole = list(EpochOrder(20, 3, 5, sizes=(64, 96), epoch=2))
    assert list(EpochOrder(20, 3, 5, sizes=(64, 96), epoch=2, start=4)) == whole[4:]
    assert {draw.size for rows in whole for draw in rows} == {64, 96}
    assert all(len({draw.size for draw in rows}) == 1 for rows in whole)


def test_augmentation_is_a_function_of_seed_epoch_and_image():
    data = shapes(count=4, seed=0, size=(80, 100))
    samples = TrainingSamples(data, EVERYTHING, PREPROCESS, seed=3)
    torch.manual_seed(1)
    first = samples[Draw(2, 1, 64)]
    state = torch.get_rng_state()
    torch.manual_seed(99)
    again = samples[Draw(2, 1, 64)]
    assert torch.equal(first.pixels, again.pixels)
    assert torch.equal(first.boxes, again.boxes)
    assert not torch.equal(first.pixels[:, :8, :8], samples[Draw(3, 1, 64)].pixels[:, :8, :8])
    torch.set_rng_state(state)
    samples[Draw(0, 0)]
    assert torch.equal(torch.get_rng_state(), state)  # the global generator is left alone


def test_worker_processes_give_the_same_batches():
    data = shapes(count=6, seed=0, size=(80, 100))
    samples = TrainingSamples(data, EVERYTHING, PREPROCESS, seed=3)
    batches = [
        [b.images for b in training_loader(samples, EpochOrder(6, 2, 1), workers)]
        for workers in (0, 1)
    ]
    assert all(torch.equal(a, b) for a, b in zip(*batches, strict=True))


@pytest.mark.parametrize("seed", range(30))
def test_augmented_boxes_stay_on_their_object(seed):
    """A bright square on black: after any augmentation its box is where the brightness is."""
    image = np.zeros((90, 120, 3), np.uint8)
    image[30:60, 40:90] = 255
    sample = Sample.of(image, [[40, 30, 90, 60]], [0])
    torch.manual_seed(seed)
    quiet = dataclasses.replace(EVERYTHING, colour=0.0)
    done = prepare(
        sample, quiet, Preprocess(resize="longer", size=120, mean=(0, 0, 0), std=(1, 1, 1))
    )
    if not len(done.boxes):
        return
    bright = torch.nonzero(done.pixels[0] > 0.75)
    wanted = [*bright.min(0).values.flip(0), *(bright.max(0).values.flip(0) + 1)]
    assert torch.allclose(done.boxes[0], torch.tensor(wanted).float(), atol=2.0)


def test_samples_without_objects_and_with_crowds():
    image = np.zeros((50, 60, 3), np.uint8)
    for seed in range(10):
        torch.manual_seed(seed)
        empty = prepare(Sample.of(image), EVERYTHING, PREPROCESS)
        assert empty.boxes.shape == (0, 4)
    crowd = Sample.of(
        image, [[0, 0, 50, 40], [5, 5, 20, 20]], [0, 1], crowd=np.array([True, False])
    )
    calm = Augment(colour=0, flip=0, scale=(1, 1))
    assert prepare(crowd, calm, PREPROCESS).labels.tolist() == [1]


def test_validation_prepares_as_prediction_does():
    data = shapes(count=2, seed=0, size=(70, 100))
    prepared = [ValidationSamples(data, PREPROCESS)[i] for i in range(2)]
    batch = Collate(PREPROCESS)(prepared)
    wanted = PREPROCESS.batch([data[i].image for i in range(2)])
    assert torch.equal(batch.images, wanted.images)
    assert torch.equal(batch.sizes, wanted.sizes)


def test_targets_are_padded_in_steps():
    targets = pad_targets(
        [torch.ones(9, 4), torch.zeros(0, 4)], [torch.ones(9).long(), torch.zeros(0).long()]
    )
    assert targets.boxes.shape == (2, 16, 4)
    assert targets.valid.sum(1).tolist() == [9, 0]


@given(
    height=st.integers(1, 900), width=st.integers(1, 900), size=st.integers(16, 512),
    resize=st.sampled_from(["shorter", "longer", "stretch"]),
)  # fmt: skip
def test_geometry_goes_there_and_back(height, width, size, resize):
    preprocess = Preprocess(resize=resize, size=size, largest=size * 2)
    geometry = Geometry((height, width), preprocess.resized(height, width))
    boxes = np.array(
        [[0, 0, width, height], [width / 4, height / 3, width / 2, height]], np.float32
    )
    inside = geometry.to_input(boxes)
    assert inside[0, 2:] == pytest.approx(geometry.resized[::-1], rel=1e-5)
    assert np.allclose(geometry.to_original(inside), boxes, atol=1e-2)


def test_preprocess_settings_are_checked():
    assert Preprocess.from_dict(PREPROCESS.to_dict()) == PREPROCESS
    for values, message in (
        ({"resize": "bigger"}, "unknown resize 'bigger'"),
        ({"size": 0}, "size must lie in 1..16384; got 0"),
        ({"colour": 1}, "unknown preprocess settings: colour"),
    ):
        with pytest.raises(ConfigError, match=message):
            Preprocess.from_dict(values)
