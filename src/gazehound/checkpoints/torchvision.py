"""Import torchvision's detection weights: the key maps, and the reader that executes nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gazehound.checkpoints.native import Header
from gazehound.checkpoints.rebuild import build
from gazehound.detectors.detector import Detector
from gazehound.errors import CheckpointError, ConfigError
from gazehound.records import Classes

# torchvision's key -> ours; the first pattern that matches is used.
RETINANET_KEYS: tuple[tuple[str, str], ...] = (
    (r"backbone\.body\.(.*)", r"backbone.body.\1"),
    (r"backbone\.fpn\.inner_blocks\.(\d)\.(?:0\.)?(weight|bias)", r"neck.lateral.\1.conv.\2"),
    (r"backbone\.fpn\.layer_blocks\.(\d)\.(?:0\.)?(weight|bias)", r"neck.output.\1.conv.\2"),
    (r"backbone\.fpn\.extra_blocks\.(p6|p7)\.(.*)", r"neck.\1.\2"),
    (r"head\.classification_head\.conv\.(\d)\.0\.(.*)", r"head.class_tower.\1.conv.\2"),
    (r"head\.classification_head\.conv\.(\d)\.1\.(.*)", r"head.class_tower.\1.norm.\2"),
    (r"head\.regression_head\.conv\.(\d)\.0\.(.*)", r"head.box_tower.\1.conv.\2"),
    (r"head\.regression_head\.conv\.(\d)\.1\.(.*)", r"head.box_tower.\1.norm.\2"),
    # files written before torchvision 0.12 number the convolutions of a tower 0, 2, 4, 6
    (r"head\.classification_head\.cls_logits\.(.*)", r"head.class_logits.\1"),
    (r"head\.regression_head\.bbox_reg\.(.*)", r"head.box_deltas.\1"),
)
_OLD_TOWER = re.compile(r"head\.(classification|regression)_head\.conv\.(\d)\.(weight|bias)")

COCO_91 = (
    "background", "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck",
    "boat", "traffic light", "fire hydrant", "unused 12", "stop sign", "parking meter", "bench",
    "bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe",
    "unused 26", "backpack", "umbrella", "unused 29", "unused 30", "handbag", "tie", "suitcase",
    "frisbee", "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove",
    "skateboard", "surfboard", "tennis racket", "bottle", "unused 45", "wine glass", "cup", "fork",
    "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli", "carrot",
    "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "unused 66",
    "dining table", "unused 68", "unused 69", "toilet", "unused 71", "tv", "laptop", "mouse",
    "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator",
    "unused 83", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip
"""COCO's categories under their original ids, which torchvision's class outputs follow."""

TORCHVISION_PREPROCESS: Mapping[str, Any] = {"filter": "torchvision"}
TORCHVISION_LIMITS: Mapping[str, Any] = {"per_image": 300}


def read_state_dict(file: str | Path) -> dict[str, Tensor]:
    """Read a torch state dict without unpickling any foreign class.

    Raises:
        CheckpointError: the file is missing, is not a torch file, or holds more than tensors.
    """
    path = Path(file)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"{path}: not a torch file of plain tensors ({reason})") from None
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise CheckpointError(f"{path}: expected a state dict (names to tensors)")
    return content


def rename(state: Mapping[str, Tensor], table: Sequence[tuple[str, str]]) -> dict[str, Tensor]:
    """Rename the keys of a state dict by a table of patterns.

    Raises:
        CheckpointError: a key matches no pattern.
    """
    patterns = [(re.compile(pattern), target) for pattern, target in table]
    renamed, unknown = {}, []
    for key, tensor in state.items():
        for pattern, target in patterns:
            match = pattern.fullmatch(key)
            if match:
                renamed[match.expand(target)] = tensor
                break
        else:
            unknown.append(key)
    if unknown:
        raise CheckpointError(
            f"{len(unknown)} keys are not known, the first is '{unknown[0]}': "
            "is this the right --source and --model?"
        )
    return renamed


def import_retinanet(
    state: Mapping[str, Tensor], name: str, classes: Classes | None = None
) -> tuple[Detector, Header]:
    """Build RetinaNet with torchvision's weights in it.

    The first COCO weights (``retinanet_resnet50_fpn``) were trained and run with an epsilon of 0 in
    their frozen norms; such a file is known by the absence of ``num_batches_tracked``.

    Args:
        state: of ``torchvision.models.detection.retinanet_resnet50_fpn`` or ``_v2``.
        name: of the catalogue.
        classes: the names; COCO's 91 ids when left out and there are 91 outputs.

    Raises:
        CheckpointError: a key is unknown or a shape does not fit.
    """
    state = _modern_towers(state)
    chosen = classes_of(state, "head.classification_head.cls_logits.bias", 9, classes)
    frozen = not any(key.endswith("num_batches_tracked") for key in state)
    arguments: dict[str, Any] = {"dialect": "torchvision", "limits": dict(TORCHVISION_LIMITS)}
    if frozen:
        arguments["norm"] = "frozen"
        if "head.classification_head.conv.0.1.weight" not in state:  # the first version
            arguments["norm_eps"] = 0.0
    detector, header = build(name, chosen, arguments, TORCHVISION_PREPROCESS)
    load_renamed(detector, rename(state, RETINANET_KEYS))
    return detector, header


def default_classes(count: int) -> Classes:
    """Return COCO's 91 ids for 91 outputs, else numbered names."""
    names = COCO_91 if count == len(COCO_91) else tuple(f"class {i}" for i in range(count))
    return Classes(names)


def load_renamed(detector: Any, state: Mapping[str, Tensor]) -> None:
    """Load renamed tensors; counters of BatchNorm may be absent, nothing else.

    Raises:
        CheckpointError: a tensor is missing, unknown, or of another shape.
    """
    wanted = detector.state_dict()
    for key in wanted:
        if key.endswith("num_batches_tracked") and key not in state:
            state = {**state, key: wanted[key]}
    differences = sorted(wanted.keys() ^ state.keys())
    differences += [
        k for k in sorted(wanted.keys() & state.keys()) if wanted[k].shape != state[k].shape
    ]
    if differences:
        raise CheckpointError(
            f"{len(differences)} tensors do not fit the architecture, the first is "
            f"'{differences[0]}': is this the right --model?"
        )
    detector.load_state_dict(dict(state))


def classes_of(
    state: Mapping[str, Tensor], key: str, per_cell: int, classes: Classes | None
) -> Classes:
    """Return the names of a file's class outputs: the given ones, else the defaults.

    Args:
        state: the file's tensors.
        key: the bias of its class outputs.
        per_cell: anchors per cell, each of which has its outputs.
        classes: what the user says.

    Raises:
        CheckpointError: there is no such tensor.
        ConfigError: the numbers of names and outputs differ.
    """
    if key not in state:
        raise CheckpointError(f"no tensor '{key}': is this the right --source and --model?")
    count = len(state[key]) // per_cell
    chosen = classes or default_classes(count)
    if len(chosen) != count:
        raise ConfigError(f"the file has {count} class outputs; got {len(chosen)} class names")
    return chosen


def _modern_towers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the towers of files written before torchvision 0.12 (convolutions 0, 2, 4, 6)."""

    def modern(key: str) -> str:
        match = _OLD_TOWER.fullmatch(key)
        if not match:
            return key
        head, number, kind = match.groups()
        return f"head.{head}_head.conv.{int(number) // 2}.0.{kind}"

    return {modern(key): tensor for key, tensor in state.items()}


IMPORTERS = {
    "retinanet_r50": import_retinanet,
    "retinanet_r50_v2": import_retinanet,
}
"""Catalogue names that torchvision has weights for, and what imports them."""
