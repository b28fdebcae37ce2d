"""Assigners, box losses and necks are free parts of the dense detectors."""

import pytest
import torch

from gazehound import create
from gazehound.data.batching import pad_targets
from gazehound.data.preprocess import Preprocess
from gazehound.detectors.retinanet import RetinaNet
from gazehound.errors import ConfigError
from gazehound.nn.assigners.atss import ATSSAssigner
from gazehound.nn.assigners.named import ASSIGNERS
from gazehound.nn.backbones import Backbone
from gazehound.nn.heads.dense import DenseHead
from gazehound.nn.losses.box import IoULoss
from gazehound.nn.losses.quality import QualityFocalLoss, VarifocalLoss
from gazehound.nn.necks.fpn import FPN
from gazehound.records import Classes

CLASSES = Classes(("a", "b"))
TINY = {"backbone": "test_resnet", "channels": 16, "depth": 1}
BOX_LOSSES = ("smooth-l1", "iou", "giou", "diou", "ciou", "eiou")


def step(network):
    """One step's losses, with gradients in the network."""
    images = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    truths = [torch.tensor([[10.0, 12, 50, 60], [30, 20, 90, 80]]), torch.zeros(0, 4)]
    targets = pad_targets(truths, [torch.tensor([0, 1]), torch.zeros(0, dtype=torch.long)])
    losses = network.losses(network(images), targets)
    sum(losses.values()).backward()
    return losses


def test_retinanet_takes_an_assigner_as_a_part():
    """Nine anchors per cell, so ATSS looks at nine times its nine nearest per level."""
    body = Backbone("test_resnet")
    network = RetinaNet(
        CLASSES,
        Preprocess(),
        body,
        FPN(body.channels, 16),
        DenseHead(16, 2, depth=1),
        assigner=ATSSAssigner(),
        box_loss=IoULoss("eiou"),
    )
    candidates = network(torch.zeros(1, 3, 96, 96)).candidates
    assert candidates.per_cell == 9
    truth = pad_targets([torch.tensor([[10.0, 12, 50, 60]])], [torch.tensor([1])])
    match = network.assign(candidates, truth, None)
    assert 0 < int(match.positive.sum()) < 100
    x, y = candidates.centres[match.positive[0]].unbind(1)
    assert ((x > 10) & (x < 50) & (y > 12) & (y < 60)).all()
    assert all(torch.isfinite(loss) for loss in step(network).values())


@pytest.mark.parametrize(("assigner", "box_loss"), zip(sorted(ASSIGNERS), BOX_LOSSES, strict=True))
def test_retinanet_takes_every_assigner_and_every_box_loss_by_name(assigner, box_loss):
    model = create("retinanet_r18", CLASSES, **TINY, assigner=assigner, box_loss=box_loss)
    losses = step(model.detector)
    assert float(losses["box"].detach()) > 0
    weight = model.detector.head.box_deltas.weight
    assert float(weight.grad.abs().sum()) > 0


@pytest.mark.parametrize(("name", "assigner"), [("atss_r18", "ota"), ("gfl_r18", "simota")])
def test_later_detectors_take_other_assigners(name, assigner):
    model = create(name, CLASSES, **TINY, assigner=assigner, neck="panet")
    assert all(torch.isfinite(loss) for loss in step(model.detector).values())


def test_varifocal_loss_is_an_option_of_gfl():
    plain, varifocal = (
        create("gfl_r18", CLASSES, **TINY, class_loss=name).detector
        for name in ("quality-focal", "varifocal")
    )
    assert isinstance(plain.class_loss, QualityFocalLoss)
    assert isinstance(varifocal.class_loss, VarifocalLoss)
    assert torch.isfinite(step(varifocal)["class"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_loss": "focus"}, "unknown class loss of GFL 'focus'"),
        ({"assigner": "nearest"}, "unknown assigner 'nearest'"),
        ({"neck": "giraffe"}, "unknown neck 'giraffe'"),
        ({"wings": 2}, "'wings'"),
    ],
)
def test_wrong_parts_are_one_line(options, message):
    with pytest.raises(ConfigError, match=message):
        create("gfl_r18", CLASSES, **{**TINY, **options})
