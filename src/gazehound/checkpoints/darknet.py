"""Import and export of Darknet's YOLOs: ``.cfg`` and ``.weights`` files.

A cfg file is parsed and compared with our own architectures, layer by layer; one that is none of them
is refused with the first layer that differs. Class count, anchors, masks and input size are taken from
it, so that networks trained on own data come over too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from gazehound.catalog import find
from gazehound.checkpoints.darknet_cfg import (
    Section,
    first_difference,
    number,
    numbers,
    read_cfg,
    render_cfg,
)
from gazehound.checkpoints.darknet_layers import YOLO, layers_of
from gazehound.checkpoints.darknet_weights import (
    WeightsHeader,
    count_of,
    fill,
    read_weights,
    to_bytes,
)
from gazehound.checkpoints.native import Header
from gazehound.checkpoints.rebuild import build
from gazehound.checkpoints.torchvision import COCO_91
from gazehound.detectors.detector import Detector
from gazehound.detectors.yolov3 import YOLOv3
from gazehound.detectors.yolov4 import YOLOv4
from gazehound.errors import CheckpointError, ConfigError, unknown_name
from gazehound.records import Classes

ORDERS: Mapping[str, tuple[int, ...]] = {
    "yolov3": (2, 1, 0),
    "yolov3_spp": (2, 1, 0),
    "yolov3_tiny": (1, 0),
    "yolov4": (0, 1, 2),
    "yolov4_tiny": (1, 0),
}
"""Catalogue names, and the levels (0 the finest) in the order of their ``[yolo]`` layers."""


def import_darknet(
    file: Path, model: str | None = None, classes: Classes | None = None, cfg: Path | None = None
) -> tuple[Detector, Header]:
    """Build a YOLO with a Darknet file's weights in it.

    A file named ``yolov4.conv.137`` or ``darknet53.conv.74`` holds only the first 137 or 74 layers, as
    training on own data starts from; the other layers stay random.

    Args:
        file: the ``.weights`` file.
        model: the catalogue name; left out, it is known by the cfg file, or by the file's name
            (``yolov4-tiny.weights``, ``yolov3-spp_best.weights``).
        classes: the names; COCO's when left out and there are 80.
        cfg: the ``.cfg`` file; without it the published anchors hold, and the number of classes follows
            from the number of weights (80 for a beginning of a network).

    Raises:
        CheckpointError: the cfg is of no known architecture, or the weights do not fit it.
        ConfigError: the model is unknown, or there are more or fewer names than classes.
    """
    head, values = read_weights(file)
    beginning = re.fullmatch(r".+\.conv\.(\d+)", file.name)
    if cfg is None:
        name = _known(model) if model else _by_name(file)
        if beginning:
            count = 80 if classes is None else len(classes)
        else:
            count = _classes_for(name, len(values), file)
        arguments: dict[str, Any] = {}
        preprocess: dict[str, Any] = {}
    else:
        sections = read_cfg(cfg)
        name, count, arguments = _architecture(sections, _known(model) if model else None, cfg)
        preprocess = _input_of(sections[0])
    preprocess = {"resize": "stretch", "filter": "opencv", **preprocess}
    detector, header = build(name, _named(classes, count), arguments, preprocess)
    assert isinstance(detector, YOLOv3 | YOLOv4)
    layers = layers_of(detector)
    fill(layers.before(int(beginning[1])) if beginning else layers.convolutions, values, str(file))
    header.notes["darknet"] = {"version": list(head.version), "seen": head.seen}
    return detector, header


def export_darknet(detector: Detector, header: Header, out: Path) -> tuple[Path, Path, Path]:
    """Write ``out`` with the suffixes ``.weights``, ``.cfg`` and ``.names``.

    What was imported comes out bit for bit, its header included.

    Returns:
        The three files.

    Raises:
        ConfigError: the detector is none of Darknet's.
    """
    if not isinstance(detector, YOLOv3 | YOLOv4):
        raise ConfigError(
            f"Darknet's format holds {', '.join(ORDERS)}; '{header.detector}' is none of them"
        )
    notes = header.notes.get("darknet", {})
    head = WeightsHeader(tuple(notes.get("version", (0, 2, 5))), int(notes.get("seen", 0)))
    files = (out.with_suffix(".weights"), out.with_suffix(".cfg"), out.with_suffix(".names"))
    weights, cfg, names = files
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        weights.write_bytes(to_bytes(layers_of(detector).convolutions, head))
        cfg.write_text(cfg_of(detector), encoding="utf-8")
        names.write_text("\n".join(detector.classes) + "\n", encoding="utf-8")
    except OSError as error:
        raise CheckpointError(f"{out}: cannot be written ({error.strerror})") from None
    return files


def cfg_of(detector: YOLO, size: int | None = None) -> str:
    """Return the text of a detector's cfg file, for an input of ``size`` (its own by default)."""
    side = str(size or detector.preprocess.size)
    net = Section("net", {"batch": "1", "width": side, "height": side, "channels": "3"})
    return render_cfg([net, *layers_of(detector).sections])


def _known(model: str) -> str:
    name = model.replace("-", "_")
    if name not in ORDERS:
        raise unknown_name("model of Darknet", model, ORDERS)
    return name


def _by_name(file: Path) -> str:
    stem = file.stem.lower().replace("-", "_").replace("darknet53", "yolov3")
    fitting = [name for name in ORDERS if stem.startswith(name)]
    if not fitting:
        raise ConfigError(
            f"{file.name} does not say its architecture: give --cfg FILE.cfg, or --model with one of "
            f"{', '.join(ORDERS)}"
        )
    return max(fitting, key=len)


def _skeleton(name: str, classes: int, arguments: Mapping[str, Any]) -> YOLO:
    """Build an architecture without memory for its weights."""
    with torch.device("meta"):
        detector = find(name).resolve()(_numbered(classes), **arguments)
    assert isinstance(detector, YOLOv3 | YOLOv4)
    return detector


def _classes_for(name: str, count: int, file: Path) -> int:
    """Return with how many classes an architecture has ``count`` numbers: each adds the same."""
    one, two = (count_of(layers_of(_skeleton(name, k, {})).convolutions) for k in (1, 2))
    classes, rest = divmod(count - one, two - one)
    if rest or classes < 0:
        raise CheckpointError(
            f"{file}: holds {count:,} numbers; {name} has {one:,} with one class and {two - one:,} more "
            "with each further one, which does not come out: give --cfg"
        )
    return classes + 1


def _architecture(
    sections: Sequence[Section], model: str | None, cfg: Path
) -> tuple[str, int, dict[str, Any]]:
    """Return the catalogue name, number of classes and builder's arguments that a cfg file means."""
    layers = list(sections[1:])
    heads = [section for section in layers if section.kind == "yolo"]
    if not heads:
        raise CheckpointError(
            f"{cfg}: has no [yolo] layer: only YOLOv3 and YOLOv4 files can be read"
        )
    classes = int(number(heads[0], "classes", 20))
    differences: dict[str, tuple[int, str]] = {}
    likely = sorted(ORDERS, key=lambda name: len(ORDERS[name]) != len(heads))
    for name in [model] if model else likely:
        arguments = _arguments(name, heads)
        try:
            ours = layers_of(_skeleton(name, classes, arguments)).sections
        except ConfigError as error:
            raise CheckpointError(f"{cfg}: {error}") from None
        different = first_difference(ours, layers)
        if different is None:
            return name, classes, arguments
        differences[name] = different
    nearest = max(differences, key=lambda name: differences[name][0])
    index, what = differences[nearest]
    among = model or "an architecture of Darknet that is known here; the nearest is " + nearest
    raise CheckpointError(f"{cfg}: not {among}: layer {index} differs: {what}")


def _arguments(name: str, heads: Sequence[Section]) -> dict[str, Any]:
    """Return the anchors, masks and scales of a file's ``[yolo]`` layers, where it has as many."""
    order = ORDERS[name]
    if len(heads) != len(order):
        return {}
    sides = numbers(heads[0], "anchors")
    by_level = [heads[order.index(level)] for level in range(len(order))]
    arguments: dict[str, Any] = {
        "anchors": [list(pair) for pair in zip(sides[::2], sides[1::2], strict=False)],
        "masks": [[int(n) for n in numbers(head, "mask")] for head in by_level],
    }
    if name.startswith("yolov4"):
        arguments["scales"] = [number(head, "scale_x_y", 1) for head in by_level]
    return arguments


def _input_of(net: Section) -> dict[str, Any]:
    """Return the preprocessing that ``[net]`` asks for."""
    width, height = int(number(net, "width", 416)), int(number(net, "height", 416))
    if width == height:
        return {"size": width}
    return {"resize": "longer", "size": max(width, height)}  # the nearest: keeps the aspect ratio


def _numbered(count: int) -> Classes:
    return Classes(tuple(f"class {i}" for i in range(count)))


def _named(classes: Classes | None, count: int) -> Classes:
    """Return the given names, COCO's 80, or numbered ones."""
    if classes is not None:
        if len(classes) != count:
            raise ConfigError(f"the file has {count} classes; got {len(classes)} class names")
        return classes
    coco = [(i, n) for i, n in enumerate(COCO_91) if i and not n.startswith("unused")]
    if count != len(coco):
        return _numbered(count)
    return Classes(tuple(name for _, name in coco), tuple(number for number, _ in coco))
