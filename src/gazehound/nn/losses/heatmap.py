"""Losses of heatmaps and of numbers read at their peaks (Objects as Points, equations 1 to 3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from gazehound.nn.heatmaps import PointTargets, read_cells
from gazehound.nn.normaliser import normaliser


def penalty_reduced_focal_loss(
    logits: Float[Tensor, "*N"],
    heat: Float[Tensor, "*N"],
    alpha: float = 2.0,
    beta: float = 4.0,
) -> Float[Tensor, "*N"]:
    """Focal loss towards Gaussian peaks, cell by cell (CornerNet, equation 1).

    Where ``heat`` is 1: ``-(1 - p)^alpha log p``. Elsewhere ``-(1 - heat)^beta p^alpha log(1 - p)``: a
    cell close to a peak is punished less for a high probability. Not reduced, not normalised.
    """
    probability = torch.sigmoid(logits)
    peak = -((1 - probability) ** alpha) * F.logsigmoid(logits)
    around = -((1 - heat) ** beta) * probability**alpha * F.logsigmoid(-logits)
    return torch.where(heat == 1, peak, around)


class HeatmapLoss:
    """The penalty-reduced focal loss of whole heatmaps.

    Normaliser: the number of peaks in the batch, at least 1.
    """

    def __init__(self, alpha: float = 2.0, beta: float = 4.0) -> None:
        self.alpha, self.beta = alpha, beta

    def __call__(
        self, logits: Float[Tensor, "B K H W"], heat: Float[Tensor, "B K H W"]
    ) -> Float[Tensor, ""]:
        """Return the loss of a batch."""
        loss = penalty_reduced_focal_loss(logits.float(), heat, self.alpha, self.beta).sum()
        return loss / normaliser((heat == 1).sum())


def masked_l1(
    predicted: Float[Tensor, "B M C"],
    wanted: Float[Tensor, "B M C"],
    counted: Bool[Tensor, "B M C"] | Bool[Tensor, "B M 1"],
) -> Float[Tensor, ""]:
    """Mean absolute difference over the numbers that count; 0 when none does."""
    mask = counted.expand_as(wanted)
    loss = (predicted.float() - wanted).abs() * mask
    return loss.sum() / normaliser(mask.sum(), least=0, plus=1e-4)


def point_losses(
    heat: Float[Tensor, "B K H W"],
    offset: Float[Tensor, "B 2 H W"],
    size: Float[Tensor, "B 2 H W"],
    wanted: PointTargets,
    heat_loss: HeatmapLoss,
) -> Float[Tensor, " 3"]:
    """Return the losses of heat, offset and size of one stack: what every CenterNet learns."""
    counted = wanted.valid[..., None]
    losses = (
        heat_loss(heat, wanted.heat),
        masked_l1(read_cells(offset, wanted.cell), wanted.offset, counted),
        masked_l1(read_cells(size, wanted.cell), wanted.size, counted),
    )
    return torch.stack(losses)
