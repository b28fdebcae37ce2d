"""One source for NumPy arrays and torch tensors: find the module whose functions fit the array.

NumPy 2 and torch agree on the names used in this folder (``maximum``, ``stack(axis=)``, ``atan``,
``clip``), so the IoU family is written once. Torch is never imported here: an array that is a
tensor proves that it is already loaded.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

Array = Any  # numpy.ndarray or torch.Tensor; the result has the type of the argument


def namespace(array: Array) -> Any:
    """Return ``numpy`` or ``torch``, whichever made ``array``."""
    return np if isinstance(array, np.ndarray | np.generic) else sys.modules["torch"]


def is_traced() -> bool:
    """Return whether torch records what is computed: NumPy kernels are not seen then, nor lengths known."""
    torch = sys.modules.get("torch")
    return torch is not None and bool(torch.compiler.is_compiling() or torch.jit.is_tracing())


def is_exported() -> bool:
    """Return whether torch records a graph that will be written to a file and run elsewhere."""
    torch = sys.modules.get("torch")
    if torch is None:
        return False
    asked = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)
    return bool(asked())
