"""Backbone and neck in one call, for the builders of pyramid detectors."""

from __future__ import annotations

from gazehound.nn.backbones import Backbone
from gazehound.nn.necks.neck import Neck, make_neck


def pyramid_trunk(
    backbone: str = "resnet50",
    *,
    pretrained: bool = False,
    norm: str | None = None,
    norm_eps: float | None = None,
    neck: str = "fpn",
    channels: int = 256,
    extra: str = "p5",
) -> tuple[Backbone, Neck]:
    """Build a backbone and a neck that gives P3 to P7.

    Args:
        backbone: a timm name.
        pretrained: start the backbone from ImageNet weights.
        norm: of the backbone (see :class:`Backbone`).
        norm_eps: of the backbone's norms.
        neck: ``fpn``, ``panet``, ``bifpn``, ``nas-fpn`` or ``yolo``.
        channels: of every pyramid level.
        extra: where P6 starts from, ``p5`` or ``c5``.

    Raises:
        ConfigError: a name is unknown, or weights are out of reach.
    """
    body = Backbone(backbone, pretrained=pretrained, norm=norm, norm_eps=norm_eps)
    return body, make_neck(neck, body.channels, channels, extra=extra)
