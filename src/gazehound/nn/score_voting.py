"""Score voting (Kim and Lee 2020, PAA, section 3.3, equations 15 and 16)."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gazehound.boxes.iou import pairwise
from gazehound.nn.postprocess import Found


def vote(
    found: Found,
    boxes: Float[Tensor, "B C 4"],
    scores: Float[Tensor, "B C"],
    labels: Int[Tensor, "B C"],
    *,
    variance: float = 0.025,
    least: float = 0.01,
) -> Found:
    """Move each box that survived NMS to the average of the candidates around it.

    A candidate of the same class with an IoU above ``least`` has the weight ``score * exp(-(1 - IoU)^2 /
    variance)``. Scores stay. A box is a candidate itself, so there is always one.

    Args:
        found: after NMS.
        boxes: all candidates, before it.
        scores: theirs; 0 for none.
        labels: theirs.
        variance: sigma_t of the paper.
        least: least IoU of a voter.
    """
    overlap = pairwise(found.boxes, boxes)  # B x D x C
    votes = (found.labels[..., None] == labels[:, None]) & (overlap > least)
    weights = scores[:, None] * torch.exp(-((1 - overlap) ** 2) / variance) * votes
    total = weights.sum(dim=2, keepdim=True)
    moved = (weights @ boxes) / total.clamp(min=1e-12)
    # A box without area overlaps nothing, itself included: it stays where it is.
    return replace(found, boxes=moved.where((total > 0) & found.valid[..., None], found.boxes))
