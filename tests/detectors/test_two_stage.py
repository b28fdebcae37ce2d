"""Edge cases of the two-stage line: finite losses, valid gradients; and no wait for a device."""

import dataclasses

import numpy as np
import pytest
import torch

from gazehound import create
from gazehound.data.batching import Collate, pad_targets
from gazehound.data.preprocess import Preprocess
from gazehound.data.transforms import Augment, prepare
from gazehound.errors import ConfigError
from gazehound.records import Classes, Sample

FEW = {"per_level": 60, "per_image": 30}
SMALL = {
    "backbone": "test_resnet",
    "channels": 16,
    "hidden": 16,
    "regions": 16,
    "proposals": FEW,
    "learning_proposals": FEW,
}
SYSTEMS = {
    "rpn_r50": {"backbone": "test_resnet", "channels": 16},
    "rpn_classes": {"backbone": "test_resnet", "channels": 16},
    "faster_rcnn_r50": SMALL,
    "faster_rcnn_c4": {k: v for k, v in SMALL.items() if k not in ("channels", "hidden")},
    "cascade_rcnn_r50": SMALL,
    "cascade_rpn_r50": SMALL,
}
TWO_STAGE = [name for name in SYSTEMS if not name.startswith("rpn")]


def network_of(name, **more):
    torch.manual_seed(0)
    return create(name, ["a", "b", "c"], **{**SYSTEMS[name], **more}).detector


def targets_of(*images):
    boxes = [torch.tensor(image, dtype=torch.float32).reshape(-1, 4) for image in images]
    return pad_targets(boxes, [torch.arange(len(b)) % 3 for b in boxes])


def step(network, targets, side=64):
    """Run a training step; return its losses, after checking that they and all gradients are finite."""
    count = len(targets.boxes)
    images = torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))
    losses = network.losses(network(images), targets)
    assert all(torch.isfinite(loss) for loss in losses.values()), losses
    sum(losses.values()).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    return {name: float(loss.detach()) for name, loss in losses.items()}


@pytest.mark.parametrize("name", TWO_STAGE)
def test_no_proposals(name):
    network = network_of(name)
    none = dataclasses.replace(network.rpn.limits, score=2.0)
    network.rpn.limits = network.rpn.learning_limits = none
    losses = step(network, targets_of([], []))
    assert all(loss == 0 for n, loss in losses.items() if n.startswith(("class", "box")))
    network.zero_grad()
    step(network, targets_of([[5, 5, 40, 50]], []))  # the truths alone are regions
    image = np.zeros((60, 60, 3), np.uint8)
    network.preprocess = Preprocess(size=64)
    assert [len(found) for found in network.predict([image, image])] == [0, 0]


@pytest.mark.parametrize("name", SYSTEMS)
def test_no_positives(name):
    losses = step(network_of(name), targets_of([], []))
    for kind, loss in losses.items():
        learns_boxes = "box" in kind or kind == "anchor_class"
        assert (loss == 0) == learns_boxes, kind


@pytest.mark.parametrize("name", SYSTEMS)
def test_all_truths_are_crowds(name):
    """They are not learned from: the batch is one of images without truths."""
    boxes = np.array([[5, 5, 50, 50], [10, 20, 60, 60]], np.float32)
    sample = Sample.of(np.zeros((64, 64, 3), np.uint8), boxes, [0, 1], crowd=np.ones(2, bool))
    preprocess = Preprocess(resize="longer", size=64)
    batch = Collate(preprocess)([prepare(sample, Augment(), preprocess)] * 2)
    assert not batch.targets.valid.any()
    losses = step(network_of(name), batch.targets)
    assert all(loss == 0 for kind, loss in losses.items() if "box" in kind)


@pytest.mark.parametrize("name", SYSTEMS)
def test_images_smaller_than_a_stride(name):
    network = network_of(name)
    step(network, targets_of([[1, 1, 7, 6]], [[0, 0, 3, 2]]), side=16)
    network.preprocess = Preprocess(resize="longer", size=9)
    for found in network.predict([np.full((5, 9, 3), 90, np.uint8), np.zeros((1, 1, 3), np.uint8)]):
        assert np.isfinite(found.boxes).all()


@pytest.mark.parametrize("name", SYSTEMS)
def test_truths_that_match_no_anchor(name):
    outside = [[5000, 5000, 5040, 5020], [-900, -900, -800, -700]]
    losses = step(network_of(name), targets_of(outside, [[20, 20, 20, 50], [9, 9, 9, 9]]))
    # Nothing overlaps them: no anchor is positive by a tie of zeros, as torchvision has it.
    if (
        "anchor_box" not in losses
    ):  # the first stage of Cascade RPN goes by the cell, not by overlap
        assert losses["proposal_box"] == 0


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_thousand_truths(name):
    many = [[i % 40, i // 40, i % 40 + 14, i // 40 + 18] for i in range(1000)]
    losses = step(network_of(name), targets_of(many, []))
    assert sum(losses.values()) > 0


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_training_step_never_waits_for_the_device(name):
    """On the meta device nothing has a value: whatever asks for one, or for a count, raises."""
    with torch.device("meta"):
        network = network_of(name)
        images = torch.randn(2, 3, 64, 64)
    targets = targets_of([[5, 5, 40, 50]], []).to("meta")
    losses = network.losses(network(images), targets)
    torch.stack(list(losses.values())).sum().backward()
    assert all(loss.device.type == "meta" and loss.shape == () for loss in losses.values())


@pytest.mark.parametrize("name", ["faster_rcnn_r50", "cascade_rcnn_r50"])
def test_the_seed_of_a_sample_is_the_batch_itself(name):
    """The same weights on the same images draw the same sample, whatever was drawn before."""
    network, targets = network_of(name), targets_of([[5, 5, 40, 50]], [[9, 9, 30, 60]])
    first = step(network, targets)
    torch.rand(7)
    assert step(network, targets) == first


@pytest.mark.parametrize("options", [{"agnostic": True}, {"objectness": True}])
def test_variants_of_the_second_stage(options):
    network = network_of("faster_rcnn_r50", **options)
    rows = network.region.predictor.box_deltas.out_features
    assert rows == (4 if "agnostic" in options else 12)
    assert step(network, targets_of([[5, 5, 40, 50]], [[9, 9, 30, 60]]))["class"] > 0
    network.limits = dataclasses.replace(network.limits, score=0.0)
    network.preprocess = Preprocess(size=64)
    (found,) = network.predict([np.zeros((64, 64, 3), np.uint8)])
    assert len(found) > 0
    assert found.scores.max() < 1


def test_class_agnostic_and_class_specific_anchors():
    agnostic = network_of("rpn_classes", agnostic=True)
    assert agnostic.rpn.head.box_deltas.out_channels == 12
    assert network_of("rpn_classes").rpn.head.box_deltas.out_channels == 36
    agnostic.limits = dataclasses.replace(agnostic.limits, score=0.0)
    agnostic.preprocess = Preprocess(size=64)
    (found,) = agnostic.predict([np.zeros((64, 64, 3), np.uint8)])
    assert set(found.labels) == {0, 1, 2}
    with pytest.raises(ConfigError, match="need class_logits=True"):
        create("rpn_r50", ["a"], agnostic=False)
    with pytest.raises(ConfigError, match="level must be 'fpn' or 'c4'"):
        create("rpn_r50", ["a"], level="c5")


def test_options_that_do_not_exist():
    with pytest.raises(ConfigError, match="unexpected keyword argument 'colour'"):
        create("faster_rcnn_r50", ["a"], colour="red")
    with pytest.raises(ConfigError, match="version must be 1"):
        create("faster_rcnn_r50", ["a"], version=3)
    with pytest.raises(ConfigError, match="unknown dialect 'torchvison'"):
        create("faster_rcnn_r50", Classes(("a",)), dialect="torchvison")
