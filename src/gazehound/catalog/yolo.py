"""SSD and the YOLO line."""

from __future__ import annotations

from gazehound.catalog.entry import Entry

_SSD = "Liu et al., SSD: Single Shot MultiBox Detector"
_SSDLITE = "Howard et al., Searching for MobileNetV3"
_YOLOV3 = "Redmon and Farhadi, YOLOv3: An Incremental Improvement"
_YOLOV4 = "Bochkovskiy et al., YOLOv4: Optimal Speed and Accuracy of Object Detection"
_TINY4 = "Wang et al., Scaled-YOLOv4: Scaling Cross Stage Partial Network"
_YOLOV5 = "Jocher et al., YOLOv5 (no paper)"
_YOLOX = "Ge et al., YOLOX: Exceeding YOLO Series in 2021"
# Deep rows learn a few plain objects: the lesson is whether they learn, not how long it takes.
_EASY = {"objects": (1, 3), "hidden": 0.2, "clutter": 2}

ROWS: tuple[Entry, ...] = (
    Entry(
        "ssd300", "gazehound.detectors.ssd:ssd300", 2016, _SSD,
        "network", 34.3, "SSD on VGG16 at 300 pixels; torchvision's ssd300_vgg16",
        tiny={"width": 0.25},
    ),
    Entry(
        "ssd512", "gazehound.detectors.ssd:ssd512", 2016, _SSD,
        "network", 36.0, "SSD on VGG16 at 512 pixels",
    ),
    Entry(
        "ssdlite320", "gazehound.detectors.ssd:ssdlite320", 2019, _SSDLITE,
        "network", 3.3, "SSDLite on MobileNetV3; torchvision's ssdlite320_mobilenet_v3_large",
        tiny={"width": 0.5}, lesson=_EASY,
    ),
    Entry(
        "yolov3", "gazehound.detectors.yolov3:yolov3", 2018, _YOLOV3,
        "network", 61.9, "YOLOv3 on DarkNet-53; reads Darknet's files",
        tiny={"width": 0.125, "depths": [1, 1, 1, 1, 1]}, lesson=_EASY,
    ),
    Entry(
        "yolov3_spp", "gazehound.detectors.yolov3:yolov3_spp", 2018, _YOLOV3,
        "network", 63.0, "YOLOv3 with spatial pyramid pooling",
    ),
    Entry(
        "yolov3_tiny", "gazehound.detectors.yolov3:yolov3_tiny", 2018, _YOLOV3,
        "network", 8.9, "YOLOv3-tiny: seven convolutions, two maps",
        tiny={"width": 0.25},
    ),
    Entry(
        "yolov4", "gazehound.detectors.yolov4:yolov4", 2020, _YOLOV4,
        "network", 64.4, "YOLOv4 on CSPDarkNet-53; reads Darknet's files",
        tiny={"width": 0.125, "depths": [1, 1, 1, 1, 1]}, lesson=_EASY,
    ),
    Entry(
        "yolov4_tiny", "gazehound.detectors.yolov4:yolov4_tiny", 2020, _TINY4,
        "network", 6.1, "YOLOv4-tiny: three one-shot stages, two maps",
        tiny={"width": 0.25},
    ),
    Entry(
        "yolov5n", "gazehound.detectors.yolov5:yolov5n", 2020, _YOLOV5,
        "network", 1.9, "YOLOv5n: CSP blocks, anchors matched by the ratio of sides, release 6",
        tiny={"width": 0.125},
    ),
    Entry(
        "yolov5s", "gazehound.detectors.yolov5:yolov5s", 2020, _YOLOV5,
        "network", 7.2, "YOLOv5s",
    ),
    Entry(
        "yolov5m", "gazehound.detectors.yolov5:yolov5m", 2020, _YOLOV5,
        "network", 21.2, "YOLOv5m",
    ),
    Entry(
        "yolov5l", "gazehound.detectors.yolov5:yolov5l", 2020, _YOLOV5,
        "network", 46.6, "YOLOv5l",
    ),
    Entry(
        "yolov5x", "gazehound.detectors.yolov5:yolov5x", 2020, _YOLOV5,
        "network", 86.7, "YOLOv5x",
    ),
    Entry(
        "yolox_nano", "gazehound.detectors.yolox:yolox_nano", 2021, _YOLOX,
        "network", 0.9, "YOLOX, depthwise: 0.9 M weights, for small machines",
        tiny={"width": 0.125},
    ),
    Entry(
        "yolox_tiny", "gazehound.detectors.yolox:yolox_tiny", 2021, _YOLOX,
        "network", 5.1, "YOLOX-tiny, 416 pixels",
    ),
    Entry(
        "yolox_s", "gazehound.detectors.yolox:yolox_s", 2021, _YOLOX,
        "network", 9.0, "YOLOX-s: no anchors, SimOTA, decoupled head",
    ),
    Entry(
        "yolox_m", "gazehound.detectors.yolox:yolox_m", 2021, _YOLOX,
        "network", 25.3, "YOLOX-m",
    ),
    Entry(
        "yolox_l", "gazehound.detectors.yolox:yolox_l", 2021, _YOLOX,
        "network", 54.2, "YOLOX-l",
    ),
    Entry(
        "yolox_x", "gazehound.detectors.yolox:yolox_x", 2021, _YOLOX,
        "network", 99.1, "YOLOX-x",
    ),
    Entry(
        "yolox_darknet53", "gazehound.detectors.yolox:yolox_darknet53", 2021, _YOLOX,
        "network", 63.7, "YOLOX on DarkNet-53, YOLOv3's body",
        tiny={"width": 0.125, "depths": [1, 1, 1, 1, 1]},
    ),
)  # fmt: skip
