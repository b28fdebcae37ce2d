"""CenterNet (Zhou, Wang, Krähenbühl 2019: Objects as Points).

                                   ┌── heat    K   is a centre of class k here?
    image ── network, stride 4 ────┼── offset  2   where in the cell?
                                   └── size    2   how wide and high?

An object is the one cell that holds the centre of its box. The heatmap learns a Gaussian around it
by a focal loss that forgives near misses; offset and size learn at that cell alone. Local maxima of
the heatmap are the detections: no anchors, no assignment by IoU, no NMS.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gazehound.data.preprocess import Preprocess
from gazehound.detectors.network import Network
from gazehound.nn.heads.points import PointHead
from gazehound.nn.heatmaps import PeakLimits, decode_points, point_targets
from gazehound.nn.losses.heatmap import HeatmapLoss, point_losses
from gazehound.nn.point_bodies import STRIDE, point_body
from gazehound.nn.postprocess import Found
from gazehound.records import Classes, Targets


@dataclass(frozen=True)
class Points:
    """What CenterNet computes for a batch, stack by stack; the last one predicts.

    Attributes:
        heat: (B, K, H, W) logits, each.
        offset: (B, 2, H, W) of the centre inside its cell, (x, y), cells.
        size: (B, 2, H, W) width and height, cells.
    """

    heat: tuple[Tensor, ...]
    offset: tuple[Tensor, ...]
    size: tuple[Tensor, ...]


class CenterNet(Network):
    """The detector, built of finished parts; the paper's part is the default.

    Args:
        classes: names and ids of the labels.
        preprocess: how images become network inputs at prediction.
        backbone: images to maps.
        neck: those maps to one or more maps of stride 4.
        heads: one for each of them, with branches ``heat``, ``offset`` and ``size``.
        heat_loss: default the penalty-reduced focal loss, alpha 2, beta 4.
        size_weight: factor on the size loss, which counts in cells.
        offset_weight: factor on the offset loss.
        flip_test: predict on the image and its mirror image, and average heat and size.
        limits: what ``decode`` keeps.
    """

    def __init__(
        self,
        classes: Classes,
        preprocess: Preprocess,
        backbone: nn.Module,
        neck: nn.Module,
        heads: Sequence[PointHead],
        *,
        heat_loss: HeatmapLoss | None = None,
        size_weight: float = 0.1,
        offset_weight: float = 1.0,
        flip_test: bool = False,
        limits: PeakLimits | None = None,
    ) -> None:
        super().__init__(classes, preprocess)
        self.backbone = backbone
        self.neck = neck
        self.heads = nn.ModuleList(heads)
        self.heat_loss = heat_loss or HeatmapLoss()
        self.size_weight, self.offset_weight = size_weight, offset_weight
        self.flip_test = flip_test
        self.limits = limits or PeakLimits()

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Points:
        """Compute the maps of a batch."""
        if self.flip_test and not self.training:
            return mean_of_mirrored(self.maps(images), self.maps(images.flip(3)))
        return self.maps(images)

    def maps(self, images: Float[Tensor, "B 3 H W"]) -> Points:
        """Compute the maps of a batch as it is."""
        maps = self.neck(self.backbone(images))  # one per stack, B x C x H/4 x W/4
        read = [head(x) for head, x in zip(self.heads, maps, strict=True)]
        return Points(*(tuple(r[name] for r in read) for name in ("heat", "offset", "size")))

    def losses(self, outputs: Points, targets: Targets) -> dict[str, Tensor]:
        """Return ``heat`` per peak, ``offset`` and ``size`` per number; means over the stacks."""
        _, classes, rows, columns = outputs.heat[0].shape
        wanted = point_targets(targets, classes, (rows, columns), STRIDE)
        stacks = [
            point_losses(heat, offset, size, wanted, self.heat_loss)
            for heat, offset, size in zip(outputs.heat, outputs.offset, outputs.size, strict=True)
        ]
        heat, offset, size = torch.stack(stacks).mean(dim=0)
        return {
            "heat": heat,
            "offset": self.offset_weight * offset,
            "size": self.size_weight * size,
        }

    def decode(self, outputs: Points, sizes: Float[Tensor, "B 2"]) -> Found:
        """Take the best local maxima and read offset and size there; clip to the image content."""
        maps = outputs.heat[-1], outputs.offset[-1], outputs.size[-1]
        return decode_points(*maps, sizes, STRIDE, self.limits)[0]


def mean_of_mirrored(plain: Points, mirrored: Points) -> Points:
    """Average the heat (as probabilities) and size of images and of their mirror images.

    The offset is that of the plain images: a cell's left border is no mirror of its right one.
    """
    heat = [
        torch.logit((torch.sigmoid(a.float()) + torch.sigmoid(b.flip(3).float())) / 2, eps=1e-6)
        for a, b in zip(plain.heat, mirrored.heat, strict=True)
    ]
    size = [(a + b.flip(3)) / 2 for a, b in zip(plain.size, mirrored.size, strict=True)]
    return Points(tuple(heat), plain.offset, tuple(size))


def centernet(
    classes: Classes,
    *,
    preprocess: Preprocess | None = None,
    backbone: str = "resnet18",
    up: str = "plain",
    pretrained: bool = False,
    norm: str | None = None,
    widths: Sequence[int] | None = None,
    counts: Sequence[int] | None = None,
    hidden: int | None = None,
    flip_test: bool = False,
    limits: Mapping[str, Any] | None = None,
) -> CenterNet:
    """Build CenterNet.

    Args:
        classes: names and ids.
        preprocess: how images become network inputs.
        backbone: a timm name; ignored by the hourglass.
        up: how its maps come back to stride 4 (see :func:`point_body`).
        pretrained: start the backbone from ImageNet weights.
        norm: of the backbone (see :class:`Backbone`).
        widths: of the way up.
        counts: residual blocks per scale of the hourglass.
        hidden: channels inside the head; default as published for this network.
        flip_test: average with the mirror image at prediction.
        limits: fields of :class:`PeakLimits` that differ from its defaults.

    Raises:
        ConfigError: a name is unknown.
    """
    body = point_body(backbone, up, pretrained=pretrained, norm=norm, widths=widths, counts=counts)
    outputs = {"heat": len(classes), "offset": 2, "size": 2}
    return CenterNet(
        classes,
        preprocess or Preprocess(),
        body.backbone,
        body.neck,
        [PointHead(channels, outputs, hidden or body.hidden) for channels in body.channels],
        flip_test=flip_test,
        limits=PeakLimits(**(limits or {})),
    )


def centernet_r18(classes: Classes, **options: Any) -> CenterNet:
    """CenterNet with ResNet-18 and plain transposed convolutions (``res_18``)."""
    return centernet(classes, **{"backbone": "resnet18", **options})


def centernet_r18_dcn(classes: Classes, **options: Any) -> CenterNet:
    """CenterNet with ResNet-18 and deformable convolutions (``resdcn_18``)."""
    return centernet(classes, **{"backbone": "resnet18", "up": "deformable", **options})


def centernet_r50_dcn(classes: Classes, **options: Any) -> CenterNet:
    """CenterNet with ResNet-50 and deformable convolutions (``resdcn_50``)."""
    return centernet(classes, **{"backbone": "resnet50", "up": "deformable", **options})


def centernet_r101(classes: Classes, **options: Any) -> CenterNet:
    """CenterNet with ResNet-101 and plain transposed convolutions (``res_101``)."""
    return centernet(classes, **{"backbone": "resnet101", **options})


def centernet_r101_dcn(classes: Classes, **options: Any) -> CenterNet:
    """CenterNet with ResNet-101 and deformable convolutions (``resdcn_101``)."""
    return centernet(classes, **{"backbone": "resnet101", "up": "deformable", **options})


def centernet_dla34(classes: Classes, **options: Any) -> CenterNet:
    """CenterNet with DLA-34 (``dla_34``)."""
    return centernet(classes, **{"backbone": "dla34", "up": "aggregate", **options})


def centernet_hourglass104(classes: Classes, **options: Any) -> CenterNet:
    """CenterNet with two stacked hourglasses (``hourglass``)."""
    return centernet(classes, **{"up": "hourglass", **options})
