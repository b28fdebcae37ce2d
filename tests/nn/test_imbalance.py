"""The imbalance kit against plain references, and in detectors it was not made for."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gazehound import create
from gazehound.data.batching import pad_targets
from gazehound.errors import ConfigError
from gazehound.nn.losses.focal import FocalLoss
from gazehound.nn.losses.imbalance import (
    HardNegatives,
    ObjectnessLoss,
    SigmoidLoss,
    SoftmaxLoss,
    inverse_frequency,
)


def case(seed=0, images=3, rows=40, classes=4, positives=(3, 0, 12)):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(images, rows, classes, generator=generator)
    labels = torch.randint(classes, (images, rows), generator=generator)
    positive = torch.zeros(images, rows, dtype=torch.bool)
    for image, count in enumerate(positives):
        positive[image, torch.randperm(rows, generator=generator)[:count]] = True
    counted = positive | (torch.rand(images, rows, generator=generator) < 0.7)
    return logits, labels, positive, counted


@pytest.mark.parametrize("at_least", [0, 5])
def test_hard_negatives_by_a_plain_loop(at_least):
    _, _, positive, counted = case()
    loss = torch.randn(3, 40, generator=torch.Generator().manual_seed(1)).round(decimals=1)
    kept = HardNegatives(3.0, at_least)(loss, positive, counted)
    for image in range(3):
        most = max(at_least, 3 * int(positive[image].sum()))
        rows = [i for i in range(40) if counted[image, i] and not positive[image, i]]
        worst = sorted(rows, key=lambda i: (-float(loss[image, i]), i))[:most]
        wanted = positive[image].clone()
        wanted[worst] = True
        assert torch.equal(kept[image], wanted)


def test_softmax_loss_is_cross_entropy_with_the_background_last():
    logits, labels, positive, counted = case(classes=5)
    labels = labels.clamp(max=3)
    got = SoftmaxLoss()(logits, labels, positive, counted)
    wanted = torch.where(positive, labels, 4)
    each = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none").view(3, 40)
    assert torch.allclose(got, (each * counted).sum(1))
    weights = [0.5, 2.0, 1.0, 3.0]
    got = SoftmaxLoss(class_weights=weights)(logits, labels, positive, counted)
    weight = torch.tensor([*weights, 1.0])
    each = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), weight, reduction="none")
    assert torch.allclose(got, (each.view(3, 40) * counted).sum(1))


def test_sigmoid_loss_is_the_focal_loss_where_asked():
    logits, labels, positive, counted = case()
    wanted = FocalLoss(0.25, 2.0)(logits, labels, positive, counted)
    got = SigmoidLoss(alpha=0.25, gamma=2.0)(logits, labels, positive, counted)
    assert torch.allclose(got, wanted)


def test_label_smoothing_and_class_weights():
    logits, labels, positive, counted = case()
    weights = torch.tensor([1.0, 2.0, 0.0, 4.0])
    smooth = SigmoidLoss(smoothing=0.1, class_weights=weights.tolist())
    got = smooth(logits, labels, positive, counted)
    one_hot = F.one_hot(labels, 4) * positive[..., None]
    targets = torch.where(one_hot == 1, 0.95, 0.05)
    each = F.binary_cross_entropy_with_logits(logits, targets, reduction="none") * weights
    assert torch.allclose(got, (each.sum(2) * counted).sum(1))
    with pytest.raises(ConfigError, match="label smoothing goes with plain cross-entropy"):
        SigmoidLoss(smoothing=0.1, gamma=2.0)


def test_objectness_loss():
    logits, _, positive, counted = case()
    each = F.binary_cross_entropy_with_logits(logits[..., 0], positive.float(), reduction="none")
    got = ObjectnessLoss()(logits[..., 0], positive, counted)
    assert torch.allclose(got, (each * counted).sum(1))
    mined = ObjectnessLoss(mining=HardNegatives(1.0))(logits[..., 0], positive, counted)
    assert torch.all(mined <= got + 1e-6)
    assert mined[1] == 0  # no positives, no hard negatives


def test_inverse_frequency():
    weights = inverse_frequency([900, 90, 10])
    assert np.allclose(np.array(weights) * [900, 90, 10], 1000 / 3)
    assert inverse_frequency([5, 5]) == (1.0, 1.0)
    assert inverse_frequency([3, 0]) == (1.0, 0.0)
    half = np.array(inverse_frequency([900, 100], power=0.5))
    assert half[1] / half[0] == pytest.approx(3)
    assert np.isclose((half * [900, 100]).sum(), 1000)
    for counts in ([], [0, 0], [1, -1]):
        with pytest.raises(ConfigError, match="class weights need counts"):
            inverse_frequency(counts)


def test_numbers_out_of_range_are_one_line():
    with pytest.raises(ConfigError, match=r"must not be negative; got -1\.0 and 0"):
        HardNegatives(-1.0)


@pytest.mark.parametrize(
    "loss",
    [
        SigmoidLoss(mining=HardNegatives(3.0)),
        SigmoidLoss(class_weights=inverse_frequency([9, 3, 1])),
        SigmoidLoss(alpha=0.25, gamma=2.0, class_weights=[1.0, 2.0, 3.0]),
    ],
    ids=["hard negatives", "class weights", "weighted focal"],
)
def test_retinanet_takes_every_part_of_the_kit(loss):
    torch.manual_seed(0)
    model = create("retinanet_r18", ["a", "b", "c"], backbone="resnet10t", channels=32)
    network = model.detector
    network.class_loss = loss
    targets = pad_targets([torch.tensor([[5.0, 5, 50, 50]]), torch.zeros(0, 4)], [
        torch.tensor([1]), torch.zeros(0, dtype=torch.int64),
    ])  # fmt: skip
    losses = network.losses(network(torch.randn(2, 3, 64, 64)), targets)
    assert losses["class"] > 0
    losses["class"].backward()
    assert all(torch.isfinite(p.grad).all() for p in network.head.class_tower.parameters())
