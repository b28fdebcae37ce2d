"""The next batch is copied to the GPU while the current one is learned from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from gazehound.records import Batch


def to_device(batch: Batch, device: Any) -> Batch:
    """Return a batch on a device, its images laid out channels-last, which convolutions like best."""
    moved = batch.to(device, non_blocking=True)
    return replace(moved, images=moved.images.contiguous(memory_format=torch.channels_last))


class DevicePrefetch:
    """A loader whose batches are on the GPU already when they are asked for.

    Copies run on a stream of their own, from pinned memory, one batch ahead. The stream that computes
    waits for the copy of its batch and for nothing else; the host waits for neither.

    Args:
        loader: of batches in pinned memory.
        device: a CUDA device.
    """

    def __init__(self, loader: DataLoader[Any], device: torch.device) -> None:
        self.loader, self.device = loader, device

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Batch]:
        stream = torch.cuda.Stream(self.device)
        ahead: tuple[Batch, Any] | None = None
        for batch in self.loader:
            with torch.cuda.stream(stream):
                coming = to_device(batch, self.device), stream.record_event()
            if ahead is not None:
                yield self._ready(*ahead)
            ahead = coming
        if ahead is not None:
            yield self._ready(*ahead)

    def _ready(self, batch: Batch, copied: Any) -> Batch:
        """Make the computing stream wait for a copy, and keep its memory until that stream is done."""
        computing = torch.cuda.current_stream(self.device)
        computing.wait_event(copied)
        for tensor in tensors_of(batch):
            tensor.record_stream(computing)
        return batch


def tensors_of(batch: Batch) -> list[Tensor]:
    """Return every tensor of a batch."""
    tensors = [batch.images, batch.sizes]
    if batch.targets is not None:
        targets = batch.targets
        tensors += [targets.boxes, targets.labels, targets.valid, *targets.extras.values()]
    return tensors
