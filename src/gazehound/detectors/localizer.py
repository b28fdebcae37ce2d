"""Object localization by regression: one object per image (Sermanet et al. 2014, OverFeat, section 4;
Simonyan & Zisserman 2015, appendix A).

    image ── CNN ── C5 ── mean over the image ──┬── softmax, K classes
                                                └── (cx, cy, w, h) of the object, relative to the image

A classifier with four more outputs. Cross-entropy says what, the squared error of the box says where:
``loss = class + weight * box``. Nothing here can find a second object; that is what the rest of the
line is for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gazehound.boxes.formats import area, clip
from gazehound.data.preprocess import Preprocess
from gazehound.detectors.network import Network
from gazehound.errors import unknown_name
from gazehound.nn.backbones import Backbone
from gazehound.nn.heads.window import WindowHead
from gazehound.nn.normaliser import normaliser
from gazehound.nn.postprocess import Found, Limits, suppress
from gazehound.records import Classes, Targets

Elementwise = Callable[..., Tensor]
BOX_LOSSES: Mapping[str, Elementwise] = {"l2": F.mse_loss, "smooth_l1": F.smooth_l1_loss}


@dataclass(frozen=True)
class Localized:
    """What the localizer says of each image.

    Attributes:
        logits: (B, K) of the object's class.
        boxes: (B, 4) centre x, centre y, width, height; 1 is the width or height of the network input.
        image: (height, width) of the network input, pixels.
    """

    logits: Float[Tensor, "B K"]
    boxes: Float[Tensor, "B 4"]
    image: tuple[int, int]


class Localizer(Network):
    """The detector, built of finished parts.

    Args:
        classes: names and ids of the labels.
        preprocess: how images become network inputs at prediction.
        backbone: gives one map.
        head: class logits and box of a window of G x G cells; the map is pooled to that size. G = 1, the
            default, is global pooling.
        box_loss: of each of the four numbers: ``F.mse_loss`` or any function called like it.
        box_weight: factor of the box loss.
        limits: ``score`` is the lowest probability of a class that is reported.
    """

    def __init__(
        self,
        classes: Classes,
        preprocess: Preprocess,
        backbone: Backbone,
        head: WindowHead | None = None,
        box_loss: Elementwise = F.mse_loss,
        box_weight: float = 10.0,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(classes, preprocess)
        self.backbone = backbone
        self.head = head or WindowHead(backbone.channels[-1], len(classes))
        self.box_loss, self.box_weight = box_loss, box_weight
        self.limits = limits or Limits()

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Localized:
        """Compute the class logits and the box of each image."""
        cells = self.backbone(images)[-1]  # B x C x H/32 x W/32
        window = F.adaptive_avg_pool2d(cells, self.head.cells)  # B x C x G x G
        logits, numbers = (output.flatten(1) for output in self.head(window))  # B x K, B x 4
        image = (images.shape[-2], images.shape[-1])
        return Localized(logits, numbers + 0.5, image)  # fresh: the middle half of the image

    def losses(self, outputs: Localized, targets: Targets) -> dict[str, Tensor]:
        """Return ``class`` and ``box``, means over the images that show an object.

        Where an image shows several, the largest is learned; the box loss sums its four numbers.
        """
        size = torch.where(targets.valid, area(targets.boxes), -1.0)
        chosen = size.argmax(dim=1, keepdim=True)  # B x 1
        shown = targets.valid.any(dim=1)  # B
        labels = targets.labels.gather(1, chosen)[:, 0]
        truths = targets.boxes.gather(1, chosen[..., None].expand(-1, -1, 4))[:, 0]
        class_loss = F.cross_entropy(outputs.logits.float(), labels, reduction="none")
        wanted = _relative(truths, outputs.image)
        box_loss = self.box_loss(outputs.boxes.float(), wanted, reduction="none").sum(dim=1)
        count = normaliser(shown.sum())
        return {
            "class": (class_loss * shown).sum() / count,
            "box": self.box_weight * (box_loss * shown).sum() / count,
        }

    def decode(self, outputs: Localized, sizes: Float[Tensor, "B 2"]) -> Found:
        """Return the one box of each image with its most probable class."""
        scores, labels = outputs.logits.float().softmax(dim=1).max(dim=1, keepdim=True)  # B x 1
        boxes = _absolute(outputs.boxes.float(), outputs.image)[:, None]  # B x 1 x 4
        boxes = clip(boxes, sizes[:, :1], sizes[:, 1:])
        return suppress(boxes, scores.where(scores > self.limits.score, 0.0), labels, self.limits)


def _relative(boxes: Float[Tensor, "B 4"], image: tuple[int, int]) -> Float[Tensor, "B 4"]:
    """Turn ``xyxy`` pixels into centre and size, relative to the image."""
    scale = boxes.new_tensor((image[1], image[0]))
    low, high = boxes[:, :2] / scale, boxes[:, 2:] / scale
    return torch.cat(((low + high) / 2, high - low), dim=1)


def _absolute(boxes: Float[Tensor, "B 4"], image: tuple[int, int]) -> Float[Tensor, "B 4"]:
    """Undo :func:`_relative`; a negative size is none."""
    scale = boxes.new_tensor((image[1], image[0]))
    centre, half = boxes[:, :2] * scale, boxes[:, 2:].clamp(min=0) * scale / 2
    return torch.cat((centre - half, centre + half), dim=1)


def localizer(
    classes: Classes,
    *,
    preprocess: Preprocess | None = None,
    backbone: str = "resnet18",
    pretrained: bool = False,
    norm: str | None = None,
    grid: int = 1,
    hidden: int = 0,
    box_loss: str = "l2",
    box_weight: float = 10.0,
    limits: Mapping[str, Any] | None = None,
) -> Localizer:
    """Build a localizer on any timm backbone.

    Args:
        classes: names and ids.
        preprocess: how images become network inputs; by default stretched to 224 x 224.
        backbone: a timm name with a map of stride 32.
        pretrained: start the backbone from ImageNet weights.
        norm: of the backbone (see :class:`Backbone`).
        grid: the last map is pooled to ``grid`` x ``grid`` cells; 1 pools it globally.
        hidden: width of a layer between those cells and the two outputs; 0 for none.
        box_loss: ``l2`` or ``smooth_l1``.
        box_weight: factor of the box loss.
        limits: fields of :class:`Limits` that differ from its defaults.

    Raises:
        ConfigError: ``box_loss`` is unknown.
    """
    if box_loss not in BOX_LOSSES:
        raise unknown_name("box loss of a localizer", box_loss, BOX_LOSSES)
    body = Backbone(backbone, (32,), pretrained=pretrained, norm=norm)
    return Localizer(
        classes,
        preprocess or Preprocess(resize="stretch", size=224),
        body,
        WindowHead(body.channels[-1], len(classes), grid, hidden),
        BOX_LOSSES[box_loss],
        box_weight,
        Limits(**(limits or {})),
    )


def localizer_r18(classes: Classes, **options: Any) -> Localizer:
    """The localizer on ResNet-18."""
    return localizer(classes, **{"backbone": "resnet18", **options})


def localizer_r50(classes: Classes, **options: Any) -> Localizer:
    """The localizer on ResNet-50."""
    return localizer(classes, **{"backbone": "resnet50", **options})
