"""Explanations of networks: one forward pass, and numbers that are the network's own."""

import dataclasses

import numpy as np
import pytest
import torch
import torchvision.ops

from gazehound import create
from gazehound.catalog import BY_NAME
from gazehound.data.batching import pad_targets
from gazehound.explain.assignments import compared
from gazehound.explain.explaining import explain
from gazehound.explain.matching import matched
from gazehound.explain.run import host, watched
from gazehound.explain.suppression import explained, final_suppressions
from gazehound.features.selective_search import SelectiveSearch
from gazehound.nn.assigners.assignment import State
from gazehound.nn.heatmaps import local_maxima
from gazehound.nn.pooling import Pooled
from gazehound.nn.proposals import Proposals
from gazehound.records import Classes, Sample
from gazehound.watching import Suppression

CLASSES = Classes(("a", "b"))
IMAGE = np.random.default_rng(0).integers(0, 256, (100, 140, 3), dtype=np.uint8)
TRUTHS = Sample.of(IMAGE, [[10, 12, 60, 70], [70, 30, 130, 95]], [0, 1])
DENSE = {"activations", "pyramid", "anchors", "assignments", "suppression", "score-iou"}
EXPECTED = {
    "retinanet_r18": DENSE | {"confidence"},
    "fcos_r18": DENSE | {"confidence"},
    "yolov5n": DENSE | {"confidence"},
    "yolox_nano": DENSE | {"confidence"},
    "ssd300": DENSE,
    "faster_rcnn_r50": DENSE | {"confidence", "proposals", "bins"},
    "fast_rcnn_c4": {"activations", "superpixels", "proposals", "bins", "suppression", "score-iou"},
    "centernet_r18": {"activations", "pyramid", "peaks", "score-iou"},
    "localizer_r18": {"activations", "suppression", "score-iou"},
}


def tiny(name):
    torch.manual_seed(0)
    network = create(name, CLASSES, **BY_NAME[name].tiny).detector
    network.preprocess = dataclasses.replace(network.preprocess, resize="longer", size=128)
    network.limits = dataclasses.replace(network.limits, score=0.0)
    if hasattr(network, "proposer"):
        network.proposer = SelectiveSearch("single", smallest=5)
    for part, weight in network.named_parameters():
        if "size" in part and part.endswith("bias"):  # boxes of a young network of points are empty
            torch.nn.init.constant_(weight, 6.0)
    return network.eval()


@pytest.fixture(scope="module")
def made():
    """Networks and their explanations, each made once."""
    cache = {}

    def get(name):
        if name not in cache:
            network = tiny(name)
            cache[name] = network, explain(network, IMAGE, truths=TRUTHS)
        return cache[name]

    return get


@pytest.mark.parametrize("name", EXPECTED)
def test_every_family_has_its_panels(made, name):
    network, explanation = made(name)
    assert set(explanation.keys) == EXPECTED[name]
    plain = network.predict([IMAGE])[0]
    assert np.array_equal(plain.boxes, explanation.found.boxes)
    assert np.array_equal(plain.scores, explanation.found.scores)


@pytest.mark.parametrize("name", ["retinanet_r18", "faster_rcnn_r50"])
def test_the_layers_run_once_and_the_network_is_as_before(name):
    network = tiny(name)
    passes = []
    network.backbone.register_forward_hook(lambda *_: passes.append(1))
    attributes = set(vars(network))
    owner = network if name == "retinanet_r18" else network.rpn
    assign, network.training = owner.assign, True
    explain(network, IMAGE, truths=TRUTHS)
    assert len(passes) == 1
    assert network.training
    assert owner.assign is assign
    assert set(vars(network)) == attributes
    assert not network.neck._forward_hooks


@pytest.mark.parametrize("name", ["retinanet_r18", "ssd300", "yolox_nano", "faster_rcnn_r50"])
def test_suppressed_boxes_are_those_of_the_suppression(made, name):
    network, explanation = made(name)
    run = watched(network, IMAGE, TRUTHS)
    (step,) = final_suppressions(run)
    drop = explained([step], run)
    kept = torchvision.ops.batched_nms(
        step.boxes.clone(), step.scores.clone(), step.groups.clone(), step.overlap
    )
    assert sorted(kept.tolist()) == sorted(drop.kept.tolist())
    values = explanation.panel("suppression").values
    assert values["kept"] == len(kept)
    assert values["returned"] == min(len(kept), network.limits.per_image)
    dropped = np.setdiff1d(np.arange(len(drop.boxes)), drop.kept)
    by = drop.by[dropped]
    assert (by >= 0).all()
    assert (drop.by[drop.kept] == -1).all()
    assert np.isin(by, drop.kept).all()
    assert (drop.groups[by] == drop.groups[dropped]).all()
    assert (drop.scores[by] >= drop.scores[dropped]).all()
    overlap = torchvision.ops.box_iou(step.boxes[dropped], step.boxes[by]).diagonal().numpy()
    assert np.allclose(overlap, drop.overlap[dropped], atol=1e-5)
    assert (overlap > step.overlap - 1e-5).all()


@pytest.mark.parametrize(
    "name", ["retinanet_r18", "fcos_r18", "yolov5n", "ssd300", "faster_rcnn_r50"]
)
def test_matched_anchors_are_the_assigners(made, name):
    """The drawn assignment equals one asked for outside, on a forward pass of its own."""
    network, explanation = made(name)
    batch = network.preprocess.batch([IMAGE])
    boxes = torch.from_numpy(batch.geometry[0].to_input(TRUTHS.boxes))
    targets = pad_targets([boxes], [torch.from_numpy(TRUTHS.labels)])
    with torch.no_grad():
        outputs = network(batch.images)
        match = _asked(network, outputs, targets)
    values = explanation.panel("anchors").values
    assert torch.equal(values["assignment"].state, match.state)
    positive = match.state == State.POSITIVE
    assert torch.equal(values["assignment"].truth[positive], match.truth[positive])
    assert values["positive"] == sum(values["per_level"]) == int(positive.sum()) > 0


def _asked(network, outputs, targets):
    if hasattr(network, "match"):
        return network.match(outputs, targets)
    if hasattr(network, "rpn"):
        return network.rpn.assign(outputs.first.anchors, targets)
    if hasattr(outputs, "candidates"):
        return network.assign(outputs.candidates, targets)
    return network.assign(outputs.anchors, targets)


def test_assigners_stand_side_by_side(made):
    network, explanation = made("retinanet_r18")
    match = matched(watched(network, IMAGE, TRUTHS))
    rows = compared(match)
    assert [name for name, *_ in rows] == ["max-IoU", "ATSS", "SimOTA", "OTA"]
    assert [own for *_, own in rows] == [True, False, False, False]
    values = explanation.panel("assignments").values
    for name, assignment, *_ in rows:
        assert values[name] == int(assignment.positive.sum())
    _, fcos = made("fcos_r18")
    assert list(fcos.panel("assignments").values) == ["FCOS", "max-IoU", "ATSS", "SimOTA", "OTA"]
    _, ssd = made(
        "ssd300"
    )  # its maps have four or six boxes per cell, which the others do not know
    assert list(ssd.panel("assignments").values) == ["Bipartite"]
    assert "OTA need what this detector does not have" in ssd.panel("assignments").note


def test_without_truths_the_best_detections_stand_in_and_it_says_so():
    network = tiny("retinanet_r18")
    explanation = explain(network, IMAGE)
    panel = explanation.panel("anchors")
    assert "No truths were given" in panel.note
    assert len(panel.values["assignment"].truth.unique()) <= len(explanation.best)


def test_no_object_at_all_is_no_error():
    network = tiny("retinanet_r18")
    network.limits = dataclasses.replace(network.limits, score=0.9999)
    explanation = explain(network, IMAGE)
    assert len(explanation.found) == 0
    assert explanation.panel("suppression").values["candidates"] == 0
    assert "anchors" not in explanation.keys


def test_proposals_and_bins_are_the_pools(made):
    network, explanation = made("faster_rcnn_r50")
    run = watched(network, IMAGE, TRUTHS)
    (proposals,) = run.shown(Proposals)
    assert explanation.panel("proposals").values["count"] == int(proposals.valid.sum())
    values = explanation.panel("bins").values
    pooled = run.shown(Pooled)[0]
    wanted = pooled.features[values["region"]].abs().mean(dim=0)
    assert np.allclose(values["pooled"], wanted, atol=1e-6)
    size, sampling = pooled.pool.size, pooled.pool.pool.sampling
    assert values["samples"] == (size * sampling) ** 2


def test_peaks_are_local_maxima_of_the_heatmap(made):
    network, explanation = made("centernet_r18")
    values = explanation.panel("peaks").values
    with torch.no_grad():
        heat = network(network.preprocess.batch([IMAGE]).images).heat[-1].sigmoid()
    best = local_maxima(heat).flatten(1).topk(len(values["scores"])).values[0]
    assert np.allclose(values["scores"], best, atol=1e-6)


def test_proposals_of_a_search_are_drawn_in_the_pictures_pixels(made):
    _, explanation = made("fast_rcnn_c4")
    boxes = explanation.panel("proposals").values["boxes"]
    assert boxes[:, 2].max() == pytest.approx(IMAGE.shape[1], abs=1.5)
    assert boxes[:, 3].max() == pytest.approx(IMAGE.shape[0], abs=1.5)
    assert explanation.panel("superpixels").values["superpixels"] > 1


def test_suppressions_of_several_classes_are_put_together():
    boxes = np.float32([[0, 0, 10, 10], [1, 0, 11, 10], [0, 0, 10, 10]])
    first = Suppression(boxes, np.float32([0.2, 0.9, 0.8]), np.zeros(3, int), np.array([1]), 0.5)
    second = Suppression(boxes[:2], np.float32([0.5, 0.4]), np.ones(2, int), np.array([0]), 0.5)
    run = watched(_Still(), IMAGE, None)
    drop = explained([first, second], run)
    assert drop.kept.tolist() == [1, 3]
    assert drop.by.tolist() == [1, -1, 1, -1, 3]


class _Still:
    """A detector that finds nothing and shows nothing."""

    classes = CLASSES

    def predict(self, images, *, score=None):
        from gazehound.records import Detections

        none = np.zeros(0, np.float32)
        return [
            Detections(none.reshape(0, 4), none, none.astype(np.int64), CLASSES, i.shape[:2])
            for i in images
        ]


def test_a_detector_that_shows_nothing_has_no_panels():
    assert explain(_Still(), IMAGE).keys == []
    assert host(torch.ones(2, dtype=torch.bfloat16)).tolist() == [1.0, 1.0]
