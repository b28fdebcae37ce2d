"""A training step does not wait for the device, and the batches are there before it begins."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from gazehound.checkpoints.rebuild import build
from gazehound.data.batching import Collate, Draw, EpochOrder, TrainingSamples
from gazehound.data.preprocess import Preprocess
from gazehound.data.shapes import shapes
from gazehound.records import Batch
from gazehound.training.prefetch import DevicePrefetch, tensors_of, to_device
from gazehound.training.recipe import make_recipe
from gazehound.training.schedules import make_optimizer
from gazehound.training.task import DetectionTask, losses_of

# What makes the host wait for the device: reading one number, or sizes that depend on the data.
SYNCHRONISING = {"aten::item", "aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero"}
TINY = {"backbone": "resnet10t", "channels": 16}
NETWORKS = {"retinanet_r18": TINY, "fcos_r18": TINY, "atss_r18": TINY, "yolox_nano": {}}
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def recipe(**values):
    return make_recipe({"model": "m", "data": "d", "batch": 2, "size": 64, **values})


def batch_of(count=2):
    data = shapes(count=count, seed=0, size=(64, 64))
    samples = TrainingSamples(data, recipe().augment, Preprocess(resize="longer", size=64))
    batch = Collate(samples.preprocess)([samples[Draw(0, i)] for i in range(count)])
    return batch, data.classes


def task_of(name, arguments, **values):
    torch.manual_seed(0)
    batch, classes = batch_of()
    network, _ = build(name, classes, arguments)
    task = DetectionTask(network.to(DEVICE), recipe(**values), EpochOrder(2, 2), None)
    return task, to_device(batch, DEVICE)


def step_of(task, batch):
    """Return what Lightning does in a step that is not logged: losses, backward, clip, move, average."""
    optimizer = task.configure_optimizers()["optimizer"]
    task.is_logged = lambda index: False
    task._trainer = SimpleNamespace(current_epoch=0, world_size=1)

    def step():
        optimizer.zero_grad(set_to_none=True)
        task.training_step(batch, 1).backward()
        torch.nn.utils.clip_grad_norm_(task.network.parameters(), 10.0)
        if DEVICE.type == "cuda":  # on the CPU the fused kernel reads its own counters
            optimizer.step()
        task.ema.update()

    return step


def synchronisations(step):
    with profile(activities=[ProfilerActivity.CPU]) as told:
        step()
    return {e.key: e.count for e in told.key_averages() if e.key in SYNCHRONISING}


@pytest.mark.parametrize("name", ["retinanet_r18", "fcos_r18"])
def test_a_step_reads_no_number_from_the_device(name):
    step = step_of(*task_of(name, NETWORKS[name]))
    step()  # the first one makes the optimiser's state
    assert synchronisations(step) == {}


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_optimisers_are_fused(optimizer):
    weights = torch.nn.Parameter(torch.ones(3))
    made = make_optimizer([{"params": [weights], "lr": 0.1}], recipe(optimizer=optimizer))
    assert made.defaults["fused"] is True
    weights.grad = torch.ones(3)
    made.step()
    assert float(weights.detach()[0]) < 1


def test_a_number_that_is_read_is_counted():
    total = torch.ones(3, requires_grad=True).sum()
    assert synchronisations(lambda: float(total.detach())).keys() & SYNCHRONISING
    assert synchronisations(lambda: torch.ones(3).nonzero()) == {"aten::nonzero": 1}


@pytest.mark.skipif(DEVICE.type != "cuda", reason="needs a GPU")
@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_does_not_wait_for_the_gpu(name):
    step = step_of(*task_of(name, NETWORKS[name]))
    step()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_losses_are_compiled_on_request(monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda function: compiled.append(function) or function)
    assert task_of("retinanet_r18", TINY)[0]._losses is losses_of
    assert not compiled
    task_of("retinanet_r18", TINY, compile=True)
    assert compiled == [losses_of]


def test_images_are_laid_out_for_convolutions():
    batch, _ = batch_of()
    moved = to_device(batch, DEVICE)
    assert moved.images.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(moved.images.cpu(), batch.images)
    assert batch.images.is_contiguous()


def test_every_batch_comes_once_in_order_after_its_copy(monkeypatch):
    """With streams that only write down what they were told."""
    batches = [batch_of(count)[0] for count in (1, 2, 3)]
    told = []
    copying = SimpleNamespace(record_event=lambda: told.append("copied") or len(told))
    computing = SimpleNamespace(wait_event=lambda event: told.append(f"waits for {event}"))
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: copying)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: computing)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: None)
    loader = DevicePrefetch(batches, torch.device("cpu"))
    assert len(loader) == 3
    got = []
    for batch in loader:
        got.append(batch)
        told.append("learned")
    assert [len(batch.images) for batch in got] == [1, 2, 3]
    # The second copy is under way before the first batch is learned from.
    assert told == ["copied", "copied", "waits for 1", "learned", "copied", "waits for 2", "learned",
                    "waits for 5", "learned"]  # fmt: skip
    assert len(tensors_of(got[0])) == 5


@pytest.mark.skipif(DEVICE.type != "cuda", reason="needs a GPU")
def test_prefetched_batches_hold_the_same_numbers():
    batches = [batch_of(count)[0].pin_memory() for count in (1, 2, 3)]
    for wanted, got in zip(batches, DevicePrefetch(batches, DEVICE), strict=True):
        assert isinstance(got, Batch)
        for a, b in zip(tensors_of(wanted), tensors_of(got), strict=True):
            assert b.device.type == "cuda"
            assert torch.equal(a, b.cpu())
