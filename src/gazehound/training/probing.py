"""Trying a step out before a run: its time and its memory, without leaving a trace."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from gazehound.detectors.network import Network
from gazehound.nn.normaliser import alone
from gazehound.records import Batch, Targets
from gazehound.training import machine

MARGIN = 2.0  # bytes in use per byte kept for backward: gradients and work space come on top
SHARE = 0.6  # of the free memory that a batch may take
STATES = 4  # numbers kept per weight: gradient, two of the optimiser's, the average


@contextmanager
def untouched(network: nn.Module) -> Iterator[None]:
    """Give back buffers (BatchNorm's statistics), gradients and the random state as they were.

    What is tried out is this process's own affair: its losses ask no other process.
    """
    buffers = {name: value.clone() for name, value in network.named_buffers()}
    rng = torch.get_rng_state()
    try:
        with alone():
            yield
    finally:
        network.zero_grad(set_to_none=True)
        with torch.no_grad():
            for name, value in network.named_buffers():
                value.copy_(buffers[name])
        torch.set_rng_state(rng)


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Return the context in which a run of this precision (a recipe's word) computes its losses."""
    spelled = machine.lightning_precision(precision)
    dtype = torch.bfloat16 if spelled.startswith("bf16") else torch.float16
    return torch.autocast(device.type, dtype, enabled=spelled.endswith("mixed"))


def total_loss(network: Network, images: Tensor, targets: Targets) -> Tensor:
    """Return the sum of a detector's losses."""
    return torch.stack(list(network.losses(network(images), targets).values())).sum()


def seconds_per_step(network: Network, batch: Batch, precision: str) -> float:
    """Return the time of a forward and backward pass, after one to warm up."""
    device = torch.device(machine.device_name())
    network.to(device)
    moved = batch.to(device)
    assert moved.targets is not None
    images = moved.images.contiguous(memory_format=torch.channels_last)
    seconds = 0.0
    with untouched(network):
        for _ in range(2):
            began = time.perf_counter()
            with autocast(precision, device):
                loss = total_loss(network, images, moved.targets)
            loss.backward()
            float(loss.detach())  # wait for the device
            seconds = time.perf_counter() - began
    return seconds


def weights_without_gradient(network: Network, batch: Batch, precision: str) -> set[str]:
    """Return the names of the learning weights that the losses of a batch do not reach."""
    device = torch.device(machine.device_name())
    network.to(device)
    moved = batch.to(device)
    assert moved.targets is not None
    with untouched(network):
        with autocast(precision, device):
            loss = total_loss(network, moved.images, moved.targets)
        loss.backward()
        return {n for n, p in network.named_parameters() if p.requires_grad and p.grad is None}


def bytes_for_step(network: Network, batch: Batch, precision: str) -> int:
    """Return what a batch keeps in memory between the two passes.

    Every tensor that autograd keeps is seen by a hook and its storage counted once, weights left out.
    """
    known = {p.untyped_storage().data_ptr() for p in network.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    def back(tensor: Any) -> Any:
        return tensor

    moved = batch.to(next(network.parameters()).device)
    assert moved.targets is not None
    with untouched(network), torch.autograd.graph.saved_tensors_hooks(keep, back):
        with autocast(precision, moved.images.device):
            loss = total_loss(network, moved.images, moved.targets)
        kept_bytes = sum(kept.values())
        del loss
    return kept_bytes


def fitting_batch(network: Network, one: Batch, size: int, precision: str, sharing: int = 1) -> int:
    """Return the largest power of two of images whose step fits the free memory, by measurement.

    On a GPU a real step of that batch is tried, and halved while memory runs out.

    Args:
        network: to be trained.
        one: a batch of one image.
        size: largest input size of the run, pixels; inputs are taken for squares of it.
        precision: a recipe's word.
        sharing: processes of the run on this machine.
    """
    device = torch.device(machine.device_name())
    network.to(device)
    weights = sum(p.numel() * p.element_size() for p in network.parameters())
    room = SHARE * machine.free_memory(sharing) - STATES * weights
    padded = size * size / (one.images.shape[-2] * one.images.shape[-1])
    image = MARGIN * max(1.0, bytes_for_step(network, one, precision) * padded)
    fitting = max(1, min(machine.most_images(), int(room / image)))
    batch = 1 << (fitting.bit_length() - 1)
    while device.type == "cuda" and batch > 1 and not _runs(network, one, size, batch, precision):
        batch //= 2
    return batch


def _runs(network: Network, one: Batch, size: int, batch: int, precision: str) -> bool:
    """Say whether a step of ``batch`` copies of one image, as large as can be, fits the GPU."""
    device = next(network.parameters()).device
    images = torch.zeros(batch, 3, size, size, device=device)
    assert one.targets is not None
    targets = one.targets.to(device).mapped(lambda t: t.repeat(batch, *(1,) * (t.ndim - 1)))
    try:
        with untouched(network), autocast(precision, device):
            total_loss(network, images, targets).backward()
    except torch.cuda.OutOfMemoryError:
        return False
    finally:
        torch.cuda.empty_cache()
    return True
