"""CenterNet for human pose (Zhou, Wang, Krähenbühl 2019: Objects as Points, section 4.2).

                                   ┌── heat, offset, size      as for boxes
    image ── network, stride 4 ────┼── joints        2 J       from the centre to each joint
                                   ├── heat_joints   J         is a joint of this kind here?
                                   └── joint_offset  2         where in the cell?

Joints are regressed from their object's centre, which groups them, and then drawn to the nearest peak of
their own heatmap, which places them. It learns from COCO's keypoint annotations; a detection carries
``keypoints`` in its extras.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gazehound.data.preprocess import Preprocess
from gazehound.detectors.network import Network
from gazehound.nn.heads.points import PointHead
from gazehound.nn.heatmaps import (
    PeakLimits,
    PointTargets,
    decode_points,
    point_targets,
    positions,
    read_cells,
)
from gazehound.nn.keypoints import joint_targets, snapped
from gazehound.nn.losses.heatmap import HeatmapLoss, masked_l1, point_losses
from gazehound.nn.point_bodies import STRIDE, point_body
from gazehound.nn.postprocess import Found
from gazehound.records import Classes, Targets

COCO_JOINTS = 17
NAMES = ("heat", "offset", "size", "joints", "heat_joints", "joint_offset")
WEIGHTS = (1.0, 1.0, 0.1, 1.0, 1.0, 1.0)


@dataclass(frozen=True)
class PosePoints:
    """What the network computes for a batch, stack by stack; the last one predicts.

    Attributes:
        stacks: maps (B, C, H, W) by name; ``heat`` and ``heat_joints`` as logits, the others in cells.
    """

    stacks: tuple[Mapping[str, Tensor], ...]


class CenterNetPose(Network):
    """The detector, built of finished parts.

    Args:
        classes: names and ids of the labels.
        preprocess: how images become network inputs at prediction.
        backbone: images to maps.
        neck: those maps to one or more maps of stride 4.
        heads: one for each of them.
        heat_loss: default the penalty-reduced focal loss, alpha 2, beta 4; for joints, too.
        weights: of heat, offset, size, joints, heat of joints and offset of joints.
        limits: what ``decode`` keeps.
    """

    reads = ("keypoints",)

    def __init__(
        self,
        classes: Classes,
        preprocess: Preprocess,
        backbone: nn.Module,
        neck: nn.Module,
        heads: Sequence[PointHead],
        *,
        heat_loss: HeatmapLoss | None = None,
        weights: Sequence[float] = WEIGHTS,
        limits: PeakLimits | None = None,
    ) -> None:
        super().__init__(classes, preprocess)
        self.backbone = backbone
        self.neck = neck
        self.heads = nn.ModuleList(heads)
        self.heat_loss = heat_loss or HeatmapLoss()
        self.weights = tuple(weights)
        self.limits = limits or PeakLimits()

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> PosePoints:
        """Compute the maps of a batch."""
        maps = self.neck(self.backbone(images))  # one per stack, B x C x H/4 x W/4
        return PosePoints(tuple(head(x) for head, x in zip(self.heads, maps, strict=True)))

    def losses(self, outputs: PosePoints, targets: Targets) -> dict[str, Tensor]:
        """Return one loss per property; means over the stacks.

        Joints that nobody annotated (NaN, or no such column) teach nothing.
        """
        _, classes, rows, columns = outputs.stacks[0]["heat"].shape
        wanted = point_targets(targets, classes, (rows, columns), STRIDE)
        joints = self._joints(targets, outputs.stacks[0]["heat_joints"].shape[1])
        stacks = [self._stack_losses(maps, wanted, joints) for maps in outputs.stacks]
        means = torch.stack(stacks).mean(dim=0)
        return {
            name: weight * loss
            for name, weight, loss in zip(NAMES, self.weights, means, strict=True)
        }

    def _joints(self, targets: Targets, count: int) -> Float[Tensor, "B M J 2"]:
        shape = (*targets.valid.shape, count, 2)
        if "keypoints" in targets.extras:
            return targets.extras["keypoints"].reshape(shape)
        return targets.boxes.new_full(shape, torch.nan)

    def _stack_losses(
        self, maps: Mapping[str, Tensor], wanted: PointTargets, joints: Tensor
    ) -> Tensor:
        grid = (maps["heat"].shape[2], maps["heat"].shape[3])
        heat, cell, inside, counted, away = joint_targets(joints, wanted, grid, STRIDE)
        ways = read_cells(maps["joints"], wanted.cell).unflatten(2, (-1, 2))  # B x M x J x 2
        mask = counted[..., None].expand_as(away)
        of_joints = (
            masked_l1(ways.flatten(2), away.flatten(2), mask.flatten(2)),
            self.heat_loss(maps["heat_joints"], heat),
            masked_l1(
                read_cells(maps["joint_offset"], cell), inside, counted.flatten(1)[..., None]
            ),
        )
        boxes = point_losses(maps["heat"], maps["offset"], maps["size"], wanted, self.heat_loss)
        return torch.cat((boxes, torch.stack(of_joints)))

    def decode(self, outputs: PosePoints, sizes: Float[Tensor, "B 2"]) -> Found:
        """Take the best local maxima, regress the joints there and draw them to their own peaks."""
        maps = {name: x.float() for name, x in outputs.stacks[-1].items()}
        found, cell = decode_points(
            maps["heat"], maps["offset"], maps["size"], sizes, STRIDE, self.limits
        )
        ways = read_cells(maps["joints"], cell).unflatten(2, (-1, 2))
        regressed = STRIDE * (positions(cell, maps["heat"].shape[3])[:, :, None] + ways)
        joints = snapped(
            regressed,
            found.boxes,
            torch.sigmoid(maps["heat_joints"]),
            maps["joint_offset"],
            STRIDE,
            self.limits.per_image,
        )
        return replace(found, extras={"keypoints": joints})


def centernet_pose(
    classes: Classes,
    *,
    preprocess: Preprocess | None = None,
    backbone: str = "dla34",
    up: str = "aggregate",
    joints: int = COCO_JOINTS,
    pretrained: bool = False,
    norm: str | None = None,
    widths: Sequence[int] | None = None,
    counts: Sequence[int] | None = None,
    hidden: int | None = None,
    limits: Mapping[str, Any] | None = None,
) -> CenterNetPose:
    """Build CenterNet for pose.

    Args:
        classes: names and ids.
        preprocess: how images become network inputs.
        backbone: a timm name; ignored by the hourglass.
        up: how its maps come back to stride 4 (see :func:`point_body`).
        joints: of each object.
        pretrained: start the backbone from ImageNet weights.
        norm: of the backbone (see :class:`Backbone`).
        widths: of the way up.
        counts: residual blocks per scale of the hourglass.
        hidden: channels inside the head; default as published for this network.
        limits: fields of :class:`PeakLimits` that differ from its defaults.
    """
    body = point_body(backbone, up, pretrained=pretrained, norm=norm, widths=widths, counts=counts)
    outputs = dict(zip(NAMES, (len(classes), 2, 2, 2 * joints, joints, 2), strict=True))
    return CenterNetPose(
        classes,
        preprocess or Preprocess(resize="longer", size=512),
        body.backbone,
        body.neck,
        [PointHead(channels, outputs, hidden or body.hidden) for channels in body.channels],
        limits=PeakLimits(**(limits or {})),
    )


def centernet_pose_dla34(classes: Classes, **options: Any) -> CenterNetPose:
    """CenterNet for pose with DLA-34 (``multi_pose_dla_3x``)."""
    return centernet_pose(classes, **options)
