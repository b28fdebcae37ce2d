"""Starting from other weights: rows land at their class, everything is accounted for."""

import dataclasses

import numpy as np
import pytest
import torch

from gazehound.catalog import find
from gazehound.checkpoints.rebuild import build
from gazehound.errors import ConfigError
from gazehound.records import Classes
from gazehound.training.transfer import ClassAxis, class_axes, read_source, transfer

RETINANET = {"backbone": "resnet10t", "channels": 16}


def network(name, classes, seed=0, **arguments):
    torch.manual_seed(seed)
    return build(name, Classes(tuple(classes)), arguments or find(name).tiny)


def test_axes_know_where_the_rows_of_a_class_are():
    """Three anchors of (4 box numbers, objectness, classes); two of (classes, background); boxes."""
    of_class, others = ClassAxis(3, 15, False).table(2)
    assert of_class.tolist() == [[5, 12, 19], [6, 13, 20]]
    assert others.tolist() == [0, 1, 2, 3, 4, 7, 8, 9, 10, 11, 14, 15, 16, 17, 18]
    of_class, others = ClassAxis(2, 2, False).table(3)
    assert of_class.tolist() == [[0, 4], [1, 5], [2, 6]]
    assert others.tolist() == [3, 7]
    of_class, others = ClassAxis(4, 0, True).table(2)
    assert of_class.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert others.tolist() == []


# One row for each way in which classes lie in a layer: anchors x K, K + 1 and 4 K, anchors x (K + 1),
# anchors x (5 + K), one K per level.
LAYOUTS = ["retinanet_r18", "faster_rcnn_r50", "ssd300", "yolov3_tiny", "yolox_nano"]


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in LAYOUTS if find(n).tiny is not None])
def test_classes_in_another_order_give_the_same_boxes_under_their_names(name):
    old, source = network(name, "abc", 0)
    new, header = network(name, "cab", 1)
    for layer in class_axes(old, source):
        old.state_dict()[layer].normal_(std=0.05)  # fresh ones say the same of everything
    report = transfer(new, header, old.state_dict(), source)
    assert report.left_out == ()
    assert report.copied == ("c", "a", "b")
    assert set(report.remade) == set(class_axes(new, header))
    image = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    results = []
    for detector in (old, new):
        detector.preprocess = dataclasses.replace(detector.preprocess, resize="longer", size=96)
        detector.limits = dataclasses.replace(detector.limits, score=0.0)
        found = detector.predict([image])[0]
        names = np.array(found.names)
        results.append({name: np.sort(found.scores[names == name]) for name in "abc"})
    assert sum(len(scores) for scores in results[0].values()) > 0
    for name in "abc":
        assert results[0][name].shape == results[1][name].shape
        assert np.allclose(results[0][name], results[1][name], atol=1e-5)


def test_shared_classes_are_copied_new_ones_keep_their_start_and_the_rest_is_whole():
    old, source = network("retinanet_r18", ("cat", "dog"), 0, **RETINANET)
    new, header = network("retinanet_r18", ("bird", "dog", "cat"), 1, **RETINANET)
    fresh = {name: tensor.clone() for name, tensor in new.state_dict().items()}
    given = {**old.state_dict(), "head.unknown.weight": torch.zeros(3)}
    report = transfer(new, header, given, source)
    state = new.state_dict()
    for name, tensor in state.items():
        if not name.startswith("head.class_logits"):
            assert torch.equal(tensor, old.state_dict()[name]), name
    name = "head.class_logits.weight"
    tensors = (state[name], old.state_dict()[name], fresh[name])
    rows = [tensor.unflatten(0, (9, -1)) for tensor in tensors]  # anchor, class
    assert torch.equal(rows[0][:, 1], rows[1][:, 1])  # dog
    assert torch.equal(rows[0][:, 2], rows[1][:, 0])  # cat
    assert torch.equal(rows[0][:, 0], rows[2][:, 0])  # bird
    assert report.copied == ("dog", "cat")
    assert report.remade == ("head.class_logits.weight", "head.class_logits.bias")
    lines = report.lines("old.safetensors")
    assert lines[0].startswith("from old.safetensors: ")
    assert "made new: 2, with the rows of dog, cat copied (head.class_logits.weight" in lines[1]
    assert lines[2] == "left out: 1 (head.unknown.weight)"


def test_other_shapes_are_made_new_and_nothing_fitting_is_an_error():
    old, source = network("retinanet_r18", "ab", 0, **RETINANET)
    new, header = network("retinanet_r18", "ab", 1, backbone="resnet10t", channels=32)
    report = transfer(new, header, old.state_dict(), source)
    rest = {name for name in report.loaded if not name.startswith("backbone.")}
    assert rest == {"head.class_logits.bias", "head.box_deltas.bias"}  # as long as before
    assert any(name.startswith("neck.") for name in report.remade)
    with pytest.raises(ConfigError, match="none of the 1 tensors of 'retinanet_r18' fits"):
        transfer(new, header, {"x": torch.zeros(2)}, source)


def test_a_name_without_weights_is_refused():
    with pytest.raises(ConfigError, match="'retinanet_r18' has no trained weights in this package"):
        read_source("retinanet_r18")
    with pytest.raises(ConfigError, match="unknown model 'retinanet_r19'"):
        read_source("retinanet_r19")
