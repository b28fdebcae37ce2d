"""Detectors without anchors, and EfficientDet."""

from __future__ import annotations

from gazehound.catalog.entry import Entry

_CENTERNET = "Zhou, Wang, Krähenbühl, Objects as Points"
_POINTS = "gazehound.detectors.centernet:centernet"
_EFFICIENTDET = "Tan, Pang, Le, EfficientDet: Scalable and Efficient Object Detection"
_SCALES = "gazehound.detectors.efficientdet:efficientdet"
_CENTERNET2 = "Zhou, Koltun, Krähenbühl, Probabilistic Two-Stage Detection"
_STAGES = "gazehound.detectors.centernet2:centernet2"

ROWS: tuple[Entry, ...] = (
    Entry(
        "centernet_r18", f"{_POINTS}_r18", 2019, _CENTERNET,
        "network", 15.8, "objects as peaks of a heatmap, no NMS; ResNet-18, transposed convolutions",
        tiny={"backbone": "resnet10t", "hidden": 32, "widths": [64, 48, 32]},
    ),
    Entry(
        "centernet_r18_dcn", f"{_POINTS}_r18_dcn", 2019, _CENTERNET,
        "network", 14.4, "CenterNet with ResNet-18 and deformable convolutions (resdcn_18)",
    ),
    Entry(
        "centernet_r50_dcn", f"{_POINTS}_r50_dcn", 2019, _CENTERNET,
        "network", 30.7, "CenterNet with ResNet-50 and deformable convolutions (resdcn_50)",
    ),
    Entry(
        "centernet_r101", f"{_POINTS}_r101", 2019, _CENTERNET,
        "network", 53.4, "CenterNet with ResNet-101 and transposed convolutions (res_101)",
    ),
    Entry(
        "centernet_r101_dcn", f"{_POINTS}_r101_dcn", 2019, _CENTERNET,
        "network", 49.7, "CenterNet with ResNet-101 and deformable convolutions (resdcn_101)",
    ),
    Entry(
        "centernet_dla34", f"{_POINTS}_dla34", 2019, _CENTERNET,
        "network", 19.6, "CenterNet with deep layer aggregation (dla_34)",
    ),
    Entry(
        "centernet_hourglass104", f"{_POINTS}_hourglass104", 2019, _CENTERNET,
        "network", 191.3, "CenterNet with two stacked hourglasses of 104 layers",
    ),
    Entry(
        "centernet_3d_dla34", "gazehound.detectors.centernet3d:centernet_3d_dla34", 2019, _CENTERNET,
        "network", 20.1, "3D boxes from one image: depth, dimensions, orientation; learns from KITTI",
    ),
    Entry(
        "centernet_pose_dla34", "gazehound.detectors.centernet_pose:centernet_pose_dla34", 2019,
        _CENTERNET, "network", 20.1, "boxes and keypoints of persons; learns from COCO's keypoints",
    ),
    Entry(
        "efficientdet_d0", f"{_SCALES}_d0", 2020, _EFFICIENTDET,
        "network", 3.9, "512 px, EfficientNet-B0, three BiFPN cells of 64 channels",
        tiny={
            "backbone": "resnet10t", "channels": 48, "cells": 1, "depth": 1, "momentum": 0.1,
        },
    ),
    Entry(
        "efficientdet_d1", f"{_SCALES}_d1", 2020, _EFFICIENTDET,
        "network", 6.6, "640 px, EfficientNet-B1, four cells of 88 channels",
    ),
    Entry(
        "efficientdet_d2", f"{_SCALES}_d2", 2020, _EFFICIENTDET,
        "network", 8.1, "768 px, EfficientNet-B2, five cells of 112 channels",
    ),
    Entry(
        "efficientdet_d3", f"{_SCALES}_d3", 2020, _EFFICIENTDET,
        "network", 12.0, "896 px, EfficientNet-B3, six cells of 160 channels",
    ),
    Entry(
        "efficientdet_d4", f"{_SCALES}_d4", 2020, _EFFICIENTDET,
        "network", 20.7, "1024 px, EfficientNet-B4, seven cells of 224 channels",
    ),
    Entry(
        "efficientdet_d5", f"{_SCALES}_d5", 2020, _EFFICIENTDET,
        "network", 33.6, "1280 px, EfficientNet-B5, seven cells of 288 channels",
    ),
    Entry(
        "efficientdet_d6", f"{_SCALES}_d6", 2020, _EFFICIENTDET,
        "network", 51.8, "1280 px, EfficientNet-B6, eight cells of 384 channels",
    ),
    Entry(
        "efficientdet_d7", f"{_SCALES}_d7", 2020, _EFFICIENTDET,
        "network", 51.8, "1536 px, D6 at a larger input with larger anchors",
    ),
    Entry(
        "efficientdet_d7x", f"{_SCALES}_d7x", 2020, _EFFICIENTDET,
        "network", 77.1, "1536 px, EfficientNet-B7, a sixth level",
    ),
    Entry(
        "centernet2_r18", f"{_STAGES}_r18", 2021, _CENTERNET2,
        "network", 23.2, "CenterNet as first stage of a cascade; ResNet-18 and 128 channels",
        tiny={
            "backbone": "resnet10t", "channels": 64, "hidden": 64, "regions": 64,
            "learning_proposals": {"per_level": 64, "per_image": 128},
            "proposals": {"per_image": 64},
        },
    ),
    Entry(
        "centernet2_r50", f"{_STAGES}_r50", 2021, _CENTERNET2,
        "network", 71.7, "CenterNet2 as published (CenterNet2_R50_1x)",
    ),
    Entry(
        "centernet2_r101", f"{_STAGES}_r101", 2021, _CENTERNET2,
        "network", 90.7, "CenterNet2 as published, ResNet-101",
    ),
)  # fmt: skip
