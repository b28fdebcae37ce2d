"""Box regression losses: on deltas (smooth L1) or on decoded boxes (the IoU family)."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from gazehound.boxes.iou import KINDS
from gazehound.errors import ConfigError, unknown_name
from gazehound.nn.coders import Coder

BoxLoss = Callable[..., Tensor]
"""(deltas, truths, anchors, positive, coder, weights) -> each image's loss, summed over positives."""

FORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda overlap: 1 - overlap,
    "log": lambda overlap: -overlap.clamp(min=1e-6).log(),
    "square": lambda overlap: 1 - overlap.square(),
}


class SmoothL1Loss:
    """Smooth L1 between predicted and encoded deltas (Girshick 2015, equation 3).

    Quadratic below ``beta``, linear above; ``beta = 0`` is plain L1. Summed over the four numbers and
    the positive anchors of each image; the caller divides by the number of positives.

    Args:
        beta: where the line begins.
        weight: factor on the loss.
    """

    def __init__(self, beta: float = 1 / 9, weight: float = 1.0) -> None:
        self.beta, self.weight = beta, weight

    def __call__(
        self,
        deltas: Float[Tensor, "B L 4"],
        truths: Float[Tensor, "B L 4"],
        anchors: Float[Tensor, "... L 4"],
        positive: Bool[Tensor, "B L"],
        coder: Coder,
        weights: Float[Tensor, "B L"] | None = None,
    ) -> Float[Tensor, " B"]:
        """Return the loss of each image; ``weights`` are factors on its anchors."""
        wanted = coder.encode(truths, anchors)
        loss = F.smooth_l1_loss(deltas.float(), wanted, beta=self.beta, reduction="none")
        return self.weight * _sum_over_positives(loss.sum(dim=2), positive, weights)


class IoULoss:
    """The IoU family as a loss on decoded boxes, whatever coder they come from.

    Summed over the positive anchors of each image; the caller divides by the number of positives (or by
    the sum of the weights).

    Args:
        kind: ``iou``, ``giou``, ``diou``, ``ciou`` or ``eiou``.
        weight: factor on the loss.
        form: ``linear``: 1 - overlap. For plain IoU also ``log``: -ln IoU, IoU kept above 1e-6 (UnitBox,
            FCOS's first version), and ``square``: 1 - IoU^2 (YOLOX's released code).

    Raises:
        ConfigError: the kind or the form is unknown, or they do not fit.
    """

    def __init__(self, kind: str = "giou", weight: float = 1.0, form: str = "linear") -> None:
        if kind not in KINDS:
            raise unknown_name("overlap measure", kind, KINDS)
        if form not in FORMS:
            raise unknown_name("form of the IoU loss", form, FORMS)
        if form != "linear" and kind != "iou":
            raise ConfigError(f"the form '{form}' needs an overlap in 0..1: iou, not {kind}")
        self.overlap, self.weight, self.form = KINDS[kind], weight, FORMS[form]

    def __call__(
        self,
        deltas: Float[Tensor, "B L D"],
        truths: Float[Tensor, "B L 4"],
        anchors: Float[Tensor, "... L 4"],
        positive: Bool[Tensor, "B L"],
        coder: Coder,
        weights: Float[Tensor, "B L"] | None = None,
    ) -> Float[Tensor, " B"]:
        """Return the loss of each image; ``weights`` are factors on its anchors."""
        return self.of_boxes(
            coder.decode(deltas.float(), anchors), truths, anchors, positive, weights
        )

    def of_boxes(
        self,
        boxes: Float[Tensor, "B L 4"],
        truths: Float[Tensor, "B L 4"],
        anchors: Float[Tensor, "... L 4"],
        positive: Bool[Tensor, "B L"],
        weights: Float[Tensor, "B L"] | None = None,
    ) -> Float[Tensor, " B"]:
        """Return the loss of each image for boxes that are decoded already."""
        # Where nothing is to be learned the anchor stands in for both boxes: no stray gradient, no NaN.
        keep = positive[..., None]
        overlap = self.overlap(boxes.where(keep, anchors), truths.where(keep, anchors))
        return self.weight * _sum_over_positives(self.form(overlap), positive, weights)


def make_box_loss(name: str, weight: float = 1.0) -> SmoothL1Loss | IoULoss:
    """Build a box loss by its name: ``smooth-l1``, ``iou``, ``giou``, ``diou``, ``ciou`` or ``eiou``.

    Raises:
        ConfigError: the name is unknown.
    """
    return SmoothL1Loss(weight=weight) if name == "smooth-l1" else IoULoss(name, weight)


def _sum_over_positives(loss: Tensor, positive: Tensor, weights: Tensor | None) -> Tensor:
    counted = loss * positive if weights is None else loss * positive * weights
    return counted.sum(dim=1)
