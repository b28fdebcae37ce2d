"""The region proposal network by itself (Ren, He, Girshick, Sun 2015, section 3.1): where is anything?

    image ── backbone ── maps ── 3x3 convolution ──┬── objectness per anchor
                                                   ├── 4 deltas per anchor (or for each class)
                                                   └── optionally K class logits per anchor

Without class logits it finds objects of any class, and calls each by the first label: it is judged by its
recall. With them it is a one-stage detector that says "is it anything?" apart from "which class?".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gazehound.boxes.formats import clip
from gazehound.data.preprocess import Preprocess
from gazehound.detectors.network import Network
from gazehound.errors import ConfigError
from gazehound.nn.backbones import Backbone
from gazehound.nn.heads.rpn import RPNHead
from gazehound.nn.necks.fpn import FPN
from gazehound.nn.postprocess import Found, Limits, best_per_level, suppress
from gazehound.nn.proposals import ProposalLimits, propose
from gazehound.nn.rpn import AnchorOutputs, ProposalNetwork
from gazehound.nn.two_stage import (
    known_dialect,
    pyramid_anchors,
    single_map_anchors,
    stride_first,
)
from gazehound.records import Classes, Targets

LIMITS: Mapping[str, Any] = {"score": 0.0, "per_level": 2000, "iou": 0.7, "per_image": 1000}
"""Proposals are kept generously: what is not proposed is lost for every later stage."""


class RPN(Network):
    """The detector, built of finished parts.

    Args:
        classes: names and ids of the labels; what has no class logits reports the first one.
        preprocess: how images become network inputs at prediction.
        backbone: gives feature maps.
        neck: makes the maps that the head reads; ``nn.Identity()`` for none.
        rpn: head, anchors, assigner, sampler and losses.
        limits: what ``decode`` keeps.
    """

    def __init__(
        self,
        classes: Classes,
        preprocess: Preprocess,
        backbone: nn.Module,
        neck: nn.Module,
        rpn: ProposalNetwork,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(classes, preprocess)
        self.backbone, self.neck, self.rpn = backbone, neck, rpn
        self.limits = limits or Limits(**LIMITS)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> AnchorOutputs:
        """Compute objectness, deltas, and class logits if there are any."""
        maps = self.neck(self.backbone(images))
        outputs: AnchorOutputs = self.rpn(maps, (images.shape[-2], images.shape[-1]))
        return outputs

    def losses(self, outputs: AnchorOutputs, targets: Targets) -> dict[str, Tensor]:
        """Return ``objectness``, ``proposal_box`` and, with class logits, ``anchor_class``."""
        return self.rpn.losses(outputs, targets)

    def decode(self, outputs: AnchorOutputs, sizes: Float[Tensor, "B 2"]) -> Found:
        """Keep the best per level, decode, clip; suppress per level, or per class where there are any."""
        if outputs.logits.shape[2]:
            return self._detections(outputs, sizes)
        limits = ProposalLimits(
            self.limits.per_level, self.limits.per_image, self.limits.iou, self.limits.score
        )
        found = propose(
            outputs.objectness, outputs.deltas[:, :, 0], outputs.anchors, outputs.lengths,
            sizes, self.rpn.coder, limits,
        ).shortened()  # fmt: skip
        labels = torch.zeros_like(found.scores, dtype=torch.int64)
        return Found(found.boxes, found.scores, labels, found.valid)

    def _detections(self, outputs: AnchorOutputs, sizes: Tensor) -> Found:
        objectness = torch.sigmoid(outputs.objectness.float())
        scores = objectness[..., None] * outputs.logits.float().softmax(dim=2)  # B x L x K
        candidates, index = best_per_level(scores, outputs.lengths, self.limits)  # B x C
        anchor, label = index // scores.shape[2], index % scores.shape[2]
        boxes = self.rpn.coder.decode(
            _chosen(outputs.deltas, index, anchor), outputs.anchors[anchor]
        )
        return suppress(clip(boxes, sizes[:, :1], sizes[:, 1:]), candidates, label, self.limits)


def _chosen(
    deltas: Float[Tensor, "B L C 4"], index: Int[Tensor, "B N"], anchor: Int[Tensor, "B N"]
) -> Float[Tensor, "B N 4"]:
    """Return the deltas of (anchor, class) pairs; with one box per anchor, the anchor's."""
    row = anchor if deltas.shape[2] == 1 else index
    return deltas.flatten(1, 2).gather(1, row[..., None].expand(-1, -1, 4)).float()


def rpn(
    classes: Classes,
    *,
    preprocess: Preprocess | None = None,
    backbone: str = "resnet50",
    pretrained: bool = False,
    norm: str | None = None,
    level: str = "fpn",
    channels: int = 256,
    class_logits: bool = False,
    agnostic: bool = True,
    dialect: str = "gazehound",
    limits: Mapping[str, Any] | None = None,
) -> RPN:
    """Build a region proposal network on any timm backbone.

    Args:
        classes: names and ids.
        preprocess: how images become network inputs.
        backbone: a timm name.
        pretrained: start the backbone from ImageNet weights.
        norm: of the backbone (see :class:`Backbone`).
        level: ``fpn``, a pyramid with one anchor size per level, or ``c4``, the stride-16 map with all.
        channels: of the pyramid.
        class_logits: say the class of each anchor, too.
        agnostic: one box per anchor; when not, one for each class, which needs ``class_logits``.
        dialect: ``torchvision`` or ``detectron2`` for what was trained there.
        limits: fields of :class:`Limits` that differ from ``LIMITS``.

    Raises:
        ConfigError: an option is unknown, or boxes per class are asked for without classes.
    """
    if level not in ("fpn", "c4"):
        raise ConfigError(f"level must be 'fpn' or 'c4'; got {level!r}")
    if not (agnostic or class_logits):
        raise ConfigError("boxes for each class (agnostic=False) need class_logits=True")
    strides = (4, 8, 16, 32) if level == "fpn" else (16,)
    body = Backbone(backbone, strides, pretrained=pretrained, norm=norm)
    if known_dialect(dialect) == "detectron2":
        stride_first(body)
    neck: nn.Module = nn.Identity()
    width, anchors = body.channels[-1], single_map_anchors((16,), dialect)
    if level == "fpn":
        neck, width = FPN(body.channels, channels, extra="pool"), channels
        anchors = pyramid_anchors(dialect)
    head = RPNHead(
        width, anchors.per_cell, classes=len(classes) if class_logits else 0, agnostic=agnostic
    )
    return RPN(
        classes,
        preprocess or Preprocess(multiple=32 if level == "fpn" else 16),
        body,
        neck,
        ProposalNetwork(head, anchors),
        Limits(**{**LIMITS, **(limits or {})}),
    )


def rpn_r50(classes: Classes, **options: Any) -> RPN:
    """The proposal network of Faster R-CNN R50-FPN."""
    return rpn(classes, **{"backbone": "resnet50", **options})


def rpn_c4(classes: Classes, **options: Any) -> RPN:
    """The proposal network of Faster R-CNN R50-C4."""
    return rpn(classes, **{"backbone": "resnet50", "level": "c4", **options})


def rpn_classes(classes: Classes, **options: Any) -> RPN:
    """Objectness and K classes per anchor, one box for each class: the network as a detector."""
    own = {"class_logits": True, "agnostic": False, "limits": {"score": 0.05, "iou": 0.5}}
    return rpn(classes, **{**own, **options})
