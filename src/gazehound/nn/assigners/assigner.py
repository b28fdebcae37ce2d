"""What an assigner is asked: where a dense detector predicts, what it says there, and the truths.

A detector calls ``assign(candidates, targets, predictions)`` and reads the
:class:`~gazehound.nn.assigners.assignment.Assignment` that comes back. Assigners that go by geometry
alone (MaxIoU, FCOS, ATSS) leave the predictions unread; those that learn whom to trust (PAA, OTA,
SimOTA) weigh them. So any dense detector takes any assigner.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from gazehound.boxes.arrays import is_traced
from gazehound.errors import ConfigError
from gazehound.nn.anchors import AnchorGrid
from gazehound.nn.aspect_anchors import AspectAnchors
from gazehound.nn.assigners.assignment import Assignment
from gazehound.records import Targets


@dataclass(frozen=True)
class Candidates:
    """The places at which a dense detector predicts, all levels in one row, finest first.

    A detector without anchors has boxes too: squares around its points, of the stride's side.

    Attributes:
        boxes: (L, 4) ``xyxy`` in pixels of the network input.
        lengths: candidates per level; they sum to L.
        strides: pixels per cell, level by level.
        per_cell: candidates that share a cell, side by side.

    Raises:
        ConfigError: lengths, strides and boxes do not belong together.
    """

    boxes: Float[Tensor, "L 4"]
    lengths: tuple[int, ...]
    strides: tuple[int, ...]
    per_cell: int = 1

    def __post_init__(self) -> None:
        if is_traced():
            return  # lengths are symbols there
        if len(self.lengths) != len(self.strides) or sum(self.lengths) != len(self.boxes):
            raise ConfigError(
                "candidates need one length and one stride per level, and lengths that sum to the "
                f"number of boxes; got lengths {self.lengths}, strides {self.strides}, "
                f"{len(self.boxes)} boxes"
            )

    @property
    def centres(self) -> Float[Tensor, "L 2"]:
        """Return the centres (x, y), pixels."""
        return (self.boxes[:, :2] + self.boxes[:, 2:]) / 2

    @property
    def stride(self) -> Float[Tensor, " L"]:
        """Return the stride of each candidate's level, pixels."""
        return self.spread([float(s) for s in self.strides])

    def spread(self, per_level: Sequence[float]) -> Float[Tensor, " L"]:
        """Repeat one number per level for each candidate of that level."""
        pairs = zip(self.lengths, per_level, strict=True)
        return torch.cat([self.boxes.new_full((length,), value) for length, value in pairs])


@dataclass(frozen=True)
class Predictions:
    """What the network says at the candidates. Assigners read it without gradient.

    Attributes:
        logits: (B, L, K) class logits.
        boxes: (B, L, 4) decoded ``xyxy``, pixels of the network input.
        quality: (B, L) logit of the branch beside the classes (objectness, centre-ness, IoU), if any.
    """

    logits: Float[Tensor, "B L K"]
    boxes: Float[Tensor, "B L 4"]
    quality: Float[Tensor, "B L"] | None = None


@runtime_checkable
class Assigner(Protocol):
    """Decides which candidates are responsible for which truth; no gradient passes."""

    def __call__(
        self, candidates: Candidates, targets: Targets, predictions: Predictions
    ) -> Assignment:
        """Assign the candidates of one network input shape to the truths of each image.

        Args:
            candidates: shared by all images of the batch.
            targets: padded; what is not valid takes no part.
            predictions: of this very forward pass.
        """
        ...


def lay_out(
    grid: AnchorGrid | AspectAnchors, pyramid: Sequence[Tensor], images: Float[Tensor, "B 3 H W"]
) -> Candidates:
    """Return the candidates of a grid on a pyramid of feature maps.

    Args:
        grid: gives the boxes of all levels.
        pyramid: the maps that the head reads, finest first, each B x C x h x w.
        images: the network input.
    """
    cells = [(level.shape[-2], level.shape[-1]) for level in pyramid]
    boxes = grid(cells, (images.shape[-2], images.shape[-1]))
    lengths = tuple(rows * columns * grid.per_cell for rows, columns in cells)
    return Candidates(boxes, lengths, grid.strides, grid.per_cell)
