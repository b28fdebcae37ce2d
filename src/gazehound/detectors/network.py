"""What every network detector shares: ``predict``, and nothing else. Nobody overrides it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gazehound.data.preprocess import Preprocess
from gazehound.nn.postprocess import Found
from gazehound.records import Batch, Classes, Detections, FloatArray, Geometry, Targets
from gazehound.watching import show


@dataclass(frozen=True)
class Inferred:
    """The step that a network shows of its prediction.

    Attributes:
        batch: what it was fed.
        outputs: its own record, of ``forward``.
        found: of ``decode``.
    """

    batch: Batch
    outputs: Any
    found: Found


class Network(nn.Module):
    """A Trainable detector: subclasses give ``forward``, ``losses`` and ``decode``.

    Attributes:
        classes: names and ids of the labels.
        preprocess: how images become network inputs at prediction.
        reads: columns of the data set's extras that its losses learn from, beside boxes and labels.
        strong_augmentation: training sets it while mosaic and mixup paste images together, whose cut
            boxes some losses had better not trust to the pixel; a loss may read it.
    """

    reads: tuple[str, ...] = ()
    strong_augmentation: bool = False

    def __init__(self, classes: Classes, preprocess: Preprocess) -> None:
        super().__init__()
        self.classes = classes
        self.preprocess = preprocess

    def losses(self, outputs: Any, targets: Targets) -> dict[str, Tensor]:
        """Return named scalar losses; their sum is minimised."""
        raise TypeError(f"{type(self).__name__} does not define its losses")

    def decode(self, outputs: Any, sizes: Tensor) -> Found:
        """Turn outputs into padded detections in pixels of the network input."""
        raise TypeError(f"{type(self).__name__} does not define its decoding")

    def look_at(self, shapes: NDArray[np.float32]) -> str:
        """Adapt to the boxes of a training set before its first step (anchors that are checked, ...).

        Args:
            shapes: (N, 2) widths and heights at the network input, pixels.

        Returns:
            One line that says what was found and done; empty where nothing depends on the boxes.
        """
        return ""

    def predict(
        self, images: Sequence[NDArray[np.uint8]], *, score: float | None = None
    ) -> list[Detections]:
        """Detect on (H, W, 3) uint8 RGB images of any sizes.

        Args:
            images: they become one batch; split a long list yourself, or use ``Model.predict``.
            score: drop detections under this score (the detector's own limit applies first).

        Returns:
            One record per image, boxes in its pixels, best first.
        """
        if not images:
            return []
        batch = self.preprocess.batch(images).to(next(self.parameters()).device)
        found = self.infer(batch)
        return self.restore(found, batch, score)

    @torch.inference_mode()
    def infer(self, batch: Batch) -> Found:
        """Run forward and decode in evaluation mode, and put the mode back."""
        training = self.training
        self.eval()
        try:
            outputs = self(batch.images)
            found = self.decode(outputs, batch.sizes)
            show(Inferred(batch, outputs, found))
            return found
        finally:
            self.train(training)

    def restore(self, found: Found, batch: Batch, score: float | None = None) -> list[Detections]:
        """Cut the padding off and map the boxes back to the original images."""
        return to_original(found, batch.geometry, self.classes, score, batch.image_ids)


def to_original(
    found: Found,
    geometry: Sequence[Geometry],
    classes: Classes,
    score: float | None = None,
    image_ids: Sequence[int | str] = (),
) -> list[Detections]:
    """Return what was found in a batch of network inputs as records of the original images.

    Args:
        found: padded, in pixels of the network input.
        geometry: of each image.
        classes: names and ids of the labels.
        score: drop detections under it.
        image_ids: of each image, if there are any.
    """
    valid = found.valid if score is None else found.valid & (found.scores >= score)
    columns = (found.boxes, found.scores, found.labels, valid)
    boxes, scores, labels, keep = (column.cpu().numpy() for column in columns)
    extras = {name: column.float().cpu().numpy() for name, column in found.extras.items()}
    ids: Sequence[int | str | None] = image_ids or [None] * len(geometry)
    return [
        Detections(
            own.to_original(boxes[i][keep[i]]),
            scores[i][keep[i]].astype(np.float32),
            labels[i][keep[i]].astype(np.int64),
            classes,
            own.original,
            image_id,
            extras={n: _of_original(n, column[i][keep[i]], own) for n, column in extras.items()},
        )
        for i, (own, image_id) in enumerate(zip(geometry, ids, strict=True))
    ]


def _of_original(name: str, column: FloatArray, geometry: Geometry) -> FloatArray:
    """Map points back to the original image; other columns do not depend on its size."""
    if name != "keypoints":
        return column
    points = geometry.points_to_original(column[..., :2])
    return np.concatenate((points, column[..., 2:]), axis=-1)
