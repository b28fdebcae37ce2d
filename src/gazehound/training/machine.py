"""What this machine can do: defaults for precision, batch size and loader processes."""

from __future__ import annotations

import os
from pathlib import Path

import torch


def device_name() -> str:
    """Return the accelerator that training runs on: ``cuda``, ``mps`` or ``cpu``."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def cores() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def native_bf16() -> bool:
    """Return whether bfloat16 is computed in hardware here, rather than emulated."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    probe = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool(probe is not None and probe())


def lightning_precision(choice: str) -> str:
    """Translate a recipe's precision (``auto``, ``32``, ``bf16``, ``fp16``) for Lightning."""
    if choice == "auto":
        choice = "bf16" if native_bf16() else "32"
    return {"32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}[choice]


def free_memory(sharing: int = 1) -> int:
    """Return the bytes of memory that are free: of the GPU where there is one, else of the machine.

    A machine's memory is divided between the processes ``sharing`` it; a GPU has one process.
    """
    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[0])
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(line for line in lines if line.startswith("MemAvailable:"))
        return int(free.split()[1]) * 1024 // sharing
    except (OSError, StopIteration):  # not Linux: half of what is built in
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // (2 * sharing)


def most_images() -> int:
    """Return the largest batch that is chosen unasked; on a CPU larger ones are no faster."""
    return 64 if torch.cuda.is_available() else 8


def default_workers(sharing: int = 1) -> int:
    """Return how many loader processes help each of the processes ``sharing`` this machine.

    One per core beyond the first, at most 8.
    """
    return max(1, min(8, cores() // sharing - 1))
