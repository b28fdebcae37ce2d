"""The Darknet YOLOs' cells, matching and losses against plain references, and their edge cases."""

import math

import pytest
import torch
from torchvision.ops import complete_box_iou_loss

from gazehound.boxes.iou import pairwise
from gazehound.catalog import find
from gazehound.data.batching import pad_targets
from gazehound.errors import ConfigError
from gazehound.nn.anchor_cells import AnchorCellCoder, AnchorCells
from gazehound.nn.assigners.assigner import Predictions
from gazehound.nn.assigners.assignment import State
from gazehound.nn.assigners.shape import ShapeAssigner
from gazehound.nn.darknet import DarkNet53, pool_in_place
from gazehound.nn.losses.cells import CellIoULoss, OffsetLoss
from gazehound.records import Classes

ANCHORS = ((10.0, 14.0), (23.0, 27.0), (37.0, 58.0), (81.0, 82.0), (60.0, 30.0), (20.0, 60.0))
MASKS = ((0, 1, 2), (3, 4, 5))
IMAGE = (96, 160)
THREE = Classes(("a", "b", "c"))
SMALL = {
    "yolov3": {"width": 0.0625, "depths": [1] * 5},
    "yolov3_spp": {"width": 0.0625, "depths": [1] * 5},
    "yolov3_tiny": {"width": 0.125},
    "yolov4": {"width": 0.0625, "depths": [1] * 5},
    "yolov4_tiny": {"width": 0.125},
}


def cells():
    return AnchorCells(ANCHORS, MASKS, strides=(16, 32))(IMAGE)


def rows():
    """(stride, row, column, anchor) of every prediction, in order."""
    return [
        (stride, row, column, anchor)
        for stride, mask in zip((16, 32), MASKS, strict=True)
        for row in range(IMAGE[0] // stride)
        for column in range(IMAGE[1] // stride)
        for anchor in mask
    ]


def truths(count, seed):
    """Boxes in and around the input, some with their centres outside it."""
    generator = torch.Generator().manual_seed(seed)
    centre = torch.rand(count, 2, generator=generator) * torch.tensor([200.0, 130.0]) - 20
    size = torch.rand(count, 2, generator=generator) * 70 + 4
    return torch.cat((centre - size / 2, centre + size / 2), 1)


def test_cells_lie_in_the_order_of_the_head():
    got = cells()
    assert got.lengths == (6 * 10 * 3, 3 * 5 * 3)
    assert got.image == IMAGE
    for box, (stride, row, column, anchor) in zip(got.boxes, rows(), strict=True):
        x, y, (w, h) = (column + 0.5) * stride, (row + 0.5) * stride, ANCHORS[anchor]
        assert box.tolist() == pytest.approx([x - w / 2, y - h / 2, x + w / 2, y + h / 2])


def test_decoding_by_the_formula():
    got = cells()
    numbers = torch.randn(2, 225, 4, generator=torch.Generator().manual_seed(0)) * 2
    boxes = AnchorCellCoder((1.2, 1.05)).decode(numbers, got)
    for index, (stride, row, column, anchor) in enumerate(rows()):
        scale = 1.2 if stride == 16 else 1.05
        tx, ty, tw, th = numbers[1, index].tolist()
        x, y = (
            (cell + scale / (1 + math.exp(-t)) - (scale - 1) / 2) * stride
            for cell, t in ((column, tx), (row, ty))
        )
        w, h = (side * math.exp(t) for side, t in zip(ANCHORS[anchor], (tw, th), strict=True))
        wanted = [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
        assert boxes[1, index].tolist() == pytest.approx(wanted, rel=1e-4, abs=1e-3)


def test_encoding_is_the_inverse_of_decoding():
    numbers = torch.randn(1, 225, 4, generator=torch.Generator().manual_seed(0))
    coder = AnchorCellCoder((1.0, 1.0))
    place, growth = coder.encode(coder.decode(numbers, cells()), cells())
    assert torch.allclose(place, torch.sigmoid(numbers[..., :2]), atol=1e-4)
    assert torch.allclose(growth, numbers[..., 2:], atol=1e-4)


def test_nothing_overflows():
    numbers = torch.full((1, 225, 4), 1e6)
    assert torch.isfinite(AnchorCellCoder((1.0, 1.0)).decode(numbers, cells())).all()


def plain_claims(boxes, also):
    """Each truth's claims by plain loops: row of the prediction -> (strength, truth)."""
    owner = {}
    numbering = {place: index for index, place in enumerate(rows())}
    for number, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
        w, h, x, y = x2 - x1, y2 - y1, (x1 + x2) / 2, (y1 + y2) / 2
        similar = []
        for aw, ah in ANCHORS:
            shared = min(w, aw) * min(h, ah)
            similar.append(shared / (w * h + aw * ah - shared))
        for anchor, strength in enumerate(similar):
            if strength < max(similar) and strength <= also:
                continue
            stride = 16 if anchor in MASKS[0] else 32
            place = (stride, math.floor(y / stride), math.floor(x / stride), anchor)
            if place in numbering:
                row = numbering[place]
                owner[row] = max(owner.get(row, (0.0, 0)), (strength, -number))
    return {row: -number for row, (_, number) in owner.items()}


@pytest.mark.parametrize("also", [1.0, 0.213])
@pytest.mark.parametrize("seed", range(4))
def test_matching_by_plain_loops(seed, also):
    boxes = [truths(40, seed), truths(3, seed + 50), torch.zeros(0, 4)]
    targets = pad_targets(boxes, [torch.zeros(len(b), dtype=torch.int64) for b in boxes])
    noise = torch.randn(3, 225, 4, generator=torch.Generator().manual_seed(seed)) * 0.4
    predicted = AnchorCellCoder((1.0, 1.0)).decode(noise, cells())
    predictions = Predictions(torch.zeros(3, 225, 1), predicted, torch.zeros(3, 225))
    match = ShapeAssigner(ignore=0.4, also=also)(cells(), targets, predictions)
    for image, of_image in enumerate(boxes):
        wanted = plain_claims(of_image, also)
        owned = torch.nonzero(match.positive[image]).flatten().tolist()
        assert owned == sorted(wanted)
        assert [int(match.truth[image, row]) for row in owned] == [wanted[row] for row in owned]
        if len(of_image) == 0:
            assert (match.state[image] == State.NEGATIVE).all()
            continue
        best = pairwise(predicted[image], of_image).amax(dim=1)
        assert torch.allclose(match.overlap[image], best)
        ignored = (best > 0.4) & ~match.positive[image]
        assert torch.equal(match.state[image] == State.IGNORED, ignored)
    assert (match.state[0] == State.IGNORED).any()


def test_of_truths_in_one_cell_the_more_similar_one_is_learned():
    near, nearer = [38.0, 23, 62, 49], [39.0, 24, 62, 51]  # both at anchor 1, which is 23 x 27
    for order in ([near, nearer], [nearer, near]):
        boxes = torch.tensor(order)
        targets = pad_targets([boxes], [torch.tensor([0, 1])])
        predictions = Predictions(torch.zeros(1, 225, 2), torch.zeros(1, 225, 4))
        match = ShapeAssigner()(cells(), targets, predictions)
        assert match.positive.sum() == 1
        assert match.boxes_of(targets)[match.positive][0].tolist() == nearer


def test_an_anchor_on_two_maps_is_positive_on_both():
    grid = AnchorCells(ANCHORS, ((0, 1, 3), (3, 4, 5)), strides=(16, 32))(IMAGE)
    targets = pad_targets([torch.tensor([[20.0, 5, 101, 87]])], [torch.tensor([0])])
    predictions = Predictions(torch.zeros(1, 225, 1), torch.zeros(1, 225, 4))
    match = ShapeAssigner()(grid, targets, predictions)
    assert [len(x) for x in match.positive[0].split(grid.lengths)] == [180, 45]
    assert [int(x.sum()) for x in match.positive[0].split(grid.lengths)] == [1, 1]


def test_box_losses_by_plain_formulas():
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randn(2, 225, 4, generator=generator)
    coder, grid = AnchorCellCoder((1.0, 1.0)), cells()
    wanted_boxes = coder.decode(torch.randn(2, 225, 4, generator=generator), grid)
    positive = torch.rand(2, 225, generator=generator) < 0.1
    got = OffsetLoss()(numbers, wanted_boxes, grid, positive, coder)
    place, growth = coder.encode(wanted_boxes, grid)
    for image in range(2):
        total = 0.0
        for row in torch.nonzero(positive[image]).flatten().tolist():
            x1, y1, x2, y2 = wanted_boxes[image, row].tolist()
            weight = 2 - min(1, (x2 - x1) * (y2 - y1) / (96 * 160))
            for axis in range(2):
                p = 1 / (1 + math.exp(-numbers[image, row, axis]))
                target = float(place[image, row, axis])
                total -= weight * (target * math.log(p) + (1 - target) * math.log(1 - p))
                off = float(numbers[image, row, 2 + axis] - growth[image, row, axis])
                total += weight * off**2 / 2
        assert float(got[image]) == pytest.approx(total, rel=1e-4)
    iou = CellIoULoss("ciou", 2.0)(numbers, wanted_boxes, grid, positive, coder)
    boxes = coder.decode(numbers, grid)
    each = complete_box_iou_loss(boxes[positive], wanted_boxes[positive])
    assert float(iou.sum()) == pytest.approx(2 * float(each.sum()), rel=1e-4)


def test_the_gradient_of_the_centre_is_darknets():
    """Darknet applies ``truth - sigmoid(t)`` to the raw number, times ``2 - w h``."""
    numbers = torch.randn(1, 225, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    coder, grid = AnchorCellCoder((1.0, 1.0)), cells()
    boxes = coder.decode(torch.zeros(1, 225, 4), grid)
    OffsetLoss()(numbers, boxes, grid, torch.ones(1, 225, dtype=torch.bool), coder).sum().backward()
    weight = 2 - (boxes[..., 2:] - boxes[..., :2]).prod(2, keepdim=True) / (96 * 160)
    wanted = (torch.sigmoid(numbers[..., :2]) - 0.5) * weight
    assert torch.allclose(numbers.grad[..., :2], wanted, atol=1e-6)
    assert torch.allclose(numbers.grad[..., 2:], numbers[..., 2:] * weight, atol=1e-5)


EDGES = {
    "outside every cell": [[200.0, 10, 240, 40], [-60.0, -60, -20, -30], [10, 120, 40, 150]],
    "on the far border": [[150.0, 86, 170, 106]],
    "one pixel": [[10.0, 10, 11, 11]],
    "without area": [[10.0, 10, 10, 40], [5, 5, 5, 5]],
    "larger than the input": [[-500.0, -500, 900, 900]],
    "a thousand": [[i % 150, i // 11, i % 150 + 20, i // 11 + 15.0] for i in range(1000)],
}


@pytest.mark.parametrize("boxes", EDGES.values(), ids=EDGES)
@pytest.mark.parametrize("name", SMALL)
def test_losses_at_the_edges_are_finite(name, boxes):
    """One class, an input that is not square, and one image without any truth."""
    torch.manual_seed(0)
    network = find(name).resolve()(Classes(("one",)), **SMALL[name])
    targets = pad_targets(
        [torch.tensor(boxes, dtype=torch.float32), torch.zeros(0, 4)],
        [torch.zeros(len(boxes), dtype=torch.int64), torch.zeros(0, dtype=torch.int64)],
    )
    losses = network.losses(network(torch.rand(2, 3, *IMAGE)), targets)
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert losses["objectness"] > 0
    sum(losses.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters())
    if boxes in (EDGES["outside every cell"], EDGES["without area"]):
        assert losses["box"] == losses["class"] == 0


def test_pooling_in_place_looks_right_and_down():
    x = torch.tensor([[[[1.0, 2, 0], [5, 3, 9], [-4, -2, -3]]]])
    assert pool_in_place(x)[0, 0].tolist() == [[5, 9, 9], [5, 9, 9], [-2, -2, -3]]


def test_imagenet_weights_come_in_timms_order():
    import timm

    torch.manual_seed(0)
    theirs = timm.create_model("darknet53", features_only=True, out_indices=(3, 4, 5)).eval()
    whole = {name.replace("stages_", "stages."): x for name, x in theirs.state_dict().items()}
    ours = DarkNet53().eval()
    ours.take(whole)
    for module in ours.modules():  # theirs leaks 0.01, Darknet's 0.1
        if isinstance(module, torch.nn.LeakyReLU):
            module.negative_slope = 0.01
    images = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        for wanted, got in zip(theirs(images), ours(images), strict=True):
            assert torch.allclose(wanted, got, rtol=1e-3, atol=1e-4)


def test_options_that_do_not_fit_together():
    with pytest.raises(ConfigError, match=r"masks name anchors \[0, 9\]; there are 6"):
        AnchorCells(ANCHORS, ((0,), (9,)), strides=(16, 32))
    with pytest.raises(ConfigError, match=r"need one mask for each of the strides \(16, 32\)"):
        AnchorCells(ANCHORS, ((0, 1), (2,)), strides=(16, 32))
    with pytest.raises(
        ConfigError, match="there are no ImageNet weights of YOLOv3-tiny's backbone"
    ):
        find("yolov3_tiny").resolve()(THREE, pretrained=True)
    with pytest.raises(ConfigError, match="there are no ImageNet weights of YOLOv4's backbones"):
        find("yolov4").resolve()(THREE, pretrained=True)
    with pytest.raises(ConfigError, match="the norm of a Darknet YOLO is 'batch'; got 'group'"):
        find("yolov4_tiny").resolve()(THREE, norm="group")
    with pytest.raises(ConfigError, match="fit width 1 and depths 1 2 8 8 4"):
        DarkNet53(0.5, pretrained=True)
    with pytest.raises(ConfigError, match="unknown overlap measure 'iuo'"):
        CellIoULoss("iuo")
