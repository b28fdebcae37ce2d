"""Data sets: readers and writers of COCO, VOC, YOLO and KITTI, the data gate, procedural shapes.

The names below are resolved when they are first used; none of them imports torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gazehound.data.dataset import Dataset
    from gazehound.data.opening import available_splits, open_dataset
    from gazehound.data.writing import write_dataset

_HOME = {
    "Dataset": "gazehound.data.dataset",
    "available_splits": "gazehound.data.opening",
    "open_dataset": "gazehound.data.opening",
    "write_dataset": "gazehound.data.writing",
}

__all__ = ["Dataset", "available_splits", "open_dataset", "write_dataset"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'gazehound.data' has no attribute '{name}'")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
