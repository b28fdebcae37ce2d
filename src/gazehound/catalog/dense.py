"""One-stage detectors with anchors on a pyramid: RetinaNet and what was built on it."""

from __future__ import annotations

from gazehound.catalog.entry import Entry

_TINY = {"backbone": "test_resnet", "channels": 32, "depth": 1}
_RETINANET = "Lin et al., Focal Loss for Dense Object Detection"

ROWS: tuple[Entry, ...] = (
    Entry(
        "retinanet_r18", "gazehound.detectors.retinanet:retinanet_r18", 2017, _RETINANET,
        "network", 14.5, "RetinaNet, ResNet-18 and 128 channels: the small all-rounder",
        tiny=_TINY,
    ),
    Entry(
        "retinanet_r50", "gazehound.detectors.retinanet:retinanet_r50", 2017, _RETINANET,
        "network", 33.8, "RetinaNet as published; torchvision's retinanet_resnet50_fpn",
        tiny=_TINY,
    ),
    Entry(
        "retinanet_r50_v2", "gazehound.detectors.retinanet:retinanet_r50_v2", 2017, _RETINANET,
        "network", 38.0, "GroupNorm towers, GIoU loss; torchvision's retinanet_resnet50_fpn_v2",
        tiny=_TINY,
    ),
    Entry(
        "retinanet_r101", "gazehound.detectors.retinanet:retinanet_r101", 2017, _RETINANET,
        "network", 52.8, "RetinaNet as published, ResNet-101",
    ),
)  # fmt: skip
