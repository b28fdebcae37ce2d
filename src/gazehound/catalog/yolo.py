"""SSD and the YOLO line."""

from __future__ import annotations

from gazehound.catalog.entry import Entry

_SSD = "Liu et al., SSD: Single Shot MultiBox Detector"
_SSDLITE = "Howard et al., Searching for MobileNetV3"
_YOLOX = "Ge et al., YOLOX: Exceeding YOLO Series in 2021"

ROWS: tuple[Entry, ...] = (
    Entry(
        "ssd300", "gazehound.detectors.ssd:ssd300", 2016, _SSD,
        "network", 34.3, "SSD on VGG16 at 300 pixels; torchvision's ssd300_vgg16",
        tiny={"width": 0.25, "norm": "batch"},
    ),
    Entry(
        "ssd512", "gazehound.detectors.ssd:ssd512", 2016, _SSD,
        "network", 35.9, "SSD on VGG16 at 512 pixels",
    ),
    Entry(
        "ssdlite320", "gazehound.detectors.ssd:ssdlite320", 2019, _SSDLITE,
        "network", 3.3, "SSDLite on MobileNetV3; torchvision's ssdlite320_mobilenet_v3_large",
        tiny={"width": 0.5},
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
        tiny={"width": 0.125},
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
)  # fmt: skip
