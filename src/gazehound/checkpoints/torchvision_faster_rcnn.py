"""Import torchvision's Faster R-CNN weights: ResNet-50 FPN, its second version, MobileNetV3.

Its background is the first class output and has a box nobody reads; ours is the last and has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from gazehound.checkpoints.native import Header
from gazehound.checkpoints.rebuild import build
from gazehound.checkpoints.torchvision import (
    COCO_91,
    TORCHVISION_PREPROCESS,
    load_renamed,
    rename,
)
from gazehound.detectors.detector import Detector
from gazehound.errors import CheckpointError, ConfigError
from gazehound.records import Classes

# torchvision's key -> ours; the first pattern that matches is used. Files written before torchvision
# 0.13 have convolutions without the ".0" of their units.
FASTER_KEYS: tuple[tuple[str, str], ...] = (
    (r"backbone\.body\.(.*)", r"backbone.body.\1"),
    (r"backbone\.fpn\.inner_blocks\.(\d)\.1\.(.*)", r"neck.lateral.\1.norm.\2"),
    (r"backbone\.fpn\.layer_blocks\.(\d)\.1\.(.*)", r"neck.output.\1.norm.\2"),
    (r"backbone\.fpn\.inner_blocks\.(\d)\.(?:0\.)?(weight|bias)", r"neck.lateral.\1.conv.\2"),
    (r"backbone\.fpn\.layer_blocks\.(\d)\.(?:0\.)?(weight|bias)", r"neck.output.\1.conv.\2"),
    (r"rpn\.head\.conv\.(\d)\.0\.(.*)", r"rpn.head.convs.\1.conv.\2"),
    (r"rpn\.head\.conv\.(weight|bias)", r"rpn.head.convs.0.conv.\1"),
    (r"rpn\.head\.cls_logits\.(.*)", r"rpn.head.objectness.\1"),
    (r"rpn\.head\.bbox_pred\.(.*)", r"rpn.head.box_deltas.\1"),
    (r"roi_heads\.box_head\.fc6\.(.*)", r"region.body.fc1.\1"),
    (r"roi_heads\.box_head\.fc7\.(.*)", r"region.body.fc2.\1"),
    (r"roi_heads\.box_head\.([0-3])\.0\.(.*)", r"region.body.convs.\1.conv.\2"),
    (r"roi_heads\.box_head\.([0-3])\.1\.(.*)", r"region.body.convs.\1.norm.\2"),
    (r"roi_heads\.box_head\.5\.(.*)", r"region.body.fc.\1"),
    (r"roi_heads\.box_predictor\.cls_score\.(.*)", r"region.predictor.class_logits.\1"),
    (r"roi_heads\.box_predictor\.bbox_pred\.(.*)", r"region.predictor.box_deltas.\1"),
)
_PREDICTOR = "region.predictor."


def import_faster_rcnn(
    state: Mapping[str, Tensor], name: str, classes: Classes | None = None
) -> tuple[Detector, Header]:
    """Build Faster R-CNN with torchvision's weights in it.

    The first COCO weights of ResNet-50 were trained and run with an epsilon of 0 in their frozen norms;
    such a file is known by the absence of ``num_batches_tracked``.

    Args:
        state: of one of torchvision's ``fasterrcnn_*`` networks.
        name: of the catalogue.
        classes: the names without background; COCO's ids 1 to 90 when left out and there are 90.

    Raises:
        CheckpointError: a key is unknown or a shape does not fit.
        ConfigError: the file has another number of classes.
    """
    bias = state.get("roi_heads.box_predictor.cls_score.bias")
    if bias is None:
        raise CheckpointError(
            "no tensor 'roi_heads.box_predictor.cls_score.bias': is this the right --source and "
            "--model?"
        )
    count = len(bias) - 1
    chosen = classes or default_classes(count)
    if len(chosen) != count:
        raise ConfigError(
            f"the file has {count} classes beside the background; got {len(chosen)} class names"
        )
    arguments: dict[str, Any] = {"dialect": "torchvision"}
    if not any(key.endswith("num_batches_tracked") for key in state):
        arguments["norm"] = "frozen"
        if name == "faster_rcnn_r50":
            arguments["norm_eps"] = 0.0
    detector, header = build(name, chosen, arguments, TORCHVISION_PREPROCESS)
    load_renamed(detector, _background_last(rename(state, FASTER_KEYS)))
    return detector, header


def default_classes(count: int) -> Classes:
    """Return COCO's names with ids 1 to 90 for 90 classes, else numbered names."""
    if count == len(COCO_91) - 1:
        return Classes(COCO_91[1:], tuple(range(1, len(COCO_91))))
    return Classes(tuple(f"class {i}" for i in range(count)))


def _background_last(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Move the background's logit to the end, and drop its box."""
    moved = dict(state)
    for kind in ("weight", "bias"):
        moved[f"{_PREDICTOR}class_logits.{kind}"] = state[f"{_PREDICTOR}class_logits.{kind}"].roll(
            -1, 0
        )
        moved[f"{_PREDICTOR}box_deltas.{kind}"] = state[f"{_PREDICTOR}box_deltas.{kind}"][4:]
    return moved


FASTER_IMPORTERS = dict.fromkeys(
    (
        "faster_rcnn_r50",
        "faster_rcnn_r50_v2",
        "faster_rcnn_mobilenet",
        "faster_rcnn_mobilenet_320",
    ),
    import_faster_rcnn,
)
"""Catalogue names that torchvision has Faster R-CNN weights for, and what imports them."""
