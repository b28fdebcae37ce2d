"""The region proposal network: where to look, learned (Ren et al. 2015, section 3.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gazehound.nn.anchors import AnchorGrid
from gazehound.nn.assigners.max_iou import MaxIoUAssigner
from gazehound.nn.coders import DeltaCoder
from gazehound.nn.heads.region import deltas_of
from gazehound.nn.heads.rpn import RPNHead
from gazehound.nn.losses.box import BoxLoss, SmoothL1Loss
from gazehound.nn.normaliser import normaliser
from gazehound.nn.proposals import ProposalLimits, Proposals, propose
from gazehound.nn.samplers import BalancedSampler, Sampled, draw_of
from gazehound.records import Targets


@dataclass(frozen=True)
class AnchorOutputs:
    """What a proposal network computes for a batch.

    Attributes:
        objectness: (B, L) logits of all anchors.
        deltas: (B, L, C, 4); C boxes per anchor, one unless each class has its own.
        logits: (B, L, K) class logits; K is 0 in a plain proposal network.
        anchors: (L, 4) ``xyxy`` in pixels of the network input.
        lengths: anchors per pyramid level; they sum to L.
    """

    objectness: Float[Tensor, "B L"]
    deltas: Float[Tensor, "B L C 4"]
    logits: Float[Tensor, "B L K"]
    anchors: Float[Tensor, "L 4"]
    lengths: tuple[int, ...]


class ProposalNetwork(nn.Module):
    """Objectness and a box for every anchor; the best of them are proposals.

    An anchor learns the truth it overlaps by 0.7, and each truth's best anchor learns it whatever the
    overlap; under 0.3 with all truths it is background. 256 anchors of an image learn, half of them
    positive if there are so many.

    Args:
        head: gives objectness and deltas.
        anchors: of all levels.
        coder: default plain deltas.
        assigner: default IoU 0.7 / 0.3 with each truth's best.
        sampler: default 256, half positive.
        box_loss: default smooth L1 with beta 1/9.
        limits: proposals at prediction.
        learning_limits: proposals in training.
    """

    def __init__(
        self,
        head: RPNHead,
        anchors: AnchorGrid,
        *,
        coder: DeltaCoder | None = None,
        assigner: MaxIoUAssigner | None = None,
        sampler: BalancedSampler | None = None,
        box_loss: BoxLoss | None = None,
        limits: ProposalLimits | None = None,
        learning_limits: ProposalLimits | None = None,
    ) -> None:
        super().__init__()
        self.head, self.anchors = head, anchors
        self.coder = coder or DeltaCoder()
        self.assign = assigner or MaxIoUAssigner(positive=0.7, negative=0.3)
        self.sample = sampler or BalancedSampler(256, 0.5)
        self.box_loss = box_loss or SmoothL1Loss(1 / 9)
        self.limits = limits or ProposalLimits()
        self.learning_limits = learning_limits or ProposalLimits(per_level=2000, per_image=2000)

    def forward(self, pyramid: Sequence[Tensor], image: tuple[int, int]) -> AnchorOutputs:
        """Compute the outputs on feature maps of a network input of (height, width) ``image``."""
        objectness, deltas, logits = self.head(pyramid)
        grids = [(level.shape[-2], level.shape[-1]) for level in pyramid]
        lengths = tuple(rows * columns * self.anchors.per_cell for rows, columns in grids)
        return AnchorOutputs(objectness, deltas, logits, self.anchors(grids, image), lengths)

    def losses(self, outputs: AnchorOutputs, targets: Targets) -> dict[str, Tensor]:
        """Return ``objectness`` and ``proposal_box`` (and ``anchor_class``, where there are classes).

        Each is a sum over the sampled anchors of the batch, divided by their number.
        """
        match = self.assign(outputs.anchors, targets)
        drawn = self.sample(match, draw_of(outputs.objectness))
        labels = drawn.rows(match.labels_of(targets))
        deltas = deltas_of(drawn.rows(outputs.deltas), labels)
        truths, anchors = drawn.rows(match.boxes_of(targets)), outputs.anchors[drawn.index]
        box_loss = self.box_loss(deltas, truths, anchors, drawn.positive, self.coder)
        count = normaliser(drawn.valid.sum())
        losses = {
            "objectness": objectness_loss(outputs.objectness, drawn).sum() / count,
            "proposal_box": box_loss.sum() / count,
        }
        if outputs.logits.shape[2]:
            logits, wanted = drawn.rows(outputs.logits).float(), labels * drawn.positive
            class_loss = F.cross_entropy(logits.movedim(2, 1), wanted, reduction="none")
            losses["anchor_class"] = (class_loss * drawn.positive).sum() / count
        return losses

    def propose(
        self, outputs: AnchorOutputs, sizes: Float[Tensor, "B 2"], *, learning: bool = False
    ) -> Proposals:
        """Return the best anchors, decoded and clipped to (height, width) ``sizes``.

        Args:
            outputs: of :meth:`forward`, with one box per anchor.
            sizes: pixels.
            learning: take the limits of training.
        """
        limits = self.learning_limits if learning else self.limits
        return propose(
            outputs.objectness, outputs.deltas[:, :, 0], outputs.anchors, outputs.lengths,
            sizes, self.coder, limits,
        )  # fmt: skip


def proposal_network(
    head: RPNHead,
    anchors: AnchorGrid,
    proposals: Mapping[str, Any] | None = None,
    learning_proposals: Mapping[str, Any] | None = None,
) -> ProposalNetwork:
    """Return the network with some limits changed.

    Args:
        head: gives objectness and deltas.
        anchors: of all levels.
        proposals: fields of :class:`ProposalLimits` at prediction that differ from its defaults.
        learning_proposals: likewise in training, from 2,000 per level and 2,000 per image.
    """
    learning = {"per_level": 2000, "per_image": 2000, **(learning_proposals or {})}
    return ProposalNetwork(
        head,
        anchors,
        limits=ProposalLimits(**(proposals or {})),
        learning_limits=ProposalLimits(**learning),
    )


def objectness_loss(objectness: Float[Tensor, "B L"], drawn: Sampled) -> Float[Tensor, "B S"]:
    """Return the binary cross-entropy of each sampled anchor, 0 where there is none."""
    logits = drawn.rows(objectness).float()
    wanted = drawn.positive.to(logits.dtype)
    loss = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    return loss * drawn.valid


def input_sizes(maps: Float[Tensor, "B ..."], image: tuple[int, int]) -> Float[Tensor, "B 2"]:
    """Return (height, width) of a network input once per image; what training clips boxes to."""
    height = maps.new_full((len(maps), 1), float(image[0]), dtype=torch.float32)
    return torch.cat((height, torch.full_like(height, float(image[1]))), dim=1)
