"""Proposals: boxes that may hold an object of any class, padded to one length per batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gazehound.boxes.arrays import is_exported, is_traced
from gazehound.boxes.formats import clip
from gazehound.boxes.iou import pairwise
from gazehound.nn.coders import DeltaCoder
from gazehound.nn.postprocess import Limits, suppress
from gazehound.nn.suppression import best_kept, best_of
from gazehound.records import Targets
from gazehound.watching import show

BLOCK = 1024  # boxes that the fixed-shape NMS settles at a time
ROUNDS = 32  # within a block; chains of suppression this long do not occur among proposals


@dataclass(frozen=True)
class Proposals:
    """Regions of a batch, padded to one length.

    Attributes:
        boxes: (B, P, 4) ``xyxy`` in pixels of the network input; zeros where padded.
        scores: (B, P); 0 where padded.
        valid: (B, P).
    """

    boxes: Float[Tensor, "B P 4"]
    scores: Float[Tensor, "B P"]
    valid: Bool[Tensor, "B P"]

    def with_truths(self, targets: Targets) -> Proposals:
        """Return the proposals followed by the truths, which a young network does not propose yet."""
        return Proposals(
            torch.cat((self.boxes, targets.boxes), dim=1),
            torch.cat((self.scores, torch.ones_like(targets.boxes[..., 0])), dim=1),
            torch.cat((self.valid, targets.valid), dim=1),
        )

    def shortened(self) -> Proposals:
        """Cut the padding that all images share; asks how many there are, which is for prediction."""
        if is_traced():
            return self
        most = int(self.valid.sum(dim=1).amax()) if len(self.valid) else 0
        return Proposals(self.boxes[:, :most], self.scores[:, :most], self.valid[:, :most])


@dataclass(frozen=True)
class ProposalLimits:
    """Which of the decoded anchors become proposals.

    Attributes:
        per_level: best anchors of each pyramid level that enter NMS.
        per_image: proposals kept per image.
        iou: NMS, within each level, suppresses a box whose IoU with a better one is larger.
        score: lowest objectness probability, inclusive.
        smallest: shortest side, pixels of the network input.
    """

    per_level: int = 1000
    per_image: int = 1000
    iou: float = 0.7
    score: float = 0.0
    smallest: float = 1e-3


@torch.no_grad()
def propose(
    objectness: Float[Tensor, "B L"],
    deltas: Float[Tensor, "B L 4"],
    anchors: Float[Tensor, "... L 4"],
    lengths: Sequence[int],
    sizes: Float[Tensor, "B 2"],
    coder: DeltaCoder,
    limits: ProposalLimits,
) -> Proposals:
    """Decode the most object-like anchors of each level, and suppress near-duplicates.

    No gradient passes: proposals are positions to look at, not predictions of the second stage
    (Ren et al. 2015, section 3.2).

    Args:
        objectness: logits.
        deltas: box numbers of the coder.
        anchors: of all levels; the same for all images, or each image's own.
        lengths: anchors per level.
        sizes: (height, width) that boxes are clipped to, pixels.
        coder: turns deltas into boxes.
        limits: what is kept.

    Returns:
        Proposals padded to ``limits.per_image`` (or to all candidates, when they are fewer).
    """
    index, levels = _best_anchors(objectness, lengths, limits.per_level)  # B x C
    logits = objectness.gather(1, index).float()
    at = index[..., None].expand(-1, -1, 4)
    places = anchors.expand(objectness.shape[0], -1, 4).gather(1, at)
    boxes = coder.decode(deltas.gather(1, at).float(), places)
    boxes = clip(boxes, sizes[:, :1], sizes[:, 1:])
    scores = torch.sigmoid(logits)
    sides = boxes[..., 2:] - boxes[..., :2]
    fits = (sides >= limits.smallest).all(dim=2) & (scores >= limits.score) & (logits > -torch.inf)
    # A score of 0 says "no candidate" below; a real one that small is lifted off it.
    scores = scores.clamp(min=torch.finfo(scores.dtype).tiny) * fits
    return thinned(boxes, scores, levels, limits.iou, limits.per_image)


def _best_anchors(
    objectness: Float[Tensor, "B L"], lengths: Sequence[int], most: int
) -> tuple[Int[Tensor, "B C"], Int[Tensor, "B C"]]:
    """Return the positions of each level's best anchors, and their level."""
    picked, levels, start = [], [], 0
    for level, length in enumerate(lengths):
        part = objectness[:, start : start + length]
        index = best_of(part, most)[1] + start
        picked.append(index)
        levels.append(torch.full_like(index, level))
        start += length
    return torch.cat(picked, dim=1), torch.cat(levels, dim=1)


def thinned(
    boxes: Float[Tensor, "B C 4"],
    scores: Float[Tensor, "B C"],
    groups: Int[Tensor, "B C"],
    iou: float,
    most: int,
) -> Proposals:
    """Suppress within groups and keep the best, padded to ``min(most, C)``; score 0 is no candidate.

    On the host each image goes to the NMS kernel. On a device, where a result of unknown length would
    hold up the queue, :func:`keep_in_fixed_shape` does it.
    """
    most = min(most, boxes.shape[1])
    if is_exported():
        index, valid = best_kept(boxes, scores, groups, iou, most)
        return _chosen(boxes, scores, index, valid)
    if boxes.device.type == "cpu" and not torch.compiler.is_compiling():
        found = suppress(boxes, scores, groups, Limits(iou=iou, per_image=most))
        more = most - found.boxes.shape[1]
        pad = torch.nn.functional.pad
        proposals = Proposals(
            pad(found.boxes, (0, 0, 0, more)),
            pad(found.scores, (0, more)),
            pad(found.valid, (0, more)),
        )
        if not is_traced():
            show(proposals)
        return proposals
    order = scores.argsort(dim=1, descending=True, stable=True)
    scores, groups = scores.gather(1, order), groups.gather(1, order)
    boxes = boxes.gather(1, order[..., None].expand(-1, -1, 4))
    keep = keep_in_fixed_shape(boxes, scores > 0, groups, iou)
    place = torch.arange(boxes.shape[1], device=boxes.device)
    first = torch.where(keep, -place, -place - boxes.shape[1]).topk(most, dim=1).indices
    return _chosen(boxes, scores, first, keep.gather(1, first))


def _chosen(
    boxes: Float[Tensor, "B C 4"],
    scores: Float[Tensor, "B C"],
    index: Int[Tensor, "B P"],
    valid: Bool[Tensor, "B P"],
) -> Proposals:
    chosen = boxes.gather(1, index[..., None].expand(-1, -1, 4))
    return Proposals(chosen * valid[..., None], scores.gather(1, index) * valid, valid)


def keep_in_fixed_shape(
    boxes: Float[Tensor, "B C 4"],
    valid: Bool[Tensor, "B C"],
    groups: Int[Tensor, "B C"],
    iou: float,
) -> Bool[Tensor, "B C"]:
    """Greedy NMS of boxes sorted by score, without a loop over boxes and without a host read.

    Block after block: first what a kept box of an earlier block overlaps is dropped, then within the
    block a box stays unless a better box that stays overlaps it. Iterating that sentence from "all stay"
    settles the first n boxes of every chain of suppressions after n rounds (Zheng et al. 2021,
    Cluster-NMS, proposition 1), so the result is greedy NMS unless a chain within a block is longer
    than ``ROUNDS``.
    """
    kept = valid[:, :0]
    for start in range(0, boxes.shape[1], BLOCK):
        rows, before = slice(start, start + BLOCK), slice(0, start)
        alive = valid[:, rows]
        if start:
            hit = _overlap(boxes, groups, rows, before, iou) & kept[:, None]
            alive = alive & ~hit.any(dim=2)
        kept = torch.cat((kept, _settled(_overlap(boxes, groups, rows, rows, iou), alive)), dim=1)
    return kept


def _overlap(
    boxes: Float[Tensor, "B C 4"],
    groups: Int[Tensor, "B C"],
    rows: slice,
    others: slice,
    iou: float,
) -> Bool[Tensor, "B N M"]:
    """Return which boxes of ``rows`` overlap which of ``others``, in the same group."""
    same = groups[:, rows, None] == groups[:, None, others]
    overlap: Tensor = pairwise(boxes[:, rows], boxes[:, others])
    return (overlap > iou) & same


def _settled(overlap: Bool[Tensor, "B N N"], alive: Bool[Tensor, "B N"]) -> Bool[Tensor, "B N"]:
    """Return which boxes, best first, stay."""
    better = torch.ones_like(overlap[0]).tril(-1)  # row: a box; column: those before it
    overlap = overlap & better
    keep = alive
    for _ in range(ROUNDS):
        keep = alive & ~(overlap & keep[:, None]).any(dim=2)
    return keep
