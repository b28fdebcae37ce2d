"""Two processes that train together do what one does on the joint batch; one of them writes."""

import io
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from gazehound.checkpoints.native import load_tensors
from gazehound.checkpoints.rebuild import build
from gazehound.data.batching import EpochOrder, ValidationSamples, validation_loader
from gazehound.data.preprocess import Preprocess
from gazehound.data.shapes import shapes
from gazehound.errors import ConfigError, TrainingError
from gazehound.metrics import Evaluation
from gazehound.training import health
from gazehound.training.fit import complete, fit
from gazehound.training.health import Health
from gazehound.training.processes import Processes, from_first, gather, launched
from gazehound.training.recipe import for_input, make_recipe
from gazehound.training.run_folder import HEALTH, HISTORY, LAST, STEPS, CsvLog
from gazehound.training.task import DetectionTask

IMAGES, VALIDATION, BATCH = 9, 5, 4  # odd numbers: neither epochs nor evaluations come out even
SMALL = {"backbone": "resnet10t", "channels": 16, "limits": {"score": 0.001, "per_image": 20}}
COMMON = {
    "model": "retinanet_r18", "data": "shapes", "arguments": SMALL, "size": 64, "workers": 0,
    "optimizer": "sgd", "lr": 0.02, "schedule": "constant", "warmup": 0, "seed": 3, "ema": 0.5,
}  # fmt: skip
# Statistics of BatchNorm are of a process's own images, so that they must be frozen to be equal.
EQUAL = {**COMMON, "epochs": 1, "tune": {"norm": "frozen"}}
GRADUAL = {**COMMON, "epochs": 2, "batch": 1, "tune": {"freeze": 2, "unfreeze_every": 1}}


def train(settings, folder, told, count=IMAGES):
    """Train; return the finished task and the images that this process rendered for it."""
    recipe = make_recipe(settings)
    data, val = (shapes(count=n, seed=n, size=(64, 64)) for n in (count, VALIDATION))
    seen = []
    draw = data.images.render

    def render(image):
        seen.append(image)
        return draw(image)

    data = replace(data, images=replace(data.images, render=render))
    torch.manual_seed(0)
    network, header = build(recipe.model, data.classes, recipe.arguments)
    recipe, network.preprocess = for_input(recipe, network.preprocess)
    with told.open("w") as stream:
        task = fit(network, header, recipe, folder, data=(data, val), console=Console(file=stream))
    return task, set(seen)


def work(base):
    """What each of the two processes does."""
    rank = int(os.environ["RANK"])
    torch.set_num_threads(1)
    mine = base / str(rank)
    task, seen = train({**EQUAL, "batch": BATCH // 2}, mine / "run", base / f"told{rank}.txt")
    np.savez(base / f"seen{rank}.npz", sorted(seen))
    np.savez(base / f"evaluation{rank}.npz", **task.evaluation.state())
    torch.save(dict(task.network.named_parameters()), base / f"weights{rank}.pt")
    task, _ = train(GRADUAL, mine / "gradual", base / "gradual.txt", count=3)
    torch.save(dict(task.network.named_parameters()), base / f"gradual{rank}.pt")


if __name__ == "__main__":
    work(Path(sys.argv[1]))
    sys.exit()


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    base = tmp_path_factory.mktemp("alone")
    return (*train({**EQUAL, "batch": BATCH}, base / "run", base / "told.txt"), base / "run")


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    base = tmp_path_factory.mktemp("pair")
    command = (
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, __file__, str(base)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return base


@pytest.mark.slow
def test_gradients_are_those_of_the_joint_batch(alone, pair):
    """SGD moves the weights by nothing but gradients, so that equal weights are equal gradients."""
    task, _, _ = alone
    mine, others = (torch.load(pair / f"weights{rank}.pt") for rank in (0, 1))
    moved = 0.0
    torch.manual_seed(0)
    fresh, _ = build("retinanet_r18", task.network.classes, SMALL)
    for name, weights in task.network.named_parameters():
        assert torch.equal(mine[name], others[name]), name
        torch.testing.assert_close(mine[name], weights.detach(), rtol=1e-3, atol=1e-5)
        moved = max(moved, float((weights - fresh.get_parameter(name)).detach().abs().max()))
    assert moved > 1e-2  # a thousand times what they may differ by


@pytest.mark.slow
def test_each_process_sees_its_own_share(alone, pair):
    """The last batch is filled up with the first images, so that so many are seen twice."""
    shares = [set(np.load(pair / f"seen{rank}.npz")["arr_0"].tolist()) for rank in (0, 1)]
    _, seen, _ = alone
    assert shares[0] | shares[1] == seen
    assert len(seen) == IMAGES
    assert len(shares[0] & shares[1]) <= -IMAGES % BATCH
    assert max(map(len, shares)) < IMAGES


@pytest.mark.slow
def test_evaluated_digits_are_those_of_one_process(alone, pair):
    task, _, folder = alone
    for rank in (0, 1):
        with np.load(pair / f"evaluation{rank}.npz") as state:
            together = Evaluation.from_state(dict(state))
        assert len(together) == VALIDATION
        wanted, got = task.evaluation.tables, together.tables
        assert len(wanted.found) == VALIDATION * 20
        np.testing.assert_array_equal(got.truths.xywh, wanted.truths.xywh)
        np.testing.assert_allclose(np.sort(got.found.score), np.sort(wanted.found.score), rtol=1e-3)
        assert got.found.score[0] > 0.001
    rows = [CsvLog(f / HISTORY, "epoch").read()[0] for f in (folder, pair / "0" / "run")]
    assert rows[0].keys() == rows[1].keys()
    for name in rows[0].keys() - {"seconds"}:
        assert rows[1][name] == pytest.approx(rows[0][name], rel=1e-3, abs=1e-5), name


@pytest.mark.slow
def test_only_the_first_process_writes_and_prints(pair):
    assert {path.name for path in (pair / "0" / "run").iterdir()} >= {LAST, HISTORY, STEPS}
    assert not (pair / "1").exists()
    assert "batch 2 x 2 processes" in (pair / "told0.txt").read_text()
    assert (pair / "told1.txt").read_text() == ""


@pytest.mark.slow
def test_stages_that_are_let_go_learn_in_all_processes(pair):
    mine, others = (torch.load(pair / f"gradual{rank}.pt") for rank in (0, 1))
    assert all(torch.equal(mine[name], others[name]) for name in mine)
    start, _ = load_tensors(pair / "0" / "gradual" / LAST)
    assert start.keys() >= mine.keys()
    torch.manual_seed(0)
    fresh, _ = build("retinanet_r18", shapes(count=1, seed=0, size=(64, 64)).classes, SMALL)
    still = {name for name in mine if torch.equal(mine[name], fresh.get_parameter(name))}
    assert any(name.startswith("backbone") for name in still)  # one of the two stages
    assert not all(name in still for name in mine if name.startswith("backbone"))


def test_small_validation_splits_give_every_process_an_image():
    samples = ValidationSamples(shapes(count=3, seed=0, size=(64, 64)), Preprocess(size=64))
    shares = [list(validation_loader(samples, 2, 0, rank, 5).sampler) for rank in range(5)]
    assert shares == [[0], [1], [2], [0], [1]]
    shares = [list(validation_loader(samples, 2, 0, rank, 2).sampler) for rank in range(2)]
    assert shares == [[0, 2], [1]]


def test_batches_and_workers_are_divided_by_the_processes():
    recipe = make_recipe({**COMMON, "workers": None, "batch": 4, "total_batch": 64})
    network, _ = build("retinanet_r18", shapes(count=1, seed=0, size=(64, 64)).classes, SMALL)
    data = shapes(count=2, seed=0, size=(64, 64))
    done = complete(recipe, network, data, Processes(world=8, machines=2))
    assert (done.batch, done.accumulate) == (4, 2)
    assert done.workers == 1 or os.cpu_count() > 4
    assert complete(replace(recipe, total_batch=8), network, data, Processes(world=8)).batch == 1


def test_the_rate_grows_with_all_images_of_a_step():
    recipe = make_recipe({**COMMON, "batch": 4, "accumulate": 2, "reference_batch": 16})
    network, _ = build("retinanet_r18", shapes(count=1, seed=0, size=(64, 64)).classes, SMALL)
    rates = []
    for world in (1, 4):
        task = DetectionTask(network, recipe, EpochOrder(64, 4, world=world), None)
        rates.append(task.configure_optimizers()["optimizer"].defaults["lr"])
        groups = task.configure_optimizers()["lr_scheduler"]["scheduler"].base_lrs
        assert max(groups) == pytest.approx(0.02 * 8 * world / 16)


def test_another_number_of_processes_cannot_resume(tmp_path):
    network, _ = build("retinanet_r18", shapes(count=1, seed=0, size=(64, 64)).classes, SMALL)
    task = DetectionTask(network, make_recipe({**COMMON, "batch": 2}), EpochOrder(4, 2), None)
    state = {"ema": {}, "epoch": 1, "start": 0, "rng": [torch.get_rng_state()] * 2}
    with pytest.raises(TrainingError, match=r"made by 2 process\(es\) and is resumed by 1"):
        task.on_load_checkpoint({"gazehound": state})


def test_the_first_process_says_what_the_others_found(tmp_path, monkeypatch):
    told = Console(file=io.StringIO(), width=200)
    first, second = (Health(tmp_path, told, Processes(rank, 2)) for rank in (0, 1))
    second.unreadable, first.unreadable = 2, 1
    second.say("x.jpg", "x.jpg is broken")
    assert told.file.getvalue() == ""
    assert not (tmp_path / HEALTH).exists()
    together = {"unsaid": [first.unsaid, second.unsaid], "unreadable": [1, 2]}
    monkeypatch.setattr(
        health, "gather", lambda value: together["unsaid" if value == [] else "unreadable"]
    )
    first.on_train_end(None, None)
    assert told.file.getvalue().count("health: x.jpg is broken") == 1
    assert "3 times an image could not be read" in told.file.getvalue()
    state = first.state_dict()
    second.load_state_dict(state)
    assert second.unreadable == 0  # the first one counts what all had counted
    assert "x.jpg is broken" in (tmp_path / HEALTH).read_text()


def test_launchers_are_recognised(monkeypatch):
    assert launched() == Processes()
    assert gather("alone") == ["alone"]
    assert from_first(lambda: 3) == 3
    slurm = {"SLURM_NTASKS": "16", "SLURM_NTASKS_PER_NODE": "8", "SLURM_NNODES": "2",
             "SLURM_PROCID": "11", "SLURM_LOCALID": "3", "SLURM_NODELIST": "gpu[7-8]",
             "SLURM_JOB_ID": "4242", "SLURM_JOB_NAME": "train"}  # fmt: skip
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in slurm.items():
        monkeypatch.setenv(name, value)
    assert launched() == Processes(rank=11, world=16, local_rank=3, machines=2)
    assert launched().per_machine == 8
    assert os.environ["MASTER_ADDR"] == "gpu7"
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "")  # so that they are taken away at the end
    monkeypatch.delenv("SLURM_NTASKS_PER_NODE")
    with pytest.raises(ConfigError, match="ntasks-per-node"):
        launched()
