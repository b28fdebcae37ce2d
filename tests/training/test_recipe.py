"""Recipes: every value is checked, and a written recipe reads back equal."""

import dataclasses
from itertools import pairwise

import pytest

from gazehound.cli.train import merge, pair
from gazehound.cli.training import plan
from gazehound.data.augment import Augment
from gazehound.errors import ConfigError, TrainingError
from gazehound.training import run_folder
from gazehound.training.recipe import make_recipe, read_recipe
from gazehound.training.schedules import lr_factor

BASE = {"model": "retinanet_r18", "data": "cells"}


def test_round_trip(tmp_path):
    recipe = make_recipe(
        {**BASE, "arguments": {"channels": 64}, "sizes": [320, 416], "augment": {"flip": 0.0}}
    )
    recipe.to_yaml(tmp_path / "recipe.yaml")
    assert read_recipe(tmp_path / "recipe.yaml") == recipe
    assert read_recipe(tmp_path / "recipe.yaml", epochs=3) == dataclasses.replace(recipe, epochs=3)
    assert recipe.augment == Augment(flip=0.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs: input should be greater than or equal to 1; got 0"),
        ({"optimizer": "lion"}, "optimizer: input should be 'adamw' or 'sgd'; got 'lion'"),
        ({"colour": 1}, "colour: unexpected keyword argument; got 1"),
        ({"lr": "fast"}, "lr: input should be a valid number.*got 'fast'"),
        ({"augment": {"flip": 2.0}}, "augment.flip must lie in 0..1; got 2.0"),
        ({"augment": {"scale": [2.0, 1.0]}}, "augment.scale must be 0 < low <= high"),
        ({"augment": {"spin": 1}}, "augment.spin: unexpected keyword argument"),
    ],
)
def test_wrong_values_are_one_line(changes, message):
    with pytest.raises(ConfigError, match=message) as caught:
        make_recipe({**BASE, **changes})
    assert "\n" not in str(caught.value)


def test_missing_and_broken_files(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.yaml: cannot be read"):
        read_recipe(tmp_path / "absent.yaml")
    (tmp_path / "list.yaml").write_text("- 1")
    with pytest.raises(ConfigError, match="a recipe is a table of settings; got list"):
        read_recipe(tmp_path / "list.yaml")
    (tmp_path / "bad.yaml").write_text("a: [1")
    with pytest.raises(ConfigError, match="not valid YAML"):
        read_recipe(tmp_path / "bad.yaml")
    (tmp_path / "short.yaml").write_text("model: retinanet_r18")
    with pytest.raises(ConfigError, match="data: field required"):
        read_recipe(tmp_path / "short.yaml")


def test_options_change_a_recipe_file_and_nested_tables(tmp_path):
    make_recipe({**BASE, "arguments": {"channels": 64}}).to_yaml(tmp_path / "r.yaml")
    changes = merge({"epochs": 5}, [pair("augment.flip=0"), pair("arguments.version=1")])
    recipe = plan(tmp_path / "r.yaml", changes, None, resume=False)
    assert (recipe.epochs, recipe.augment.flip) == (5, 0)
    assert recipe.arguments == {"channels": 64, "version": 1}
    with pytest.raises(ConfigError, match="--set must be name=value; got 'flip'"):
        pair("flip")


def test_schedules_rise_then_fall():
    for name, last in (("onecycle", 1e-4), ("cosine", 0.0), ("constant", 1.0), ("multistep", 0.01)):
        factor = lr_factor(make_recipe({**BASE, "schedule": name, "warmup": 0.1}), 100)
        values = [factor(step) for step in range(101)]
        assert values[9] == 1.0
        assert values[0] == pytest.approx(0.1)
        assert values[100] == pytest.approx(last, abs=1e-9)
        assert all(a >= b for a, b in pairwise(values[9:]))


def test_csv_log_survives_a_kill_and_drops_what_is_done_again(tmp_path):
    log = run_folder.CsvLog(tmp_path / "steps.csv", "step")
    for step in range(5):
        log.write({"step": step, "loss": 1 / (step + 1), "AP": None})
    with log.file.open("a") as stream:
        stream.write("5,0.1")  # killed in the middle of a line
    assert [row["step"] for row in log.read()] == [0, 1, 2, 3, 4]
    log.keep_below(3)
    assert [row["step"] for row in log.read()] == [0, 1, 2]
    log.write({"step": 3, "loss": 0.2, "AP": 0.7})  # a column that was empty in the rows before
    assert log.read()[-1] == {"step": 3, "loss": 0.2, "AP": 0.7}
    log.keep_below(0)
    assert log.read() == []


def test_a_run_folder_is_never_overwritten_in_silence(tmp_path):
    with pytest.raises(TrainingError, match="nothing to resume"):
        run_folder.claim(tmp_path, resume=True)
    assert run_folder.claim(tmp_path / "new", resume=False) is None
    (tmp_path / run_folder.RECIPE).touch()
    (tmp_path / run_folder.RESUME).touch()
    with pytest.raises(TrainingError, match="holds a run already; go on with --resume"):
        run_folder.claim(tmp_path, resume=False)
    assert run_folder.claim(tmp_path, resume=True) == tmp_path / run_folder.RESUME


def test_the_network_hears_when_pictures_are_pasted_together():
    recipe = make_recipe({**BASE, "epochs": 5, "close_mosaic": 2, "augment": {"mosaic": 0.5}})
    assert [recipe.pastes(epoch) for epoch in range(5)] == [True, True, True, False, False]
    assert not make_recipe(BASE).pastes(0)
