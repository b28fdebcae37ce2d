"""Every row of the catalogue resolves, and says the truth about itself."""

import pytest

from gazehound.catalog import BY_NAME, ENTRIES, WEIGHTS, find
from gazehound.checkpoints.native import read_header
from gazehound.errors import ConfigError
from gazehound.records import Classes

EIGHTY = Classes(tuple(f"class {i}" for i in range(80)))


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: e.name)
def test_row(entry):
    assert callable(entry.resolve())
    assert entry.kind in ("network", "classical")
    assert 2001 <= entry.year <= 2021
    if entry.weights:
        assert find(read_header(WEIGHTS / entry.weights).detector) == entry


@pytest.mark.parametrize("entry", [e for e in ENTRIES if e.kind == "network"], ids=lambda e: e.name)
def test_parameter_count(entry):
    import torch

    with torch.device("meta"):
        network = entry.resolve()(EIGHTY)
    assert round(sum(p.numel() for p in network.parameters()) / 1e6, 1) == entry.parameters


def test_published_parameter_counts():
    """Detectron2's count with P6 on P5, frozen norms' affine terms included; torchvision's at 91 classes."""
    import torch

    ninety_one = Classes(tuple(f"class {i}" for i in range(91)))
    for name, classes, published in (
        ("retinanet_r50", EIGHTY, 33_839_924),
        ("retinanet_r50", ninety_one, 34_014_999),
        ("retinanet_r50_v2", ninety_one, 38_198_935),
    ):
        with torch.device("meta"):
            network = find(name).resolve()(classes)
        count = sum(p.numel() for p in network.parameters())
        norms = sum(
            p.numel()
            for n, p in network.backbone.named_parameters()
            if "bn" in n or "downsample.1" in n
        )
        assert published in (count, count - norms)


def test_names():
    assert len(BY_NAME) == len(ENTRIES)
    assert find("retinanet-r18") is BY_NAME["retinanet_r18"]
    with pytest.raises(ConfigError, match="unknown model 'yolo'"):
        find("yolo")
