"""CenterNet2 (Zhou, Koltun, Krähenbühl 2021: Probabilistic two-stage detection).

    maps ── centres: P(object) and a box per point ── proposals ── cascade of region heads: P(class | object)
                        │                                                │
                        └────────────── sqrt(first x second) ◄───────────┘

The first stage is a one-stage detector that asks only "object or not" and is sure of its answer, so
few proposals suffice; the score of a detection is a joint probability of both stages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gazehound.boxes.formats import clip
from gazehound.data.preprocess import Preprocess
from gazehound.detectors.network import Network
from gazehound.nn.backbones import Backbone
from gazehound.nn.centres import CentreHeatLoss, CentreTargeter, Places
from gazehound.nn.coders import DistanceCoder
from gazehound.nn.heads.cascade import cascade_heads, refined
from gazehound.nn.heads.centres import CentreHead
from gazehound.nn.heads.region import RegionHead
from gazehound.nn.losses.box import IoULoss, SmoothL1Loss
from gazehound.nn.necks.neck import Neck, make_neck
from gazehound.nn.normaliser import normaliser
from gazehound.nn.points import PointGrid
from gazehound.nn.postprocess import Found, Limits, best_per_level, decode_regions
from gazehound.nn.proposals import ProposalLimits, Proposals, thinned
from gazehound.nn.rpn import input_sizes
from gazehound.nn.two_stage import region_align, stride_first
from gazehound.records import Classes, Targets

STRIDES = (8, 16, 32, 64, 128)
THRESHOLDS = (0.6, 0.7, 0.8)
LIMITS: Mapping[str, Any] = {"iou": 0.7}
PROPOSALS: Mapping[str, Any] = {"per_level": 1000, "per_image": 256, "iou": 0.9, "score": 1e-4}
LEARNING: Mapping[str, Any] = {**PROPOSALS, "per_level": 4000, "per_image": 2000}


@dataclass(frozen=True)
class Centres:
    """What CenterNet2 computes before it knows where to look.

    Attributes:
        maps: P3..P7.
        heat: (B, L) logits: is there a centre of an object?
        distances: (B, L, 4) to its box's sides, strides.
        places: the L points.
        image: (height, width) of the network input, pixels.
    """

    maps: list[Tensor]
    heat: Float[Tensor, "B L"]
    distances: Float[Tensor, "B L 4"]
    places: Places
    image: tuple[int, int]


class CenterNet2(Network):
    """The detector, built of finished parts.

    Args:
        classes: names and ids of the labels.
        preprocess: how images become network inputs at prediction.
        backbone: gives C3, C4, C5.
        neck: gives P3..P7.
        head: the first stage.
        stages: region heads with one box for all classes; the first samples, the others learn from all.
        targeter: what the first stage learns where.
        heat_loss: of the first stage's heat.
        proposals: which points become proposals at prediction.
        learning_proposals: likewise in training.
        limits: what ``decode`` keeps.
    """

    def __init__(
        self,
        classes: Classes,
        preprocess: Preprocess,
        backbone: nn.Module,
        neck: Neck,
        head: CentreHead,
        stages: Sequence[RegionHead],
        *,
        targeter: CentreTargeter | None = None,
        heat_loss: CentreHeatLoss | None = None,
        proposals: ProposalLimits | None = None,
        learning_proposals: ProposalLimits | None = None,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(classes, preprocess)
        self.backbone, self.neck, self.head = backbone, neck, head
        self.stages = nn.ModuleList(stages)
        self.points = PointGrid(STRIDES)
        self.coder = DistanceCoder()
        self.targets_of = targeter or CentreTargeter()
        self.heat_loss = heat_loss or CentreHeatLoss()
        self.box_loss = IoULoss("giou")
        self.proposals = proposals or ProposalLimits(**PROPOSALS)
        self.learning_proposals = learning_proposals or ProposalLimits(**LEARNING)
        self.limits = limits or Limits(**LIMITS)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Centres:
        """Compute the feature maps and the first stage of a batch."""
        maps = self.neck(self.backbone(images))  # P3..P7
        heat, distances = self.head(maps)  # B x L, B x L x 4
        image = (images.shape[-2], images.shape[-1])
        grids = tuple((level.shape[-2], level.shape[-1]) for level in maps)
        places = Places(self.points(grids, image), grids, STRIDES)
        return Centres(maps, heat, distances, places, image)

    def losses(self, outputs: Centres, targets: Targets) -> dict[str, Tensor]:
        """Return ``heat`` and ``place`` of the first stage, ``class_k`` and ``box_k`` of each region head.

        ``place`` is divided by the points that learn a box; gradients of the K region heads reach the
        maps divided by K.
        """
        wanted = self.targets_of(outputs.places, targets)
        truths = targets.boxes.gather(1, wanted.truth[..., None].expand(-1, -1, 4))
        place = self.box_loss(
            outputs.distances, truths, outputs.places.squares, wanted.positive, self.coder
        )
        losses = {
            "heat": self.heat_loss(outputs.heat, wanted),
            "place": place.sum() / normaliser(wanted.positive.sum()),
        }
        sizes = input_sizes(outputs.heat, outputs.image)
        proposals = self._propose(outputs, sizes, self.learning_proposals).with_truths(targets)
        share = 1 / len(self.stages)
        maps = [share * level + (1 - share) * level.detach() for level in outputs.maps]
        for number, stage in enumerate(self._heads(), 1):
            regions = stage.label(proposals, targets)
            logits, deltas = stage(maps, regions.boxes)
            own = stage.losses(logits, deltas, regions)
            losses.update({f"{name}_{number}": loss for name, loss in own.items()})
            proposals = refined(stage, deltas, regions.boxes, regions.valid, sizes)
        return losses

    def decode(self, outputs: Centres, sizes: Float[Tensor, "B 2"]) -> Found:
        """Propose, run the cascade, and join the probabilities of both stages; suppress per class."""
        proposals = self._propose(outputs, sizes, self.proposals).shortened()
        first, scores = proposals.scores[..., None], []
        for stage in self._heads():
            logits, deltas = stage(outputs.maps, proposals.boxes)
            scores.append(stage.class_loss.scores(logits))
            proposals = refined(stage, deltas, proposals.boxes, proposals.valid, sizes)
        joint = torch.sqrt(torch.stack(scores).mean(dim=0) * first) * proposals.valid[..., None]
        return decode_regions(joint, proposals.boxes[:, :, None], self.limits)

    @torch.no_grad()
    def _propose(
        self, outputs: Centres, sizes: Float[Tensor, "B 2"], limits: ProposalLimits
    ) -> Proposals:
        """Decode the warmest points of each level; a proposal's score is the square root of its heat."""
        chance = torch.sigmoid(outputs.heat.float())[..., None]  # B x L x 1
        lengths = [rows * columns for rows, columns in outputs.places.grids]
        few = Limits(score=limits.score, per_level=limits.per_level)
        heat, index = best_per_level(chance, lengths, few)  # B x C
        distances = outputs.distances.gather(1, index[..., None].expand(-1, -1, 4))
        boxes = self.coder.decode(distances.float(), outputs.places.squares[index])
        boxes = clip(boxes, sizes[:, :1], sizes[:, 1:])
        fits = (boxes[..., 2:] - boxes[..., :2] >= limits.smallest).all(dim=2)
        return thinned(
            boxes, torch.sqrt(heat) * fits, torch.zeros_like(index), limits.iou, limits.per_image
        )

    def _heads(self) -> list[RegionHead]:
        return list(self.stages)  # type: ignore[arg-type]


def centernet2(
    classes: Classes,
    *,
    preprocess: Preprocess | None = None,
    backbone: str = "resnet50",
    pretrained: bool = False,
    norm: str | None = None,
    neck: str = "fpn",
    channels: int = 256,
    hidden: int = 1024,
    regions: int = 512,
    dialect: str = "gazehound",
    proposals: Mapping[str, Any] | None = None,
    learning_proposals: Mapping[str, Any] | None = None,
    limits: Mapping[str, Any] | None = None,
) -> CenterNet2:
    """Build CenterNet2 on any timm backbone.

    Args:
        classes: names and ids.
        preprocess: how images become network inputs.
        backbone: a timm name.
        pretrained: start the backbone from ImageNet weights.
        norm: of the backbone (see :class:`Backbone`).
        neck: ``fpn``, ``panet``, ``bifpn``, ``nas-fpn`` or ``yolo``.
        channels: of the pyramid and the first stage.
        hidden: width of the region heads' fully connected layers.
        regions: that learn in the first region head, per image.
        dialect: ``detectron2`` for what was trained there.
        proposals: fields of :class:`ProposalLimits` at prediction that differ from the published ones.
        learning_proposals: likewise in training.
        limits: fields of :class:`Limits` that differ from the published ones.
    """
    body = Backbone(backbone, pretrained=pretrained, norm=norm)
    if dialect == "detectron2":
        stride_first(body)
    pool = region_align(STRIDES, 7, "detectron2")
    stages = cascade_heads(
        pool, channels, len(classes), thresholds=THRESHOLDS, hidden=hidden, regions=regions
    )
    for stage in stages:
        stage.box_loss = SmoothL1Loss(0.0)  # plain L1
    return CenterNet2(
        classes,
        preprocess or Preprocess(),
        body,
        make_neck(neck, body.channels, channels),
        CentreHead(channels, len(STRIDES)),
        stages,
        proposals=ProposalLimits(**{**PROPOSALS, **(proposals or {})}),
        learning_proposals=ProposalLimits(**{**LEARNING, **(learning_proposals or {})}),
        limits=Limits(**{**LIMITS, **(limits or {})}),
    )


def centernet2_r18(classes: Classes, **options: Any) -> CenterNet2:
    """CenterNet2 for small machines: ResNet-18, a pyramid of 128 channels, layers of 512."""
    small = {"backbone": "resnet18", "channels": 128, "hidden": 512}
    return centernet2(classes, **{**small, **options})


def centernet2_r50(classes: Classes, **options: Any) -> CenterNet2:
    """CenterNet2 with ResNet-50 and FPN (``CenterNet2_R50_1x``)."""
    return centernet2(classes, **{"backbone": "resnet50", **options})


def centernet2_r101(classes: Classes, **options: Any) -> CenterNet2:
    """CenterNet2 with ResNet-101 and FPN."""
    return centernet2(classes, **{"backbone": "resnet101", **options})
