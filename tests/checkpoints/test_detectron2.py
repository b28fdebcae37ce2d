"""Detectron2's files: every key finds its place and its shape, and no code of the file is run."""

import os
import pickle
import re

import numpy as np
import pytest
import torch

from gazehound.checkpoints.detectron2 import (
    coco_classes,
    import_detectron2,
    read_detectron2,
)
from gazehound.errors import CheckpointError, ConfigError
from gazehound.records import Classes

BLOCKS = {2: 3, 3: 4, 4: 6, 5: 3}
WIDTHS = {2: 64, 3: 128, 4: 256, 5: 512}


def norm(name, channels):
    kinds = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.norm.{kind}": (channels,) for kind in kinds}


def stage(name, number):
    """Shapes of one stage of a ResNet-50, as Detectron2 names them."""
    width, shapes = WIDTHS[number], {}
    before = 64 if number == 2 else 2 * width
    for block in range(BLOCKS[number]):
        inputs = before if block == 0 else 4 * width
        sizes = {
            "conv1": (width, inputs, 1, 1),
            "conv2": (width, width, 3, 3),
            "conv3": (4 * width, width, 1, 1),
        }
        if block == 0:
            sizes["shortcut"] = (4 * width, inputs, 1, 1)
        for layer, shape in sizes.items():
            shapes[f"{name}.{block}.{layer}.weight"] = shape
            shapes.update(norm(f"{name}.{block}.{layer}", shape[0]))
    return shapes


def linear(name, outputs, inputs, kernel=()):
    return {f"{name}.weight": (outputs, inputs, *kernel), f"{name}.bias": (outputs,)}


def rpn(channels, anchors):
    head = "proposal_generator.rpn_head"
    return {
        **linear(f"{head}.conv", channels, channels, (3, 3)),
        **linear(f"{head}.objectness_logits", anchors, channels, (1, 1)),
        **linear(f"{head}.anchor_deltas", 4 * anchors, channels, (1, 1)),
    }


def pyramid():
    shapes = {"backbone.bottom_up.stem.conv1.weight": (64, 3, 7, 7)}
    shapes.update(norm("backbone.bottom_up.stem.conv1", 64))
    for number in (2, 3, 4, 5):
        shapes.update(stage(f"backbone.bottom_up.res{number}", number))
        shapes.update(linear(f"backbone.fpn_lateral{number}", 256, 4 * WIDTHS[number], (1, 1)))
        shapes.update(linear(f"backbone.fpn_output{number}", 256, 256, (3, 3)))
    return {**shapes, **rpn(256, 3)}


def head(place="", classes=80, boxes=320):
    body, predictor = f"roi_heads.box_head{place}", f"roi_heads.box_predictor{place}"
    return {
        **linear(f"{body}.fc1", 1024, 256 * 49),
        **linear(f"{body}.fc2", 1024, 1024),
        **linear(f"{predictor}.cls_score", classes + 1, 1024),
        **linear(f"{predictor}.bbox_pred", boxes, 1024),
    }


def c4():
    shapes = {"backbone.stem.conv1.weight": (64, 3, 7, 7), **norm("backbone.stem.conv1", 64)}
    for number in (2, 3, 4):
        shapes.update(stage(f"backbone.res{number}", number))
    return {
        **shapes,
        **rpn(1024, 15),
        **stage("roi_heads.res5", 5),
        **linear("roi_heads.box_predictor.cls_score", 81, 2048),
        **linear("roi_heads.box_predictor.bbox_pred", 320, 2048),
    }


def cascade():
    shapes = pyramid()
    for number in range(3):
        shapes.update(head(f".{number}", boxes=4))
    return shapes


FILES = {
    "faster_rcnn_r50": lambda: {**pyramid(), **head()},
    "faster_rcnn_c4": c4,
    "cascade_rcnn_r50": cascade,
    "rpn_r50": pyramid,
}


def count(shapes):
    """Parameters as Detectron2 counts them: frozen running statistics are buffers."""
    return sum(int(np.prod(s)) for k, s in shapes.items() if "running" not in k)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("faster_rcnn_r50", 41_753_056),
        ("faster_rcnn_c4", 33_844_764),
        ("cascade_rcnn_r50", 69_394_766),
        ("rpn_r50", 27_446_351),
    ],
)
def test_every_key_and_shape(name, parameters):
    shapes = FILES[name]()
    assert count(shapes) == parameters  # what the published models have: the listing is complete
    with torch.device("meta"):
        state = {key: torch.empty(shape) for key, shape in shapes.items()}
        state["proposal_generator.anchor_generator.cell_anchors.0"] = torch.empty(15, 4)
        state["pixel_mean"] = torch.empty(3, 1, 1)
        state["roi_heads.mask_head.predictor.weight"] = torch.empty(80, 256, 1, 1)  # not read
        network, header = import_detectron2(state, name)
    expected = {k for k in network.state_dict() if not k.endswith("num_batches_tracked")}
    assert len(expected) == len(shapes)
    assert header.arguments == {"dialect": "detectron2", "norm": "frozen"}
    names = header.classes.names
    assert (names[0], names[-1], len(names)) == (
        ("object", "object", 1) if name == "rpn_r50" else ("person", "toothbrush", 80)
    )


def test_classes_of_coco_have_their_gaps():
    classes = coco_classes()
    assert (classes.names[11], classes.ids[11]) == ("stop sign", 13)
    assert classes.ids[-1] == 90


def small_state():
    """A proposal network on C4 with telling values: cheap, and all that is reordered is in it."""
    shapes = {k: s for k, s in c4().items() if not k.startswith("roi_heads")}
    state = {k: np.zeros(s, np.float32) for k, s in shapes.items()}
    state["backbone.stem.conv1.weight"][:, 0] = 1.0  # blue
    anchors = np.arange(15, dtype=np.float32)
    state["proposal_generator.rpn_head.objectness_logits.bias"] = anchors
    state["proposal_generator.rpn_head.anchor_deltas.bias"] = np.repeat(anchors, 4) + np.tile(
        [0, 0.1, 0.2, 0.3], 15
    ).astype(np.float32)
    for key in [k for k in state if "res4" in k and "running" in k]:
        del state[key]  # as the files of the ImageNet backbones are
    return state


@pytest.fixture(scope="module")
def small_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("d2") / "model.pkl"
    file.write_bytes(pickle.dumps({"model": small_state(), "__author__": "someone"}, protocol=2))
    return file


def test_a_pickle_of_arrays(small_file):
    network, header = import_detectron2(read_detectron2(small_file), "rpn_c4")
    weight = network.backbone.body.conv1.weight
    assert weight[:, 2].min() == 1.0  # blue is the last channel here
    assert weight[:, :2].abs().max() == 0
    head = network.rpn.head
    by_ratio = [size * 3 + ratio for ratio in range(3) for size in range(5)]
    assert head.objectness.bias.tolist() == by_ratio
    assert head.box_deltas.bias.reshape(15, 4)[:, 0].tolist() == by_ratio
    assert head.box_deltas.bias[:4].tolist() == pytest.approx([0, 0.1, 0.2, 0.3])
    anchors = network.rpn.anchors([(1, 1)], (16, 16))
    wide = anchors[1]  # ratio 1:2, the second size: theirs is number 3
    assert float(wide[2] - wide[0]) == pytest.approx(64 * 2**0.5, rel=1e-5)
    frozen = network.backbone.body.layer3[0].bn1
    assert frozen.running_var[0] == pytest.approx(1 - 1e-5)
    block = network.backbone.body.layer2[0]
    assert (block.conv1.stride, block.conv2.stride) == ((2, 2), (1, 1))
    assert network.preprocess.multiple == 1
    pixels = network.preprocess.normalise(torch.full((3, 1, 1), 200, dtype=torch.uint8))
    assert pixels.flatten().tolist() == pytest.approx([76.325, 83.72, 96.47], abs=1e-3)
    assert header.detector == "rpn_c4"


def test_a_torch_file(tmp_path):
    state = {k: torch.from_numpy(v) for k, v in small_state().items()}
    torch.save({"model": state, "iteration": 5}, tmp_path / "model.pth")
    assert read_detectron2(tmp_path / "model.pth").keys() == state.keys()


class Evil:
    def __reduce__(self):
        return (os.system, ("echo ran > ran",))


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_code_in_the_pickle_is_not_run(tmp_path, monkeypatch, protocol):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "evil.pkl"
    file.write_bytes(pickle.dumps({"model": {"a": Evil()}}, protocol))
    with pytest.raises(
        CheckpointError, match=r"evil\.pkl: the pickle asks for .*\.system, which is not"
    ):
        read_detectron2(file)
    assert not (tmp_path / "ran").exists()


def test_files_that_are_something_else(tmp_path):
    file = tmp_path / "m.pkl"
    for content, reason in (
        (
            pickle.dumps({"model": {"a": np.array([{}], object)}}),
            "is no array of numbers but object",
        ),
        (pickle.dumps([1, 2]), "expected a dictionary with a 'model'"),
        (pickle.dumps({"model": {"a": np.zeros(9)}})[:-9], "not a pickle of arrays"),
        (b"hello", "not a pickle of arrays"),
    ):
        file.write_bytes(content)
        with pytest.raises(CheckpointError, match=re.escape(reason)):
            read_detectron2(file)
    with pytest.raises(CheckpointError, match="no such file"):
        read_detectron2(tmp_path / "absent.pkl")


def test_wrong_names_and_counts():
    with pytest.raises(ConfigError, match="unknown model of detectron2 'retinanet_r18'"):
        import_detectron2({}, "retinanet_r18")
    with pytest.raises(CheckpointError, match="1 keys are not known, the first is 'strange'"):
        import_detectron2({"strange": torch.zeros(1)}, "rpn_r50")
    state = {"roi_heads.box_predictor.cls_score.bias": torch.zeros(81)}
    with pytest.raises(ConfigError, match="the file has 80 classes; got 1 class names"):
        import_detectron2(state, "faster_rcnn_r50", Classes(("a",)))


def test_old_pickles_with_latin1_strings(tmp_path):
    """Protocol 2 of Python 2 carries array bytes as text: they come through whole."""
    values = np.arange(256, dtype=np.uint8)
    raw = pickle.dumps({"model": {"a": values}}, protocol=2)
    (tmp_path / "m.pkl").write_bytes(raw)
    assert read_detectron2(tmp_path / "m.pkl")["a"].tolist() == list(range(256))
