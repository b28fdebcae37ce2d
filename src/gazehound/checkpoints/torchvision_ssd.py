"""Import torchvision's ``ssd300_vgg16`` and ``ssdlite320_mobilenet_v3_large``.

Two differences of layout: its background is the first class output and ours the last, and its layers
are numbered where ours are named.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from gazehound.checkpoints.native import Header
from gazehound.checkpoints.rebuild import build
from gazehound.checkpoints.torchvision import COCO_91, load_renamed, rename
from gazehound.detectors.detector import Detector
from gazehound.errors import CheckpointError, ConfigError
from gazehound.records import Classes

_VGG = (  # torchvision's layer -> our stage and convolution
    *((f"features.{n}", place) for n, place in zip(
        (0, 2, 5, 7, 10, 12, 14, 17, 19, 21),
        ("0.0", "0.1", "1.0", "1.1", "2.0", "2.1", "2.2", "3.0", "3.1", "3.2"), strict=True,
    )),
    *((f"extra.0.{n}", f"4.{n // 2}") for n in (1, 3, 5)),
)  # fmt: skip
_HEADS = (
    (r"head\.classification_head\.module_list\.(\d)\.(weight|bias)", r"head.class_logits.\1.\2"),
    (r"head\.regression_head\.module_list\.(\d)\.(weight|bias)", r"head.box_deltas.\1.\2"),
)
SSD_KEYS: tuple[tuple[str, str], ...] = (
    (r"backbone\.scale_weight", r"backbone.l2_norm.weight"),
    *(
        (rf"backbone\.{re.escape(theirs)}\.(.*)", rf"backbone.stages.{ours}.conv.\1")
        for theirs, ours in _VGG
    ),
    (r"backbone\.extra\.0\.7\.1\.(.*)", r"backbone.fc6.conv.\1"),
    (r"backbone\.extra\.0\.7\.3\.(.*)", r"backbone.fc7.conv.\1"),
    *(
        (rf"backbone\.extra\.{level + 1}\.{number}\.(.*)", rf"extras.blocks.{level}.{part}.conv.\1")
        for level in range(4)
        for number, part in ((0, "squeeze"), (2, "shrink"))
    ),
    *_HEADS,
)
SSDLITE_KEYS: tuple[tuple[str, str], ...] = (
    (r"backbone\.features\.0\.(.*)", r"backbone.fine.\1"),
    # behind the cut, the rest of the block is one sequence: its layers count from 1 in the file
    (r"backbone\.features\.1\.0\.1\.(.*)", r"backbone.coarse.0.0.\1"),
    (r"backbone\.features\.1\.0\.2\.(.*)", r"backbone.coarse.0.1.\1"),
    (r"backbone\.features\.1\.0\.3\.(.*)", r"backbone.coarse.0.2.\1"),
    (r"backbone\.features\.1\.([1-9])\.(.*)", r"backbone.coarse.\1.\2"),
    (r"backbone\.extra\.(\d)\.(\d)\.0\.(.*)", r"extras.blocks.\1.\2.conv.\3"),
    (r"backbone\.extra\.(\d)\.(\d)\.1\.(.*)", r"extras.blocks.\1.\2.norm.\3"),
    (
        r"head\.classification_head\.module_list\.(\d)\.0\.0\.(.*)",
        r"head.class_logits.\1.0.conv.\2",
    ),
    (
        r"head\.classification_head\.module_list\.(\d)\.0\.1\.(.*)",
        r"head.class_logits.\1.0.norm.\2",
    ),
    (r"head\.classification_head\.module_list\.(\d)\.1\.(.*)", r"head.class_logits.\1.1.\2"),
    (r"head\.regression_head\.module_list\.(\d)\.0\.0\.(.*)", r"head.box_deltas.\1.0.conv.\2"),
    (r"head\.regression_head\.module_list\.(\d)\.0\.1\.(.*)", r"head.box_deltas.\1.0.norm.\2"),
    (r"head\.regression_head\.module_list\.(\d)\.1\.(.*)", r"head.box_deltas.\1.1.\2"),
)
_CLASS_OUTPUTS = re.compile(r"head\.class_logits\.\d(\.1)?\.(weight|bias)")


def import_ssd(
    state: Mapping[str, Tensor], name: str, classes: Classes | None = None
) -> tuple[Detector, Header]:
    """Build SSD300 with torchvision's weights in it.

    Args:
        state: of ``torchvision.models.detection.ssd300_vgg16``.
        name: of the catalogue.
        classes: the names; COCO's 90 ids when left out and there are 91 outputs.

    Raises:
        CheckpointError: a key is unknown or a shape does not fit.
        ConfigError: another number of class names than of outputs.
    """
    arguments = {"dialect": "torchvision", "norm": "none"}
    return _import(state, name, classes, SSD_KEYS, "0.weight", 4, arguments)


def import_ssdlite(
    state: Mapping[str, Tensor], name: str, classes: Classes | None = None
) -> tuple[Detector, Header]:
    """Build SSDLite320 with torchvision's weights in it; see :func:`import_ssd`.

    A file with a whole tail (trained from ImageNet weights) is known by its channels.
    """
    last = state.get("backbone.features.1.3.0.weight")
    arguments = {} if last is None or len(last) == 480 else {"reduced": False}
    return _import(state, name, classes, SSDLITE_KEYS, "0.1.weight", 6, arguments)


def _import(
    state: Mapping[str, Tensor],
    name: str,
    classes: Classes | None,
    keys: tuple[tuple[str, str], ...],
    first: str,
    per_cell: int,
    arguments: dict[str, Any],
) -> tuple[Detector, Header]:
    key = f"head.classification_head.module_list.{first}"
    if key not in state:
        raise CheckpointError(f"no tensor '{key}': is this the right --source and --model?")
    count = len(state[key]) // per_cell - 1
    chosen = classes or _default_classes(count)
    if len(chosen) != count:
        raise ConfigError(f"the file has {count} classes; got {len(chosen)} class names")
    detector, header = build(name, chosen, arguments, {"filter": "torchvision"})
    renamed = rename(state, keys)
    load_renamed(detector, {k: _background_last(k, x, count) for k, x in renamed.items()})
    return detector, header


def _background_last(key: str, tensor: Tensor, count: int) -> Tensor:
    """Move the background's outputs behind the classes', anchor by anchor."""
    if not _CLASS_OUTPUTS.fullmatch(key):
        return tensor
    anchors = tensor.reshape(-1, count + 1, *tensor.shape[1:])
    return anchors.roll(-1, dims=1).reshape(tensor.shape)


def _default_classes(count: int) -> Classes:
    """Return COCO's 90 ids for 90 classes, else numbered names."""
    if count == len(COCO_91) - 1:
        return Classes(COCO_91[1:], tuple(range(1, len(COCO_91))))
    return Classes(tuple(f"class {i}" for i in range(count)))


SSD_IMPORTERS = {"ssd300": import_ssd, "ssdlite320": import_ssdlite}
"""Catalogue names, and what imports torchvision's weights for them."""
