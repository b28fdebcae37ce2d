"""Which importer reads which file: one row per source project."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from gazehound.checkpoints.native import Header
from gazehound.detectors.detector import Detector
from gazehound.errors import ConfigError, unknown_name
from gazehound.records import Classes

Imported = tuple[Detector, Header]


def import_file(
    file: Path,
    source: str,
    model: str | None = None,
    names: Sequence[str] = (),
    cfg: Path | None = None,
) -> Imported:
    """Read another project's weight file into a detector.

    Args:
        file: what to read.
        source: a key of ``SOURCES``.
        model: the catalogue name of the architecture, where the file does not say it.
        names: class names, where the file has none.
        cfg: Darknet's description of the network, beside its weights.

    Raises:
        ConfigError: the source or the model is unknown, or a cfg comes with another source's file.
        CheckpointError: the file does not hold what it should.
    """
    if source not in SOURCES:
        raise unknown_name("source of weights", source, SOURCES)
    classes = Classes(tuple(names)) if names else None
    if cfg is not None and source != "darknet":
        raise ConfigError(f"--cfg goes with --source darknet; got --source {source}")
    options = {"cfg": cfg} if cfg is not None else {}
    detector, header = SOURCES[source](file, model, classes, **options)
    return detector, replace(header, notes={**header.notes, "imported_from": source})


def _torchvision(file: Path, model: str | None, classes: Classes | None) -> Imported:
    from gazehound.checkpoints.torchvision import IMPORTERS, read_state_dict
    from gazehound.checkpoints.torchvision_faster_rcnn import FASTER_IMPORTERS
    from gazehound.checkpoints.torchvision_fcos import FCOS_IMPORTERS
    from gazehound.checkpoints.torchvision_ssd import SSD_IMPORTERS

    importers = {**IMPORTERS, **FASTER_IMPORTERS, **FCOS_IMPORTERS, **SSD_IMPORTERS}
    if model is None:
        raise ConfigError(f"--source torchvision needs --model: {', '.join(importers)}")
    key = model.replace("-", "_")
    if key not in importers:
        raise unknown_name("model of torchvision", model, importers)
    return importers[key](read_state_dict(file), key, classes)


def _voc_dpm(file: Path, model: str | None, classes: Classes | None) -> Imported:
    from gazehound.checkpoints.voc_dpm import import_voc_dpm

    if model not in (None, "dpm"):
        raise ConfigError(f"--source voc-dpm reads the model 'dpm'; got --model {model}")
    detector = import_voc_dpm(file)
    if classes is not None:
        if len(classes) != 1:
            raise ConfigError(f"a voc-dpm file holds one class; got {len(classes)} names")
        detector.classes = classes
    return detector, Header("dpm", {"interval": detector.interval}, detector.classes)


def _opencv_cascade(file: Path, model: str | None, classes: Classes | None) -> Imported:
    from gazehound.checkpoints.opencv_cascade import load_cascade
    from gazehound.detectors.viola_jones import ViolaJones

    cascade = load_cascade(file)
    detector = ViolaJones.of_cascade(cascade, classes.names[0] if classes else "object")
    arguments = {"window": list(cascade.window), "scan": "image"}
    return detector, Header("viola-jones", arguments, detector.classes)


def _opencv_hog(file: Path, model: str | None, classes: Classes | None) -> Imported:
    from gazehound.checkpoints.opencv_hog import load_opencv_hog

    return load_opencv_hog(file, classes)


def _centernet(file: Path, model: str | None, classes: Classes | None) -> Imported:
    from gazehound.checkpoints.centernet import UPS, import_centernet
    from gazehound.checkpoints.torchvision import read_state_dict

    return import_centernet(read_state_dict(file), _named(model, "centernet", UPS), classes)


def _detectron2(file: Path, model: str | None, classes: Classes | None) -> Imported:
    from gazehound.checkpoints.detectron2 import MODELS, import_detectron2, read_detectron2

    return import_detectron2(read_detectron2(file), _named(model, "detectron2", MODELS), classes)


def _centernet2(file: Path, model: str | None, classes: Classes | None) -> Imported:
    from gazehound.checkpoints.centernet2 import MODELS, import_centernet2
    from gazehound.checkpoints.detectron2 import read_detectron2

    return import_centernet2(read_detectron2(file), _named(model, "centernet2", MODELS), classes)


def _effdet(file: Path, model: str | None, classes: Classes | None) -> Imported:
    from gazehound.checkpoints.effdet import MODELS, import_effdet
    from gazehound.checkpoints.torchvision import read_state_dict

    return import_effdet(read_state_dict(file), _named(model, "effdet", MODELS), classes)


def _named(model: str | None, source: str, known: Iterable[str]) -> str:
    """Return the catalogue name of a model that this source's files do not name themselves."""
    if model is None:
        raise ConfigError(f"--source {source} needs --model: {', '.join(known)}")
    return model.replace("-", "_")


def _yolov5(file: Path, model: str | None, classes: Classes | None) -> Imported:
    from gazehound.checkpoints.yolov5 import import_yolov5, read_yolov5

    return import_yolov5(read_yolov5(file), model, classes)


def _yolox(file: Path, model: str | None, classes: Classes | None) -> Imported:
    from gazehound.checkpoints.yolox import import_yolox, read_yolox

    return import_yolox(read_yolox(file), model, classes)


def _darknet(
    file: Path, model: str | None, classes: Classes | None, cfg: Path | None = None
) -> Imported:
    from gazehound.checkpoints.darknet import import_darknet

    return import_darknet(file, model, classes, cfg)


SOURCES: dict[str, Callable[..., Imported]] = {
    "darknet": _darknet,
    "centernet": _centernet,
    "centernet2": _centernet2,
    "detectron2": _detectron2,
    "effdet": _effdet,
    "opencv-cascade": _opencv_cascade,
    "opencv-hog": _opencv_hog,
    "torchvision": _torchvision,
    "voc-dpm": _voc_dpm,
    "yolov5": _yolov5,
    "yolox": _yolox,
}
