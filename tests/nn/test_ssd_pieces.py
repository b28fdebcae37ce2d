"""SSD's default boxes, matching, backbone and extra levels against plain references."""

import math

import pytest
import torch

from gazehound.boxes.iou import pairwise
from gazehound.data.batching import pad_targets
from gazehound.detectors.ssd import RATIOS, SCALES, STEPS, ssd300, ssd512, ssdlite320
from gazehound.errors import ConfigError
from gazehound.nn.assigners.bipartite import BipartiteAssigner
from gazehound.nn.assigners.claims import strongest_claims
from gazehound.nn.batch_norm import SteadyBatchNorm
from gazehound.nn.default_boxes import DefaultBoxes
from gazehound.nn.vgg import ReducedVGG16
from gazehound.records import Classes

THREE = Classes(("a", "b", "c"))


@pytest.mark.parametrize(
    ("build", "side", "grids", "count"),
    [
        (ssd300, 300, (38, 19, 10, 5, 3, 1), 8_732),
        (ssd512, 512, (64, 32, 16, 8, 4, 2, 1), 24_564),
        (ssdlite320, 320, (20, 10, 5, 3, 2, 1), 3_234),
    ],
    ids=["ssd300", "ssd512", "ssdlite320"],
)
def test_number_of_default_boxes(build, side, grids, count):
    with torch.device("meta"):
        network = build(THREE)
        outputs = network(torch.zeros(1, 3, side, side))
    per_cell = network.anchors.per_cell
    assert outputs.lengths == tuple(g * g * a for g, a in zip(grids, per_cell, strict=True))
    assert len(outputs.anchors) == outputs.logits.shape[1] == outputs.deltas.shape[1] == count
    assert outputs.logits.shape[2] == len(THREE) + 1


def test_default_boxes_by_a_plain_loop():
    boxes = DefaultBoxes(300, SCALES[300, "coco"], RATIOS[300], STEPS[300])
    grids = [(n, n) for n in (38, 19, 10, 5, 3, 1)]
    wanted = []
    for level, (rows, columns) in enumerate(grids):
        small, following = SCALES[300, "coco"][level : level + 2]
        for row in range(rows):
            for column in range(columns):
                x, y = (column + 0.5) * STEPS[300][level], (row + 0.5) * STEPS[300][level]
                middle = math.sqrt(small * following)
                sides = [(small, small), (middle, middle)]
                for ratio in RATIOS[300][level]:
                    root = math.sqrt(ratio)
                    sides += [(small * root, small / root), (small / root, small * root)]
                wanted += [[x - w / 2, y - h / 2, x + w / 2, y + h / 2] for w, h in sides]
    got = boxes(grids, (300, 300))
    assert torch.allclose(got, torch.tensor(wanted), atol=1e-4)
    clipped = DefaultBoxes(300, SCALES[300, "coco"], RATIOS[300], STEPS[300], clip=True)
    sides = clipped(grids, (300, 300))
    assert (sides[:, 2:] - sides[:, :2]).max() <= 300 + 1e-3 < (got[:, 2:] - got[:, :2]).max()


def test_padding_the_shorter_side_moves_no_default_box():
    boxes = DefaultBoxes(300, (30.0, 60.0, 111.0), ((2.0,), (2.0, 3.0)), (8.0, 16.0))
    for image in (300, 416):
        narrow = boxes([(40, 20), (20, 10)], (image, image // 2))
        whole = boxes([(40, 40), (20, 20)], (image, image))
        fine = whole[: 40 * 40 * 4].view(40, 40, 4, 4)[:, :20]
        coarse = whole[40 * 40 * 4 :].view(20, 20, 6, 4)[:, :10]
        assert torch.equal(narrow, torch.cat((fine.reshape(-1, 4), coarse.reshape(-1, 4))))


def test_default_boxes_that_do_not_fit_together():
    with pytest.raises(ConfigError, match="of 2 maps need 3 scales and 2 steps; got 2 and 1"):
        DefaultBoxes(300, (30.0, 60.0), ((2.0,), (2.0,)), (8.0,))


def random_boxes(count, seed, span=100.0):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * span
    return torch.cat((corner, corner + 5 + torch.rand(count, 2, generator=generator) * 40), 1)


@pytest.mark.parametrize("seed", range(5))
def test_matching_is_the_greedy_bipartite_one(seed):
    """The published code: the best remaining pair first, then every box with IoU >= 0.5."""
    boxes, truths = random_boxes(60, seed), random_boxes(7, seed + 100)
    targets = pad_targets([truths], [torch.zeros(7, dtype=torch.int64)])
    match = BipartiteAssigner(0.5, rounds=7)(boxes, targets)
    overlap = pairwise(truths, boxes)
    best, wanted = overlap.max(dim=0)
    wanted = torch.where(best >= 0.5, wanted, -1)
    left = overlap.clone()
    for _ in range(7):
        truth, box = divmod(int(left.argmax()), 60)
        if left[truth, box] <= 0:
            break
        wanted[box] = truth
        left[truth], left[:, box] = 0, 0
    assert torch.equal(torch.where(match.positive[0], match.truth[0], -1), wanted)
    got = match.overlap[0][match.positive[0]]
    assert torch.allclose(got, overlap[wanted, torch.arange(60)][wanted >= 0])


def test_matching_does_not_depend_on_the_order_and_leaves_out_what_overlaps_nothing():
    boxes, truths = random_boxes(60, 3), random_boxes(6, 7)
    truths = torch.cat((truths, torch.tensor([[900.0, 900, 950, 950], [10, 10, 10, 30]])))
    order = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(8, dtype=torch.int64)
    one, other = (
        BipartiteAssigner()(boxes, pad_targets([t], [labels])) for t in (truths, truths[order])
    )
    assert torch.equal(one.positive, other.positive)
    matched = one.positive[0]
    assert torch.equal(truths[one.truth[0]][matched], truths[order][other.truth[0]][matched])
    assert one.truth[0][matched].max() < 6


def test_strongest_claims():
    places = torch.tensor([[2, 2, 0, 1, 1, 2]])
    strength = torch.tensor([[0.5, 0.9, 0.1, 0.4, 0.4, 0.0]])
    assert strongest_claims(places, strength, 4).tolist() == [[2, 3, 1, 6]]
    assert strongest_claims(places, strength * 0, 4).tolist() == [[6, 6, 6, 6]]


def test_a_batch_of_one_can_be_trained_on():
    """The last map has one cell: a channel has one value, and no deviation."""
    torch.manual_seed(0)
    layer = SteadyBatchNorm(5)
    plain = torch.nn.BatchNorm2d(5)
    x = torch.randn(2, 5, 1, 1)
    assert torch.equal(layer(x), plain(x))
    assert torch.equal(layer(x[:1]), plain.eval()(x[:1]))
    network = ssdlite320(THREE, width=0.35)
    targets = pad_targets([torch.tensor([[5.0, 5, 90, 90]])], [torch.tensor([1])])
    losses = network.losses(network(torch.randn(1, 3, 128, 128)), targets)
    assert all(torch.isfinite(loss) for loss in losses.values())


@pytest.mark.parametrize("shape", [(300, 180), (64, 300), (33, 47)], ids=str)
@pytest.mark.parametrize("build", [ssd300, ssd512, ssdlite320], ids=lambda b: b.__name__)
def test_inputs_of_any_shape(build, shape):
    options = {"width": 0.5} if build is ssdlite320 else {"width": 0.0625}
    network = build(Classes(("one",)), **options)
    outputs = network(torch.randn(2, 3, *shape))
    assert len(outputs.anchors) == outputs.logits.shape[1] == sum(outputs.lengths)
    truths = [torch.tensor([[5.0, 5, 30, 30]]), torch.tensor([[-90.0, 500, -50, 600]])]
    losses = network.losses(outputs, pad_targets(truths, [torch.zeros(1, dtype=torch.int64)] * 2))
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert all(torch.isfinite(p.grad).all() for p in network.parameters())
    found = network.eval().decode(outputs, torch.tensor([shape, shape], dtype=torch.float32))
    assert found.boxes.min() >= 0
    assert torch.all(found.boxes <= torch.tensor([shape[1], shape[0]] * 2))


def test_imagenet_weights_are_thinned():
    """Each fourth output of fc6 and fc7, each third row and column of fc6's window."""
    generator = torch.Generator().manual_seed(0)
    ours = ReducedVGG16()
    state = {}
    index = 0
    for layer in ours.convolutions():
        state[f"features.{index}.weight"] = torch.randn(layer.weight.shape, generator=generator)
        state[f"features.{index}.bias"] = torch.randn(layer.bias.shape, generator=generator)
        index += 2 if index not in (2, 7, 14, 21) else 3
    window = torch.arange(7.0) * 10 + torch.arange(7.0)[:, None] * 100
    fc1 = torch.arange(4096.0)[:, None, None, None] * 1000 + window
    state["pre_logits.fc1.weight"] = fc1.expand(4096, 512, 7, 7)
    state["pre_logits.fc2.weight"] = (torch.arange(4096.0)[:, None] * 4096 + torch.arange(4096.0))[
        ..., None, None
    ]
    state["pre_logits.fc1.bias"] = state["pre_logits.fc2.bias"] = torch.arange(4096.0)
    ours.take(state)
    assert torch.equal(ours.stages[4][2].conv.weight, state["features.28.weight"])
    assert torch.equal(ours.stages[0][1].conv.bias, state["features.2.bias"])
    assert ours.fc6.conv.weight[3, 0].tolist() == [
        [12000 + 100 * y + 10 * x for x in (0, 3, 6)] for y in (0, 3, 6)
    ]
    assert float(ours.fc7.conv.weight[2, 5]) == 8 * 4096 + 20
    assert ours.fc7.conv.bias.tolist()[:3] == [0, 4, 8]


def test_options_that_do_not_exist():
    with pytest.raises(ConfigError, match=r"unknown SSD \(size and scales\) '300 kitti'"):
        ssd300(THREE, scales="kitti")
    with pytest.raises(ConfigError, match="unknown norm of VGG16 'layer'"):
        ssd300(THREE, norm="layer")
    with pytest.raises(ConfigError, match=r"fit width 1 and norm 'none'; got 0\.5 and 'none'"):
        ssd300(THREE, width=0.5, pretrained=True)
    with pytest.raises(ConfigError, match="unknown dialect 'caffe'"):
        ssd300(THREE, dialect="caffe")
    with pytest.raises(ConfigError, match="unknown norm of SSDLite"):
        ssdlite320(THREE, norm="none")
