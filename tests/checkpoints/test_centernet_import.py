"""The key tables of the official CenterNet files, built here from the networks they were written by."""

import pytest
import timm
import torch
import torchvision

from gazehound.checkpoints.centernet import import_centernet
from gazehound.checkpoints.importing import import_file
from gazehound.errors import CheckpointError, ConfigError
from gazehound.records import Classes

HEADS = {"hm": 80, "wh": 2, "reg": 2}


def norm(name, width):
    return {
        **{
            f"{name}.{part}": (width,) for part in ("weight", "bias", "running_mean", "running_var")
        },
        f"{name}.num_batches_tracked": (),
    }


def deformable(name, inputs, outputs):
    return {
        f"{name}.weight": (outputs, inputs, 3, 3),
        f"{name}.bias": (outputs,),
        f"{name}.conv_offset_mask.weight": (27, inputs, 3, 3),
        f"{name}.conv_offset_mask.bias": (27,),
    }


def heads(channels, hidden):
    table = {}
    for name, outputs in HEADS.items():
        table[f"{name}.0.weight"], table[f"{name}.0.bias"] = (hidden, channels, 3, 3), (hidden,)
        table[f"{name}.2.weight"], table[f"{name}.2.bias"] = (outputs, hidden, 1, 1), (outputs,)
    return table


def resnet(depth, plain):
    with torch.device("meta"):
        backbone = getattr(torchvision.models, f"resnet{depth}")().state_dict()
    table = {k: tuple(v.shape) for k, v in backbone.items() if not k.startswith("fc.")}
    width = 512 if depth == 18 else 2048
    for step, outputs in enumerate((256, 256, 256) if plain else (256, 128, 64)):
        place = (3 if plain else 6) * step
        if not plain:
            table |= deformable(f"deconv_layers.{place}", width, outputs)
            table |= norm(f"deconv_layers.{place + 1}", outputs)
            place, width = place + 3, outputs
        table[f"deconv_layers.{place}.weight"] = (width, outputs, 4, 4)
        table |= norm(f"deconv_layers.{place + 1}", outputs)
        width = outputs
    return table | heads(width, 64)


def aggregate(name, outputs, inputs, factors):
    table = {}
    for i, (width, factor) in enumerate(zip(inputs, factors, strict=True), 1):
        for part, before in (("proj", width), ("node", outputs)):
            table |= deformable(f"{name}.{part}_{i}.conv", before, outputs)
            table |= norm(f"{name}.{part}_{i}.actf.0", outputs)
        table[f"{name}.up_{i}.weight"] = (outputs, 1, 2 * factor, 2 * factor)
    return table


def dla34():
    with torch.device("meta"):
        backbone = timm.create_model("dla34").state_dict()
    table = {f"base.{k}": tuple(v.shape) for k, v in backbone.items() if not k.startswith("fc.")}
    table |= {"base.fc.weight": (1000, 512, 1, 1), "base.fc.bias": (1000,)}
    for level, (before, after) in {3: (64, 128), 4: (128, 256)}.items():  # they compute nothing
        table[f"base.level{level}.project.0.weight"] = (after, before, 1, 1)
        table |= norm(f"base.level{level}.project.1", after)
    table |= aggregate("dla_up.ida_0", 256, [512], [2])
    table |= aggregate("dla_up.ida_1", 128, [256, 256], [2, 2])
    table |= aggregate("dla_up.ida_2", 64, [128, 128, 128], [2, 2, 2])
    table |= aggregate("ida_up", 64, [128, 256], [2, 4])
    return table | heads(64, 256)


def convolution(name, before, after, kernel):
    return {f"{name}.conv.weight": (after, before, kernel, kernel), **norm(f"{name}.bn", after)}


def residual(name, before, after, stride=1):
    table = {f"{name}.conv1.weight": (after, before, 3, 3), **norm(f"{name}.bn1", after)}
    table |= {f"{name}.conv2.weight": (after, after, 3, 3), **norm(f"{name}.bn2", after)}
    if stride != 1 or before != after:
        table |= {f"{name}.skip.0.weight": (after, before, 1, 1), **norm(f"{name}.skip.1", after)}
    return table


def scale(name, widths, counts):
    """One scale of an hourglass: across, down, the scales inside, back."""
    width, inner, count = widths[0], widths[1], counts[0]
    table = {}
    for i in range(count):
        table |= residual(f"{name}.up1.{i}", width, width)
        table |= residual(f"{name}.low1.{i}", inner if i else width, inner, 1 if i else 2)
        table |= residual(f"{name}.low3.{i}", inner, width if i == count - 1 else inner)
    if len(widths) > 2:
        return table | scale(f"{name}.low2", widths[1:], counts[1:])
    for i in range(counts[1]):
        table |= residual(f"{name}.low2.{i}", inner, inner)
    return table


def hourglass():
    table = convolution("pre.0", 3, 128, 7) | residual("pre.1", 128, 256, 2)
    for k in range(2):
        table |= scale(f"kps.{k}", (256, 256, 384, 384, 384, 512), (2, 2, 2, 2, 2, 4))
        table |= convolution(f"cnvs.{k}", 256, 256, 3)
        for name, outputs in HEADS.items():
            table[f"{name}.{k}.0.conv.weight"] = (256, 256, 3, 3)
            table[f"{name}.{k}.0.conv.bias"] = (256,)
            table[f"{name}.{k}.1.weight"], table[f"{name}.{k}.1.bias"] = (
                (outputs, 256, 1, 1),
                (outputs,),
            )
    for name in ("inters_", "cnvs_"):
        table |= {f"{name}.0.0.weight": (256, 256, 1, 1), **norm(f"{name}.0.1", 256)}
    return table | residual("inters.0", 256, 256)


TABLES = {
    "centernet_r18": lambda: resnet(18, True),
    "centernet_r18_dcn": lambda: resnet(18, False),
    "centernet_r50_dcn": lambda: resnet(50, False),
    "centernet_r101": lambda: resnet(101, True),
    "centernet_r101_dcn": lambda: resnet(101, False),
    "centernet_dla34": dla34,
    "centernet_hourglass104": hourglass,
}


@pytest.mark.filterwarnings("ignore:for .*copying from a non-meta parameter")
@pytest.mark.parametrize("name", TABLES)
def test_official_key_table_loads(name):
    with torch.device("meta"):
        state = {f"module.{k}": torch.zeros(shape) for k, shape in TABLES[name]().items()}
        _, header = import_centernet(state, name)
    assert header.classes.names[0] == "person"
    assert header.classes.ids[-1] == 90
    assert header.preprocess["order"] == "bgr"


@pytest.fixture(scope="module")
def state():
    generator = torch.Generator().manual_seed(0)
    table = resnet(18, False)
    return {k: torch.randn(shape, generator=generator) for k, shape in table.items()}


def test_tensors_arrive_where_they_belong(state):
    detector, _ = import_centernet(state, "centernet_r18_dcn")
    ours = detector.state_dict()
    for theirs, name in {
        "layer3.1.conv2.weight": "backbone.body.layer3.1.conv2.weight",
        "deconv_layers.6.conv_offset_mask.bias": "neck.steps.1.mix.conv.taps.bias",
        "deconv_layers.7.running_var": "neck.steps.1.mix.norm.running_var",
        "deconv_layers.15.weight": "neck.steps.2.up.weight",
        "hm.2.bias": "heads.0.branches.heat.2.bias",
        "wh.0.weight": "heads.0.branches.size.0.weight",
        "reg.2.weight": "heads.0.branches.offset.2.weight",
    }.items():
        assert torch.equal(ours[name], state[theirs]), theirs


def test_what_does_not_fit_is_told(state, tmp_path):
    with pytest.raises(CheckpointError, match="do not fit the architecture"):
        import_centernet(state, "centernet_dla34")
    with pytest.raises(
        CheckpointError, match="do not fit the architecture, the first is 'strange'"
    ):
        import_centernet({**state, "strange": torch.zeros(1)}, "centernet_r18_dcn")
    with pytest.raises(CheckpointError, match="no heatmap branch 'hm'"):
        import_centernet({}, "centernet_r18")
    with pytest.raises(ConfigError, match="80 class outputs; got 1"):
        import_centernet(state, "centernet_r18_dcn", Classes(("a",)))
    torch.save({"epoch": 140, "state_dict": state}, tmp_path / "model.pth")
    _, header = import_file(tmp_path / "model.pth", "centernet", "centernet-r18-dcn")
    assert header.notes["imported_from"] == "centernet"
    with pytest.raises(ConfigError, match="--source centernet needs --model: centernet_r18"):
        import_file(tmp_path / "model.pth", "centernet")
