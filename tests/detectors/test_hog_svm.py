"""HOG + linear SVM as a detector: it learns, its scores mean something, its file is safe and exact."""

import json

import numpy as np
import pytest

from gazehound import create, load
from gazehound.boxes.iou import pairwise
from gazehound.checkpoints.rebuild import save
from gazehound.data import open_dataset
from gazehound.data.shapes import shapes
from gazehound.detectors.detector import Fittable
from gazehound.detectors.hog_svm import HogSvm
from gazehound.errors import CheckpointError, ConfigError, ImageError, TrainingError
from gazehound.features.linear_svm import Platt, fit_linear_svm, fit_platt
from gazehound.features.window_training import Rules, Shape, crop_descriptor, hard_negatives
from gazehound.records import Classes, Detections, Sample

SCENES = {
    "size": 128, "classes": ("circle", "triangle"), "objects": (1, 3), "scale": (0.25, 0.4),
    "hidden": 0.0, "clutter": 3,
}  # fmt: skip
SETTINGS = {"step": 1.2, "training": {"rounds": 1, "images": 20, "per_image": 5}}


@pytest.fixture(scope="module")
def trained():
    detector = HogSvm(Classes(SCENES["classes"]), **SETTINGS)
    detector.fit(shapes(40, seed=1, **SCENES), seed=0, progress=False)
    return detector


def test_it_is_fittable(trained):
    assert isinstance(trained, Fittable)


def test_it_finds_what_it_learned(trained):
    found, right = 0, 0
    for sample in shapes(12, seed=2, **SCENES):
        detections = trained.predict([sample.image], score=0.3)[0]
        overlap = pairwise(detections.boxes, sample.boxes)
        for k, label in enumerate(sample.labels):
            found += 1
            right += bool(((overlap[:, k] >= 0.5) & (detections.labels == label)).any())
    assert right / found >= 0.6


def test_scores_are_probabilities_that_grow_with_the_margin(trained):
    sample = shapes(1, seed=3, **SCENES)[0]
    detections = trained.predict([sample.image], score=0.0)[0]
    assert np.all((detections.scores > 0) & (detections.scores < 1))
    assert np.all(np.diff(detections.scores) <= 0)
    boxes, margins = trained.responses(sample.image, -1.0)[0]
    own = trained.platt[0].probability(margins)
    assert np.all(np.diff(own[np.argsort(margins)]) >= 0)
    assert len(boxes) == len(margins)


def test_the_same_seed_gives_the_same_detector(trained):
    again = HogSvm(Classes(SCENES["classes"]), **SETTINGS)
    again.fit(shapes(40, seed=1, **SCENES), seed=0, progress=False)
    for name, array in trained.arrays().items():
        np.testing.assert_array_equal(array, again.arrays()[name])


def test_save_and_load_keep_every_detection(trained, tmp_path):
    _, header = (model := create("hog-svm", SCENES["classes"], **SETTINGS)).detector, model.header
    save(tmp_path / "hog.safetensors", trained, header)
    json.dumps(header.arguments)
    back = load(tmp_path / "hog.safetensors")
    image = shapes(1, seed=5, **SCENES)[0].image
    one, other = trained.predict([image])[0], back.predict(image)
    np.testing.assert_array_equal(one.boxes, other.boxes)
    np.testing.assert_array_equal(one.scores, other.scores)


@pytest.mark.parametrize(
    "shape", [(1, 1, 3), (1, 300, 3), (20, 20, 3), (40, 31), (90, 110, 1), (64, 64, 3)]
)
def test_images_of_every_shape(trained, shape):
    image = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    copy = image.copy()
    found = trained.predict([image], score=0.0)[0]
    assert isinstance(found, Detections)
    assert found.image_size == shape[:2]
    height, width = shape[:2]
    assert np.all((found.boxes >= 0) & (found.boxes <= [width, height, width, height]))
    np.testing.assert_array_equal(image, copy)


def test_flat_images_hold_nothing(trained):
    assert len(trained.predict([np.full((128, 128, 3), 200, np.uint8)], score=0.5)[0]) == 0


def test_sixteen_bit_images_are_those_of_eight(trained):
    image = shapes(1, seed=7, **SCENES)[0].image
    one, other = trained.predict([image, image.astype(np.uint16) * 257])
    np.testing.assert_array_equal(one.boxes, other.boxes)


def test_no_images_give_no_records(trained):
    assert trained.predict([]) == []


@pytest.mark.parametrize("fusion", ["nms", "mean-shift", "rectangles", "none"])
def test_every_fusion_gives_boxes_in_the_image(trained, fusion):
    detector = HogSvm(trained.classes, **{**SETTINGS, "fusion": fusion, "overlap": 0.5})
    detector.load_arrays(trained.arrays())
    image = shapes(1, seed=9, **SCENES)[0].image
    found = detector.predict([image], score=0.01)[0]
    assert np.all((found.boxes >= 0) & (found.boxes <= 128))
    assert len(found) <= detector.limit


def test_a_given_window_is_kept():
    detector = HogSvm(Classes(("circle",)), window=(48, 48), **SETTINGS)
    scenes = {**SCENES, "classes": ("circle",)}
    detector.fit(shapes(12, seed=1, **scenes), progress=False)
    assert detector.templates[0].window == (48, 48)
    assert detector.templates[0].weights.shape == (5, 5, 36)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"fusion": "magic"}, "unknown fusion"),
        ({"stride": 0}, "stride"),
        ({"window": (8, 8)}, "a window must hold a block"),
        ({"hog": {"cells": 8}}, "option of hog 'cells'; did you mean cell"),
        ({"training": {"turns": 8}}, "option of training"),
        ({"hog": {"cell": 0}}, "cell must be at least 1"),
    ],
)
def test_wrong_arguments_are_named(options, reason):
    with pytest.raises(ConfigError, match=reason):
        HogSvm(Classes(("a",)), **options)


def test_untrained_and_unreadable():
    detector = HogSvm(Classes(("a",)))
    with pytest.raises(ConfigError, match="no template yet"):
        detector.predict([np.zeros((64, 64, 3), np.uint8)])


def test_what_is_no_image_is_refused(trained):
    with pytest.raises(ImageError, match="uint8"):
        trained.predict([np.zeros((64, 64, 3), np.float32)])


def test_nothing_to_learn_from():
    scenes = shapes(4, seed=1, **SCENES)
    with pytest.raises(TrainingError, match="without images"):
        HogSvm(scenes.classes).fit(scenes.subset([]), progress=False)
    lonely = HogSvm(Classes((*SCENES["classes"], "unseen")))
    with pytest.raises(TrainingError, match="class 'unseen' has no box"):
        lonely.fit(scenes, progress=False)
    with pytest.raises(TrainingError, match="no box fits a window of 32x128"):
        HogSvm(scenes.classes, window=(128, 32)).fit(scenes, progress=False)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda a: a.pop("1.weights"), "no '1.weights' of class 'triangle'"),
        (lambda a: a.update({"0.weights": a["0.weights"][1:]}), "needs weights"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(trained, change, reason):
    arrays = trained.arrays()
    change(arrays)
    with pytest.raises(CheckpointError, match=reason):
        HogSvm(trained.classes, **SETTINGS).load_arrays(arrays)


def test_hard_negatives_overlap_no_object(trained):
    template, shape = trained.templates[0], trained.shapes[0]
    sample = shapes(1, seed=11, **SCENES)[0]
    rules = Rules(per_image=50)
    without = Sample.of(sample.image)
    beside = hard_negatives(sample, 0, shape, trained.hog, rules, template)
    everywhere = hard_negatives(without, 0, shape, trained.hog, rules, template)
    assert len(beside) <= len(everywhere) <= 50
    flat = template.weights.reshape(-1)
    assert np.all(everywhere.reshape(len(everywhere), -1) @ flat + template.bias >= -1.001)


def test_crops_outside_the_image_are_mirrored():
    planes = np.random.default_rng(0).integers(0, 256, (3, 40, 30)).astype(np.uint8)
    shape = Shape((64, 32), (48, 16))
    for box in ([-10, -20, 10, 28], [25, 30, 45, 90], [0, 0, 30, 40], [29, 39, 30, 40]):
        found = crop_descriptor(
            planes, np.asarray(box, np.float32), shape, HogSvm(Classes(("a",))).hog
        )
        assert found.shape == (7, 3, 36)
        assert np.isfinite(found).all()


def test_shape_fits_the_boxes_it_is_made_of():
    boxes = np.array([[0, 0, 20, 60], [0, 0, 22, 60], [5, 5, 24, 66]], np.float32)
    hog = HogSvm(Classes(("a",))).hog
    shape = Shape.fitting(boxes, hog)
    assert shape.content[1] / shape.content[0] == pytest.approx(1 / 3, abs=0.1)
    assert (shape.window[0] - hog.side) % hog.stride == 0
    assert shape.fits(boxes, 1.5, 0.1).all()
    assert not shape.fits(np.array([[0, 0, 60, 20]], np.float32), 1.5, 0.1).any()


def test_the_svm_separates_and_needs_both_kinds():
    rng = np.random.default_rng(0)
    good, bad = rng.normal(1, 0.5, (50, 4)), rng.normal(-1, 0.5, (80, 4))
    weights, bias = fit_linear_svm(good.astype(np.float32), bad.astype(np.float32), c=1.0)
    assert np.mean(good @ weights + bias > 0) > 0.95
    assert np.mean(bad @ weights + bias < 0) > 0.95
    with pytest.raises(TrainingError, match="no positive"):
        fit_linear_svm(good[:0].astype(np.float32), bad.astype(np.float32))


def test_platt_recovers_a_sigmoid():
    rng = np.random.default_rng(0)
    margins = rng.normal(0, 2, 20_000).astype(np.float32)
    truth = rng.random(20_000) < 1 / (1 + np.exp(-(1.5 * margins - 0.7)))
    fitted = fit_platt(margins, truth)
    assert fitted.slope == pytest.approx(1.5, rel=0.1)
    assert fitted.offset == pytest.approx(-0.7, abs=0.1)
    assert fitted.margin(0.3) == pytest.approx((np.log(0.3 / 0.7) - fitted.offset) / fitted.slope)
    assert fit_platt(margins, np.zeros(20_000, bool)) == Platt()
    assert fit_platt(margins, margins < 0) == Platt()


@pytest.mark.slow
def test_the_bundled_template_finds_upright_persons(real_data):
    """In 40 photographs its three best boxes hold every fourth upright person of 80 pixels or more."""
    val = open_dataset(real_data / "coco-person-320", split="val")
    detector = load("hog-person")
    found, persons = 0, 0
    for row in range(40):
        sample = val[row]
        width, height = (sample.boxes[:, k + 2] - sample.boxes[:, k] for k in (0, 1))
        upright = (width >= 0.2 * height) & (width <= 0.6 * height) & (height >= 80) & ~sample.crowd
        best = detector.predict(sample.image, score=0.0).boxes[:3]
        found += (pairwise(sample.boxes[upright], best) >= 0.5).any(axis=1).sum()
        persons += upright.sum()
    assert found / persons >= 0.25, (found, persons)
