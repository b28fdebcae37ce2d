"""Detectors that look at regions: localizer, sliding window, the R-CNN line."""

from __future__ import annotations

from gazehound.catalog.entry import Entry

_OVERFEAT = "Sermanet et al., OverFeat: Integrated Recognition, Localization and Detection"
_RCNN = "Girshick et al., Rich Feature Hierarchies for Accurate Object Detection"
_FAST = "Girshick, Fast R-CNN"
_FASTER = "Ren et al., Faster R-CNN: Towards Real-Time Object Detection with Region Proposals"
_FPN = "Lin et al., Feature Pyramid Networks for Object Detection"
_CASCADE = "Cai, Vasconcelos, Cascade R-CNN: Delving into High Quality Object Detection"
_CASCADE_RPN = "Vu et al., Cascade RPN: Delving into High-Quality Region Proposal Network"

_ONE = {"objects": (1, 1), "scale": (0.3, 0.7), "hidden": 0.2}

# Small enough to learn eight images in a test: few channels, few proposals, few regions.
_FEW = {
    "proposals": {"per_level": 200, "per_image": 60},
    "learning_proposals": {"per_level": 200, "per_image": 60},
    "regions": 32,
}
_TINY = {"backbone": "test_resnet", "hidden": 64, **_FEW}
_EASY = {"count": 4, "scale": (0.3, 0.6), "objects": (1, 2), "hidden": 0.2, "clutter": 2}

ROWS: tuple[Entry, ...] = (
    Entry(
        "localizer_r18", "gazehound.detectors.localizer:localizer_r18", 2013, _OVERFEAT,
        "network", 11.2, "one object per image: class and box regressed from pooled features",
        tiny={"backbone": "test_resnet"}, lesson=_ONE,
    ),
    Entry(
        "localizer_r50", "gazehound.detectors.localizer:localizer_r50", 2013, _OVERFEAT,
        "network", 23.7, "the localizer on ResNet-50",
    ),
    Entry(
        "sliding_window_r18", "gazehound.detectors.sliding_window:sliding_window_r18", 2013,
        _OVERFEAT,
        "network", 3.9, "the localizer slid over a pyramid, with a background class",
        tiny={"backbone": "resnet10t", "window": 32, "stride": 8, "levels": 5, "hidden": 64},
        lesson={"scale": (0.3, 0.7), "objects": (1, 2)},
    ),
    Entry(
        "rpn_r50", "gazehound.detectors.rpn:rpn_r50", 2015, _FASTER,
        "network", 27.4, "proposals of any class: the first stage of Faster R-CNN R50-FPN",
        tiny={"backbone": "test_resnet", "channels": 32},
        lesson={**_EASY, "classes": ("star",)},
    ),
    Entry(
        "rpn_c4", "gazehound.detectors.rpn:rpn_c4", 2015, _FASTER,
        "network", 18.1, "proposals of any class from the stride-16 map of a ResNet-50",
    ),
    Entry(
        "rpn_classes", "gazehound.detectors.rpn:rpn_classes", 2015, _FASTER,
        "network", 27.8, "objectness and K classes per anchor, a box for each: one stage, no more",
        tiny={"backbone": "test_resnet", "channels": 48},
        lesson=_EASY,
    ),
    Entry(
        "rcnn_alexnet", "gazehound.detectors.rcnn:rcnn_alexnet", 2014, _RCNN,
        "classical", 57.3, "as published: AlexNet on warped regions, SVMs, box regression; slow",
    ),
    Entry(
        "rcnn_r18", "gazehound.detectors.rcnn:rcnn_r18", 2014, _RCNN,
        "classical", 11.2, "R-CNN on ResNet-18, which also learns from scratch; slow",
    ),
    Entry(
        "fast_rcnn_alexnet", "gazehound.detectors.fast_rcnn:fast_rcnn_alexnet", 2015, _FAST,
        "network", 58.6, "AlexNet, RoIPool and two fully connected layers; selective search",
    ),
    Entry(
        "fast_rcnn_vgg16", "gazehound.detectors.fast_rcnn:fast_rcnn_vgg16", 2015, _FAST,
        "network", 135.9, "VGG16, RoIPool and two fully connected layers; selective search",
    ),
    Entry(
        "fast_rcnn_c4", "gazehound.detectors.fast_rcnn:fast_rcnn_c4", 2015, _FAST,
        "network", 24.3, "ResNet-50: stages 1 to 3 on the image, stage 4 on each region",
        tiny={
            "backbone": "test_resnet", "cells": 4, "proposals": 40, "regions": 48,
            "search": {"mode": "single", "smallest": 8},
        },
        lesson=_EASY,
    ),
    Entry(
        "faster_rcnn_r18", "gazehound.detectors.faster_rcnn:faster_rcnn_r18", 2015, _FASTER,
        "network", 15.7, "Faster R-CNN FPN, ResNet-18 and 128 channels, for small machines",
    ),
    Entry(
        "faster_rcnn_r50", "gazehound.detectors.faster_rcnn:faster_rcnn_r50", 2016, _FPN,
        "network", 41.8, "Faster R-CNN R50-FPN; torchvision's fasterrcnn_resnet50_fpn",
        tiny={**_TINY, "channels": 32},
        lesson=_EASY,
    ),
    Entry(
        "faster_rcnn_r50_v2", "gazehound.detectors.faster_rcnn:faster_rcnn_r50_v2", 2016, _FPN,
        "network", 43.7, "with BatchNorm and a deeper head; torchvision's fasterrcnn_resnet50_fpn_v2",
        tiny={**_TINY, "channels": 32},
        lesson=_EASY,
    ),
    Entry(
        "faster_rcnn_r101", "gazehound.detectors.faster_rcnn:faster_rcnn_r101", 2016, _FPN,
        "network", 60.7, "Faster R-CNN R101-FPN",
    ),
    Entry(
        "faster_rcnn_mobilenet", "gazehound.detectors.faster_rcnn:faster_rcnn_mobilenet", 2015,
        _FASTER,
        "network", 19.4, "MobileNetV3-Large; torchvision's fasterrcnn_mobilenet_v3_large_fpn",
        tiny={"channels": 32, "hidden": 64, **_FEW},
        lesson=_EASY,
    ),
    Entry(
        "faster_rcnn_mobilenet_320", "gazehound.detectors.faster_rcnn:faster_rcnn_mobilenet_320",
        2015, _FASTER,
        "network", 19.4, "on images of 320; torchvision's fasterrcnn_mobilenet_v3_large_320_fpn",
    ),
    Entry(
        "faster_rcnn_c4", "gazehound.detectors.faster_rcnn:faster_rcnn_c4", 2015, _FASTER,
        "network", 33.8, "stages 1 to 3 on the image, stage 4 on each region; Detectron2's R50-C4",
        tiny={"backbone": "test_resnet", **_FEW},
        lesson=_EASY,
    ),
    Entry(
        "faster_rcnn_dc5", "gazehound.detectors.faster_rcnn:faster_rcnn_dc5", 2015, _FASTER,
        "network", 165.6, "on a dilated C5 of stride 16; Detectron2's R50-DC5",
        tiny=_TINY,
        lesson=_EASY,
    ),
    Entry(
        "cascade_rcnn_r18", "gazehound.detectors.cascade_rcnn:cascade_rcnn_r18", 2018, _CASCADE,
        "network", 22.6, "Cascade R-CNN, ResNet-18 and 128 channels, for small machines",
    ),
    Entry(
        "cascade_rcnn_r50", "gazehound.detectors.cascade_rcnn:cascade_rcnn_r50", 2018, _CASCADE,
        "network", 69.4, "three stages at IoU 0.5, 0.6 and 0.7; Detectron2's and MMDetection's",
        tiny={**_TINY, "channels": 32},
        lesson=_EASY,
    ),
    Entry(
        "cascade_rcnn_r101", "gazehound.detectors.cascade_rcnn:cascade_rcnn_r101", 2018, _CASCADE,
        "network", 88.4, "Cascade R-CNN R101-FPN",
    ),
    Entry(
        "cascade_rpn_r50", "gazehound.detectors.cascade_rpn:cascade_rpn_r50", 2019, _CASCADE_RPN,
        "network", 42.3, "anchors refined in two stages, features aligned by adaptive convolution",
        tiny={**_TINY, "channels": 32},
        lesson=_EASY,
    ),
)  # fmt: skip
