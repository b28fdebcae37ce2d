"""What a detector is: three protocols. Training and saving dispatch on these, never on a name.

``Detector`` finds objects. A ``Trainable`` one is a torch module that Lightning trains; a
``Fittable`` one learns by its own rounds (boosting, SVM solvers, latent mining) on NumPy arrays.
A ``Proposer`` says where R-CNN and Fast R-CNN look.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from gazehound.records import Classes, Detections, FloatArray, Targets

if TYPE_CHECKING:
    import torch

    from gazehound.data import Dataset


@runtime_checkable
class Detector(Protocol):
    """Anything that finds objects of ``classes`` in images."""

    classes: Classes

    def predict(
        self, images: Sequence[NDArray[np.uint8]], *, score: float | None = None
    ) -> list[Detections]:
        """Detect on (H, W, 3) uint8 RGB images of any sizes; one record per image, boxes in its pixels.

        ``score`` is the lowest score kept; ``None`` means the detector's own default.
        """
        ...


@runtime_checkable
class Proposer(Protocol):
    """Anything that proposes boxes which may hold an object of any class."""

    def propose(self, image: NDArray[np.uint8], limit: int = 2000) -> FloatArray:
        """Return at most ``limit`` boxes (N, 4) ``xyxy`` of an (H, W, 3) uint8 RGB image, best first."""
        ...


@runtime_checkable
class Fittable(Detector, Protocol):
    """A detector that learns by its own procedure and whose state is a handful of NumPy arrays."""

    def fit(self, dataset: Dataset, *, seed: int = 0, progress: bool = True) -> None:
        """Learn from a data set."""
        ...

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the learned state, by name."""
        ...

    def load_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take a learned state; CheckpointError when it does not fit."""
        ...


@runtime_checkable
class Trainable(Detector, Protocol):
    """A network: ``forward`` -> outputs, ``losses`` and ``decode`` read them. No preprocessing inside."""

    def forward(self, images: torch.Tensor) -> Any:
        """Map images (B, 3, H, W) to the detector's own output record."""
        ...

    def losses(self, outputs: Any, targets: Targets) -> dict[str, torch.Tensor]:
        """Return named scalar losses; their sum is minimised."""
        ...

    def decode(self, outputs: Any, sizes: torch.Tensor) -> Any:
        """Turn outputs into padded boxes, scores and labels of the network input."""
        ...
