"""The key table of the official CenterNet2 release, built here from what Detectron2 writes."""

import pytest
import torch
import torchvision

from gazehound.checkpoints.centernet2 import import_centernet2
from gazehound.errors import CheckpointError, ConfigError
from gazehound.records import Classes


def layer(name, *shape):
    return {f"{name}.weight": shape, f"{name}.bias": (shape[0],)}


def bottom_up(depth):
    """torchvision's ResNet under Detectron2's names."""
    with torch.device("meta"):
        backbone = getattr(torchvision.models, f"resnet{depth}")().state_dict()
    table = {}
    for key, tensor in backbone.items():
        if key.startswith("fc.") or key.endswith("num_batches_tracked"):
            continue
        for theirs, ours in (
            ("layer1.", "res2."), ("layer2.", "res3."), ("layer3.", "res4."), ("layer4.", "res5."),
            ("downsample.0.", "shortcut."), ("downsample.1.", "shortcut.norm."),
            *((f"bn{i}.", f"conv{i}.norm.") for i in (1, 2, 3)),
        ):  # fmt: skip
            key = key.replace(theirs, ours)
        stem = "stem." if key.startswith("conv1.") else ""
        table[f"backbone.bottom_up.{stem}{key}"] = tuple(tensor.shape)
    return table


def release(depth=50, classes=80):
    table = bottom_up(depth)
    for n, width in ((3, 512), (4, 1024), (5, 2048)):
        table |= layer(f"backbone.fpn_lateral{n}", 256, width, 1, 1)
        table |= layer(f"backbone.fpn_output{n}", 256, 256, 3, 3)
    for n in (6, 7):
        table |= layer(f"backbone.top_block.p{n}", 256, 256, 3, 3)
    first = "proposal_generator.centernet_head"
    for i in range(4):
        table |= layer(f"{first}.bbox_tower.{3 * i}", 256, 256, 3, 3)
        table |= layer(f"{first}.bbox_tower.{3 * i + 1}", 256)
    table |= layer(f"{first}.bbox_pred", 4, 256, 3, 3) | layer(f"{first}.agn_hm", 1, 256, 3, 3)
    table |= {f"{first}.scales.{level}.scale": (1,) for level in range(5)}
    for k in range(3):
        table |= layer(f"roi_heads.box_head.{k}.fc1", 1024, 256 * 7 * 7)
        table |= layer(f"roi_heads.box_head.{k}.fc2", 1024, 1024)
        table |= layer(f"roi_heads.box_predictor.{k}.cls_score", classes + 1, 1024)
        table |= layer(f"roi_heads.box_predictor.{k}.bbox_pred", 4, 1024)
    return table


def empty(table):
    return {name: torch.zeros(shape) for name, shape in table.items()}


@pytest.mark.filterwarnings("ignore:for .*copying from a non-meta parameter")
@pytest.mark.parametrize("depth", [50, 101])
def test_official_key_table_loads(depth):
    with torch.device("meta"):
        _, header = import_centernet2(empty(release(depth)), f"centernet2_r{depth}")
    assert header.classes.names[0] == "person"
    assert header.preprocess["order"] == "bgr"
    assert header.arguments == {"dialect": "detectron2", "norm": "frozen"}


def test_tensors_arrive_where_they_belong():
    with torch.device("meta"):
        state = empty(release(classes=3))
    generator = torch.Generator().manual_seed(0)
    state = {
        name: torch.randn(t.shape, generator=generator) if t.numel() < 1_000_000 else torch.zeros(t.shape)
        for name, t in state.items()
    }  # fmt: skip
    detector, _ = import_centernet2(state, "centernet2_r50", Classes(("a", "b", "c")))
    ours = detector.state_dict()
    for theirs, name in {
        "backbone.bottom_up.stem.conv1.weight": "backbone.body.conv1.weight",
        "backbone.bottom_up.res4.3.conv2.norm.running_var": "backbone.body.layer3.3.bn2.running_var",
        "backbone.bottom_up.res3.0.shortcut.norm.bias": "backbone.body.layer2.0.downsample.1.bias",
        "backbone.fpn_lateral5.bias": "neck.lateral.2.conv.bias",
        "backbone.top_block.p7.weight": "neck.p7.weight",
        "proposal_generator.centernet_head.bbox_tower.7.bias": "head.tower.2.norm.bias",
        "proposal_generator.centernet_head.agn_hm.weight": "head.heat.weight",
        "roi_heads.box_predictor.2.bbox_pred.weight": "stages.2.predictor.box_deltas.weight",
    }.items():
        assert torch.equal(ours[name], state[theirs]), theirs
    scales = [state[f"proposal_generator.centernet_head.scales.{i}.scale"] for i in range(5)]
    assert torch.equal(ours["head.scales"], torch.cat(scales))
    assert detector.backbone.body.layer2[0].conv1.stride == (2, 2)  # Detectron2's ResNet


def test_what_does_not_fit_is_told():
    with torch.device("meta"):
        state = empty(release(50))
        with pytest.raises(CheckpointError, match="do not fit the architecture"):
            import_centernet2(state, "centernet2_r101")
        with pytest.raises(CheckpointError, match="1 keys are not known, the first is 'strange'"):
            import_centernet2({**state, "strange": torch.zeros(1)}, "centernet2_r50")
        with pytest.raises(ConfigError, match="80 classes; got 1"):
            import_centernet2(state, "centernet2_r50", Classes(("a",)))
        with pytest.raises(CheckpointError, match="no region heads"):
            import_centernet2({}, "centernet2_r50")
