"""R-CNN: its three phases teach it a few pictures; what it saves is what it was."""

import numpy as np
import pytest
import torch

from gazehound import create
from gazehound.catalog import find
from gazehound.checkpoints.rebuild import load, save
from gazehound.data.shapes import shapes
from gazehound.detectors.detector import Fittable
from gazehound.detectors.rcnn import RCNN, rcnn
from gazehound.errors import CheckpointError, ConfigError, TrainingError
from gazehound.nn.region_classifier import RegionClassifier
from gazehound.records import Classes

SMALL = {
    "backbone": "resnet10t",
    "search": {"mode": "single", "smallest": 8},
    "tuning": {"steps": 40, "batch": 24, "positive": 10, "lr": 0.02},
    "svm": {"first": 20, "every": 60, "c": 0.01},
    "penalty": 10.0,
    "proposals": 60,
}


class Grid:
    """Proposes the same few boxes in every image."""

    def __init__(self, *boxes):
        self.boxes = np.array(boxes, np.float32).reshape(-1, 4)

    def propose(self, image, limit=2000):
        return self.boxes[:limit]


@pytest.fixture(autouse=True)
def small_regions(monkeypatch):
    """Regions of 64 pixels: an eighth of the time."""
    original = RegionClassifier.__init__

    def small(self, *arguments, **options):
        original(self, *arguments, **options)
        self.side = 64

    monkeypatch.setattr(RegionClassifier, "__init__", small)


@pytest.fixture(scope="module")
def lesson():
    return shapes(
        4, seed=3, size=(96, 96), objects=(1, 2), scale=(0.35, 0.6), clutter=0, hidden=0.1
    )


@pytest.mark.slow
def test_learns_a_few_pictures(lesson, tmp_path):
    torch.manual_seed(0)
    model = create("rcnn_r18", lesson.classes, **{**SMALL, "context": 4})
    assert isinstance(model.detector, Fittable)
    model.fit(lesson, seed=1, progress=False)
    svm = model.evaluate(lesson).coco().summary
    assert svm["AP50"] >= 0.9
    save(tmp_path / "rcnn.safetensors", model.detector, model.header)
    again, _ = load(tmp_path / "rcnn.safetensors")
    again.network.side = 64
    image = lesson[0].image
    wanted, got = model.predict(image), again.predict([image])[0]
    assert len(wanted) > 0
    assert np.array_equal(wanted.boxes, got.boxes)
    assert np.array_equal(wanted.scores, got.scores)
    model.detector.scores = "softmax"
    assert model.evaluate(lesson).coco().summary["AP50"] >= 0.8
    # Without its regression it finds the same objects, less exactly.
    for ridge in model.detector.models.ridges:
        ridge.weights[:], ridge.bias[:] = 0, 0
    model.detector.scores = "svm"
    assert model.evaluate(lesson).coco().summary["AP"] < svm["AP"]


def test_the_same_seed_gives_the_same_detector(lesson):
    def trained():
        torch.manual_seed(0)
        options = {**SMALL, "tuning": {"steps": 2, "batch": 4, "positive": 2}, "proposals": 8}
        detector = rcnn(lesson.classes, **{**options, "svm": {"first": 5, "every": 5}})
        detector.fit(lesson.subset([0, 1]), seed=4, progress=False)
        return detector.arrays()

    one, other = trained(), trained()
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_no_proposals_and_tiny_images(lesson):
    """A proposer that finds nothing: it learns from the objects alone, and reports nothing."""
    torch.manual_seed(0)
    tuning = {"steps": 1, "batch": 2, "positive": 1}
    detector = rcnn(lesson.classes, **{**SMALL, "tuning": tuning, "svm": {"first": 1, "every": 1}})
    detector.proposer = Grid()
    detector.fit(lesson.subset([0, 1]), progress=False)
    assert len(detector.predict([lesson[0].image])[0]) == 0
    detector.proposer = Grid([0, 0, 1, 1])
    for size in ((1, 1), (2, 50)):
        found = detector.predict([np.zeros((*size, 3), np.uint8)], score=0.0)[0]
        assert np.all(found.boxes <= [size[1], size[0], size[1], size[0]])


def test_a_class_without_objects_is_never_reported(lesson):
    torch.manual_seed(0)
    classes = Classes((*lesson.classes.names, "unicorn"))
    tuning = {"steps": 1, "batch": 4, "positive": 2}
    options = {**SMALL, "tuning": tuning, "svm": {"first": 4, "every": 4}, "limits": {"score": 0.5}}
    detector = rcnn(classes, **{**options, "proposals": 10})
    detector.fit(lesson.subset([0]), progress=False)
    assert "unicorn" not in detector.predict([lesson[0].image])[0].names


def test_errors(lesson):
    classes = lesson.classes
    detector = rcnn(classes, backbone="resnet10t")
    with pytest.raises(ConfigError, match="has not been trained yet"):
        detector.predict([np.zeros((5, 5, 3), np.uint8)])
    empty = shapes(2, size=(64, 64), empty=1.0, classes=classes.names)
    with pytest.raises(TrainingError, match="without objects"):
        detector.fit(empty, progress=False)
    with pytest.raises(ConfigError, match="unknown scores of R-CNN 'sofmax'"):
        rcnn(classes, backbone="resnet10t", scores="sofmax")
    with pytest.raises(ConfigError, match="R-CNN needs proposals above 0; got 0"):
        rcnn(classes, backbone="resnet10t", proposals=0)
    with pytest.raises(CheckpointError, match=r"the file has no '0\.svm\.numbers'"):
        detector.load_arrays(detector.arrays())
    with pytest.raises(ConfigError, match="a file of weights serves alexnet"):
        rcnn(classes, backbone="resnet10t", pretrained="weights.pth")


@pytest.mark.parametrize(("name", "millions"), [("rcnn_alexnet", 57.3), ("rcnn_r18", 11.2)])
def test_sizes(name, millions):
    entry = find(name)
    with torch.device("meta"):
        detector = entry.resolve()(Classes(tuple(f"class {i}" for i in range(80))))
    assert isinstance(detector, RCNN)
    count = sum(p.numel() for p in detector.network.parameters())
    assert round(count / 1e6, 1) == millions == entry.parameters
