"""The ablation runs through: two steps a row, on drawn scenes."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from gazehound.data.shapes import shapes
from gazehound.errors import ConfigError
from gazehound.training.recipe import make_recipe

FILE = Path(__file__).parents[2] / "benchmarks" / "ablation.py"


@pytest.fixture(scope="module")
def ablation():
    spec = importlib.util.spec_from_file_location("ablation", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules["ablation"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def budget(**changes):
    small = {"epochs": 1, "size": 64, "batch": 4, "workers": 0, "evaluate_every": 1}
    return make_recipe({"model": "retinanet_r18", "data": "shapes", **small, **changes})


@pytest.mark.slow
def test_every_row_runs_and_the_page_has_them_all(ablation, tmp_path):
    data = shapes(count=8, seed=0, size=(64, 64)), shapes(count=2, seed=1, size=(64, 64))
    tiny = {"backbone": "test_resnet", "channels": 32, "depth": 1, "limits": {"score": 0.01}}
    page = ablation.run(budget(), data, tmp_path, shared=tiny)
    table = [line for line in page.splitlines() if line.startswith("| ")][1:]
    assert [line.split(" | ")[0] for line in table] == [f"| {row.change}" for row in ablation.ROWS]
    weights = [float(line.split(" | ")[1]) for line in table]
    assert weights[0] == weights[1] == weights[2]
    assert page == (tmp_path / "ablation.md").read_text()

    # A finished row is read, not repeated.
    result = tmp_path / "atss" / "result.json"
    result.write_text(json.dumps({**json.loads(result.read_text()), "AP": 0.5}))
    assert "| + ATSS | " in (again := ablation.run(budget(), data, tmp_path, shared=tiny))
    assert " | 0.500 | " in again


def test_rows_change_one_thing_each(ablation):
    first, second, third, fourth, fifth = ablation.ROWS
    assert second.arguments == {**first.arguments, "assigner": "atss"}
    assert third.arguments == {**second.arguments, "box_loss": "giou", "box_weight": 2.0}
    assert fifth == ablation.Row("+ PANet", fourth.model, {**fourth.arguments, "neck": "panet"})
    with pytest.raises(ConfigError, match="needs a validation split"):
        ablation.run(budget(), (shapes(count=1), None), Path("nowhere"))
    assert make_recipe({**ablation.BUDGET, "model": "gfl_r18", "data": "bccd"}).epochs == 24
