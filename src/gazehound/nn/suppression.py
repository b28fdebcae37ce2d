"""NMS inside an exported graph: an operator of one name, which each file format spells in its own way.

A graph that is written to a file has fixed shapes, and no Numba. So NMS says for every candidate
whether it stays, which is as long as what came in, and the best of those that stay are cut out after it.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gazehound.boxes.arrays import is_traced
from gazehound.boxes.nms import batched_nms

SCHEMA = "(Tensor boxes, Tensor scores, Tensor groups, float iou_threshold, int limit) -> Tensor"


@torch.library.custom_op("gazehound::kept_by_nms", mutates_args=(), schema=SCHEMA)
def kept_by_nms(
    boxes: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float, limit: int
) -> Tensor:
    """Say which candidates greedy NMS within groups keeps.

    Args:
        boxes: (B, C, 4) ``xyxy``.
        scores: (B, C); candidates of score 0 are no candidates.
        groups: (B, C) integers; only candidates of one group suppress each other.
        iou_threshold: a candidate whose IoU with a better kept one is above it is dropped.
        limit: of each group, more than this many need not be kept.

    Returns:
        (B, C) bool.
    """
    kept = torch.zeros_like(scores, dtype=torch.bool)
    for image in range(scores.shape[0]):
        rows = torch.nonzero(scores[image] > 0)[:, 0]
        columns = boxes[image, rows], scores[image, rows], groups[image, rows]
        kept[image, rows[batched_nms(*columns, iou_threshold)]] = True
    return kept


@kept_by_nms.register_fake
def _(boxes: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float, limit: int) -> Tensor:
    return torch.empty_like(scores, dtype=torch.bool)


def best_kept(
    boxes: Float[Tensor, "B C 4"],
    scores: Float[Tensor, "B C"],
    groups: Int[Tensor, "B C"],
    iou_threshold: float,
    most: int,
) -> tuple[Int[Tensor, "B D"], Bool[Tensor, "B D"]]:
    """Suppress within groups; return the places of the best that stay, and which are any at all.

    Args:
        boxes: (B, C, 4) ``xyxy``.
        scores: (B, C), 0 for none.
        groups: (B, C) integers.
        iou_threshold: of NMS.
        most: D, or C where that is less.
    """
    kept = kept_by_nms(boxes, scores, groups, iou_threshold, most)
    top, index = best_of(scores.where(kept, 0.0), most)
    return index, top > 0


def best_of(
    values: Float[Tensor, "B N *K"], most: int
) -> tuple[Float[Tensor, "B D *K"], Int[Tensor, "B D *K"]]:
    """Return the ``min(most, N)`` largest values along the second axis, and their places.

    In a graph for inputs of any size N is not known: there ``most`` values come back, and those that
    there are not have the value -inf and the last place.
    """
    count: Any = values.shape[1]  # a symbol, where inputs have any size
    if isinstance(count, int) or not is_traced():
        top, index = values.topk(min(most, count), dim=1)
        return top, index
    missing = torch.full_like(values[:, :1], -torch.inf)
    padded = torch.cat((values, missing.expand(-1, most, *values.shape[2:])), dim=1)
    top, index = padded.topk(most, dim=1)
    return top, index.clamp(max=count - 1)
