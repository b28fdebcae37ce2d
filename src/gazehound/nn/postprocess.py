"""From dense outputs to a handful of boxes: the best per level, decoded, clipped, non-maximum-suppressed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gazehound.boxes.arrays import is_exported, is_traced
from gazehound.boxes.formats import clip
from gazehound.boxes.nms import batched_nms
from gazehound.nn.coders import Coder
from gazehound.nn.suppression import best_kept, best_of
from gazehound.watching import Suppression, show

SMALLEST = 1e-2  # pixels: a detected region with a shorter side is none


@dataclass(frozen=True)
class Limits:
    """What is kept after decoding.

    Attributes:
        score: lowest score, exclusive.
        per_level: (anchor, class) pairs kept per pyramid level before NMS.
        per_class: anchors kept per class before NMS, in detectors that choose by class (SSD).
        iou: NMS suppresses a box of the same class whose IoU with a better one is larger.
        per_image: boxes kept per image after NMS.
        nms: suppress at all; without it all candidates come back, for a program that suppresses later.
    """

    score: float = 0.05
    per_level: int = 1000
    iou: float = 0.5
    per_image: int = 100
    per_class: int = 400
    nms: bool = True


@dataclass(frozen=True)
class Found:
    """Detections of a batch, padded to one length, best first, in pixels of the network input.

    Attributes:
        boxes: (B, D, 4) ``xyxy``.
        scores: (B, D); 0 where padded.
        labels: (B, D); 0 where padded.
        valid: (B, D).
        extras: further columns (B, D, ...) by name, see ``Detections.extras``; points of the network
            input under ``keypoints``.
        final: whether nothing remains to be suppressed.
    """

    boxes: Float[Tensor, "B D 4"]
    scores: Float[Tensor, "B D"]
    labels: Int[Tensor, "B D"]
    valid: Bool[Tensor, "B D"]
    extras: Mapping[str, Tensor] = field(default_factory=dict)
    final: bool = True


def best_per_level(
    scores: Float[Tensor, "B L K"], level_lengths: Sequence[int], limits: Limits
) -> tuple[Float[Tensor, "B C"], Int[Tensor, "B C"]]:
    """Return the scores and flat (anchor * K + class) indices of each level's best pairs.

    Pairs at or under ``limits.score`` come back with score 0.
    """
    classes = scores.shape[2]
    picked_scores, picked_index, start = [], [], 0
    for length in level_lengths:
        flat = scores[:, start : start + length].flatten(1)  # B x length*K
        top, index = best_of(flat, limits.per_level)
        picked_scores.append(top)
        picked_index.append(index + start * classes)
        start += length
    candidates = torch.cat(picked_scores, dim=1)  # B x C
    candidates = candidates.where(candidates > limits.score, 0.0)
    return candidates, torch.cat(picked_index, dim=1)


def best_per_class(
    scores: Float[Tensor, "B L K"], limits: Limits
) -> tuple[Float[Tensor, "B C"], Int[Tensor, "B C"]]:
    """Return the scores and flat (anchor * K + class) indices of each class's best anchors.

    Pairs at or under ``limits.score`` come back with score 0.
    """
    classes = scores.shape[2]
    top, anchor = best_of(scores, limits.per_class)  # B x N x K
    index = anchor * classes + torch.arange(classes, device=scores.device)
    candidates = top.where(top > limits.score, 0.0)
    return candidates.flatten(1), index.flatten(1)


def keep_decoded(
    candidates: Float[Tensor, "B C"],
    index: Int[Tensor, "B C"],
    boxes: Float[Tensor, "B L 4"],
    classes: int,
    sizes: Float[Tensor, "B 2"],
    limits: Limits,
) -> Found:
    """Clip the chosen boxes of a detector that has decoded all of them, and suppress per class.

    Args:
        candidates: scores of the chosen pairs, 0 for none.
        index: their flat (anchor * ``classes`` + class) indices.
        boxes: ``xyxy`` of all anchors, pixels of the network input.
        classes: K.
        sizes: (height, width) of the image content in each input, pixels.
        limits: what is kept.
    """
    anchor, label = index // classes, index % classes
    picked = torch.gather(boxes, 1, anchor[..., None].expand(-1, -1, 4))  # B x C x 4
    return suppress(clip(picked, sizes[:, :1], sizes[:, 1:]), candidates, label, limits)


def decode_dense(
    scores: Float[Tensor, "B L K"],
    deltas: Float[Tensor, "B L D"],
    anchors: Float[Tensor, "L 4"],
    level_lengths: Sequence[int],
    sizes: Float[Tensor, "B 2"],
    coder: Coder,
    limits: Limits,
) -> Found:
    """Decode a dense detector's outputs.

    Args:
        scores: class probabilities.
        deltas: box numbers of the coder.
        anchors: of all levels.
        level_lengths: anchors per level.
        sizes: (height, width) of the image content in each input, pixels; boxes are clipped to it.
        coder: turns deltas into boxes.
        limits: what is kept.
    """
    return suppress(
        *decode_best(scores, deltas, anchors, level_lengths, sizes, coder, limits), limits
    )


def decode_best(
    scores: Float[Tensor, "B L K"],
    deltas: Float[Tensor, "B L D"],
    anchors: Float[Tensor, "L 4"],
    level_lengths: Sequence[int],
    sizes: Float[Tensor, "B 2"],
    coder: Coder,
    limits: Limits,
) -> tuple[Float[Tensor, "B C 4"], Float[Tensor, "B C"], Int[Tensor, "B C"]]:
    """Return the boxes, scores and labels that :func:`decode_dense` suppresses; score 0 for none."""
    candidates, index = best_per_level(scores, level_lengths, limits)  # B x C
    anchor, label = index // scores.shape[2], index % scores.shape[2]
    picked = torch.gather(deltas, 1, anchor[..., None].expand(-1, -1, deltas.shape[2]))
    boxes = coder.decode(picked.float(), anchors[anchor])  # B x C x 4
    return clip(boxes, sizes[:, :1], sizes[:, 1:]), candidates, label


def decode_regions(
    scores: Float[Tensor, "B R K"], boxes: Float[Tensor, "B R C 4"], limits: Limits
) -> Found:
    """Turn classified regions into detections: each class of a region is a detection of its own.

    Args:
        scores: class probabilities; 0 where padded.
        boxes: decoded and clipped, of each class (C = K) or of all at once (C = 1).
        limits: what is kept; ``per_level`` is not asked, regions are few.
    """
    classes = scores.shape[2]
    sides = boxes[..., 2:] - boxes[..., :2]  # B x R x C x 2
    fits = (sides >= SMALLEST).all(dim=3) & (scores > limits.score)  # B x R x K
    labels = torch.arange(classes, device=scores.device).expand(scores.shape)
    each = boxes.expand(-1, -1, classes, 4).flatten(1, 2)  # B x RK x 4
    return suppress(each, (scores * fits).flatten(1), labels.flatten(1), limits)


def suppress(
    boxes: Float[Tensor, "B C 4"],
    scores: Float[Tensor, "B C"],
    labels: Int[Tensor, "B C"],
    limits: Limits,
) -> Found:
    """Run class-aware NMS on each image of a batch; candidates of score 0 are no candidates."""
    if not limits.nms:
        return Found(boxes, scores, labels, scores > 0, final=False)
    if is_exported():
        index, valid = best_kept(boxes, scores, labels, limits.iou, limits.per_image)
        return _gathered(boxes, scores, labels, index, valid)
    kept = []
    for image_boxes, image_scores, image_labels in zip(boxes, scores, labels, strict=True):
        rows = torch.nonzero(image_scores > 0)[:, 0]
        columns = image_boxes[rows], image_scores[rows], image_labels[rows]
        keep = batched_nms(*columns, limits.iou)
        if not is_traced():
            show(Suppression(*columns, keep, limits.iou, cut=limits.per_image))
        kept.append(rows[keep[: limits.per_image]])
    most = max((len(rows) for rows in kept), default=0)
    index = torch.stack([_padded(rows, most) for rows in kept])  # B x D
    return _gathered(boxes, scores, labels, index.clamp(min=0), index >= 0)


def _gathered(
    boxes: Float[Tensor, "B C 4"],
    scores: Float[Tensor, "B C"],
    labels: Int[Tensor, "B C"],
    index: Int[Tensor, "B D"],
    valid: Bool[Tensor, "B D"],
) -> Found:
    return Found(
        torch.gather(boxes, 1, index[..., None].expand(-1, -1, 4)) * valid[..., None],
        torch.gather(scores, 1, index) * valid,
        torch.gather(labels, 1, index) * valid,
        valid,
    )


def _padded(rows: Tensor, length: int) -> Tensor:
    return torch.cat((rows, rows.new_full((length - len(rows),), -1)))
