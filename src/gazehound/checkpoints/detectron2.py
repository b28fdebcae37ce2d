"""Import Detectron2's weights: pickle files of arrays, read without running any code of theirs."""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gazehound.checkpoints.native import Header
from gazehound.checkpoints.rebuild import build
from gazehound.checkpoints.torchvision import COCO_91, load_renamed, rename
from gazehound.detectors.detector import Detector
from gazehound.errors import CheckpointError, ConfigError, unknown_name
from gazehound.records import Classes

_STAGES = ((2, 1), (3, 2), (4, 3), (5, 4))  # Detectron2's res2..res5 are timm's layer1..layer4


def _unit(theirs: str, ours: str) -> tuple[tuple[str, str], ...]:
    """Return the rows of one stage of bottlenecks."""
    return (
        (rf"{theirs}\.(\d+)\.conv(\d)\.weight", rf"{ours}.\1.conv\2.weight"),
        (rf"{theirs}\.(\d+)\.conv(\d)\.norm\.(.*)", rf"{ours}.\1.bn\2.\3"),
        (rf"{theirs}\.(\d+)\.shortcut\.weight", rf"{ours}.\1.downsample.0.weight"),
        (rf"{theirs}\.(\d+)\.shortcut\.norm\.(.*)", rf"{ours}.\1.downsample.1.\2"),
    )


# Detectron2's key -> ours; the first pattern that matches is used.
DETECTRON2_KEYS: tuple[tuple[str, str], ...] = (
    (r"backbone\.(?:bottom_up\.)?stem\.conv1\.weight", r"backbone.body.conv1.weight"),
    (r"backbone\.(?:bottom_up\.)?stem\.conv1\.norm\.(.*)", r"backbone.body.bn1.\1"),
    *(
        row
        for number, layer in _STAGES
        for row in _unit(rf"backbone\.(?:bottom_up\.)?res{number}", f"backbone.body.layer{layer}")
    ),
    *_unit(r"roi_heads\.res5", "region.body.stage"),
    *((rf"backbone\.fpn_lateral{n}\.(.*)", rf"neck.lateral.{n - 2}.conv.\1") for n in range(2, 6)),
    *((rf"backbone\.fpn_output{n}\.(.*)", rf"neck.output.{n - 2}.conv.\1") for n in range(2, 6)),
    (r"proposal_generator\.rpn_head\.conv\.(.*)", r"rpn.head.convs.0.conv.\1"),
    (r"proposal_generator\.rpn_head\.objectness_logits\.(.*)", r"rpn.head.objectness.\1"),
    (r"proposal_generator\.rpn_head\.anchor_deltas\.(.*)", r"rpn.head.box_deltas.\1"),
    (r"roi_heads\.box_head\.fc(\d)\.(.*)", r"region.body.fc\1.\2"),
    (r"roi_heads\.box_predictor\.cls_score\.(.*)", r"region.predictor.class_logits.\1"),
    (r"roi_heads\.box_predictor\.bbox_pred\.(.*)", r"region.predictor.box_deltas.\1"),
    (r"roi_heads\.box_head\.(\d)\.fc(\d)\.(.*)", r"stages.\1.body.fc\2.\3"),
    (r"roi_heads\.box_predictor\.(\d)\.cls_score\.(.*)", r"stages.\1.predictor.class_logits.\2"),
    (r"roi_heads\.box_predictor\.(\d)\.bbox_pred\.(.*)", r"stages.\1.predictor.box_deltas.\2"),
)
# No weights of boxes: the masks of Cascade Mask R-CNN have a head of their own, which goes unread.
_NOT_BOXES = ("proposal_generator.anchor_generator.", "roi_heads.mask_", "pixel_mean", "pixel_std")

MODELS: Mapping[str, Mapping[str, Any]] = {
    "faster_rcnn_r50": {},
    "faster_rcnn_r101": {},
    "faster_rcnn_c4": {"multiple": 1},
    "faster_rcnn_dc5": {"multiple": 1},
    "cascade_rcnn_r50": {},
    "cascade_rcnn_r101": {},
    "rpn_r50": {},
    "rpn_c4": {"multiple": 1},
}
"""Catalogue names that Detectron2 has weights for, and how its preprocessing differs besides its means."""

PREPROCESS: Mapping[str, Any] = {
    "mean": [123.675 / 255, 116.28 / 255, 103.53 / 255],
    "std": [1 / 255, 1 / 255, 1 / 255],
}
"""Of the networks that start from the MSRA ResNets: levels of 0..255 less their mean, not scaled."""

SINGLE_MAP_ANCHORS = 15  # five sizes times three ratios
_EPSILON = 1e-5  # of the frozen norms


def coco_classes() -> Classes:
    """Return COCO's 80 names with their original ids, in Detectron2's order."""
    rows = [
        (name, number)
        for number, name in enumerate(COCO_91)
        if number and not name.startswith("unused")
    ]
    return Classes(tuple(name for name, _ in rows), tuple(number for _, number in rows))


def import_detectron2(
    state: Mapping[str, Tensor], name: str, classes: Classes | None = None
) -> tuple[Detector, Header]:
    """Build a detector with Detectron2's weights in it.

    Their ResNets stride in the first convolution of a bottleneck and read BGR; the first layer's
    channels are turned round, so that ours reads RGB like everything else here.

    Args:
        state: of a Detectron2 model, by its names.
        name: of the catalogue.
        classes: the names; COCO's 80 when left out and there are 80 (or none, in a proposal network).

    Raises:
        ConfigError: Detectron2 has no weights for ``name``, or the file has another number of classes.
        CheckpointError: a key is unknown or a shape does not fit.
    """
    if name not in MODELS:
        raise unknown_name("model of detectron2", name, MODELS)
    renamed = rename(
        {k: v for k, v in state.items() if not k.startswith(_NOT_BOXES)}, DETECTRON2_KEYS
    )
    count = _class_count(renamed)
    chosen = classes or _default_classes(count)
    if count is not None and len(chosen) != count:
        raise ConfigError(f"the file has {count} classes; got {len(chosen)} class names")
    arguments = {"dialect": "detectron2", "norm": "frozen"}
    detector, header = build(name, chosen, arguments, {**PREPROCESS, **MODELS[name]})
    load_renamed(detector, _with_statistics(_in_our_order(renamed), detector))
    return detector, header


def _class_count(state: Mapping[str, Tensor]) -> int | None:
    biases = [v for k, v in state.items() if k.endswith("predictor.class_logits.bias")]
    return len(biases[0]) - 1 if biases else None


def _default_classes(count: int | None) -> Classes:
    if count == 80:
        return coco_classes()
    return Classes(("object",) if count is None else tuple(f"class {i}" for i in range(count)))


def _in_our_order(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Turn BGR to RGB, and anchors listed by size, then ratio, to ratio, then size."""
    moved = dict(state)
    first = "backbone.body.conv1.weight"
    if first in state:
        moved[first] = state[first].flip(1)
    if len(state.get("rpn.head.objectness.bias", ())) == SINGLE_MAP_ANCHORS:
        for key in (k for k in state if k.startswith(("rpn.head.objectness", "rpn.head.box_d"))):
            tensor = state[key]
            by_size = tensor.unflatten(0, (5, 3, len(tensor) // SINGLE_MAP_ANCHORS))
            moved[key] = by_size.transpose(0, 1).flatten(0, 2)
    return moved


def _with_statistics(state: dict[str, Tensor], detector: Any) -> dict[str, Tensor]:
    """Add what a norm without running statistics means: mean 0 and variance 1, epsilon included."""
    for key, wanted in detector.state_dict().items():
        if key.endswith("running_mean") and key not in state:
            state[key] = torch.zeros_like(wanted)
        if key.endswith("running_var") and key not in state:
            state[key] = torch.full_like(wanted, 1 - _EPSILON)
    return state


def read_detectron2(file: str | Path) -> dict[str, Tensor]:
    """Read a Detectron2 model file (``.pkl`` of arrays, or ``.pth``) without unpickling foreign classes.

    Raises:
        CheckpointError: the file is missing, damaged, or asks for more than arrays.
    """
    path = Path(file)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    content = _torch_file(path) if zipfile.is_zipfile(path) else _pickle_file(path)
    model = content.get("model", content) if isinstance(content, dict) else None
    if not isinstance(model, dict) or not model:
        raise CheckpointError(f"{path}: expected a dictionary with a 'model' of names to arrays")
    return {str(name): _tensor(path, str(name), value) for name, value in model.items()}


def _torch_file(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"{path}: not a torch file of plain tensors ({reason})") from None


def _pickle_file(path: Path) -> Any:
    try:
        with path.open("rb") as stream:
            return _ArraysOnly(stream, encoding="latin1").load()
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except Exception as error:
        raise CheckpointError(
            f"{path}: not a pickle of arrays ({type(error).__name__}: {error})"
        ) from None


def _tensor(path: Path, name: str, value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise CheckpointError(f"{path}: '{name}' is no array of numbers but {array.dtype}")
    return torch.from_numpy(np.array(array, order="C"))


def _latin1(text: str, encoding: str = "latin1") -> bytes:
    """Stand in for ``codecs.encode``, through which old pickles carry bytes."""
    if encoding != "latin1":
        raise CheckpointError(f"the pickle asks for the encoding '{encoding}'")
    return text.encode("latin1")


def _array_shell(kind: Any, shape: Any, code: Any) -> Any:
    """Stand in for NumPy's ``_reconstruct``: an empty array that the pickle's state then fills."""
    if kind is not np.ndarray:
        raise CheckpointError(f"the pickle asks for an array of class {kind!r}")
    return np.ndarray.__new__(np.ndarray, (0,), "b")


def _scalar(dtype: np.dtype[Any], data: bytes = b"") -> Any:
    """Stand in for NumPy's ``scalar``."""
    if dtype.hasobject:
        raise CheckpointError("the pickle holds a scalar that is an object")
    return np.frombuffer(data, dtype, 1)[0]


_NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray")
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _latin1,
    ("collections", "OrderedDict"): OrderedDict,
    **{(module, "_reconstruct"): _array_shell for module in _NUMPY},
    **{(module, "scalar"): _scalar for module in _NUMPY},
}


class _ArraysOnly(pickle.Unpickler):
    """Looks nothing up but the pieces that arrays are made of; whatever else is asked for is an error."""

    def find_class(self, module: str, name: str) -> Any:
        """Return one of the allowed pieces."""
        if (module, name) not in _ALLOWED:
            raise CheckpointError(f"the pickle asks for {module}.{name}, which is not an array")
        return _ALLOWED[module, name]
