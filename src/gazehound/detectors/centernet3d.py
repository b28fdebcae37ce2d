"""CenterNet for 3D boxes from one image (Zhou, Wang, Krähenbühl 2019: Objects as Points, section 4.1).

                                   ┌── heat, offset, size   as in 2D
    image ── network, stride 4 ────┼── depth        1       metres ahead of the camera
                                   ├── dimensions   3       height, width, length, metres
                                   └── orientation  8       the angle it is seen under, in two bins

It learns from KITTI's labels. Where an object stands follows from its centre in the image, its depth
and the camera (:func:`gazehound.boxes.camera.locations`); a detection carries ``depth``,
``dimensions`` and ``alpha`` in its extras.
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
    read_cells,
)
from gazehound.nn.losses.heatmap import HeatmapLoss, masked_l1, point_losses
from gazehound.nn.orientation import angle_of, orientation_loss
from gazehound.nn.point_bodies import STRIDE, point_body
from gazehound.nn.postprocess import Found
from gazehound.records import Classes, Targets

NAMES = ("heat", "offset", "size", "depth", "dimensions", "orientation")
WEIGHTS = (1.0, 1.0, 0.1, 1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Points3D:
    """What the network computes for a batch, stack by stack; the last one predicts.

    Attributes:
        stacks: maps (B, C, H, W) by name; ``heat`` as logits, ``offset`` and ``size`` in cells,
            ``depth`` as a logit, ``dimensions`` in metres, ``orientation`` as in
            :mod:`gazehound.nn.orientation`.
    """

    stacks: tuple[Mapping[str, Tensor], ...]


class CenterNet3D(Network):
    """The detector, built of finished parts.

    Args:
        classes: names and ids of the labels.
        preprocess: how images become network inputs at prediction.
        backbone: images to maps.
        neck: those maps to one or more maps of stride 4.
        heads: one for each of them.
        heat_loss: default the penalty-reduced focal loss, alpha 2, beta 4.
        weights: of heat, offset, size, depth, dimensions and orientation.
        limits: what ``decode`` keeps.
    """

    reads = ("alpha", "dimensions", "location")

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

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Points3D:
        """Compute the maps of a batch."""
        maps = self.neck(self.backbone(images))  # one per stack, B x C x H/4 x W/4
        return Points3D(tuple(head(x) for head, x in zip(self.heads, maps, strict=True)))

    def losses(self, outputs: Points3D, targets: Targets) -> dict[str, Tensor]:
        """Return one loss per property; means over the stacks.

        A truth whose numbers in space nobody annotated (NaN, or no such column) teaches only the first
        three.
        """
        _, classes, rows, columns = outputs.stacks[0]["heat"].shape
        wanted = point_targets(targets, classes, (rows, columns), STRIDE)
        stacks = [self._stack_losses(maps, wanted, targets) for maps in outputs.stacks]
        means = torch.stack(stacks).mean(dim=0)
        return {
            name: weight * loss
            for name, weight, loss in zip(NAMES, self.weights, means, strict=True)
        }

    def _stack_losses(
        self, maps: Mapping[str, Tensor], wanted: PointTargets, targets: Targets
    ) -> Tensor:
        planar = point_losses(maps["heat"], maps["offset"], maps["size"], wanted, self.heat_loss)
        read = {name: read_cells(maps[name], wanted.cell) for name in NAMES[3:]}
        location, placed = column_of(targets, "location", 3)
        dimensions, measured = column_of(targets, "dimensions", 3)
        alpha, turned = column_of(targets, "alpha", 1)
        placed, measured, turned = (known & wanted.valid for known in (placed, measured, turned))
        spatial = (
            masked_l1(depth_of(read["depth"]), location[..., 2:], placed[..., None]),
            masked_l1(read["dimensions"], dimensions, measured[..., None]),
            orientation_loss(read["orientation"], alpha[..., 0], turned),
        )
        return torch.cat((planar, torch.stack(spatial)))

    def decode(self, outputs: Points3D, sizes: Float[Tensor, "B 2"]) -> Found:
        """Take the best local maxima and read everything else there; clip boxes to the image content."""
        maps = outputs.stacks[-1]
        found, cell = decode_points(
            maps["heat"], maps["offset"], maps["size"], sizes, STRIDE, self.limits
        )
        read = {name: read_cells(maps[name].float(), cell) for name in NAMES[3:]}
        extras = {
            "depth": depth_of(read["depth"])[..., 0],
            "dimensions": read["dimensions"],
            "alpha": angle_of(read["orientation"]),
        }
        return replace(found, extras=extras)


def depth_of(logit: Tensor) -> Tensor:
    """Return metres: ``1 / sigmoid - 1``, any positive number (Eigen et al. 2014, as the paper has it)."""
    return 1 / (torch.sigmoid(logit.float()) + 1e-6) - 1


def column_of(targets: Targets, name: str, width: int) -> tuple[Tensor, Tensor]:
    """Return a column (B, M, width), zeros where unknown, and (B, M) whether it is known."""
    if name not in targets.extras:
        shape = (*targets.valid.shape, width)
        return targets.boxes.new_zeros(shape), torch.zeros_like(targets.valid)
    column = targets.extras[name].reshape(*targets.valid.shape, width)
    known = column.isfinite().all(dim=2)
    return column.nan_to_num(0.0), known


def centernet_3d(
    classes: Classes,
    *,
    preprocess: Preprocess | None = None,
    backbone: str = "dla34",
    up: str = "aggregate",
    pretrained: bool = False,
    norm: str | None = None,
    widths: Sequence[int] | None = None,
    hidden: int | None = None,
    limits: Mapping[str, Any] | None = None,
) -> CenterNet3D:
    """Build CenterNet for 3D boxes.

    Args:
        classes: names and ids.
        preprocess: how images become network inputs; default: the longer side 1280, as published.
        backbone: a timm name.
        up: how its maps come back to stride 4 (see :func:`point_body`).
        pretrained: start the backbone from ImageNet weights.
        norm: of the backbone (see :class:`Backbone`).
        widths: of the way up.
        hidden: channels inside the head; default as published for this network.
        limits: fields of :class:`PeakLimits` that differ from its defaults.
    """
    body = point_body(backbone, up, pretrained=pretrained, norm=norm, widths=widths)
    outputs = dict(zip(NAMES, (len(classes), 2, 2, 1, 3, 8), strict=True))
    return CenterNet3D(
        classes,
        preprocess or Preprocess(resize="longer", size=1280),
        body.backbone,
        body.neck,
        [PointHead(channels, outputs, hidden or body.hidden) for channels in body.channels],
        limits=PeakLimits(**(limits or {})),
    )


def centernet_3d_dla34(classes: Classes, **options: Any) -> CenterNet3D:
    """CenterNet for 3D boxes with DLA-34 (``ddd_3dop``, ``ddd_sub``)."""
    return centernet_3d(classes, **options)
