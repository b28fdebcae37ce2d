"""The search for a recipe, with objectives that take no time."""

import csv

import pytest

from gazehound.cli.tuning import claim, trial_recipe
from gazehound.errors import ConfigError, TrainingError
from gazehound.training.recipe import make_recipe
from gazehound.training.search import JOURNAL, TABLE, Choice, Span, read_space, search

SPACE = {"lr": Span(1e-4, 1.0), "ema": Choice((0.9, 0.99))}
EPOCHS = 5


def hill(tried, stopped):
    """AP is best where the rate is 0.01; it grows over the epochs."""

    def run(number, values, report):
        tried.append((number, values))
        score = 1 / (1 + abs(values["lr"] - 0.01) / 0.01)
        for epoch in range(EPOCHS):
            if report(epoch, score * (epoch + 1) / EPOCHS):
                stopped.append(number)
                break
        return score

    return run


def test_spaces_are_read():
    space = read_space(["lr=1e-4..1e-2", "epochs=3..9", "augment.mosaic=0,0.5,true", "m=0..1"], 1.0)
    assert space["lr"] == Span(1e-4, 1e-2)
    assert space["lr"].log
    assert space["epochs"] == Span(3, 9, whole=True)
    assert not space["epochs"].log
    assert not space["m"].log
    assert space["augment.mosaic"] == Choice((0, 0.5, True))
    assert read_space([], 1e-3)["lr"] == Span(1e-4, 1e-2)
    for text in ("lr", "lr=a..b", "lr=1..0", "=3"):
        with pytest.raises(ConfigError, match="--vary"):
            read_space([text], 1.0)


def test_the_best_is_found_and_the_hopeless_are_stopped(tmp_path):
    tried, stopped = [], []
    ranked = search(SPACE, hill(tried, stopped), tmp_path, trials=30, seed=1, epochs=EPOCHS)
    assert len(tried) == len(ranked) == 30
    best = ranked[0]
    assert 0.003 < best.values["lr"] < 0.03
    assert best.score == max(trial.score for trial in ranked if trial.state == "complete")
    assert len(stopped) >= 5
    assert {trial.number for trial in ranked if trial.state == "pruned"} == set(stopped)
    assert all(trial.epochs < EPOCHS or trial.state == "complete" for trial in ranked)
    with (tmp_path / TABLE).open() as stream:
        rows = list(csv.DictReader(stream))
    assert [int(row["trial"]) for row in rows] == [trial.number for trial in ranked]
    assert float(rows[0]["lr"]) == best.values["lr"]


def test_a_killed_search_goes_on(tmp_path):
    """The values of the run that was cut off are tried again, and nothing else is."""
    tried, again = [], []

    def killed(number, values, report):
        if number == 3:
            tried.append((number, values))
            raise KeyboardInterrupt
        return hill(tried, [])(number, values, report)

    with pytest.raises(KeyboardInterrupt):
        search(SPACE, killed, tmp_path, trials=6)
    journal = (tmp_path / JOURNAL).read_text().splitlines()
    # Optuna closes the interrupted trial itself; a kill would leave it running, as here.
    (tmp_path / JOURNAL).write_text("\n".join(journal[:-1]) + "\n")
    ranked = search(SPACE, hill(again, []), tmp_path, trials=6)
    assert [number for number, _ in again] == [4, 5, 6]
    assert again[0][1] == tried[3][1]
    states = {trial.number: trial.state for trial in ranked}
    assert states[3] == "fail"
    assert len(ranked) == 7
    assert search(SPACE, hill(again, []), tmp_path, trials=6) == ranked
    assert len(again) == 3


def test_a_loss_that_explodes_is_a_bad_trial(tmp_path):
    def explode(number, values, report):
        if number == 1:
            raise TrainingError("the loss is nan")
        return 0.5

    ranked = search(SPACE, explode, tmp_path, trials=3, pruner="hyperband")
    assert [trial.state for trial in ranked] == ["complete", "complete", "pruned"]
    assert ranked[-1].score is None


def test_a_folder_belongs_to_one_search_and_names_are_checked(tmp_path):
    recipe = make_recipe({"model": "m", "data": "d", "augment": {"flip": 0.25}})
    claim(tmp_path, recipe, SPACE)
    claim(tmp_path, recipe, SPACE)
    with pytest.raises(ConfigError, match="another space"):
        claim(tmp_path, recipe, {"lr": Span(0, 1)})
    with pytest.raises(ConfigError, match="another recipe"):
        claim(tmp_path, trial_recipe(recipe, {"epochs": 3}), SPACE)
    changed = trial_recipe(recipe, {"augment.mosaic": 0.5, "lr": 0.1, "tune.freeze": 2})
    assert (changed.augment.flip, changed.augment.mosaic) == (0.25, 0.5)
    assert (changed.lr, changed.tune.freeze, changed.data) == (0.1, 2, "d")
    with pytest.raises(ConfigError, match="spin"):
        trial_recipe(recipe, {"augment.spin": 1})
