"""Learned anchors: the clusters that are there are found, and the evolution only improves."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from gazehound.boxes.iou import pairwise
from gazehound.cli.data import app
from gazehound.data import write_dataset
from gazehound.data.anchor_shapes import (
    cluster,
    evolve,
    input_shapes,
    learn_anchors,
    mean_best_iou,
    shape_iou,
)
from gazehound.data.preprocess import Preprocess
from gazehound.data.shapes import shapes
from gazehound.errors import ConfigError


def clouds(centres, count=60, seed=0):
    generator = np.random.default_rng(seed)
    noise = generator.normal(1, 0.05, (len(centres), count, 2))
    return (np.array(centres)[:, None] * noise).reshape(-1, 2).astype(np.float32)


def test_shape_iou_is_the_iou_of_boxes_with_one_corner():
    generator = np.random.default_rng(0)
    a, b = (generator.uniform(1, 90, (n, 2)).astype(np.float32) for n in (7, 4))
    corners = [np.concatenate((np.zeros_like(s), s), axis=1) for s in (a, b)]
    assert np.allclose(shape_iou(a, b), pairwise(*corners), atol=1e-6)


def test_k_means_finds_the_clusters():
    centres = [(10, 12), (40, 90), (120, 60)]
    learned = learn_anchors(clouds(centres), 3, generations=0)
    assert np.allclose(learned.shapes, centres, rtol=0.03)
    assert learned.clustered == learned.evolved > 0.9


def test_evolution_improves_bad_anchors_and_never_spoils_good_ones():
    data = clouds([(10, 12), (40, 90), (120, 60)])
    bad = np.array([[5, 5], [60, 60], [200, 200]], np.float32)
    generator = np.random.default_rng(1)
    better = evolve(data, bad, 300, generator)
    assert mean_best_iou(data, better) > mean_best_iou(data, bad) + 0.1
    good = cluster(data, 3, generator)
    assert mean_best_iou(data, evolve(data, good, 100, generator)) >= mean_best_iou(data, good)


def test_the_result_depends_on_the_seed_alone_and_is_sorted():
    data = clouds([(10, 12), (40, 90)], seed=3)
    first, again = (learn_anchors(data, 4, generations=50, seed=5) for _ in range(2))
    assert np.array_equal(first.shapes, again.shapes)
    assert (np.diff(first.shapes.prod(axis=1)) >= 0).all()
    with pytest.raises(
        ConfigError, match=r"must lie in 1\.\.2, the number of different box shapes"
    ):
        learn_anchors(np.array([[3, 4], [3, 4], [5, 6]], np.float32), 3)


def test_identical_shapes_do_not_break_the_start():
    same = np.array([[3, 4]] * 20 + [[30, 40]], np.float32)
    assert learn_anchors(same, 2, generations=5).evolved == pytest.approx(1.0)


def test_boxes_are_measured_at_the_input():
    data = shapes(count=4, seed=0, size=(60, 80))
    for resize in ("longer", "stretch"):
        rule = Preprocess(resize=resize, size=160)
        found = input_shapes(data, rule)
        across, down = 2.0, (2.0 if resize == "longer" else 160 / 60)
        wanted = (data.boxes[:, 2:] - data.boxes[:, :2]) * [across, down]
        assert np.allclose(found, wanted, rtol=1e-5)


def test_commands_show_anchors_and_augmented_pictures(tmp_path):
    write_dataset([shapes(count=6, seed=0, size=(60, 80), split="train")], tmp_path / "set", "coco")
    words = ["anchors", str(tmp_path / "set"), "--size", "96", "--generations", "20"]
    result = CliRunner().invoke(app, [*words, "--json", str(tmp_path / "a.json")])
    assert result.exit_code == 0, result.output
    assert "of the usual ones (learned on COCO)" in result.output
    assert len(json.loads((tmp_path / "a.json").read_bytes())["anchors"]) == 9
    out = tmp_path / "preview.png"
    words = ["preview", str(tmp_path / "set"), "--out", str(out), "--count", "5", "--columns", "3"]
    result = CliRunner().invoke(app, [*words, "--set", "size=64", "--set", "augment.mosaic=1"])
    assert result.exit_code == 0, result.output
    assert "5 pictures" in result.output
    with Image.open(out) as picture:
        assert picture.size == (3 * 72 + 8, 2 * 72 + 8)
