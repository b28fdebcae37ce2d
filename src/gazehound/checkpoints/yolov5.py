"""Import YOLOv5 weights (release 6 and later) from plain tensors: a torch or safetensors state dict.

The published ``.pt`` files are pickles of the whole model: reading them means running the code of the
project that wrote them. They are refused; the message says how to get the tensors out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from gazehound.checkpoints.native import Header
from gazehound.checkpoints.rebuild import build
from gazehound.checkpoints.torchvision import load_renamed
from gazehound.checkpoints.yolox import Rules, default_classes, translate
from gazehound.detectors.detector import Detector
from gazehound.errors import CheckpointError, ConfigError
from gazehound.records import Classes

_LAYERS = (
    "backbone.stem",
    *(f"backbone.stages.{stage}.{part}" for stage in range(4) for part in range(2)),
    "backbone.stages.3.2",
)
_NECK: Mapping[int, str] = {
    10: "lateral.1", 13: "top_down.1", 14: "lateral.0", 17: "top_down.0",
    18: "down.0", 20: "bottom_up.0", 21: "down.1", 23: "bottom_up.1",
}  # fmt: skip

# (a pattern, what takes its place); all are applied, in this order.
KEYS: Rules = (
    (r"^(model\.)+", "model."),
    (r"^model\.9\.cv1\.", "backbone.stages.3.2.reduce."),
    (r"^model\.9\.cv2\.", "backbone.stages.3.2.join."),
    *((rf"^model\.{number}\.", f"{name}.") for number, name in enumerate(_LAYERS)),
    *((rf"^model\.{number}\.", f"neck.{name}.") for number, name in _NECK.items()),
    (r"^model\.24\.m\.(\d)\.", r"head.numbers.\1."),
    (r"\.m\.(\d+)\.cv1\.", r".blocks.\1.first."),
    (r"\.m\.(\d+)\.cv2\.", r".blocks.\1.second."),
    (r"\.cv1\.", ".through."),
    (r"\.cv2\.", ".past."),
    (r"\.cv3\.", ".join."),
    (r"\.bn\.", ".norm."),
)

# (channels of the stem, bottlenecks of the first stage) -> the catalogue's name
VARIANTS: Mapping[tuple[int, int], str] = {
    (16, 1): "yolov5n",
    (32, 1): "yolov5s",
    (48, 2): "yolov5m",
    (64, 3): "yolov5l",
    (80, 4): "yolov5x",
}
_STRIDES = (8, 16, 32)
_DERIVED = ("anchors", "anchor_grid", "stride")  # buffers of the last layer


def read_yolov5(file: str | Path) -> dict[str, Tensor]:
    """Read a YOLOv5 state dict from a torch file (bare, or under ``state_dict``) or a safetensors file.

    Raises:
        CheckpointError: the file is missing, damaged, or a pickle of foreign classes, which is never
            executed.
    """
    path = Path(file)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise CheckpointError(f"{path}: not a whole safetensors file ({error})") from None
    except Exception as error:
        raise CheckpointError(_refusal(path, str(error))) from None
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise CheckpointError(f"{path}: expected a state dict (names to tensors)")
    return content


def _refusal(path: Path, reason: str) -> str:
    foreign = re.search(r"GLOBAL ([\w.]+)", reason)
    if foreign is None:
        return f"{path}: not a torch file of plain tensors ({reason.splitlines()[0]})"
    return (
        f"{path}: a pickle of the class {foreign[1]}, which gazehound does not execute; in the project "
        "that wrote it, save plain tensors: torch.save(model.float().state_dict(), 'plain.pt')"
    )


def import_yolov5(
    state: Mapping[str, Tensor], name: str | None = None, classes: Classes | None = None
) -> tuple[Detector, Header]:
    """Build YOLOv5 with these weights in it.

    Its images are resized as OpenCV does it, which is what the weights were trained on.

    Args:
        state: keys ``model.0.conv.weight`` to ``model.24.m.2.bias``; the anchors come along as
            ``model.24.anchors``, in cells.
        name: of the catalogue; found out when left out.
        classes: the names; COCO's 80 when left out and there are 80 outputs.

    Raises:
        CheckpointError: the tensors do not fit, or belong to no variant.
        ConfigError: the number of names is not the number of class outputs.
    """
    state = translate(state, KEYS[:1])
    bias = state.get("model.24.m.0.bias")
    if bias is None:
        raise CheckpointError(
            "no tensor 'model.24.m.0.bias': is this a YOLOv5 file of release 6 or 7?"
        )
    count = len(bias) // 3 - 5
    chosen = classes or default_classes(count)
    if len(chosen) != count:
        raise ConfigError(f"the file has {count} class outputs; got {len(chosen)} class names")
    detector, header = build(name or variant_of(state), chosen, {}, {"filter": "opencv"})
    shapes = detector.state_dict()["cells.shapes"]  # type: ignore[attr-defined]
    anchors = state.get("model.24.anchors")
    if anchors is not None:
        shapes = anchors.float() * torch.tensor(_STRIDES)[:, None, None]
    plain = {k: t for k, t in state.items() if k not in {f"model.24.{d}" for d in _DERIVED}}
    load_renamed(detector, {**translate(plain, KEYS), "cells.shapes": shapes})
    return detector, header


def variant_of(state: Mapping[str, Tensor]) -> str:
    """Return the catalogue's name of the variant that a state dict belongs to."""
    stem = state.get("model.0.conv.weight")
    if stem is None or tuple(stem.shape[1:]) != (3, 6, 6):
        raise CheckpointError(
            "no 6x6 convolution 'model.0.conv.weight': YOLOv5 before release 6 had another stem and "
            "is not read"
        )
    count = sum(
        re.fullmatch(r"model\.2\.m\.\d+\.cv1\.conv\.weight", key) is not None for key in state
    )
    if (len(stem), count) not in VARIANTS:
        raise CheckpointError(
            f"no YOLOv5 variant has {len(stem)} channels in its stem and {count} bottlenecks in its "
            f"first block; the variants have {sorted(VARIANTS)}"
        )
    return VARIANTS[len(stem), count]
