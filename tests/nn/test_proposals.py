"""Proposals, region heads and their parts against plain references and torchvision's."""

import math

import pytest
import torch
import torch.nn.functional as F
import torchvision.ops

from gazehound.boxes.nms import batched_nms
from gazehound.data.batching import pad_targets
from gazehound.errors import ConfigError
from gazehound.nn.assigners.assignment import State
from gazehound.nn.assigners.centre_region import CentreRegionAssigner
from gazehound.nn.assigners.max_iou import MaxIoUAssigner
from gazehound.nn.backbones import Backbone
from gazehound.nn.cascade_rpn import AdaptiveConv, anchor_offsets
from gazehound.nn.coders import DeltaCoder
from gazehound.nn.heads.box import BoxPredictor, FullyConnectedBody, StageBody
from gazehound.nn.heads.cascade import cascade_heads, refined
from gazehound.nn.heads.region import RegionHead, deltas_of
from gazehound.nn.losses.regions import ObjectnessClasses, SoftmaxClasses
from gazehound.nn.pooling import RegionPool, RoIAlign
from gazehound.nn.postprocess import Limits, decode_regions
from gazehound.nn.proposals import ProposalLimits, Proposals, keep_in_fixed_shape, propose
from gazehound.nn.samplers import BalancedSampler


def random_boxes(count, seed=0, span=200.0, batch=2):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(batch, count, 2, generator=generator) * span
    size = torch.rand(batch, count, 2, generator=generator) * span / 3 + 1
    return torch.cat([corner, corner + size], 2)


@pytest.mark.parametrize("block", [37, 1024])
@pytest.mark.parametrize("iou", [0.1, 0.5, 0.9])
def test_nms_in_fixed_shapes_is_greedy_nms(iou, block, monkeypatch):
    monkeypatch.setattr("gazehound.nn.proposals.BLOCK", block)
    boxes = random_boxes(300, 1, span=90)
    groups = torch.arange(300).expand(2, -1) % 3
    valid = torch.rand(2, 300, generator=torch.Generator().manual_seed(2)) < 0.8
    keep = keep_in_fixed_shape(boxes, valid, groups, iou)
    for image in range(2):
        rows = torch.nonzero(valid[image])[:, 0]
        scores = torch.linspace(1, 0, 300)[rows]
        wanted = rows[batched_nms(boxes[image][rows], scores, groups[image][rows], iou)]
        assert torch.equal(torch.nonzero(keep[image])[:, 0], wanted.sort().values)


def proposals_of(monkeypatch, device_path):
    generator = torch.Generator().manual_seed(5)
    objectness = torch.randn(2, 120, generator=generator)
    deltas = torch.randn(2, 120, 4, generator=generator) * 0.2
    if device_path:
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    return propose(
        objectness,
        deltas,
        random_boxes(120, 6)[0],
        (80, 40),
        torch.tensor([[150.0, 180], [90, 90]]),
        DeltaCoder(),
        ProposalLimits(30, 25, iou=0.3, score=0.3, smallest=4.0),
    )


def test_proposals_are_the_same_on_either_path(monkeypatch):
    host, device = (proposals_of(monkeypatch, path) for path in (False, True))
    assert torch.equal(host.valid, device.valid)
    assert torch.allclose(host.scores, device.scores)
    assert torch.allclose(host.boxes, device.boxes)


def test_proposals_keep_their_limits(monkeypatch):
    found = proposals_of(monkeypatch, False)
    assert found.boxes.shape == (2, 25, 4)
    for image, (height, width) in enumerate(((150, 180), (90, 90))):
        boxes, scores = (c[image][found.valid[image]] for c in (found.boxes, found.scores))
        assert len(boxes) > 3
        assert (boxes[:, [1, 3]] <= height).all()
        assert (boxes[:, [0, 2]] <= width).all()
        assert (boxes[:, 2:] - boxes[:, :2] >= 4).all()
        assert (scores >= 0.3).all()
        assert (scores.diff() <= 0).all()
        assert not found.boxes[image][~found.valid[image]].any()


def test_truths_follow_the_proposals():
    targets = pad_targets([torch.ones(3, 4)], [torch.zeros(3, dtype=torch.long)])
    proposals = Proposals(
        torch.zeros(1, 5, 4), torch.zeros(1, 5), torch.zeros(1, 5, dtype=torch.bool)
    )
    joined = proposals.with_truths(targets)
    assert joined.valid[0].tolist() == [False] * 5 + [True] * 3 + [False] * 5
    some = Proposals(torch.zeros(2, 5, 4), torch.zeros(2, 5), torch.arange(5).expand(2, -1) < 2)
    assert some.shortened().boxes.shape == (2, 2, 4)


def test_softmax_classes_equal_cross_entropy_with_a_background():
    logits, labels = torch.randn(2, 6, 4), torch.tensor([[0, 1, 2, 0, 1, 2]] * 2)
    positive = torch.tensor([[True, True, False, False, True, False]] * 2)
    loss = SoftmaxClasses()(logits, labels, positive)
    target = torch.where(positive, labels, 3)
    assert torch.allclose(
        loss.flatten(), F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none")
    )
    assert torch.allclose(SoftmaxClasses().scores(logits), logits.softmax(2)[..., :3])


def test_objectness_classes_say_objectness_and_class_apart():
    logits = torch.tensor([[[0.0, math.log(3), 0.0], [5.0, -5.0, math.log(4)]]])
    loss = ObjectnessClasses()(logits, torch.tensor([[1, 0]]), torch.tensor([[True, False]]))
    wanted = [-math.log(0.5) - math.log(0.75), -math.log(1 - 0.8)]  # the second learns no class
    assert loss[0].tolist() == pytest.approx(wanted)
    assert ObjectnessClasses().scores(logits)[0, 0].tolist() == pytest.approx([0.125, 0.375])


def test_deltas_of_a_label():
    deltas = torch.arange(24.0).reshape(1, 2, 3, 4)
    assert deltas_of(deltas, torch.tensor([[2, 0]]))[0].tolist() == [
        [8, 9, 10, 11],
        [12, 13, 14, 15],
    ]
    assert torch.equal(deltas_of(deltas[:, :, :1], torch.tensor([[2, 0]])), deltas[:, :, 0])


@pytest.mark.parametrize("agnostic", [False, True])
def test_regions_are_decoded_like_torchvision(agnostic):
    generator = torch.Generator().manual_seed(3)
    boxes = random_boxes(40, 7, batch=1)[:, :, None] + torch.randn(
        1, 40, 1 if agnostic else 3, 4, generator=generator
    )
    boxes[0, :3] = 5.0  # without extent
    scores = torch.rand(1, 40, 3, generator=generator)
    found = decode_regions(scores, boxes, Limits(score=0.3, iou=0.4, per_image=20))
    each, labels = boxes.expand(-1, -1, 3, 4).reshape(-1, 4), torch.arange(3).repeat(40)
    rows = torch.nonzero((scores.flatten() > 0.3) & (each[:, 2] - each[:, 0] >= 0.01))[:, 0]
    keep = torchvision.ops.batched_nms(each[rows], scores.flatten()[rows], labels[rows], 0.4)[:20]
    assert torch.equal(found.boxes[0], each[rows[keep]])
    assert torch.equal(found.labels[0], labels[rows[keep]])


def region_head(classes=3, sampler=None, **options):
    torch.manual_seed(0)
    body = FullyConnectedBody(4, 3, 16)
    pool = RegionPool((8,), RoIAlign(3))
    return RegionHead(pool, body, BoxPredictor(16, classes), sampler=sampler, **options)


def test_region_losses_equal_a_plain_loop():
    head = region_head(sampler=BalancedSampler(12, 0.5))
    targets = pad_targets(
        [random_boxes(3, 8)[0], random_boxes(2, 9)[0]],
        [torch.tensor([0, 2, 1]), torch.tensor([1, 1])],
    )
    boxes = random_boxes(30, 10)
    proposals = Proposals(boxes, torch.ones(2, 30), torch.rand(2, 30) < 0.9).with_truths(targets)
    regions = head.label(proposals, targets)
    maps = [torch.randn(2, 4, 30, 30)]
    logits, deltas = head(maps, regions.boxes)
    losses = head.losses(logits, deltas, regions)
    class_loss = box_loss = count = 0.0
    for image in range(2):
        for row in range(regions.boxes.shape[1]):
            if not regions.valid[image, row]:
                continue
            count += 1
            label = int(regions.labels[image, row]) if regions.positive[image, row] else 3
            class_loss += float(-logits[image, row].log_softmax(0)[label])
            overlaps = torchvision.ops.box_iou(
                regions.boxes[image, row][None], targets.boxes[image][targets.valid[image]]
            )[0]
            assert bool(overlaps.max() >= 0.5) == bool(regions.positive[image, row])
            if regions.positive[image, row]:
                truth = targets.boxes[image][overlaps.argmax()]
                wanted = head.coder.encode(truth, regions.boxes[image, row])
                box_loss += float(
                    F.smooth_l1_loss(deltas[image, row, label], wanted, beta=1 / 9, reduction="sum")
                )
    assert int(regions.positive.sum()) >= 5
    assert float(losses["class"]) == pytest.approx(class_loss / count, rel=1e-4)
    assert float(losses["box"]) == pytest.approx(box_loss / count, rel=1e-4)


def test_negatives_may_have_a_floor():
    truth = pad_targets([torch.tensor([[0.0, 0, 10, 10]])], [torch.zeros(1, dtype=torch.long)])
    regions = torch.tensor([[[0.0, 0, 10, 9], [0, 0, 10, 3], [0, 0, 10, 0.5], [50, 50, 60, 60]]])
    match = MaxIoUAssigner(0.5, 0.5, keep_best=False, floor=0.1)(regions, truth)
    assert match.state[0].tolist() == [State.POSITIVE, State.NEGATIVE, State.IGNORED, State.IGNORED]
    with pytest.raises(ConfigError, match=r"floor=0\.7"):
        MaxIoUAssigner(0.5, 0.5, floor=0.7)


def test_a_cascade_sharpens_its_thresholds_and_follows_its_boxes():
    heads = cascade_heads(RegionPool((8,)), 4, 3, hidden=8, regions=16)
    assert [h.assign.positive for h in heads] == [0.5, 0.6, 0.7]
    assert [h.coder.weights[0] for h in heads] == [10, 20, 30]
    assert [h.sample is None for h in heads] == [False, True, True]
    boxes = random_boxes(6, 3)
    deltas = torch.zeros(2, 6, 1, 4)
    deltas[0, 0, 0, 0] = 1e6  # moved out of the image: nothing of it is left
    sizes = torch.full((2, 2), 300.0)
    moved = refined(heads[0], deltas, boxes, torch.ones(2, 6, dtype=torch.bool), sizes)
    assert moved.valid[0].tolist() == [False] + [True] * 5
    assert torch.allclose(moved.boxes[1], boxes[1].clamp(max=300), atol=1e-3)


def test_a_stage_body_is_the_networks_last_stage():
    body = StageBody("test_resnet").eval()
    width = Backbone("test_resnet", (16,)).channels[0]
    assert body(torch.randn(5, width, 14, 14)).shape == (5, body.channels)
    with pytest.raises(ConfigError, match="needs a ResNet"):
        StageBody("test_vit")


@pytest.mark.parametrize("seed", range(3))
def test_centre_regions_equal_a_plain_loop(seed):
    strides, image = (4, 8, 16), 96
    lengths = tuple((image // s) ** 2 for s in strides)
    centres = [
        torch.cartesian_prod(torch.arange(image // s), torch.arange(image // s)).flip(1) * float(s)
        for s in strides
    ]
    anchors = torch.cat(
        [torch.cat([c - 4 * s, c + 4 * s], 1) for c, s in zip(centres, strides, strict=True)]
    )
    truths = random_boxes(6, seed, span=80, batch=1)[0].clamp(max=image)
    targets = pad_targets([truths], [torch.arange(6)])
    match = CentreRegionAssigner(strides)(anchors, lengths, targets)
    states, owners, start = torch.zeros(len(anchors)), torch.full((len(anchors),), -1), 0
    order = sorted(range(6), key=lambda t: -float((truths[t, 2:] - truths[t, :2]).prod()))
    for level, (stride, length) in enumerate(zip(strides, lengths, strict=True)):
        side = image // stride
        for t in order:  # the smallest last: it wins
            box = truths[t].tolist()
            root = math.sqrt((box[2] - box[0]) * (box[3] - box[1]))
            own = min(max(math.floor(math.log2(root / 32) + 0.5), 0), 2)
            for share, kind in ((0.5, 2), (0.2, 1)):
                rest = (1 - share) / 2
                spans = []
                for low, high in ((box[0], box[2]), (box[1], box[3])):
                    a = round(((1 - rest) * low + rest * high) / stride)
                    b = round((rest * low + (1 - rest) * high) / stride)
                    spans.append((min(max(a, 0), side - 1), min(max(b, 0), side - 1)))
                for y in range(spans[1][0], spans[1][1] + 1):
                    for x in range(spans[0][0], spans[0][1] + 1):
                        cell = start + y * side + x
                        if own == level and kind == 1:
                            states[cell], owners[cell] = 1, t
                        elif states[cell] != 1 and (
                            own == level or (abs(own - level) == 1 and kind == 1)
                        ):
                            states[cell] = 2
        start += length
    assert torch.equal(match.state[0].float(), states)
    positive = states == 1
    assert positive.sum() >= 3
    assert torch.equal(match.truth[0][positive], owners[positive])


def test_adaptive_convolution_of_an_unmoved_anchor_is_a_plain_one():
    convolution = AdaptiveConv(3, 5)
    maps = torch.randn(2, 3, 6, 7)
    cells = torch.cartesian_prod(torch.arange(6), torch.arange(7)).flip(1) * 8.0
    anchors = torch.cat([cells - 12, cells + 12], 1).expand(2, -1, -1)  # three cells wide: regular
    assert anchor_offsets(anchors, (6, 7), 8).abs().max() < 1e-5
    wanted = F.conv2d(maps, convolution.weight, padding=1)
    assert torch.allclose(convolution(maps, anchors, 8), wanted, atol=1e-5)
    moved = convolution(maps, anchors + 8.0, 8)  # a cell to the right and down
    assert torch.allclose(moved[..., :-1, :-1], wanted[..., 1:, 1:], atol=1e-5)
    wide = anchor_offsets(
        anchors * torch.tensor([1.0, 1, 1, 1]) + torch.tensor([-12.0, 0, 12, 0]), (6, 7), 8
    )
    assert wide[0, :, 2, 3].reshape(9, 2)[:, 1].tolist() == pytest.approx([-1, 0, 1] * 3)
    assert wide[0, :, 2, 3].reshape(9, 2)[:, 0].abs().max() < 1e-5
