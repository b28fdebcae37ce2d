"""Explanations of classical detectors: what is drawn equals what the detector did."""

import numpy as np
import pytest
from skimage import data

from gazehound import load
from gazehound.detectors.dpm import dpm
from gazehound.detectors.viola_jones import ViolaJones
from gazehound.explain.explaining import explain
from gazehound.explain.gradients import cell_histograms
from gazehound.explain.regions import merged_labels
from gazehound.explain.run import watched
from gazehound.features.cascade import Cascade
from gazehound.features.cascade_scan import Scanned
from gazehound.features.grey import grey
from gazehound.features.hog import Hog
from gazehound.features.part_boxes import PartsPlaced
from gazehound.features.part_model import PartModel
from gazehound.features.part_structure import with_mirrors
from gazehound.features.parts import Component, LevelScores, part_start, root_scores
from gazehound.features.selective_search import Hierarchy, SelectiveSearch
from gazehound.records import Classes
from gazehound.watching import watch

FACE = np.ascontiguousarray(data.astronaut()[40:200, 130:310])


@pytest.fixture(scope="module")
def faces():
    return load("viola_jones_face").detector


@pytest.fixture(scope="module")
def face(faces):
    return explain(faces, FACE, name="faces")


def first_stages(cascade, count):
    """The cascade without its later stages."""
    trees = cascade.stage_first[count]
    nodes = cascade.tree_first[trees]
    return Cascade(
        cascade.window, cascade.rects, cascade.weights, cascade.tilted, cascade.feature[:nodes],
        cascade.threshold[:nodes], cascade.subsets[:nodes], cascade.children[:nodes],
        cascade.leaves[: nodes + trees], cascade.tree_first[: trees + 1],
        cascade.stage_first[: count + 1], cascade.stage_threshold[:count],
    )  # fmt: skip


@pytest.mark.parametrize("scan", ["detector", "image"])
def test_survivors_are_the_hits_of_the_first_stages(faces, scan):
    detector = ViolaJones.of_cascade(faces.cascades[0], scan=scan, min_size=(30, 30))
    explained = explain(detector, FACE)
    survivors = explained.panel("survivors").values["survivors"]
    pixels = grey(FACE)
    cascade = detector.cascades[0]
    for stages in (1, 2, 5, len(cascade)):
        hits = detector.windows(pixels, first_stages(cascade, stages))
        counts = np.bincount(hits.cells[:, 0], minlength=len(survivors))
        assert survivors[:, stages].tolist() == counts.tolist()
    assert (np.diff(survivors, axis=1) <= 0).all()
    assert survivors[:, 0].sum() > survivors[:, 1].sum() > 0


def test_watching_changes_no_detection(faces, face):
    plain = faces.predict([FACE])[0]
    assert np.array_equal(plain.boxes, face.found.boxes)
    assert np.array_equal(plain.scores, face.found.scores)


def test_the_integral_image_sums_the_picture(face):
    table = face.panel("integral-image").values["table"]
    wanted = np.cumsum(np.cumsum(grey(FACE).astype(np.int64), axis=0), axis=1)
    assert (table[0] == 0).all()
    assert (table[:, 0] == 0).all()
    assert np.array_equal(table[1:, 1:], wanted)


@pytest.mark.parametrize("scan", ["detector", "image"])
def test_the_integral_image_is_in_order_in_both_scans(faces, scan):
    image = np.random.default_rng(0).integers(0, 256, (41, 53), dtype=np.uint8)
    detector = ViolaJones.of_cascade(faces.cascades[0], scan=scan)
    with watch() as steps:
        detector.windows(image, faces.cascades[0])
    (step,) = (s for s in steps if isinstance(s, Scanned))
    assert step.integral[-1, -1] == image.astype(int).sum()
    assert step.integral[17, 30] == image[:17, :30].astype(int).sum()


def test_features_are_those_of_the_first_stages(faces, face):
    values = face.panel("haar-features").values
    cascade = faces.cascades[0]
    assert values["features"][0] == cascade.feature[0]
    assert values["features"][3] == cascade.feature[cascade.tree_first[cascade.stage_first[1]]]
    best = face.found.boxes[0]
    centre = (values["window"][:2] + values["window"][2:]) / 2
    assert (centre > best[:2]).all()
    assert (centre < best[2:]).all()


def test_grouping_counts_windows_and_groups(faces, face):
    values = face.panel("grouping").values
    hits = faces.windows(grey(FACE), faces.cascades[0])
    assert values["candidates"] == len(hits.boxes)
    assert values["kept"] == len(face.found)


def test_a_picture_without_a_window_is_explained(faces):
    explained = explain(faces, np.full((24, 24, 3), 128, np.uint8))
    assert len(explained.found) == 0
    assert explained.panel("survivors").values["total"].sum() == 0


@pytest.fixture(scope="module")
def person():
    image = np.random.default_rng(0).integers(0, 256, (150, 120, 3), dtype=np.uint8)
    image[20:140, 40:80] = 30
    detector = load("hog_person").detector
    detector.threshold = 0.001
    return detector, explain(detector, image)


def test_the_drawn_descriptor_gives_the_drawn_margin(person):
    detector, explained = person
    values = explained.panel("hog-glyphs").values
    template = detector.templates[0]
    margin = (values["descriptor"] * template.weights).sum() + template.bias
    assert margin == pytest.approx(values["margin"], abs=1e-3)
    assert max(explained.panel("responses").values["highest"]) == values["margin"]
    assert np.array_equal(explained.panel("svm-weights").values["weights"], template.weights)


def test_cell_histograms_add_every_number_once():
    hog = Hog()
    grid = np.random.default_rng(0).random((4, 3, hog.length))
    cells = cell_histograms(grid, hog)
    assert cells.shape == (5, 4, 9)
    assert cells.sum() == pytest.approx(grid.sum())
    blocks = grid.reshape(4, 3, 2, 2, 9)  # cells x, then y
    assert cells[0, 0] == pytest.approx(blocks[0, 0, 0, 0])
    assert cells[0, 3] == pytest.approx(blocks[0, 2, 1, 0])
    assert cells[4, 0] == pytest.approx(blocks[3, 0, 0, 1])


def test_suppression_of_a_classical_detector_ends_in_its_detections(person):
    _, explained = person
    values = explained.panel("suppression").values
    assert values["kept"] == len(explained.found)
    assert values["candidates"] == values["kept"] + values["dropped"]


@pytest.fixture(scope="module")
def parts():
    rng = np.random.default_rng(0)
    component = Component(
        rng.normal(scale=0.05, size=(6, 4, 32)).astype(np.float32),
        rng.normal(scale=0.05, size=(2, 4, 4, 32)).astype(np.float32),
        np.array([[0, 0], [3, 6]]),
        np.array([[0.02, 0.01, 0.02, -0.01], [0.01, 0.0, 0.03, 0.01]]),
        0.1,
        np.array([0.0, 0.2]),
    )
    detector = dpm(Classes(("thing",)), interval=4)
    detector.models = {0: PartModel(with_mirrors([component], 8, 4), -2.0)}
    image = rng.integers(0, 256, (130, 110, 3), dtype=np.uint8)
    return detector, image, explain(detector, image)


def test_a_placement_is_root_plus_parts_less_costs(parts):
    detector, image, explained = parts
    values = explained.panel("part-placement").values
    run = watched(detector, image, None)
    (step,) = run.shown(PartsPlaced)
    level, (y, x) = int(step.found.levels[0]), step.found.roots[0]
    number = int(step.found.components[0])
    component = step.mixture.components[number]
    total = root_scores(step.mixture, step.pyramid, level)[number, y, x]
    (scored,) = (s for s in run.shown(LevelScores) if s.level == level)
    for k, (moved, cost) in enumerate(zip(values["displacements"], values["costs"], strict=True)):
        wanted = (
            np.array(part_start(component.anchors[k], step.pyramid.padding))
            + 2 * step.found.roots[0]
        )
        row, column = wanted + moved[::-1]
        total += scored.responses[2 * number + k][row, column] - cost
    assert total == pytest.approx(values["margin"], abs=1e-4)


def test_covering_boxes_drop_covered_ones(parts):
    _, _, explained = parts
    values = explained.panel("suppression").values
    assert values["dropped"] > 0
    assert values["candidates"] == values["kept"] + values["dropped"]


def test_nothing_placed_is_said():
    rng = np.random.default_rng(0)
    component = Component(
        rng.normal(scale=0.05, size=(4, 4, 32)).astype(np.float32),
        np.zeros((0, 4, 4, 32), np.float32), np.zeros((0, 2), np.int64), np.zeros((0, 4)), 0.0,
        np.zeros(2),
    )  # fmt: skip
    detector = dpm(Classes(("thing",)), interval=2)
    detector.models = {0: PartModel(with_mirrors([component], 8, 4), 1e6)}
    explained = explain(detector, rng.integers(0, 256, (60, 60, 3), dtype=np.uint8))
    assert explained.keys[0] == "part-placement"
    assert explained.panel("part-placement").title == "No placement"


def test_a_hierarchy_is_cut_where_as_many_regions_are_left():
    labels = np.array([[0, 1], [2, 3]], np.int32)
    made = np.array([[0, 1], [2, 4], [3, 5]])
    hierarchy = Hierarchy(labels, np.zeros((7, 4), np.int64), made)
    assert [len(np.unique(merged_labels(hierarchy, n))) for n in (4, 3, 2, 1)] == [4, 3, 2, 1]
    two = merged_labels(hierarchy, 2)
    assert two[0, 0] == two[0, 1] == two[1, 0] != two[1, 1]


def test_selective_search_shows_what_it_returns():
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    with watch() as steps:
        boxes = SelectiveSearch(smallest=2).propose(image)
    (step,) = steps
    assert step.boxes is boxes
    assert sum(len(h.boxes) for h in step.hierarchies) >= len(boxes)
