"""The DPM detector: hard images, files, errors, and a set it must learn."""

import math

import numpy as np
import pytest

from gazehound.checkpoints.native import Header, load_arrays, save_arrays
from gazehound.data.shapes import shapes
from gazehound.detectors.detector import Fittable
from gazehound.detectors.dpm import DPM, dpm, margin_of, score_of
from gazehound.errors import CheckpointError, ConfigError, ImageError, TrainingError
from gazehound.features.part_model import PartModel
from gazehound.features.part_structure import with_mirrors
from gazehound.features.parts import Component
from gazehound.metrics.evaluation import Evaluation
from gazehound.records import Classes

CLASSES = Classes(("thing",))
SCENES = {
    "size": 160,
    "classes": ("star", "cross"),
    "objects": (1, 2),
    "scale": (0.35, 0.6),
    "clutter": 3,
    "hidden": 0.2,
}
SHORT = {
    "components": 1,
    "parts": 4,
    "part_size": 4,
    "few_images": 12,
    "last_images": 24,
    "per_image": 20,
    "cache": 400,
    "root_rounds": (1, 1),
    "mixture_rounds": (1, 1),
    "part_rounds": (1, 2),
    "last_rounds": (1, 1),
    "iterations": 60,
}


@pytest.fixture
def detector():
    rng = np.random.default_rng(0)
    component = Component(
        rng.normal(scale=0.05, size=(6, 4, 32)).astype(np.float32),
        rng.normal(scale=0.05, size=(2, 4, 4, 32)).astype(np.float32),
        np.array([[0, 0], [3, 6]]),
        np.tile([0.02, 0.0, 0.02, 0.0], (2, 1)),
        0.0,
        np.zeros(2),
    )
    made = dpm(CLASSES, interval=4)
    made.models = {0: PartModel(with_mirrors([component], 8, 4), 0.0)}
    return made


def test_it_is_fittable(detector):
    assert isinstance(detector, Fittable)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((1, 1, 3), np.uint8),
        np.zeros((1, 300, 3), np.uint8),
        np.full((7, 5, 3), 255, np.uint8),
        np.full((90, 90, 3), 128, np.uint8),
        np.random.default_rng(1).integers(0, 256, (30, 200, 3), np.uint8),
        np.random.default_rng(2).integers(0, 256, (80, 60), np.uint8),
        np.random.default_rng(3).integers(0, 65536, (80, 60, 1), np.uint16),
    ],
    ids=["1px", "1row", "tiny", "flat", "low", "grey", "16bit"],
)
def test_any_image_gives_detections_inside_it(detector, image):
    for found in detector.predict([image], score=0.0):
        assert len(found) <= detector.limit
        assert np.isfinite(found.scores).all()
        assert (np.diff(found.scores) <= 0).all()
        assert found.image_size == image.shape[:2]
        assert (found.boxes >= 0).all()
        assert (found.boxes[:, 2::2] <= image.shape[1]).all()
        assert (found.boxes[:, 3::2] <= image.shape[0]).all()
        assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()


def test_scores_begin_at_the_asked_one(detector):
    image = np.random.default_rng(4).integers(0, 256, (120, 100, 3), np.uint8)
    (every,) = detector.predict([image], score=0.0)
    middle = float(np.median(every.scores))
    (some,) = detector.predict([image], score=middle)
    assert len(some)
    assert (some.scores >= middle - 1e-6).all()
    np.testing.assert_array_equal(some.scores, every.scores[: len(some)])


def test_scores_are_margins_mapped_to_0_1(detector):
    image = np.random.default_rng(4).integers(0, 256, (120, 100, 3), np.uint8)
    _, placed = detector.place(image, detector.models[0], -math.inf)
    (found,) = detector.predict([image], score=0.0)
    assert found.scores[0] == pytest.approx(1 / (1 + math.exp(-2 * placed.scores[0])))
    assert ((found.scores > 0) & (found.scores < 1)).all()
    for score in (0.01, 0.25, 0.5, 0.99):
        assert score_of(np.float32(margin_of(score))) == pytest.approx(score, rel=1e-5)
    assert margin_of(0) == -math.inf
    assert margin_of(1) == math.inf


def test_magnifying_finds_what_an_enlarged_image_shows(detector):
    image = np.random.default_rng(5).integers(0, 256, (70, 60, 3), np.uint8)
    twice = dpm(CLASSES, interval=4, magnify=2)
    twice.models = detector.models
    (found,) = twice.predict([image], score=0.12)
    small = np.minimum(found.boxes[:, 2] - found.boxes[:, 0], found.boxes[:, 3] - found.boxes[:, 1])
    assert len(found)
    assert small.min() < 4 * 8  # narrower than the root at the image's own size
    assert (found.boxes[:, 2] <= 60).all()


def test_a_model_survives_its_file(detector, tmp_path):
    file = tmp_path / "model.safetensors"
    save_arrays(file, detector.arrays(), Header("dpm", {"interval": 4}, CLASSES))
    arrays, header = load_arrays(file)
    again = dpm(header.classes, **header.arguments)
    again.load_arrays(arrays)
    image = np.random.default_rng(6).integers(0, 256, (120, 100, 3), np.uint8)
    (want,), (got,) = (d.predict([image]) for d in (detector, again))
    np.testing.assert_array_equal(got.boxes, want.boxes)
    np.testing.assert_array_equal(got.scores, want.scores)


def test_errors_say_what_is_wrong(detector):
    with pytest.raises(ConfigError, match="no model yet"):
        DPM(CLASSES).predict([])
    with pytest.raises(ConfigError, match="interval must be at least 1; got 0"):
        DPM(CLASSES, interval=0)
    with pytest.raises(ConfigError, match=r"overlap must be in 0..1; got 2"):
        DPM(CLASSES, overlap=2)
    with pytest.raises(ConfigError, match="unknown option of training 'part'"):
        DPM(CLASSES, training={"part": 3})
    with pytest.raises(CheckpointError, match="no part model of class 'other'"):
        DPM(Classes(("thing", "other"))).load_arrays(detector.arrays())
    with pytest.raises(ImageError, match="must have shape"):
        detector.predict([np.zeros((9, 9, 4), np.uint8)])
    with pytest.raises(TrainingError, match="class 'star'"):
        DPM(Classes(("star", "cross")), training=SHORT).fit(
            shapes(2, seed=1, empty=1.0, **SCENES), progress=False
        )


@pytest.mark.slow
def test_it_learns_shapes_and_the_cascade_keeps_them():
    train, val = shapes(48, seed=1, **SCENES), shapes(16, seed=2, **SCENES)
    # the losses of so few objects would weigh next to nothing beside the norm of the weights
    plan = {**SHORT, "c": 0.02, "few_images": 24, "last_images": 48}
    detector = DPM(train.classes, interval=4, training=plan)
    detector.fit(train, seed=3, progress=False)
    results = []
    for detector.cascade in (False, True):
        evaluation = Evaluation(val.classes)
        for index in range(len(val)):
            sample = val[index]
            evaluation.add(sample, detector.predict([sample.image])[0])
        results.append(evaluation.coco().summary["AP50"])
    assert results[0] > 0.3
    assert results[1] > results[0] - 0.03


@pytest.mark.slow
def test_training_is_repeatable():
    train = shapes(8, seed=1, **{**SCENES, "classes": ("star",), "objects": (1, 1)})
    options = {**SHORT, "part_rounds": (1, 1), "last_rounds": (0, 0), "iterations": 20}
    arrays = []
    for _ in range(2):
        detector = DPM(train.classes, training=options)
        detector.fit(train, seed=3, progress=False)
        arrays.append(detector.arrays())
    for name, array in arrays[0].items():
        np.testing.assert_array_equal(arrays[1][name], array, err_msg=name)


def test_a_cascade_is_calibrated_on_objects(detector):
    train = shapes(6, seed=4, **{**SCENES, "classes": ("star",)})
    model = detector.models[0]
    detector.calibrate_cascade(train, score=0.0)
    cascade = detector.models[0].cascade
    assert cascade.order.shape == (2, 2)
    assert cascade.thresholds.shape == (2, 2, 2)
    assert np.isfinite(cascade.thresholds).all()
    detector.models = {0: model}
    with pytest.raises(TrainingError, match="0 objects were found above a margin of inf"):
        detector.calibrate_cascade(train, score=1.0)
