"""What an assigner answers: for each prediction, which truth it is responsible for, if any."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gazehound.records import Targets


class State(IntEnum):
    """The part that a prediction plays in the loss."""

    NEGATIVE = 0
    POSITIVE = 1
    IGNORED = 2


@dataclass(frozen=True)
class Assignment:
    """One row per prediction (anchor, point or region), in fixed shapes.

    Attributes:
        truth: (B, L) index of the matched truth; meaningful where the state is positive.
        state: (B, L) int8, values of :class:`State`.
        overlap: (B, L) IoU with the matched truth (0 where there is no truth).
    """

    truth: Int[Tensor, "B L"]
    state: Int[Tensor, "B L"]
    overlap: Float[Tensor, "B L"]

    @property
    def positive(self) -> Bool[Tensor, "B L"]:
        """Return where a prediction is responsible for a truth."""
        return self.state == State.POSITIVE

    @property
    def counted(self) -> Bool[Tensor, "B L"]:
        """Return where a prediction takes part in the classification loss."""
        return self.state != State.IGNORED

    def within(self, valid: Bool[Tensor, "B L"]) -> Assignment:
        """Return the assignment with everything outside ``valid`` ignored (padded regions)."""
        state = self.state.masked_fill(~valid, int(State.IGNORED))
        return Assignment(self.truth, state, self.overlap)

    def boxes_of(self, targets: Targets) -> Float[Tensor, "B L 4"]:
        """Return the matched truth's box for each prediction; arbitrary where not positive."""
        index = self.truth[..., None].expand(-1, -1, 4)
        return torch.gather(targets.boxes, 1, index)

    def labels_of(self, targets: Targets) -> Int[Tensor, "B L"]:
        """Return the matched truth's label for each prediction; arbitrary where not positive."""
        return torch.gather(targets.labels, 1, self.truth)
