"""Import the official CenterNet2 weights: Detectron2's names, with a first stage of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gazehound.checkpoints.detectron2 import DETECTRON2_KEYS, PREPROCESS, coco_classes
from gazehound.checkpoints.native import Header
from gazehound.checkpoints.rebuild import build
from gazehound.checkpoints.torchvision import load_renamed, rename
from gazehound.detectors.detector import Detector
from gazehound.errors import CheckpointError, ConfigError, unknown_name
from gazehound.records import Classes

MODELS = ("centernet2_r50", "centernet2_r101")
_FIRST = r"proposal_generator\.centernet_head\."

# Their key -> ours; the first pattern that matches is used. The pyramid begins at C3 here.
KEYS: tuple[tuple[str, str], ...] = (
    *((rf"backbone\.fpn_lateral{n}\.(.*)", rf"neck.lateral.{n - 3}.conv.\1") for n in range(3, 6)),
    *((rf"backbone\.fpn_output{n}\.(.*)", rf"neck.output.{n - 3}.conv.\1") for n in range(3, 6)),
    (r"backbone\.top_block\.(p6|p7)\.(.*)", r"neck.\1.\2"),
    *((rf"{_FIRST}bbox_tower\.{3 * i}\.(.*)", rf"head.tower.{i}.conv.\1") for i in range(4)),
    *((rf"{_FIRST}bbox_tower\.{3 * i + 1}\.(.*)", rf"head.tower.{i}.norm.\1") for i in range(4)),
    (rf"{_FIRST}agn_hm\.(.*)", r"head.heat.\1"),
    (rf"{_FIRST}bbox_pred\.(.*)", r"head.distances.\1"),
    (rf"{_FIRST}scales\.(\d)\.scale", r"scale.\1"),
    *DETECTRON2_KEYS,
)
_NOT_WEIGHTS = ("pixel_mean", "pixel_std")


def import_centernet2(
    state: Mapping[str, Tensor], name: str, classes: Classes | None = None
) -> tuple[Detector, Header]:
    """Build CenterNet2 with the official weights in it.

    Args:
        state: of the official model, by its names.
        name: of the catalogue.
        classes: the names; COCO's 80 when left out and there are 80.

    Raises:
        ConfigError: the name is no CenterNet2 with weights, or the file has another number of classes.
        CheckpointError: a key is unknown or a shape does not fit.
    """
    if name not in MODELS:
        raise unknown_name("model of CenterNet2", name, MODELS)
    ours = _with_scales(rename({k: v for k, v in state.items() if k not in _NOT_WEIGHTS}, KEYS))
    bias = ours.get("stages.0.predictor.class_logits.bias")
    if bias is None:
        raise CheckpointError("no region heads: is this the right --source and --model?")
    count = len(bias) - 1
    chosen = classes or _default_classes(count)
    if len(chosen) != count:
        raise ConfigError(f"the file has {count} classes; got {len(chosen)} class names")
    arguments: dict[str, Any] = {"dialect": "detectron2", "norm": "frozen"}
    detector, header = build(name, chosen, arguments, {**PREPROCESS, "order": "bgr"})
    load_renamed(detector, ours)
    return detector, header


def _with_scales(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Put the factors of the levels, one tensor each in the file, into one."""
    scales = [state[key] for key in sorted(key for key in state if key.startswith("scale."))]
    rest = {key: tensor for key, tensor in state.items() if not key.startswith("scale.")}
    return {**rest, "head.scales": torch.cat(scales)} if scales else rest


def _default_classes(count: int) -> Classes:
    if count == 80:
        return coco_classes()
    return Classes(tuple(f"class {i}" for i in range(count)))
