"""What this machine can do: defaults for precision, batch size and loader processes."""

from __future__ import annotations

import os

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


def default_batch(size: int) -> int:
    """Return a batch size for inputs of ``size`` pixels: a power of two that memory holds with room.

    The rule assumes some 400 bytes of activations per input pixel, times the channels' share, which
    is generous for ResNet-50 with a pyramid; automatic search for the largest batch is not done here.
    """
    per_image = size * size * 3000  # bytes, forward and backward
    if torch.cuda.is_available():
        memory = torch.cuda.mem_get_info()[0]
        most = 64
    else:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4
        most = 8
    fitting = max(1, min(most, int(memory / per_image)))
    return 1 << (fitting.bit_length() - 1)


def default_workers() -> int:
    """Return how many loader processes help: one per core beyond the first, at most 8."""
    return max(1, min(8, cores() - 1))
