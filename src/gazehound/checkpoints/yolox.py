"""Import the official YOLOX weights (Megvii's ``.pth`` files): the key map, and a reader that runs no code.

A file says itself which variant it is: by the channels of its stem, its number of bottlenecks, and
whether it has depthwise convolutions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gazehound.checkpoints.native import Header
from gazehound.checkpoints.rebuild import build
from gazehound.checkpoints.torchvision import COCO_91, load_renamed
from gazehound.detectors.detector import Detector
from gazehound.errors import CheckpointError, ConfigError
from gazehound.records import Classes

Rules = Sequence[tuple[str, str]]

# (a pattern, what takes its place); all are applied, in this order.
_PARTS: Rules = (
    (r"^backbone\.backbone\.stem\.", "backbone.stem."),
    *((rf"^backbone\.backbone\.dark{i + 2}\.", f"backbone.stages.{i}.") for i in range(4)),
    (r"^backbone\.lateral_conv0\.", "neck.lateral.1."),
    (r"^backbone\.reduce_conv1\.", "neck.lateral.0."),
    (r"^backbone\.C3_p4\.", "neck.top_down.1."),
    (r"^backbone\.C3_p3\.", "neck.top_down.0."),
    (r"^backbone\.bu_conv2\.", "neck.down.0."),
    (r"^backbone\.bu_conv1\.", "neck.down.1."),
    (r"^backbone\.C3_n3\.", "neck.bottom_up.0."),
    (r"^backbone\.C3_n4\.", "neck.bottom_up.1."),
    (r"^head\.stems\.(\d)\.", r"head.\1.stem."),
    (r"^head\.cls_convs\.(\d)\.", r"head.\1.class_tower."),
    (r"^head\.reg_convs\.(\d)\.", r"head.\1.box_tower."),
    (r"^head\.cls_preds\.(\d)\.", r"head.\1.class_logits."),
    (r"^head\.reg_preds\.(\d)\.", r"head.\1.box_deltas."),
    (r"^head\.obj_preds\.(\d)\.", r"head.\1.objectness."),
)
_BLOCKS: Rules = (
    (r"\.m\.(\d+)\.conv1\.", r".blocks.\1.first."),
    (r"\.m\.(\d+)\.conv2\.", r".blocks.\1.second."),
    (r"^(backbone\.stages\.3\.1)\.conv1\.", r"\1.reduce."),
    (r"^(backbone\.stages\.3\.1)\.conv2\.", r"\1.join."),
    (r"\.conv1\.", ".through."),
    (r"\.conv2\.", ".past."),
    (r"\.conv3\.", ".join."),
    (r"\.dconv\.", ".depthwise."),
    (r"\.pconv\.", ".pointwise."),
    (r"\.bn\.", ".norm."),
)
KEYS: Rules = (*_PARTS, *_BLOCKS)

# Of the DarkNet-53 variant; its pyramid pooling stands in the backbone there and in the neck here.
DARKNET_KEYS: Rules = (
    (r"^backbone\.backbone\.stem\.0\.", "backbone.stem."),
    (r"^backbone\.backbone\.stem\.1\.", "backbone.stages.0.0."),
    (r"^backbone\.backbone\.stem\.2\.", "backbone.stages.0.1."),
    (r"^backbone\.backbone\.dark5\.5\.", "neck.p5.0."),
    (r"^backbone\.backbone\.dark5\.6\.", "neck.p5.1."),
    (r"^backbone\.backbone\.dark5\.7\.conv1\.", "neck.p5.2."),
    (r"^backbone\.backbone\.dark5\.7\.conv2\.", "neck.p5.4."),
    (r"^backbone\.backbone\.dark5\.8\.", "neck.p5.5."),
    (r"^backbone\.backbone\.dark5\.9\.", "neck.p5.6."),
    *((rf"^backbone\.backbone\.dark{i + 1}\.", f"backbone.stages.{i}.") for i in range(1, 5)),
    (r"^backbone\.out1_cbl\.", "neck.lift5.squeeze."),
    (r"^backbone\.out2_cbl\.", "neck.lift4.squeeze."),
    (r"^backbone\.out1\.", "neck.p4."),
    (r"^backbone\.out2\.", "neck.p3."),
    (r"\.layer1\.", ".squeeze."),
    (r"\.layer2\.", ".expand."),
    *(rule for rule in _PARTS if rule[0].startswith("^head")),
    (r"\.bn\.", ".norm."),
)
_POOLED = "neck.p5.4.conv.weight"  # reads what is pooled: by 1, 5, 9, 13 there, by 13, 9, 5, 1 here

# (channels of the stem, bottlenecks of the first stage) -> the catalogue's name
VARIANTS: Mapping[tuple[int, int], str] = {
    (16, 1): "yolox_nano",
    (24, 1): "yolox_tiny",
    (32, 1): "yolox_s",
    (48, 2): "yolox_m",
    (64, 3): "yolox_l",
    (80, 4): "yolox_x",
}
# What training runs leave beside the tensors: scores, as NumPy scalars. They execute nothing.
_SCALAR = np.float64(0).__reduce__()[0]
_HARMLESS: list[Any] = [
    np.dtype, type(np.dtype(np.float64)), type(np.dtype(np.float32)),
    (_SCALAR, "numpy.core.multiarray.scalar"),  # as NumPy 1 wrote it
    (_SCALAR, "numpy._core.multiarray.scalar"),
]  # fmt: skip


def read_yolox(file: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a YOLOX ``.pth`` file (its entry ``model``, or a bare state dict).

    Raises:
        CheckpointError: the file is missing, is not a torch file, or holds objects of foreign classes,
            which are never executed.
    """
    path = Path(file)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    try:
        with torch.serialization.safe_globals(_HARMLESS):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"{path}: not a torch file of plain tensors ({reason})") from None
    state = content.get("model", content) if isinstance(content, dict) else content
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise CheckpointError(f"{path}: expected a state dict (names to tensors) under 'model'")
    return state


def import_yolox(
    state: Mapping[str, Tensor], name: str | None = None, classes: Classes | None = None
) -> tuple[Detector, Header]:
    """Build YOLOX with the official weights in it.

    Its images are resized as OpenCV does it, which is what the weights were trained on.

    Args:
        state: of the official code.
        name: of the catalogue; found out when left out.
        classes: the names; COCO's 80 when left out and there are 80 outputs.

    Raises:
        CheckpointError: the tensors do not fit, or belong to no variant.
        ConfigError: the number of names is not the number of class outputs.
    """
    bias = state.get("head.cls_preds.0.bias")
    if bias is None:
        raise CheckpointError("no tensor 'head.cls_preds.0.bias': is this a YOLOX file?")
    chosen = classes or default_classes(len(bias))
    if len(chosen) != len(bias):
        raise ConfigError(f"the file has {len(bias)} class outputs; got {len(chosen)} class names")
    variant = name or variant_of(state)
    detector, header = build(variant, chosen, {}, {"filter": "opencv"})
    darknet = header.detector == "yolox_darknet53"
    renamed = translate(state, DARKNET_KEYS if darknet else KEYS)
    if _POOLED in renamed:
        renamed[_POOLED] = torch.cat(renamed[_POOLED].chunk(4, dim=1)[::-1], dim=1)
    load_renamed(detector, renamed)
    return detector, header


def variant_of(state: Mapping[str, Tensor]) -> str:
    """Return the catalogue's name of the variant that a state dict belongs to."""
    stem = state.get("backbone.backbone.stem.conv.conv.weight")
    if stem is None:
        return "yolox_darknet53"
    count = sum(
        re.fullmatch(r"backbone\.backbone\.dark2\.1\.m\.\d+\.conv1\.conv\.weight", key) is not None
        for key in state
    )
    if (len(stem), count) not in VARIANTS:
        raise CheckpointError(
            f"no YOLOX variant has {len(stem)} channels in its stem and {count} bottlenecks in its "
            f"first stage; the variants have {sorted(VARIANTS)}"
        )
    return VARIANTS[len(stem), count]


def default_classes(count: int) -> Classes:
    """Return COCO's 80 classes with their original ids for 80 outputs, else numbered names."""
    if count != 80:
        return Classes(tuple(f"class {i}" for i in range(count)))
    used = [(i, n) for i, n in enumerate(COCO_91) if i and not n.startswith("unused")]
    ids, names = zip(*used, strict=True)
    return Classes(names, ids)


def translate(state: Mapping[str, Tensor], rules: Rules) -> dict[str, Tensor]:
    """Rename the keys of a state dict: every rule is applied to every key, in order."""
    patterns = [(re.compile(pattern), new) for pattern, new in rules]
    renamed = {}
    for key, tensor in state.items():
        for pattern, new in patterns:
            key = pattern.sub(new, key)
        renamed[key] = tensor
    return renamed
