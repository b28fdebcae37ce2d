"""Official weights of other projects: where they are, how a whole file is known, what they reach.

Addresses, scores and hashes are the publishers' own (torchvision, effdet and Detectron2 put the
beginning of the hash into the name of the file). YOLOX and Darknet publish none; the hashes here are
of their release files, as several independent projects pin them. CenterNet publishes none either, and
is told apart by whether its tensors fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

VAL: Final = "box AP, COCO val2017"


@dataclass(frozen=True)
class Publisher:
    """Who trained the weights, and on what terms.

    Attributes:
        name: of the project; also a key of :data:`gazehound.checkpoints.importing.SOURCES`.
        page: its address.
        code_licence: of the code that made the weights.
        weights_licence: of the weights, in a few words; empty: none is stated apart from the code's.
        note: the same in a sentence, for those who ship them.
        bytes_per_weight: of its files; 8 where the optimizer's momentum lies beside the weights.
    """

    name: str
    page: str
    code_licence: str
    weights_licence: str
    note: str
    bytes_per_weight: int = 4


@dataclass(frozen=True)
class Published:
    """One official file.

    Attributes:
        name: of the catalogue.
        variant: tells several files of one name apart: ``NAME@VARIANT``; the first one is the default.
        publisher: who made it.
        known_as: what its publisher calls the model.
        urls: addresses of the same file, the first is tried first.
        file: its name on this machine.
        digest: ``sha256:``, ``sha1:`` or ``md5:`` and the hash or its beginning; empty: none is known.
        score: what its publisher measured.
        measure: what the score means.
        megabytes: 10^6 bytes; None where nobody says.
    """

    name: str
    variant: str
    publisher: Publisher
    known_as: str
    urls: tuple[str, ...]
    file: str
    digest: str
    score: float
    measure: str = VAL
    megabytes: float | None = None

    @property
    def title(self) -> str:
        """Return the name that means this file and no other."""
        return f"{self.name}@{self.variant}"


_COCO = "trained on COCO (annotations CC BY 4.0; the images have terms of their own)"
TORCHVISION = Publisher(
    "torchvision", "https://github.com/pytorch/vision", "BSD-3-Clause", "",
    f"not stated by torchvision, which points to the terms of the training data; {_COCO}",
)  # fmt: skip
DETECTRON2 = Publisher(
    "detectron2", "https://github.com/facebookresearch/detectron2", "Apache-2.0", "CC BY-SA 3.0",
    f"CC BY-SA 3.0 (Detectron2's model zoo): name the source, share changes alike; {_COCO}",
)  # fmt: skip
YOLOX = Publisher(
    "yolox", "https://github.com/Megvii-BaseDetection/YOLOX", "Apache-2.0", "",
    f"not stated apart from the code's Apache-2.0, with which they are released; {_COCO}", 8,
)  # fmt: skip
EFFDET = Publisher(
    "effdet", "https://github.com/rwightman/efficientdet-pytorch", "Apache-2.0", "",
    "not stated apart from the code's Apache-2.0; those named tf_ are ported from google/automl, "
    f"Apache-2.0, too; {_COCO}",
)  # fmt: skip
DARKNET = Publisher(
    "darknet", "https://github.com/AlexeyAB/darknet", "public domain", "",
    f"not stated apart from the code's public domain; {_COCO}",
)  # fmt: skip
CENTERNET = Publisher(
    "centernet", "https://github.com/xingyizhou/CenterNet", "MIT", "",
    "not stated apart from the code's MIT licence (parts of which are others', see its NOTICE); "
    "trained on COCO or KITTI, which have terms of their own (KITTI: CC BY-NC-SA 3.0)",
)  # fmt: skip
CENTERNET2 = Publisher(
    "centernet2", "https://github.com/xingyizhou/CenterNet2", "Apache-2.0", "",
    f"not stated apart from the code's Apache-2.0; {_COCO}",
)  # fmt: skip


def _torchvision(name: str, known_as: str, file: str, score: float, megabytes: float) -> Published:
    return Published(
        name, "torchvision", TORCHVISION, known_as,
        (f"https://download.pytorch.org/models/{file}",), file, _named_digest("sha256", file), score,
        megabytes=megabytes,
    )  # fmt: skip


def _detectron2(name: str, variant: str, path: str, score: float, measure: str = VAL) -> Published:
    known_as, _, file = path.rsplit("/", 2)
    url = f"https://dl.fbaipublicfiles.com/detectron2/{path}"
    return Published(
        name, variant, DETECTRON2, known_as.rsplit("/", 1)[1], (url,), file,
        _named_digest("md5", file), score, measure,
    )  # fmt: skip


def _effdet(name: str, file: str, score: float, variant: str = "effdet") -> Published:
    known_as = f"tf_{name}" if file.startswith("tf_") else name
    url = f"https://github.com/rwightman/efficientdet-pytorch/releases/download/v0.1/{file}"
    return Published(
        name, variant, EFFDET, known_as, (url,), file, _named_digest("sha256", file), score
    )


def _yolox(
    name: str, score: float, digest: str, megabytes: float | None = None, stem: str = ""
) -> Published:
    file = f"{stem or name}.pth"
    url = f"https://github.com/Megvii-BaseDetection/YOLOX/releases/download/0.1.1rc0/{file}"
    return Published(
        name, "yolox", YOLOX, name.replace("_", "-"), (url,), file, f"sha256:{digest}", score,
        megabytes=megabytes,
    )  # fmt: skip


def _darknet(
    name: str, urls: tuple[str, ...], score: float, measure: str, digest: str, megabytes: float
) -> Published:
    file = urls[0].rsplit("/", 1)[1]
    known_as = name.replace("_", "-")
    return Published(
        name,
        "darknet",
        DARKNET,
        known_as,
        urls,
        file,
        f"sha256:{digest}",
        score,
        measure,
        megabytes,
    )


def _drive(
    name: str, publisher: Publisher, known_as: str, key: str, score: float, measure: str = VAL
) -> Published:
    url = f"https://drive.usercontent.google.com/download?id={key}&export=download&confirm=t"
    return Published(
        name, publisher.name, publisher, known_as, (url,), f"{known_as}.pth", "", score, measure
    )


def _named_digest(kind: str, file: str) -> str:
    """Return the hash whose beginning ends the name of a file: ``x-258fb6c6.pth``, ``x_280758.pkl``."""
    stem = file.rsplit(".", 1)[0]
    return f"{kind}:{stem.replace('_', '-').rsplit('-', 1)[1]}"


_PJREDDIE = "https://pjreddie.com/media/files"
_MOVED = "https://data.pjreddie.com/files"
_ALEXEY = "https://github.com/AlexeyAB/darknet/releases/download"
_D2 = "COCO-Detection"

ROWS: Final[tuple[Published, ...]] = (
    _torchvision(
        "faster_rcnn_r50", "fasterrcnn_resnet50_fpn",
        "fasterrcnn_resnet50_fpn_coco-258fb6c6.pth", 37.0, 167.5,
    ),
    _torchvision(
        "faster_rcnn_r50_v2", "fasterrcnn_resnet50_fpn_v2",
        "fasterrcnn_resnet50_fpn_v2_coco-dd69338a.pth", 46.7, 175.2,
    ),
    _torchvision(
        "faster_rcnn_mobilenet", "fasterrcnn_mobilenet_v3_large_fpn",
        "fasterrcnn_mobilenet_v3_large_fpn-fb6a3cc7.pth", 32.8, 77.8,
    ),
    _torchvision(
        "faster_rcnn_mobilenet_320", "fasterrcnn_mobilenet_v3_large_320_fpn",
        "fasterrcnn_mobilenet_v3_large_320_fpn-907ea3f9.pth", 22.8, 77.8,
    ),
    _torchvision(
        "retinanet_r50", "retinanet_resnet50_fpn", "retinanet_resnet50_fpn_coco-eeacb38b.pth",
        36.4, 136.6,
    ),
    _torchvision(
        "retinanet_r50_v2", "retinanet_resnet50_fpn_v2",
        "retinanet_resnet50_fpn_v2_coco-5905b1c5.pth", 41.5, 153.1,
    ),
    _torchvision(
        "fcos_r50", "fcos_resnet50_fpn", "fcos_resnet50_fpn_coco-99b0c9b7.pth", 39.2, 129.6
    ),
    _torchvision("ssd300", "ssd300_vgg16", "ssd300_vgg16_coco-b556d3b4.pth", 25.1, 142.6),
    _torchvision(
        "ssdlite320", "ssdlite320_mobilenet_v3_large",
        "ssdlite320_mobilenet_v3_large_coco-a79551df.pth", 21.3, 14.1,
    ),
    _detectron2(
        "faster_rcnn_r50", "detectron2",
        f"{_D2}/faster_rcnn_R_50_FPN_3x/137849458/model_final_280758.pkl", 40.2,
    ),
    _detectron2(
        "faster_rcnn_r50", "detectron2-1x",
        f"{_D2}/faster_rcnn_R_50_FPN_1x/137257794/model_final_b275ba.pkl", 37.9,
    ),
    _detectron2(
        "faster_rcnn_r101", "detectron2",
        f"{_D2}/faster_rcnn_R_101_FPN_3x/137851257/model_final_f6e8b1.pkl", 42.0,
    ),
    _detectron2(
        "faster_rcnn_c4", "detectron2",
        f"{_D2}/faster_rcnn_R_50_C4_3x/137849393/model_final_f97cb7.pkl", 38.4,
    ),
    _detectron2(
        "faster_rcnn_c4", "detectron2-1x",
        f"{_D2}/faster_rcnn_R_50_C4_1x/137257644/model_final_721ade.pkl", 35.7,
    ),
    _detectron2(
        "faster_rcnn_dc5", "detectron2",
        f"{_D2}/faster_rcnn_R_50_DC5_3x/137849425/model_final_68d202.pkl", 39.0,
    ),
    _detectron2(
        "faster_rcnn_dc5", "detectron2-1x",
        f"{_D2}/faster_rcnn_R_50_DC5_1x/137847829/model_final_51d356.pkl", 37.3,
    ),
    _detectron2(
        "cascade_rcnn_r50", "detectron2",
        "Misc/cascade_mask_rcnn_R_50_FPN_3x/144998488/model_final_480dd8.pkl", 44.3,
    ),
    _detectron2(
        "cascade_rcnn_r50", "detectron2-1x",
        "Misc/cascade_mask_rcnn_R_50_FPN_1x/138602847/model_final_e9d89b.pkl", 42.1,
    ),
    _detectron2(
        "rpn_r50", "detectron2", f"{_D2}/rpn_R_50_FPN_1x/137258492/model_final_02ce48.pkl",
        58.0, "AR at 1000 proposals, COCO val2017",
    ),
    _detectron2(
        "rpn_c4", "detectron2", f"{_D2}/rpn_R_50_C4_1x/137258005/model_final_450694.pkl",
        51.6, "AR at 1000 proposals, COCO val2017",
    ),
    _effdet("efficientdet_d0", "tf_efficientdet_d0_34-f153e0cf.pth", 34.2),
    _effdet("efficientdet_d0", "efficientdet_d0-f3276ba8.pth", 33.6, "effdet-pytorch"),
    _effdet("efficientdet_d1", "tf_efficientdet_d1_40-a30f94af.pth", 40.1),
    _effdet("efficientdet_d1", "efficientdet_d1-bb7e98fe.pth", 39.4, "effdet-pytorch"),
    _effdet("efficientdet_d2", "tf_efficientdet_d2_43-8107aa99.pth", 43.4),
    _effdet("efficientdet_d3", "tf_efficientdet_d3_47-0b525f35.pth", 47.1),
    _effdet("efficientdet_d4", "tf_efficientdet_d4_49-f56376d9.pth", 49.2),
    _effdet("efficientdet_d5", "tf_efficientdet_d5_51-c79f9be6.pth", 51.2),
    _effdet("efficientdet_d6", "tf_efficientdet_d6_52-4eda3773.pth", 52.0),
    _effdet("efficientdet_d7", "tf_efficientdet_d7_53-6d1d7a95.pth", 53.1),
    _effdet("efficientdet_d7x", "tf_efficientdet_d7x-f390b87c.pth", 54.3),
    _yolox("yolox_nano", 25.8, "cd28f55fbbc1829f99d9ac9b38a16d259a22889739c8728ea877610201feff7b"),
    _yolox(
        "yolox_tiny", 32.8, "9de513de589ac98bb92d3bca53b5af7b9acfa9b0bacb831f7999d0f7afaee8f0", 40.8
    ),
    _yolox(
        "yolox_s", 40.5, "f55ded7181e1b0c13285c56e7790b8f0e8f8db590fe4edb37f0b7f345c913a30", 72.1
    ),
    _yolox(
        "yolox_m", 46.9, "60076992b32da82951c90cfa7bd6ab70eba9eda243e08b940a396f60ac2d19b6", 203.1
    ),
    _yolox("yolox_l", 49.7, "1e6b7fa6240375370b2a8a8eab9066b3cdd43fd1d0bfa8d2027fd3a51def2917"),
    _yolox(
        "yolox_x", 51.1, "5652330b6ae860043f091b8f550a60c10e1129f416edfdb65c259be6caf355cf", 793.5
    ),
    _yolox(
        "yolox_darknet53", 47.7, "b5905e9faf500a2608c93991f91a41a6150bcd2dd30986865a73becd94542fa1",
        stem="yolox_darknet",
    ),
    _darknet(
        "yolov3", (f"{_PJREDDIE}/yolov3.weights", f"{_MOVED}/yolov3.weights"),
        55.3, "AP50, COCO test-dev, 416 px",
        "523e4e69e1d015393a1b0a441cef1d9c7659e3eb2d7e15f793f060a21b32f297", 248.0,
    ),
    _darknet(
        "yolov3_spp", (f"{_PJREDDIE}/yolov3-spp.weights", f"{_MOVED}/yolov3-spp.weights"),
        60.6, "AP50, COCO test-dev, 608 px",
        "87a1e8c85c763316f34e428f2295e1db9ed4abcec59dd9544f8052f50de327b4", 252.2,
    ),
    _darknet(
        "yolov3_tiny", (f"{_PJREDDIE}/yolov3-tiny.weights", f"{_MOVED}/yolov3-tiny.weights"),
        33.1, "AP50, COCO test-dev, 416 px",
        "dccea06f59b781ec1234ddf8d1e94b9519a97f4245748a7d4db75d5b7080a42c", 35.4,
    ),
    _darknet(
        "yolov4", (f"{_ALEXEY}/darknet_yolo_v3_optimal/yolov4.weights",),
        43.5, "box AP, COCO test-dev, 608 px",
        "e8a4f6c62188738d86dc6898d82724ec0964d0eb9d2ae0f0a9d53d65d108d562", 257.7,
    ),
    _darknet(
        "yolov4_tiny", (f"{_ALEXEY}/yolov4/yolov4-tiny.weights",),
        40.2, "AP50, COCO test-dev, 416 px",
        "cf9fbfd0f6d4869b35762f56100f50ed05268084078805f0e7989efe5bb8ca87", 24.3,
    ),
    _drive(
        "centernet_dla34", CENTERNET, "ctdet_coco_dla_2x", "18Q3fzzAsha_3Qid6mn4jcIFPeOGUaj1d", 37.4
    ),
    _drive(
        "centernet_hourglass104", CENTERNET, "ctdet_coco_hg", "13F904yXltGIqa_K3g3-FLleaNX0n7c9O",
        40.3,
    ),
    _drive(
        "centernet_r101_dcn", CENTERNET, "ctdet_coco_resdcn101",
        "1tKkSyzC3iWmM6XTYNJrC4XLCIToDmnHz", 34.6,
    ),
    _drive(
        "centernet_r18_dcn", CENTERNET, "ctdet_coco_resdcn18", "1RtFps3kQAyLjQyzCao7pPDclOBQ64Vyp",
        28.1,
    ),
    _drive(
        "centernet_pose_dla34", CENTERNET, "multi_pose_dla_3x", "1mC2PAQT_RuHi_9ZMZgkt4rg7BSY2_Lkd",
        58.9, "keypoint AP, COCO val2017, with flips",
    ),
    _drive(
        "centernet_3d_dla34", CENTERNET, "ddd_3dop", "1LrAzVJqlZECVuyr_NJI_4xd88mA1fL5b",
        87.8, "AP of moderate cars, KITTI, 3DOP split",
    ),
    _drive(
        "centernet2_r50", CENTERNET2, "CenterNet2_R50_1x", "1Qn0E_F1cmXtKPEdyZ_lSt-bnM9NueQpq", 42.9
    ),
)  # fmt: skip
"""All files; of those with one name the first is meant when no variant is said."""
