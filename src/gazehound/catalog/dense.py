"""One-stage detectors with anchors on a pyramid: RetinaNet and what was built on it."""

from __future__ import annotations

from gazehound.catalog.entry import Entry

_TINY = {"backbone": "test_resnet", "channels": 32, "depth": 1}
_RETINANET = "Lin et al., Focal Loss for Dense Object Detection"
_FCOS = "Tian et al., FCOS: Fully Convolutional One-Stage Object Detection"
_ATSS = "Zhang et al., Bridging the Gap Between Anchor-based and Anchor-free Detection"
_PAA = "Kim, Lee, Probabilistic Anchor Assignment with IoU Prediction"
_GFL = "Li et al., Generalized Focal Loss"
_OTA = "Ge et al., OTA: Optimal Transport Assignment for Object Detection"

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
    Entry(
        "fcos_r18", "gazehound.detectors.fcos:fcos_r18", 2019, _FCOS,
        "network", 13.3, "FCOS, ResNet-18 and 128 channels: a point per cell, levels by size, centre-ness",
        tiny=_TINY,
    ),
    Entry(
        "fcos_r50", "gazehound.detectors.fcos:fcos_r50", 2019, _FCOS,
        "network", 32.3, "FCOS as published; torchvision's fcos_resnet50_fpn, ResNet-50",
    ),
    Entry(
        "fcos_r101", "gazehound.detectors.fcos:fcos_r101", 2019, _FCOS,
        "network", 51.3, "FCOS as published, ResNet-101",
    ),
    Entry(
        "atss_r18", "gazehound.detectors.atss:atss_r18", 2020, _ATSS,
        "network", 13.3, "ATSS, ResNet-18 and 128 channels: each object sets its own IoU threshold",
        tiny=_TINY,
    ),
    Entry(
        "atss_r50", "gazehound.detectors.atss:atss_r50", 2020, _ATSS,
        "network", 32.3, "ATSS as published, ResNet-50",
    ),
    Entry(
        "atss_r101", "gazehound.detectors.atss:atss_r101", 2020, _ATSS,
        "network", 51.3, "ATSS as published, ResNet-101",
    ),
    Entry(
        "paa_r18", "gazehound.detectors.paa:paa_r18", 2020, _PAA,
        "network", 13.3, "PAA, ResNet-18 and 128 channels: the losses say which anchors are positive",
        tiny=_TINY,
    ),
    Entry(
        "paa_r50", "gazehound.detectors.paa:paa_r50", 2020, _PAA,
        "network", 32.3, "PAA as published, ResNet-50",
    ),
    Entry(
        "paa_r101", "gazehound.detectors.paa:paa_r101", 2020, _PAA,
        "network", 51.3, "PAA as published, ResNet-101",
    ),
    Entry(
        "gfl_r18", "gazehound.detectors.gfl:gfl_r18", 2020, _GFL,
        "network", 13.4, "GFL, ResNet-18 and 128 channels: IoU as class score, distances as distributions",
        tiny=_TINY,
    ),
    Entry(
        "gfl_r50", "gazehound.detectors.gfl:gfl_r50", 2020, _GFL,
        "network", 32.4, "GFL as published, ResNet-50",
    ),
    Entry(
        "gfl_r101", "gazehound.detectors.gfl:gfl_r101", 2020, _GFL,
        "network", 51.4, "GFL as published, ResNet-101",
    ),
    Entry(
        "ota_r18", "gazehound.detectors.ota:ota_r18", 2021, _OTA,
        "network", 13.3, "OTA, ResNet-18 and 128 channels: points assigned by optimal transport",
        tiny=_TINY,
    ),
    Entry(
        "ota_r50", "gazehound.detectors.ota:ota_r50", 2021, _OTA,
        "network", 32.3, "OTA as published, ResNet-50",
    ),
    Entry(
        "ota_r101", "gazehound.detectors.ota:ota_r101", 2021, _OTA,
        "network", 51.3, "OTA as published, ResNet-101",
    ),
)  # fmt: skip
