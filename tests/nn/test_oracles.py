"""Anchors, coder, assigner and losses against torchvision's and against plain loops."""

import numpy as np
import pytest
import torch
from torchvision.models.detection import _utils as tv_utils
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import sigmoid_focal_loss

from gazehound.boxes.iou import pairwise
from gazehound.data.batching import pad_targets
from gazehound.errors import ConfigError
from gazehound.nn.anchors import AnchorGrid, octave_sizes, pyramid_grids
from gazehound.nn.assigners.assignment import State
from gazehound.nn.assigners.max_iou import MaxIoUAssigner
from gazehound.nn.backbones import Backbone
from gazehound.nn.blocks import flatten_cells
from gazehound.nn.coders import DeltaCoder
from gazehound.nn.losses.box import IoULoss, SmoothL1Loss
from gazehound.nn.losses.focal import FocalLoss, focal_loss, prior_bias
from gazehound.nn.necks.fpn import FPN


def random_boxes(count, seed=0, span=200.0):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * span
    size = torch.rand(count, 2, generator=generator) * span / 2 + 1
    return torch.cat([corner, corner + size], 1)


def test_anchors_equal_torchvision():
    sizes = tuple(
        (x, int(x * 2 ** (1 / 3)), int(x * 2 ** (2 / 3))) for x in (32, 64, 128, 256, 512)
    )
    theirs = AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * 5)
    for height, width in (
        (256, 320),
        (800, 1088),
        (96, 32),
    ):  # 800/64 does not divide: the odd stride
        grids = pyramid_grids((8, 16, 32, 64, 128), (height, width))
        maps = [torch.zeros(1, 1, *grid) for grid in grids]
        images = ImageList(torch.zeros(1, 3, height, width), [(height, width)])
        wanted = theirs(images, maps)[0]
        assert torch.equal(AnchorGrid(torchvision=True)(grids, (height, width)), wanted)


def test_anchors_of_the_paper_have_the_stated_areas_ratios_and_centres():
    grid = AnchorGrid(strides=(8,), sizes=octave_sizes((8,)))
    anchors = grid([(2, 3)], (16, 24)).reshape(2, 3, 9, 4)
    width, height = (anchors[..., 2:] - anchors[..., :2]).unbind(-1)
    areas = sorted({round(float(a)) for a in (width * height).flatten()})
    assert areas == [32**2, round(32**2 * 2 ** (2 / 3)), round(32**2 * 2 ** (4 / 3))]
    assert sorted({round(float(r), 3) for r in (height / width).flatten()}) == [0.5, 1.0, 2.0]
    centres = (anchors[..., :2] + anchors[..., 2:]) / 2
    assert torch.allclose(centres[1, 2], torch.tensor([16.0, 8.0]).expand(9, 2), atol=1e-5)


def test_cells_are_flattened_in_the_order_of_the_anchors():
    maps = torch.arange(2 * 6 * 2 * 3).reshape(2, 6, 2, 3).float()  # 3 anchors of 2 numbers
    rows = flatten_cells(maps, 3)
    for batch, y, x, anchor, number in np.ndindex(2, 2, 3, 3, 2):
        assert (
            rows[batch, (y * 3 + x) * 3 + anchor, number] == maps[batch, anchor * 2 + number, y, x]
        )


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)])
def test_coder_equals_torchvision_and_inverts(weights):
    ours, theirs = DeltaCoder(weights), tv_utils.BoxCoder(weights)
    boxes, anchors = random_boxes(50, 1), random_boxes(50, 2)
    deltas = ours.encode(boxes, anchors)
    assert torch.allclose(deltas, theirs.encode_single(boxes, anchors), atol=1e-5)
    assert torch.allclose(ours.decode(deltas, anchors), boxes, atol=1e-3)
    wild = torch.randn(50, 4, generator=torch.Generator().manual_seed(3)) * 6
    wanted = theirs.decode_single(wild, anchors)
    assert torch.allclose(ours.decode(wild, anchors), wanted, rtol=1e-4, atol=1e-2)
    assert torch.isfinite(ours.encode(torch.zeros(1, 4), torch.zeros(1, 4))).all()


@pytest.mark.parametrize("keep_best", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_assigner_equals_torchvision(seed, keep_best):
    truths, anchors = random_boxes(7, seed), random_boxes(300, 100 + seed)
    ours = MaxIoUAssigner(0.5, 0.4, keep_best=keep_best)(
        anchors, pad_targets([truths], [torch.arange(7)])
    )
    wanted = tv_utils.Matcher(0.5, 0.4, allow_low_quality_matches=keep_best)(
        pairwise(truths, anchors)
    )
    assert torch.equal(ours.positive[0], wanted >= 0)
    assert torch.equal(
        ours.state[0] == State.NEGATIVE, wanted == tv_utils.Matcher.BELOW_LOW_THRESHOLD
    )
    assert torch.equal(ours.truth[0][wanted >= 0], wanted[wanted >= 0])


def test_assigner_without_overlap_leaves_every_anchor_background():
    far = torch.tensor([[1000.0, 1000, 1010, 1010]])
    match = MaxIoUAssigner()(
        random_boxes(40), pad_targets([far], [torch.zeros(1, dtype=torch.long)])
    )
    assert not match.positive.any()
    with pytest.raises(ConfigError, match="need 0 <= negative <= positive <= 1"):
        MaxIoUAssigner(positive=0.3, negative=0.5)


def test_assigner_takes_images_of_a_batch_apart():
    a, b, anchors = random_boxes(3, 1), random_boxes(9, 2), random_boxes(100, 3)
    labels = [torch.zeros(n, dtype=torch.long) for n in (3, 9)]
    together = MaxIoUAssigner()(anchors, pad_targets([a, b], labels))
    alone = MaxIoUAssigner()(anchors, pad_targets([b], labels[1:]))
    assert torch.equal(together.state[1], alone.state[0])
    assert torch.equal(together.truth[1], alone.truth[0])


@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (0.5, 0.0), (-1.0, 1.5)])
def test_focal_loss_equals_torchvision(alpha, gamma):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(200, 5, generator=generator) * 5
    targets = (torch.rand(200, 5, generator=generator) < 0.3).float()
    wanted = sigmoid_focal_loss(logits, targets, alpha, gamma)
    assert torch.allclose(focal_loss(logits, targets, alpha, gamma), wanted, atol=1e-6)


def test_focal_loss_stays_finite_for_extreme_logits_with_gradient():
    logits = torch.tensor([-1e4, -100.0, 0.0, 100.0, 1e4], requires_grad=True)
    loss = focal_loss(logits, torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0]))
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert torch.isfinite(logits.grad).all()


def test_focal_loss_counts_what_it_says():
    logits = torch.zeros(1, 4, 2)
    positive = torch.tensor([[True, False, False, False]])
    counted = torch.tensor([[True, True, False, True]])
    loss = FocalLoss(0.25, 2.0)(logits, torch.ones(1, 4, dtype=torch.long), positive, counted)
    one = 0.25 * np.log(2)  # (1 - p)^2 * -log p at p = 0.5
    assert float(loss) == pytest.approx(0.25 * one + 0.75 * one * (1 + 2 + 2))
    assert torch.sigmoid(torch.tensor(prior_bias(0.01))) == pytest.approx(0.01)


@pytest.mark.parametrize(
    "loss", [SmoothL1Loss(), SmoothL1Loss(0.0), IoULoss("giou"), IoULoss("ciou")]
)
def test_box_losses_vanish_on_the_truth_and_ignore_what_is_not_positive(loss):
    anchors, truths = random_boxes(6, 1), random_boxes(6, 2)[None]
    coder = DeltaCoder()
    deltas = coder.encode(truths, anchors).clone()
    positive = torch.tensor([[True, True, False, False, True, False]])
    assert float(loss(deltas, truths, anchors, positive, coder)) == pytest.approx(0, abs=1e-4)
    deltas[0, 2] = float("inf")  # not positive: must not reach the loss
    moved = deltas.clone()
    moved[0, 0, 0] += 0.5
    if not isinstance(loss, SmoothL1Loss):
        assert float(loss(moved, truths, anchors, positive, coder)) > 0.05


def test_fpn_levels_halve_and_share_channels():
    for extra, levels in (("p5", 5), ("c5", 5), ("none", 3)):
        fpn = FPN((8, 16, 32), 24, extra=extra)
        grids = {8: (13, 17), 16: (7, 9), 32: (4, 5)}
        maps = [torch.randn(1, channels, *grid) for channels, grid in grids.items()]
        pyramid = fpn(maps)
        assert [tuple(p.shape) for p in pyramid[:3]] == [
            (1, 24, 13, 17),
            (1, 24, 7, 9),
            (1, 24, 4, 5),
        ]
        assert len(pyramid) == levels
    with pytest.raises(ConfigError, match="extra levels of the pyramid 'p9'"):
        FPN((8,), extra="p9")


@pytest.mark.parametrize(
    "name", ["resnet10t", "mobilenetv3_small_050", "convnext_atto", "efficientnet_b0"]
)
def test_any_timm_backbone_gives_the_strides_it_is_asked_for(name):
    backbone = Backbone(name, strides=(8, 16, 32))
    maps = backbone(torch.randn(1, 3, 64, 96))
    assert [tuple(m.shape[1:]) for m in maps] == [
        (c, 64 // s, 96 // s) for c, s in zip(backbone.channels, (8, 16, 32), strict=True)
    ]


def test_backbone_errors_and_norms():
    with pytest.raises(
        ConfigError, match=r"unknown backbone .timm model. 'resnet19'; did you mean"
    ):
        Backbone("resnet19")
    with pytest.raises(ConfigError, match=r"has maps of strides .* not of \[7\]"):
        Backbone("resnet10t", strides=(7,))
    frozen = Backbone("resnet10t", norm="frozen")
    assert not [n for n, p in frozen.named_parameters() if "bn" in n]
    assert any(
        "GroupNorm" in type(m).__name__ for m in Backbone("resnet10t", norm="group").modules()
    )


def test_unreachable_pretrained_weights_say_what_to_do(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match="pretrained weights of 'test_resnet' cannot be reached"):
        Backbone("test_resnet", pretrained=True)
