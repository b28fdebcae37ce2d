"""gazehound: every object detector of the field's first twenty years behind one interface.

>>> import gazehound
>>> model = gazehound.load("runs/demo/best.safetensors")        # doctest: +SKIP
>>> detections = model.predict("photo.jpg")                     # doctest: +SKIP

Importing this package imports neither torch nor any detector; the names below are resolved when
they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gazehound.data import open_dataset
    from gazehound.errors import GazehoundError
    from gazehound.model import Model, create, load
    from gazehound.records import Classes, Detections, Sample

__version__ = "0.1.0"

_HOME = {
    "Classes": "gazehound.records",
    "Detections": "gazehound.records",
    "GazehoundError": "gazehound.errors",
    "Model": "gazehound.model",
    "Sample": "gazehound.records",
    "create": "gazehound.model",
    "load": "gazehound.model",
    "open_dataset": "gazehound.data",
}

__all__ = [
    "Classes",
    "Detections",
    "GazehoundError",
    "Model",
    "Sample",
    "__version__",
    "create",
    "load",
    "open_dataset",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'gazehound' has no attribute '{name}'")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
