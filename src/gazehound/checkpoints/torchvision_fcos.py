"""Import torchvision's ``fcos_resnet50_fpn``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from gazehound.checkpoints.native import Header
from gazehound.checkpoints.rebuild import build
from gazehound.checkpoints.torchvision import (
    TORCHVISION_PREPROCESS,
    classes_of,
    load_renamed,
    rename,
)
from gazehound.detectors.detector import Detector
from gazehound.records import Classes

# Theirs numbers the layers of a tower through: convolution, norm, ReLU, convolution, ...
_TOWERS = tuple(
    (rf"head\.{theirs}_head\.conv\.{3 * layer + step}\.(.*)", rf"head.{ours}.{layer}.{part}.\1")
    for theirs, ours in (("classification", "class_tower"), ("regression", "box_tower"))
    for layer in range(4)
    for step, part in enumerate(("conv", "norm"))
)
FCOS_KEYS: tuple[tuple[str, str], ...] = (
    (r"backbone\.body\.(.*)", r"backbone.body.\1"),
    (r"backbone\.fpn\.inner_blocks\.(\d)\.(?:0\.)?(weight|bias)", r"neck.lateral.\1.conv.\2"),
    (r"backbone\.fpn\.layer_blocks\.(\d)\.(?:0\.)?(weight|bias)", r"neck.output.\1.conv.\2"),
    (r"backbone\.fpn\.extra_blocks\.(p6|p7)\.(.*)", r"neck.\1.\2"),
    *_TOWERS,
    (r"head\.classification_head\.cls_logits\.(.*)", r"head.class_logits.\1"),
    (r"head\.regression_head\.bbox_reg\.(.*)", r"head.box_numbers.\1"),
    (r"head\.regression_head\.bbox_ctrness\.(.*)", r"head.quality.\1"),
)
"""torchvision's key -> ours; the first pattern that matches is used."""


def import_fcos(
    state: Mapping[str, Tensor], name: str, classes: Classes | None = None
) -> tuple[Detector, Header]:
    """Build FCOS with torchvision's weights in it, in the dialect that they were trained in.

    Args:
        state: of ``torchvision.models.detection.fcos_resnet50_fpn``.
        name: of the catalogue.
        classes: the names; COCO's 91 ids when left out and there are 91 outputs.

    Raises:
        CheckpointError: a key is unknown or a shape does not fit.
        ConfigError: the numbers of names and class outputs differ.
    """
    chosen = classes_of(state, "head.classification_head.cls_logits.bias", 1, classes)
    arguments: dict[str, Any] = {"dialect": "torchvision"}
    if not any(key.endswith("num_batches_tracked") for key in state):
        arguments["norm"] = "frozen"
    detector, header = build(name, chosen, arguments, TORCHVISION_PREPROCESS)
    load_renamed(detector, rename(state, FCOS_KEYS))
    return detector, header


FCOS_IMPORTERS = {"fcos_r50": import_fcos}
"""Catalogue names of FCOS that torchvision has weights for, and what imports them."""
