"""What ``gazehound compare`` measures of one detector: boxes, time, memory, operations."""

from __future__ import annotations

import ctypes
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from torch.utils.flop_counter import FlopCounterMode

from gazehound.data import Dataset
from gazehound.detectors.detector import Detector, Fittable
from gazehound.detectors.network import Network
from gazehound.errors import ConfigError
from gazehound.metrics import Evaluation
from gazehound.records import Classes, Detections
from gazehound.reports.standings import Cost

WARM = 2  # predictions before the clock counts
_STATUS = Path("/proc/self/status")
_RESET_PEAK = Path("/proc/self/clear_refs")


def shared_classes(model: Classes, data: Classes) -> tuple[str, ...]:
    """Return the names that a detector is judged on, in the data's order.

    Raises:
        ConfigError: neither knows all that the other knows, so that no fair number exists.
    """
    shared = tuple(name for name in data.names if name in model.names)
    if shared and len(shared) in (len(model), len(data)):
        return shared
    raise ConfigError(
        f"its classes do not fit the data's: in both {list(shared) or 'none'}, only in the data "
        f"{_few(data, model)}, only in the model {_few(model, data)}"
    )


def _few(classes: Classes, without: Classes, most: int = 6) -> str:
    names = [name for name in classes.names if name not in without.names]
    return f"{names[:most]}" + (f" and {len(names) - most} more" if len(names) > most else "")


def relabelled(found: Detections, data: Classes) -> Detections:
    """Return detections under the data's labels, matched by name; those of other classes are dropped."""
    place = data.label_of_name()
    labels = np.asarray([place.get(name, -1) for name in found.classes.names], np.int64)
    keep = labels[found.labels] >= 0
    kept = found.select(keep)
    return replace(kept, labels=labels[kept.labels], classes=data, image_id=None)


def measure(
    detector: Detector, dataset: Dataset, console: Console, name: str
) -> tuple[Evaluation, Cost]:
    """Detect in every image, one at a time, with the clock running.

    Args:
        detector: any.
        dataset: the split.
        console: where progress is shown.
        name: of the detector, for the progress.

    Returns:
        Truths and detections under the data's classes, and what they cost; ``training`` is left open.
    """
    first = dataset[0].image
    assert first is not None
    for _ in range(WARM):
        detector.predict([first])
    evaluation, seconds = Evaluation(dataset.classes), []
    with peak_memory(detector) as memory:
        for row in track(
            range(len(dataset)), f"{name}: detecting", console=console, transient=True
        ):
            sample = dataset[row]
            assert sample.image is not None
            began = time.perf_counter()
            found = detector.predict([sample.image])[0]
            seconds.append(time.perf_counter() - began)
            evaluation.add(replace(sample, image=None), relabelled(found, dataset.classes))
    weights = weight_bytes(detector)
    cost = Cost(
        parameters=parameters(detector),
        flops=flops(detector, first),
        milliseconds=1000 * statistics.median(seconds),
        memory=memory[0] + weights if memory else None,
    )
    return evaluation, cost


def parameters(detector: Detector) -> int | None:
    """Return how many numbers a detector has learned; None where that cannot be seen."""
    if isinstance(detector, torch.nn.Module):
        return sum(weight.numel() for weight in detector.parameters())
    if isinstance(detector, Fittable):
        return sum(np.asarray(array).size for array in detector.arrays().values())
    return None


def weight_bytes(detector: Detector) -> int:
    """Return the bytes of weights on the CPU; a GPU's peak holds them already."""
    if isinstance(detector, torch.nn.Module):
        state = [*detector.parameters(), *detector.buffers()]
        return sum(w.numel() * w.element_size() for w in state if w.device.type == "cpu")
    if isinstance(detector, Fittable):
        return sum(np.asarray(array).nbytes for array in detector.arrays().values())
    return 0


def flops(detector: Detector, image: NDArray[np.uint8]) -> int | None:
    """Return the floating-point operations of one forward pass on a picture; None without a network.

    Convolutions and matrix products count, two for each multiplication with its addition.
    """
    if not isinstance(detector, Network):
        return None
    batch = detector.preprocess.batch([image]).to(next(detector.parameters()).device)
    training = detector.training
    detector.eval()
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            detector(batch.images)
        return int(counter.get_total_flops())
    finally:
        detector.train(training)


@contextmanager
def peak_memory(detector: Any) -> Iterator[list[int]]:
    """Yield a list that afterwards holds the most bytes that were held beyond those held before.

    On a GPU everything that torch holds there; on the CPU what the process grew by, as Linux counts
    it. Elsewhere the list stays empty.
    """
    out: list[int] = []
    weight = next(detector.parameters(), None) if isinstance(detector, torch.nn.Module) else None
    if weight is not None and weight.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        yield out
        out.append(torch.cuda.max_memory_allocated())
        return
    before = _from_here()
    yield out
    if before is not None:
        out.append(max(0, _status("VmHWM") - before))


def _from_here() -> int | None:
    """Give freed memory back, let the process's peak count from now, and return what it holds."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
        _RESET_PEAK.write_text("5")
        return _status("VmRSS")
    except (OSError, AttributeError):  # not Linux, or not with glibc
        return None


def _status(name: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024
