"""The recipes that come with the project can be read, and their models be built."""

from pathlib import Path

import pytest
import torch

from gazehound.catalog import find
from gazehound.records import Classes
from gazehound.training.recipe import read_recipe

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_recipe(file):
    recipe = read_recipe(file, data="somewhere")
    assert f"recipes/{file.name} --data" in file.read_text()
    arguments = {k: v for k, v in recipe.arguments.items() if k != "pretrained"}
    with torch.device("meta"):
        find(recipe.model).resolve()(Classes(("a", "b")), **arguments)
