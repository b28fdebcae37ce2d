"""Pieces of YOLOv5 and YOLOX: identities that hold whatever the weights."""

import pytest
import torch
import torch.nn.functional as F

from gazehound.nn.cell_coders import CellCoder
from gazehound.nn.csp import CSPLayer, Focus, SpatialPyramidPooling, focus_backbone
from gazehound.nn.necks.csp_pan import CSPPAN
from gazehound.nn.points import PointGrid


@torch.no_grad()
def test_pools_one_after_the_other_are_pools_of_5_9_and_13():
    torch.manual_seed(0)
    layer = SpatialPyramidPooling(8, 6).eval()
    x = torch.randn(1, 8, 11, 15)
    y = layer.reduce(x)
    pools = [F.max_pool2d(y, size, stride=1, padding=size // 2) for size in (5, 9, 13)]
    assert torch.equal(layer(x), layer.join(torch.cat((y, *pools), dim=1)))


@torch.no_grad()
def test_focus_is_a_strided_convolution_of_six():
    """Every second pixel into channels and 3x3 is one 6x6 convolution of stride 2: YOLOv5's new stem."""
    torch.manual_seed(0)
    focus = Focus(3, 4).eval()
    weight = focus.conv.conv.weight  # 4 x (4 patches x 3 channels) x 3 x 3
    six = torch.zeros(4, 3, 6, 6)
    for patch, (dy, dx) in enumerate(((0, 0), (1, 0), (0, 1), (1, 1))):
        six[:, :, dy::2, dx::2] = weight[:, 3 * patch : 3 * patch + 3]
    images = torch.randn(1, 3, 16, 20)
    wanted = focus.conv.act(focus.conv.norm(F.conv2d(images, six, stride=2, padding=2)))
    assert torch.allclose(focus(images), wanted, atol=1e-5)


@torch.no_grad()
def test_odd_images_go_through():
    maps = focus_backbone(0.33, 0.125).eval()(torch.zeros(1, 3, 67, 101))
    assert [tuple(m.shape[-2:]) for m in maps] == [(9, 13), (5, 7), (3, 4)]
    pyramid = CSPPAN([32, 64, 128], 1).eval()(maps)
    assert [tuple(m.shape[1:]) for m in pyramid] == [(32, 9, 13), (64, 5, 7), (128, 3, 4)]


def test_a_shortcut_needs_no_weights():
    with_it, without = (CSPLayer(8, 8, 2, shortcut=s).state_dict() for s in (True, False))
    assert list(with_it) == list(without)


def test_cell_coder_goes_there_and_back():
    cells = PointGrid((8, 16))([(4, 5), (2, 3)], (32, 40))
    centre = torch.rand(len(cells), 2, generator=torch.Generator().manual_seed(0)) * 30
    size = torch.rand(len(cells), 2, generator=torch.Generator().manual_seed(1)) * 50 + 0.5
    boxes = torch.cat((centre - size / 2, centre + size / 2), dim=1)
    coder = CellCoder()
    assert torch.allclose(coder.decode(coder.encode(boxes, cells), cells), boxes, atol=1e-3)
    assert torch.equal(coder.encode(cells, cells)[:, :2], torch.full((len(cells), 2), 0.5))
    flat = torch.tensor([[3.0, 3, 3, 9]])
    assert torch.isfinite(coder.encode(flat, cells[:1])).all()
    huge = coder.decode(torch.full((1, 4), 1e4), cells[:1])
    assert torch.isfinite(huge).all()


@pytest.mark.parametrize("depth", [0.33, 1.0])
def test_repeats_grow_with_depth(depth):
    with torch.device("meta"):
        stages = focus_backbone(depth, 0.25).stages
    few = round(3 * depth)
    assert [len(stage[-1].blocks) for stage in stages] == [few, 3 * few, 3 * few, few]
