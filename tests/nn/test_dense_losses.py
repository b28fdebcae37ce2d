"""Losses and coders of the dense detectors of 2019 to 2021 against plain sums and torchvision."""

import math

import numpy as np
import pytest
import torch
import torchvision.ops
from assigner_cases import iou as plain_iou
from hypothesis import given, settings
from hypothesis import strategies as st

from gazehound.boxes.iou import diou, eiou
from gazehound.errors import ConfigError
from gazehound.nn.coders import DeltaCoder, DistanceCoder, IntegralCoder
from gazehound.nn.heads.quality import QualityHead
from gazehound.nn.losses.box import IoULoss, SmoothL1Loss, make_box_loss
from gazehound.nn.losses.centreness import centreness, judgement_loss
from gazehound.nn.losses.distribution import DistributionFocalLoss
from gazehound.nn.losses.focal import focal_loss
from gazehound.nn.losses.quality import QualityFocalLoss, VarifocalLoss
from gazehound.nn.postprocess import Found
from gazehound.nn.score_voting import vote

NUMBER = st.floats(0, 50, width=32)
SIZE = st.floats(1, 50, width=32)
BOX = st.tuples(NUMBER, NUMBER, SIZE, SIZE).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))


def bce(p, y):
    return -(y * math.log(p) + (1 - y) * math.log(1 - p))


def plain_eiou(a, b):
    """Zhang et al., equation 8, on Python numbers."""
    cw, ch = max(a[2], b[2]) - min(a[0], b[0]), max(a[3], b[3]) - min(a[1], b[1])
    dx, dy = (a[0] + a[2] - b[0] - b[2]) / 2, (a[1] + a[3] - b[1] - b[3]) / 2
    dw, dh = a[2] - a[0] - b[2] + b[0], a[3] - a[1] - b[3] + b[1]
    centre = (dx**2 + dy**2) / (cw**2 + ch**2)
    return plain_iou(a, b) - centre - dw**2 / cw**2 - dh**2 / ch**2


@settings(max_examples=60, deadline=None, derandomize=True)
@given(a=BOX, b=BOX)
def test_eiou(a, b):
    ours = [float(eiou(torch.tensor(p), torch.tensor(q))) for p, q in ((a, b), (b, a))]
    assert ours == pytest.approx([plain_eiou(a, b)] * 2, abs=1e-4)
    assert ours[0] <= float(diou(torch.tensor(a), torch.tensor(b))) + 1e-6
    assert float(eiou(torch.tensor(a), torch.tensor(a))) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("kind", "theirs"),
    [
        ("giou", torchvision.ops.generalized_box_iou_loss),
        ("diou", torchvision.ops.distance_box_iou_loss),
        ("ciou", torchvision.ops.complete_box_iou_loss),
    ],
)
def test_iou_losses_and_gradients_equal_torchvision(kind, theirs):
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(2, 20, 2, generator=generator) * 40
    boxes, truths = torch.cat(
        [corner, corner + 5 + 30 * torch.rand(2, 20, 2, generator=generator)], 2
    )
    deltas = boxes[None].clone().requires_grad_()
    own = deltas.detach().clone().requires_grad_()
    everything = torch.ones(1, 20, dtype=torch.bool)
    loss = IoULoss(kind).of_boxes(own, truths[None], truths, everything)
    wanted = theirs(deltas[0], truths, reduction="sum")
    assert float(loss.detach().sum()) == pytest.approx(float(wanted.detach()), rel=1e-4)
    loss.sum().backward()
    wanted.backward()
    assert torch.allclose(own.grad, deltas.grad, atol=1e-4)


@pytest.mark.parametrize("kind", ["smooth-l1", "iou", "giou", "diou", "ciou", "eiou"])
@pytest.mark.parametrize("coder", [DeltaCoder(), DistanceCoder()])
def test_every_box_loss_takes_every_coder_and_weights(kind, coder):
    anchors = torch.tensor([[0.0, 0, 16, 16], [16, 0, 32, 16], [0, 16, 16, 32]])
    truths = torch.tensor([[[2.0, 1, 15, 17], [12, -3, 40, 18], [0, 0, 0, 0]]])
    positive = torch.tensor([[True, True, False]])
    exact = coder.encode(truths, anchors)
    assert torch.allclose(coder.decode(exact, anchors)[:, :2], truths[:, :2], atol=1e-4)
    loss = make_box_loss(kind, 3.0)
    assert float(loss(exact, truths, anchors, positive, coder)) == pytest.approx(0, abs=1e-4)
    moved = exact + 0.3
    both, first, second = (
        float(loss(moved, truths, anchors, positive, coder, torch.tensor([w])))
        for w in ([1.0, 1, 1], [1.0, 0, 0], [0.0, 1, 0])
    )
    assert both == pytest.approx(first + second)
    assert both == pytest.approx(
        3 * float(make_box_loss(kind)(moved, truths, anchors, positive, coder))
    )
    assert both > 0.1


def test_forms_of_the_iou_loss():
    anchors = torch.tensor([[0.0, 0, 10, 10]])
    truths = torch.tensor([[[0.0, 0, 10, 5]]])  # IoU 0.5
    read = (torch.zeros(1, 1, 4), truths, anchors, torch.tensor([[True]]), DeltaCoder())
    wanted = {"linear": 0.5, "log": math.log(2), "square": 0.75}
    for form, value in wanted.items():
        assert float(IoULoss("iou", form=form)(*read)) == pytest.approx(value)
    with pytest.raises(ConfigError, match=r"needs an overlap in 0\.\.1: iou, not giou"):
        IoULoss("giou", form="log")
    with pytest.raises(ConfigError, match="unknown form of the IoU loss 'cube'"):
        IoULoss("iou", form="cube")
    assert isinstance(make_box_loss("smooth-l1"), SmoothL1Loss)


def classification():
    generator = torch.Generator().manual_seed(0)
    return (
        torch.randn(1, 6, 4, generator=generator) * 2,
        torch.tensor([[0, 1, 2, 3, 0, 0]]),
        torch.tensor([[True, True, True, True, False, False]]),
        torch.tensor([[True, True, True, True, True, False]]),
        torch.tensor([[0.0, 0.3, 0.9, 1.0, 0.7, 0.7]]),
    )


def plain_class_loss(term):
    """Sum ``term(p, y)`` over the counted places and all classes."""
    logits, labels, positive, counted, quality = classification()
    total = 0.0
    for place in range(6):
        for number in range(4):
            hit = bool(positive[0, place]) and int(labels[0, place]) == number
            p = 1 / (1 + math.exp(-float(logits[0, place, number])))
            y = float(quality[0, place]) if hit else 0.0
            total += term(p, y) * bool(counted[0, place])
    return total


def test_quality_focal_loss_equals_the_plain_sum():
    wanted = plain_class_loss(lambda p, y: abs(y - p) ** 2 * bce(p, y))
    assert float(QualityFocalLoss()(*classification())) == pytest.approx(wanted, rel=1e-5)


def test_varifocal_loss_equals_the_plain_sum():
    wanted = plain_class_loss(lambda p, y: (y if y > 0 else 0.75 * p**2) * bce(p, y))
    assert float(VarifocalLoss()(*classification())) == pytest.approx(wanted, rel=1e-5)


def test_quality_focal_loss_of_whole_qualities_is_the_focal_loss():
    logits, labels, positive, counted, _ = classification()
    ones = torch.ones(1, 6)
    one_hot = (labels[..., None] == torch.arange(4)) & positive[..., None]
    wanted = (focal_loss(logits, one_hot.float(), alpha=-1.0).sum(2) * counted).sum()
    got = QualityFocalLoss()(logits, labels, positive, counted, ones)
    assert float(got) == pytest.approx(float(wanted), rel=1e-5)


@pytest.mark.parametrize("loss", [QualityFocalLoss(), VarifocalLoss()])
def test_quality_losses_are_finite_for_extreme_logits(loss):
    logits = torch.tensor([[[-1e4, 1e4], [1e4, -1e4]]], requires_grad=True)
    flags = torch.tensor([[True, False]])
    value = loss(
        logits, torch.zeros(1, 2, dtype=torch.long), flags, ~flags | flags, torch.ones(1, 2)
    )
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert torch.isfinite(logits.grad).all()


def test_distribution_focal_loss_equals_the_plain_sum():
    coder = IntegralCoder(16, unit=1 / 8)
    anchors = torch.tensor([[-28.0, -28, 36, 36], [-20.0, -28, 44, 36]])  # 8 strides of 8
    truths = torch.tensor([[[-6.0, 1, 30, 200], [0, 0, 8, 8]]])
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 2, 68, generator=generator)
    positive = torch.tensor([[True, False]])
    weights = torch.tensor([[0.6, 0.9]])
    log_p = logits.reshape(2, 4, 17).log_softmax(2)[0]
    total = 0.0
    # distances of the first from its centre (4, 4), in strides; the last one is beyond 15.9
    for side, distance in enumerate((10 / 8, 3 / 8, 26 / 8, 15.9)):
        left = int(distance)
        share = distance - left
        total -= (1 - share) * float(log_p[side, left]) + share * float(log_p[side, left + 1])
    got = DistributionFocalLoss(0.25)(logits, truths, anchors, positive, coder, weights)
    assert float(got) == pytest.approx(0.25 * 0.6 * total / 4, rel=1e-5)


def test_integral_coder_reads_the_mean_of_each_side():
    coder = IntegralCoder(4, unit=0.5)
    logits = torch.full((1, 20), -50.0)
    for side, place in enumerate((0, 4, 2, 1)):
        logits[0, side * 5 + place] = 50.0
    anchors = torch.tensor([[0.0, 0, 8, 16]])  # units of 4 and 8 pixels around (4, 8)
    assert coder.expected(logits)[0].tolist() == pytest.approx([0, 4, 2, 1])
    assert coder.decode(logits, anchors)[0].tolist() == pytest.approx([4, -24, 12, 16])
    flat = coder.expected(torch.zeros(20))
    assert flat.tolist() == pytest.approx([2.0] * 4)


def test_centreness():
    centres = torch.tensor([[5.0, 5], [1, 5], [1, 2], [-3, 5]])
    truths = torch.tensor([[0.0, 0, 10, 10]]).expand(1, 4, 4)
    wanted = [1.0, math.sqrt(1 / 9), math.sqrt(1 / 9 * 2 / 8), 0.0]
    got = centreness(centres, truths)
    assert got[0].tolist() == pytest.approx(wanted)
    nothing = centreness(centres, torch.zeros(1, 4, 4))  # padding
    assert torch.isfinite(nothing).all()
    logits = torch.tensor([[0.5, -1.0, 2.0, 9.0]])
    positive = torch.tensor([[True, True, True, False]])
    plain = [
        bce(1 / (1 + math.exp(-x)), y) for x, y in zip(logits[0, :3].tolist(), wanted, strict=False)
    ]
    assert float(judgement_loss(logits, got, positive)) == pytest.approx(sum(plain), rel=1e-5)


def test_quality_head_shares_towers_and_scales_levels():
    head = QualityHead(8, 3, levels=2, depth=1, judged=False)
    assert head.scales is not None
    pyramid = [torch.randn(1, 8, 4, 4), torch.randn(1, 8, 2, 2)]
    logits, numbers, quality = head(pyramid)
    assert logits.shape == (1, 20, 3)
    assert quality is None
    with torch.no_grad():
        head.scales[1] = 3.0
    assert torch.allclose(head(pyramid)[1][:, :16], numbers[:, :16])
    assert torch.allclose(head(pyramid)[1][:, 16:], 3 * numbers[:, 16:], atol=1e-6)
    assert float(torch.sigmoid(logits).mean()) == pytest.approx(0.01, abs=2e-3)


def test_score_voting_equals_plain_loops():
    generator = np.random.default_rng(0)
    corner = generator.random((30, 2)) * 20
    boxes = np.concatenate([corner, corner + 10 + 10 * generator.random((30, 2))], 1)
    scores = np.where(np.arange(30) < 25, generator.random(30), 0)  # the last five are none
    labels = generator.integers(0, 2, 30)
    kept = [3, 7, 11]
    tensors = [
        torch.from_numpy(boxes).float(),
        torch.from_numpy(scores).float(),
        torch.from_numpy(labels),
    ]
    found = Found(*(t[None, kept] for t in tensors), torch.tensor([[True, True, False]]))
    got = vote(found, *(t[None] for t in tensors))
    for row, index in enumerate(kept[:2]):
        top, bottom = np.zeros(4), 0.0
        for other in range(30):
            overlap = plain_iou(boxes[index], boxes[other])
            if labels[other] == labels[index] and overlap > 0.01:
                weight = scores[other] * math.exp(-((1 - overlap) ** 2) / 0.025)
                top, bottom = top + weight * boxes[other], bottom + weight
        assert got.boxes[0, row].numpy() == pytest.approx(top / bottom, abs=1e-3)
    assert torch.equal(got.boxes[0, 2], found.boxes[0, 2])  # padding stays
    assert torch.equal(got.scores, found.scores)
