"""What a run says about itself, and what it leaves behind when something goes wrong."""

import io
import json
import resource
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors import safe_open

from gazehound.checkpoints.native import Header, load_tensors, save_tensors
from gazehound.checkpoints.rebuild import build
from gazehound.data.batching import (
    Collate,
    Draw,
    EpochOrder,
    TrainingSamples,
    training_loader,
)
from gazehound.data.preprocess import Preprocess
from gazehound.data.shapes import shapes
from gazehound.errors import CheckpointError, ConfigError, TrainingError
from gazehound.metrics import Evaluation
from gazehound.records import Classes, Detections, Sample
from gazehound.training.bad_batch import NAME, BadBatchKeeper
from gazehound.training.callbacks import Recorder
from gazehound.training.fit import complete, one_line_errors, source_of_batches
from gazehound.training.health import STILL_ZERO, WITHOUT_POSITIVES, Health
from gazehound.training.probing import bytes_for_step, fitting_batch
from gazehound.training.range_test import RangeTest, range_test
from gazehound.training.readiness import findings
from gazehound.training.recipe import make_recipe
from gazehound.training.run_folder import HEALTH
from gazehound.training.task import DetectionTask

NAMES = Classes(("a", "b", "c", "d"))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    arguments = {"backbone": "resnet10t", "channels": 16}
    detector = build("retinanet_r18", shapes(count=1, seed=0, size=(64, 64)).classes, arguments)[0]
    detector.preprocess = Preprocess(resize="longer", size=64)
    return detector


def recipe(**values):
    return make_recipe({"model": "m", "data": "d", "workers": 0, "precision": "32", **values})


@pytest.fixture
def health(tmp_path):
    return Health(tmp_path, Console(file=io.StringIO(), width=500))


def told(health):
    return health.console.file.getvalue()


def batch_of(size=64, count=2):
    data = shapes(count=count, seed=0, size=(size, size))
    samples = TrainingSamples(data, recipe().augment, Preprocess(resize="longer", size=size))
    return Collate(samples.preprocess)([samples[Draw(0, i)] for i in range(count)]), data


def task_with(losses, summary=None, evaluation=None):
    return SimpleNamespace(
        step_losses=losses,
        is_logged=lambda index: True,
        summary=summary or {},
        evaluation=evaluation,
    )


def detections(shift=0, images=8):
    """Perfect boxes, each with the class ``shift`` places on."""
    evaluation = Evaluation(NAMES)
    for image in range(images):
        boxes = np.array([[10.0 * k, 5, 10 * k + 8, 20] for k in range(4)], np.float32)
        truth = Sample.of(None, boxes, range(4), image_id=image, size=(40, 40))
        labels = (np.arange(4) + shift) % 4
        scores = np.full(4, 0.9, np.float32)
        evaluation.add(truth, Detections(boxes, scores, labels, NAMES, (40, 40), image))
    return evaluation


def test_no_positives_are_told_once(health, tmp_path):
    batch, _ = batch_of()
    barren, fine = (
        task_with({"class": 1.0, "box": 0.0, "total": 1.0}),
        task_with({"box": 0.1, "total": 1}),
    )
    for _ in range(WITHOUT_POSITIVES - 1):
        health.on_train_batch_end(None, barren, None, batch, 0)
    health.on_train_batch_end(None, fine, None, batch, 0)  # one positive starts the count again
    assert told(health) == ""
    for _ in range(2 * WITHOUT_POSITIVES):
        health.on_train_batch_end(None, barren, None, batch, 0)
    assert told(health).count("health: no positives in 20 steps") == 1
    assert "no positives" in (tmp_path / HEALTH).read_text()


def test_shifted_class_ids_are_recognised(health):
    health.scores = [0.0]
    health.judge(detections(shift=1))
    assert (
        "class ids look shifted: 32 of 32 detections that lie on an object carry the class one up"
        in told(health)
    )


def test_right_classes_and_empty_answers(health):
    health.scores = [0.0]
    health.judge(detections())
    assert told(health) == ""
    nothing = Evaluation(NAMES)
    truth = Sample.of(None, [[0, 0, 5, 5]], [1], image_id=1, size=(9, 9))
    empty = np.zeros((0, 4), np.float32)
    nothing.add(truth, Detections(empty, empty[:, 0], np.zeros(0, np.int64), NAMES, (9, 9), 1))
    health.judge(nothing)
    assert "not one detection: all scores lie under" in told(health)


def test_zero_score_while_the_loss_falls(health):
    for epoch in range(STILL_ZERO):
        health.total, health.count = 10.0 / (epoch + 1), 1
        health.on_train_epoch_end(None, task_with({}, {"AP": 0.0}, detections(shift=2)))
    assert "AP is 0 after 3 evaluations although the loss fell from 10 to 3.33" in told(health)


def test_unreadable_images_are_counted_over_a_resumed_run(health, tmp_path):
    batch, _ = batch_of()
    broken = SimpleNamespace(unreadable=("x.jpg: the file is empty",), targets=batch.targets)
    health.on_train_batch_end(None, task_with({"box": 1.0, "total": 1.0}), None, broken, 0)
    again = Health(tmp_path, health.console)
    again.load_state_dict(health.state_dict())
    again.on_train_batch_end(None, task_with({"box": 1.0, "total": 1.0}), None, broken, 0)
    again.on_train_end(None, None)
    assert told(health).count("x.jpg: the file is empty") == 1
    assert "2 times an image could not be read" in told(health)


def test_a_batch_with_a_loss_that_is_not_finite_is_kept(network, tmp_path):
    batch, data = batch_of()
    task = DetectionTask(network, recipe(batch=2), EpochOrder(2, 2), None)
    task.keep_bad_batch = BadBatchKeeper(tmp_path, data)
    task.step_losses = {"class": float("nan"), "box": 1.0, "total": float("nan")}
    with pytest.raises(
        TrainingError, match=r"the loss 'class' is nan at step 0; the batch is kept in"
    ) as error:
        task._need_finite(batch)
    assert str(data.image_path(0)) in str(error.value)
    with safe_open(tmp_path / NAME, "pt") as file:
        assert torch.equal(file.get_tensor("images"), batch.images)
        assert torch.equal(file.get_tensor("boxes"), batch.targets.boxes)
        assert json.loads(file.metadata()["files"]) == [str(data.image_path(i)) for i in (0, 1)]


def test_small_boxes_and_unfitting_anchors_are_named_before_the_first_step(network):
    data = shapes(count=20, seed=0, size=(512, 512))
    lines = findings(network, data, Preprocess(resize="longer", size=64), 64)
    assert any("% of your boxes are under 8 px at an input of 64 px" in line for line in lines)
    assert any("have no anchor of their shape" in line for line in lines)
    roomy = findings(network, data, Preprocess(resize="longer", size=64), 512)
    assert not any("under 8 px" in line for line in roomy)
    empty = shapes(count=2, seed=0, size=(64, 64), empty=1.0)
    assert "holds no box" in findings(network, empty, network.preprocess, 64)[0]


def test_memory_is_measured_and_batches_add_up(network):
    data = shapes(count=2, seed=0, size=(64, 64))
    small, large = (bytes_for_step(network, batch_of(size, 1)[0], "32") for size in (64, 128))
    assert 3 < large / small < 4.5  # as the area, beside what does not grow
    batch = fitting_batch(network, batch_of(64, 1)[0], 64, "32")
    assert batch == 1 << (batch.bit_length() - 1)
    done = complete(recipe(size=64, batch=3, total_batch=12), network, data)
    assert (done.batch, done.accumulate, done.workers) == (3, 4, 0)
    assert complete(done, network, data) == done
    with pytest.raises(ConfigError, match="give accumulate or total_batch, not both"):
        recipe(accumulate=2, total_batch=8)


def test_range_test_reads_its_curve():
    rates = [10 ** (k / 10 - 6) for k in range(51)]
    losses = [1 / (1 + np.exp(2 * (np.log10(r) + 3))) for r in rates]
    test = RangeTest(tuple(rates), tuple(losses), tuple(losses))
    assert test.suggestion == pytest.approx(1e-3, rel=0.3)  # where a logistic curve is steepest
    rising = tuple(float(k) for k in range(51))
    assert RangeTest(tuple(rates), rising, rising).suggestion is None


def test_range_test_grows_the_rate_and_leaves_the_weights(network):
    data = shapes(count=4, seed=0, size=(64, 64))
    given = complete(recipe(size=64, batch=2), network, data)
    before = {n: t.clone() for n, t in network.state_dict().items()}
    test = range_test(network, given, *source_of_batches(network, given, data), steps=5, high=1e-2)
    ratios = [b / a for a, b in zip(test.rates, test.rates[1:], strict=False)]
    assert np.allclose(ratios, 10.0)
    assert all(torch.equal(t, before[n]) for n, t in network.state_dict().items())


def test_a_full_disk_leaves_the_last_checkpoint_whole(tmp_path):
    header = Header("retinanet_r18", {}, NAMES)
    file = tmp_path / "last.safetensors"
    save_tensors(file, {"x": torch.arange(5.0)}, header)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(CheckpointError, match=r"last\.safetensors: cannot be written"):
            save_tensors(file, {"x": torch.zeros(100_000)}, header)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert load_tensors(file)[0]["x"].tolist() == [0, 1, 2, 3, 4]
    assert [path.name for path in tmp_path.iterdir()] == ["last.safetensors"]


def test_a_resume_file_that_cannot_be_written_leaves_the_last_one(tmp_path):
    def full(path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    recorder = Recorder(tmp_path, Header("m", {}, NAMES), 0, 0)
    (tmp_path / "last.ckpt").write_bytes(b"whole")
    with pytest.raises(
        TrainingError, match=r"last\.ckpt: cannot be written \(No space left on device\)"
    ):
        recorder._save_resume(SimpleNamespace(save_checkpoint=full, is_global_zero=True))
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]
    assert (tmp_path / "last.ckpt").read_bytes() == b"whole"


def test_an_early_stopped_run_gets_new_patience_when_it_is_resumed(tmp_path):
    recorder = Recorder(tmp_path, Header("m", {}, NAMES), 0, 3)
    state = {"best": 0.5, "waited": 3, "seconds": 0.0, "sums": {}, "count": 0}
    recorder.load_state_dict(state)
    assert (recorder.best, recorder.waited) == (0.5, 0)
    recorder.load_state_dict({**state, "waited": 2})
    assert recorder.waited == 2


def test_errors_of_loader_processes_are_one_line():
    text = (
        "Caught TrainingError in DataLoader worker process 0.\nOriginal Traceback (most recent call "
        'last):\n  File "x.py", line 1\ngazehound.errors.TrainingError: a.jpg: the file is empty\n'
    )
    with pytest.raises(TrainingError) as error, one_line_errors():
        raise TrainingError(text)
    assert str(error.value) == "a.jpg: the file is empty"


@pytest.mark.slow
def test_memory_stays_flat_over_epochs_with_workers():
    """Resident memory of this process and of its loader process, after ten epochs and after forty."""
    data = shapes(count=16, seed=0, size=(96, 96))
    strong = make_recipe(
        {"model": "m", "data": "d", "augment": {"mosaic": 1.0, "mixup": 0.5}}
    ).augment
    samples = TrainingSamples(data, strong, Preprocess(resize="longer", size=96))
    loader = training_loader(samples, EpochOrder(16, 4), 1)
    held = []
    for epoch in range(40):
        for batch in loader:
            batch.images.sum()
        if epoch in (9, 39):
            pids = ["self", *(str(worker.pid) for worker in loader._iterator._workers)]
            pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids]
            held.append(sum(pages) * resource.getpagesize())
    assert held[1] - held[0] < 8 * 2**20
