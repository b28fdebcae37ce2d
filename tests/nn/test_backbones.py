"""Backbones of every family, through timm's feature interface."""

import pytest
import torch

from gazehound.nn.backbones import Backbone

NAMES = (
    "resnet18", "resnext50_32x4d", "resnest14d", "cspresnet50", "cspdarknet53", "darknet53", "dla34",
    "densenet121", "efficientnet_b0", "mobilenetv2_100", "mobilenetv3_large_100", "regnetx_004",
    "res2net50_26w_4s", "convnext_atto", "vgg16_bn", "repvgg_a2",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_maps_have_the_strides_and_channels_that_were_promised(name):
    with torch.device("meta"):
        backbone = Backbone(name, (8, 16, 32)).eval()
        maps = backbone(torch.randn(2, 3, 64, 96))
    shapes = [tuple(m.shape) for m in maps]
    channels = backbone.channels
    wanted = [(2, c, 64 // s, 96 // s) for c, s in zip(channels, (8, 16, 32), strict=True)]
    assert shapes == wanted
    assert backbone.strides == [8, 16, 32]


@pytest.mark.parametrize("name", ["resnet18", "dla34", "convnext_atto", "mobilenetv3_small_050"])
def test_finer_maps_come_when_asked_for(name):
    with torch.device("meta"):
        backbone = Backbone(name, (4, 8, 16, 32)).eval()
        maps = backbone(torch.randn(1, 3, 64, 64))
    assert [m.shape[2] for m in maps] == [16, 8, 4, 2]
    assert [m.shape[1] for m in maps] == backbone.channels
