"""Import EfficientDet weights of efficientdet-pytorch (``effdet``), its ports from TensorFlow included.

A file with biases before its norms was ported from TensorFlow: it gets TensorFlow's paddings too. Box
numbers come as (ty, tx, th, tw) there and as (tx, ty, tw, th) here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from gazehound.checkpoints.native import Header
from gazehound.checkpoints.rebuild import build
from gazehound.checkpoints.torchvision import COCO_91, load_renamed, rename
from gazehound.detectors.detector import Detector
from gazehound.errors import CheckpointError, ConfigError, unknown_name
from gazehound.records import Classes

MODELS = tuple(f"efficientdet_d{scale}" for scale in (*range(8), "7x"))

# effdet's key -> ours; the first pattern that matches is used. Nodes are numbered before (_number).
KEYS: tuple[tuple[str, str], ...] = (
    (r"backbone\.(.*)", r"backbone.body.\1"),
    (r"fpn\.resample\.(\d+)\.conv\.(conv|norm)\.(.*)", r"neck.coarser.\1.\2.\3"),
    (r"fpn\.cell\.(.*)\.combine\.edge_weights", r"neck.cells.\1.weights"),
    (r"fpn\.cell\.(.*)\.combine\.resample\.\d+\.conv\.(.*)", r"neck.cells.\1.resample.0.\2"),
    (r"fpn\.cell\.(.*)\.after_combine\.conv\.(conv\..*)", r"neck.cells.\1.\2"),
    (r"fpn\.cell\.(.*)\.after_combine\.conv\.(norm\..*)", r"neck.cells.\1.\2"),
    (r"(class|box)_net\.conv_rep\.(\d+)\.(?:conv\.)(.*)", r"head.\1_tower.convs.\2.\3"),
    (r"(class|box)_net\.bn_rep\.(\d+)\.(\d+)\.norm\.(.*)", r"head.\1_tower.norms.\3.\2.\4"),
    (r"(class|box)_net\.bn_rep\.(\d+)\.(\d+)\.(.*)", r"head.\1_tower.norms.\2.\3.\4"),
    (r"(class|box)_net\.predict\.(?:conv\.)(.*)", r"head.\1_tower.last.\2"),
)
_COUNTER = "class_net.predict.conv_pw.bias"
PER_CELL = 9


def import_effdet(
    state: Mapping[str, Tensor], name: str, classes: Classes | None = None
) -> tuple[Detector, Header]:
    """Build EfficientDet with effdet's weights in it.

    Args:
        state: of an effdet model, ``efficientdet_d*`` or ``tf_efficientdet_d*``.
        name: of the catalogue.
        classes: the names; COCO's ids 1 to 90 when left out and there are 90 outputs.

    Raises:
        ConfigError: the name is no EfficientDet, or there are not as many class names as outputs.
        CheckpointError: a key is unknown or a shape does not fit.
    """
    if name not in MODELS:
        raise unknown_name("model of effdet", name, MODELS)
    if _COUNTER not in state:
        raise CheckpointError(f"no tensor '{_COUNTER}': is this the right --source and --model?")
    count = len(state[_COUNTER]) // PER_CELL
    chosen = classes or _default_classes(count)
    if len(chosen) != count:
        raise ConfigError(f"the file has {count} class outputs; got {len(chosen)} class names")
    ported = "class_net.conv_rep.0.conv_pw.bias" in state
    detector, header = build(name, chosen, {"tensorflow": True} if ported else {})
    load_renamed(detector, translate_effdet(state))
    return detector, header


def translate_effdet(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under our names and in our order of box numbers."""
    levels = 1 + max(
        (int(n) for n in _matches(r"fpn\.cell\.0\.fnode\.(\d+)\..*", state)), default=0
    )
    levels = (levels + 2) // 2  # a cell of L levels has 2 L - 2 nodes
    first = min((int(n) for n in _matches(r"fpn\.resample\.(\d+)\..*", state)), default=0)
    numbered = {_number(key, levels, first): tensor for key, tensor in state.items()}
    ours = rename(numbered, KEYS)
    for kind in ("weight", "bias"):
        key = f"head.box_tower.last.pointwise.{kind}"
        if key in ours:
            rows = ours[key].unflatten(0, (-1, 4))
            ours[key] = rows[:, torch.tensor([1, 0, 3, 2])].flatten(0, 1)
    return ours


def _matches(pattern: str, state: Mapping[str, Tensor]) -> list[str]:
    found = (re.fullmatch(pattern, key) for key in state)
    return [match.group(1) for match in found if match]


def _number(key: str, levels: int, first: int) -> str:
    """Say middle and output for the nodes of a cell, count extra levels from 0, name our layers."""
    if not key.startswith("backbone."):
        for theirs, ours in (
            ("bn", "norm"),
            ("conv_dw", "conv.depthwise"),
            ("conv_pw", "conv.pointwise"),
        ):
            key = re.sub(rf"\.{theirs}\.", f".{ours}.", key)
    key = re.sub(r"^fpn\.resample\.(\d+)", lambda m: f"fpn.resample.{int(m[1]) - first}", key)

    def node(match: re.Match[str]) -> str:
        number = int(match[1])
        if number < levels - 1:
            return f".middle.{number}."
        return f".output.{number - levels + 1}."

    return re.sub(r"\.fnode\.(\d+)\.", node, key)


def _default_classes(count: int) -> Classes:
    """Return COCO's ids 1 to 90 for 90 outputs, else numbered names."""
    if count == len(COCO_91) - 1:
        return Classes(COCO_91[1:], tuple(range(1, len(COCO_91))))
    return Classes(tuple(f"class {i}" for i in range(count)))
