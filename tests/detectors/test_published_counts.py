"""Parameter counts of published variants, to the last weight."""

import pytest
import torch

from gazehound.catalog import find
from gazehound.records import Classes

DEAD = 41_728  # two projections of DLA-34 that are in its files and compute nothing
CENTERNET = {
    "centernet_r18": 15_820_372,
    "centernet_r18_dcn": 14_437_349,
    "centernet_r101": 53_435_476,
    "centernet_r101_dcn": 49_673_189,
    "centernet_dla34": 19_675_892 - DEAD,
    "centernet_hourglass104": 191_284_008,
}
CENTERNET2 = {"centernet2_r50": 71_699_017, "centernet2_r101": 90_691_145}
DENSE = {  # frozen norms' affine terms counted
    "fcos_r50": 32_297_370,
    "atss_r50": 32_295_322,
    "atss_r101": 51_287_450,
    "paa_r50": 32_295_322,
    "paa_r101": 51_287_450,
    "gfl_r50": 32_440_537,
    "gfl_r101": 51_432_665,
}
EFFICIENTDET = {  # at 90 classes, as ported from TensorFlow
    "d0": 3_880_067, "d1": 6_625_898, "d2": 8_097_039, "d3": 12_032_296, "d4": 20_723_675,
    "d5": 33_653_315, "d6": 51_871_782, "d7x": 77_147_166,  # d7 is d6 at a larger input
}  # fmt: skip


def count(name, classes, **options):
    with torch.device("meta"):
        network = find(name).resolve()(Classes(tuple(f"c{i}" for i in range(classes))), **options)
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("name", [*CENTERNET, *CENTERNET2])
def test_centernet(name):
    assert count(name, 80) == (CENTERNET | CENTERNET2)[name]


@pytest.mark.parametrize("name", DENSE)
def test_dense(name):
    assert count(name, 80) == DENSE[name]


@pytest.mark.parametrize("scale", EFFICIENTDET)
def test_efficientdet(scale):
    assert count(f"efficientdet_{scale}", 90, tensorflow=True) == EFFICIENTDET[scale]


def test_efficientdet_without_redundant_biases():
    assert count("efficientdet_d0", 90) == 3_877_763
    assert count("efficientdet_d1", 90) == 6_622_026
