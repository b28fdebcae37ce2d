"""Import the official CenterNet weights (``ctdet_coco_*.pth`` and the like of Objects as Points).

The networks were trained on BGR images; the mean and deviation below are theirs, in RGB order. Two
projections of DLA-34 and its classifier are in the files but compute nothing; they are left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from gazehound.checkpoints.native import Header
from gazehound.checkpoints.rebuild import build
from gazehound.checkpoints.torchvision import COCO_91, load_renamed
from gazehound.detectors.detector import Detector
from gazehound.errors import CheckpointError, ConfigError, unknown_name
from gazehound.records import Classes

Rules = Sequence[tuple[str, str]]

BRANCHES: Mapping[str, str] = {
    "hm": "heat", "wh": "size", "reg": "offset",
    "dep": "depth", "dim": "dimensions", "rot": "orientation",
    "hps": "joints", "hm_hp": "heat_joints", "hp_offset": "joint_offset",
}  # fmt: skip
UNUSED = re.compile(r"base\.(?:fc|level[34]\.project)\..*")

# (a pattern, what takes its place); all are applied, in this order.
_RESNET: Rules = ((r"^(conv1|bn1|layer\d)\.", r"backbone.body.\1."),)
_PLAIN: Rules = tuple(
    (rf"^deconv_layers\.{3 * i + j}\.", rf"neck.steps.{i}.{part}.")
    for i in range(3)
    for j, part in enumerate(("up", "norm"))
)
_DEFORMABLE: Rules = tuple(
    (rf"^deconv_layers\.{6 * i + j}\.", rf"neck.steps.{i}.{part}.")
    for i in range(3)
    for j, part in ((0, "mix.conv"), (1, "mix.norm"), (3, "up"), (4, "norm"))
)
_TAPS: Rules = ((r"\.conv_offset_mask\.", ".taps."),)
_DLA: Rules = (
    (r"^base\.", "backbone.body."),
    (r"^dla_up\.ida_(\d)\.", r"neck.rounds.\1."),
    (r"^ida_up\.", "neck.last."),
    *(
        (rf"^(neck\..*)\.{theirs}_{i}\.", rf"\1.{ours}.{i - 1}.")
        for i in (1, 2, 3)
        for theirs, ours in (("proj", "project"), ("up", "up"), ("node", "node"))
    ),
    (r"^(neck\..*)\.actf\.0\.", r"\1.norm."),
)
_HOURGLASS: Rules = (
    (r"^pre\.", "backbone.stem."),
    (r"^kps\.", "backbone.glasses."),
    (r"^cnvs\.", "backbone.maps."),
    (r"^inters_\.(\d)\.0\.", r"backbone.keep.\1.conv."),
    (r"^inters_\.(\d)\.1\.", r"backbone.keep.\1.norm."),
    (r"^cnvs_\.(\d)\.0\.", r"backbone.learned.\1.conv."),
    (r"^cnvs_\.(\d)\.1\.", r"backbone.learned.\1.norm."),
    (r"^inters\.", "backbone.again."),
    (r"\.up1\.", ".across."),
    (r"\.low1\.", ".down."),
    (r"\.low2\.", ".inside."),
    (r"\.low2\.", ".inside."),
    (r"\.low3\.", ".back."),
    (r"\.conv1\.", ".first.conv."),
    (r"\.bn1\.", ".first.norm."),
    (r"\.conv2\.", ".second.conv."),
    (r"\.bn2\.", ".second.norm."),
    (r"\.skip\.0\.", ".skip.conv."),
    (r"\.skip\.1\.", ".skip.norm."),
    (r"\.bn\.", ".norm."),
)
_HEADS: Rules = tuple(
    (rf"^{theirs}\.(0|2)\.(weight|bias)$", rf"heads.0.branches.{ours}.\1.\2")
    for theirs, ours in BRANCHES.items()
)
_STACKED_HEADS: Rules = tuple(
    rule
    for theirs, ours in BRANCHES.items()
    for rule in (
        (rf"^{theirs}\.(\d)\.0\.conv\.", rf"heads.\1.branches.{ours}.0."),
        (rf"^{theirs}\.(\d)\.1\.", rf"heads.\1.branches.{ours}.2."),
    )
)
RULES: Mapping[str, Rules] = {
    "plain": (*_RESNET, *_PLAIN, *_HEADS),
    "deformable": (*_RESNET, *_DEFORMABLE, *_TAPS, *_HEADS),
    "aggregate": (*_DLA, *_TAPS, *_HEADS),
    "hourglass": (*_HOURGLASS, *_STACKED_HEADS),
}
UPS: Mapping[str, str] = {
    "centernet_r18": "plain", "centernet_r101": "plain",
    "centernet_r18_dcn": "deformable", "centernet_r50_dcn": "deformable",
    "centernet_r101_dcn": "deformable",
    "centernet_dla34": "aggregate", "centernet_3d_dla34": "aggregate",
    "centernet_pose_dla34": "aggregate",
    "centernet_hourglass104": "hourglass",
}  # fmt: skip
PREPROCESS: Mapping[str, Any] = {
    "resize": "longer",
    "size": 512,
    "mean": (0.47026115, 0.44719302, 0.40789654),
    "std": (0.27809835, 0.27408164, 0.28863828),
    "order": "bgr",
    "filter": "opencv",
}
PREPROCESS_3D: Mapping[str, Any] = {
    "resize": "longer",
    "size": 1280,
    "mean": (0.406, 0.456, 0.485),  # ImageNet's, laid over BGR
    "std": (0.225, 0.224, 0.229),
    "order": "bgr",
    "filter": "opencv",
}


def import_centernet(
    state: Mapping[str, Tensor], name: str, classes: Classes | None = None
) -> tuple[Detector, Header]:
    """Build CenterNet with the official weights in it.

    Args:
        state: the entry ``state_dict`` of an official file.
        name: of the catalogue.
        classes: the names; COCO's 80 when left out and there are 80 outputs.

    Raises:
        ConfigError: the name is no CenterNet, or there are not as many class names as outputs.
        CheckpointError: a tensor is missing, unknown, or of another shape.
    """
    if name not in UPS:
        raise unknown_name("model of CenterNet", name, UPS)
    ours = translate_centernet(state, UPS[name])
    count = _outputs(ours)
    chosen = classes or default_classes(count)
    if len(chosen) != count:
        raise ConfigError(f"the file has {count} class outputs; got {len(chosen)} class names")
    detector, header = build(name, chosen, {}, PREPROCESS_3D if "3d" in name else PREPROCESS)
    load_renamed(detector, ours)
    return detector, header


def translate_centernet(state: Mapping[str, Tensor], up: str) -> dict[str, Tensor]:
    """Return the tensors that compute something under our names, for one way up to stride 4."""
    renamed = {}
    for key, tensor in state.items():
        plain = key.removeprefix("module.")
        if UNUSED.fullmatch(plain):
            continue
        for pattern, new in RULES[up]:
            plain = re.sub(pattern, new, plain)
        renamed[plain] = tensor
    return renamed


def _outputs(state: Mapping[str, Tensor]) -> int:
    key = "heads.0.branches.heat.2.bias"
    if key not in state:
        raise CheckpointError("no heatmap branch 'hm': is this the right --source and --model?")
    return len(state[key])


def default_classes(count: int) -> Classes:
    """Return COCO's 80 classes with their ids for 80 outputs, a person for one, else numbered names."""
    used = [(i, name) for i, name in enumerate(COCO_91) if i and not name.startswith("unused")]
    if count == len(used):
        return Classes(tuple(name for _, name in used), tuple(i for i, _ in used))
    if count == 1:
        return Classes(("person",), (1,))
    return Classes(tuple(f"class {i}" for i in range(count)))
