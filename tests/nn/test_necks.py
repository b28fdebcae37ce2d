"""Necks: one contract for all, published parameter counts, and plain references of the wiring."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gazehound.catalog import find
from gazehound.errors import ConfigError
from gazehound.nn.necks.bifpn import BiFPN
from gazehound.nn.necks.nas_fpn import NASFPN, attend, resize
from gazehound.nn.necks.neck import NECKS, make_neck
from gazehound.nn.necks.panet import PANet
from gazehound.records import Classes

INPUTS = (12, 20, 36)


def maps_of(size, batch=2, strides=(8, 16, 32), inputs=INPUTS):
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(batch, c, -(-size[0] // s), -(-size[1] // s), generator=generator)
        for c, s in zip(inputs, strides, strict=True)
    ]


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("name", NECKS)
@pytest.mark.parametrize("size", [(128, 128), (96, 160), (33, 290)], ids=str)
def test_every_neck_gives_five_levels(name, size):
    neck = make_neck(name, INPUTS, 16)
    maps = maps_of(size)
    before = [m.clone() for m in maps]
    pyramid = neck(maps)
    shapes = [tuple(m.shape) for m in pyramid]
    wanted = [(2, 16, -(-size[0] // s), -(-size[1] // s)) for s in (8, 16, 32, 64, 128)]
    assert shapes == wanted
    assert neck.channels == 16
    assert all(torch.equal(a, b) for a, b in zip(maps, before, strict=True))


@pytest.mark.parametrize("name", NECKS)
def test_every_weight_and_every_input_gets_a_gradient(name):
    neck = make_neck(name, INPUTS, 16)
    maps = [m.requires_grad_() for m in maps_of((128, 128))]
    sum(level.square().mean() for level in neck(maps)).backward()
    assert [n for n, p in neck.named_parameters() if p.grad is None] == []
    assert all(m.grad is not None and m.grad.abs().sum() > 0 for m in maps)


@pytest.mark.parametrize("name", ["fpn", "panet", "bifpn", "yolo"])
def test_a_neck_adds_no_levels_when_none_are_wanted(name):
    assert len(make_neck(name, INPUTS, 16, levels=3)(maps_of((64, 64)))) == 3


@pytest.mark.parametrize("name", NECKS)
def test_retinanet_takes_every_neck(name):
    classes = Classes(("a", "b"))
    network = find("retinanet_r18").resolve()(classes, backbone="resnet10t", channels=32, neck=name)
    dense = network(torch.randn(2, 3, 128, 128))
    assert dense.logits.shape == (2, 9 * (256 + 64 + 16 + 4 + 1), 2)


def test_published_parameter_counts():
    """MMDetection's Faster R-CNN R50-PAFPN (less its FPN twin), NAS-FPN R50, EfficientDet-D0's BiFPN."""
    resnet = (256, 512, 1024, 2048)
    with torch.device("meta"):
        fpn, panet = (make_neck(n, resnet, levels=4) for n in ("fpn", "panet"))
        nas = NASFPN(resnet[1:])
    assert count(panet) - count(fpn) == 45_293_536 - 41_753_056  # the whole detectors' difference
    assert count(nas) == 29_990_144


def test_panet_is_a_running_sum():
    neck = PANet(INPUTS, 16, levels=3)
    maps = maps_of((64, 64))
    p3, p4, p5 = neck.top_down(maps)
    m4 = p4 + neck.stride[0](p3)
    m5 = p5 + neck.stride[1](m4)
    wanted = [p3, neck.smooth[0](m4), neck.smooth[1](m5)]
    assert all(torch.equal(a, b) for a, b in zip(neck(maps), wanted, strict=True))


def test_bifpn_fuses_as_the_paper_writes_it():
    """Section 3.3's two equations for level 6, and the ends of the two ways, on equal widths."""
    neck = BiFPN((16,) * 5, 16, cells=1).eval()
    cell = neck.cells[0]
    p3, p4, p5, p6, p7 = maps = maps_of((128, 128), 2, (8, 16, 32, 64, 128), (16,) * 5)
    for node in [*cell.middle, *cell.output]:
        nn.init.uniform_(node.weights, -0.5, 2.0)

    def up(x):
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)

    def down(x):
        return F.max_pool2d(x, 3, 2, 1)

    def fuse(node, *sources):
        weights = [max(w, 0.0) for w in node.weights.tolist()]
        total = sum(w * x for w, x in zip(weights, sources, strict=True)) / (sum(weights) + 1e-4)
        return node.norm(node.conv(total * torch.sigmoid(total)))

    mid6 = fuse(cell.middle[0], p6, up(p7))
    mid5 = fuse(cell.middle[1], p5, up(mid6))
    mid4 = fuse(cell.middle[2], p4, up(mid5))
    out3 = fuse(cell.middle[3], p3, up(mid4))
    out4 = fuse(cell.output[0], p4, mid4, down(out3))
    out5 = fuse(cell.output[1], p5, mid5, down(out4))
    out6 = fuse(cell.output[2], p6, mid6, down(out5))
    out7 = fuse(cell.output[3], p7, down(out6))
    for got, wanted in zip(neck(maps), (out3, out4, out5, out6, out7), strict=True):
        assert torch.allclose(got, wanted, atol=1e-5)


def test_nas_fpn_cells():
    small, large = torch.randn(1, 4, 3, 5), torch.randn(1, 4, 6, 10)
    assert torch.equal(resize(small, large), small.repeat_interleave(2, 2).repeat_interleave(2, 3))
    assert torch.equal(resize(large, small), F.max_pool2d(large, 2))
    pooled = F.max_pool2d(large, 2)
    wanted = pooled + torch.sigmoid(pooled.mean((2, 3), keepdim=True)) * small
    assert torch.allclose(attend(small, large, like=small), wanted, atol=1e-6)


def test_wrong_names_and_levels_are_told():
    with pytest.raises(ConfigError, match="unknown neck 'pan'"):
        make_neck("pan", INPUTS)
    with pytest.raises(ConfigError, match="has no 2 levels"):
        make_neck("panet", INPUTS, levels=2)
    with pytest.raises(ConfigError, match="5 levels"):
        make_neck("nas-fpn", INPUTS, levels=3)
