"""Which importer reads which file: one row per source project."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from gazehound.checkpoints.native import Header
from gazehound.detectors.detector import Detector
from gazehound.errors import ConfigError, unknown_name
from gazehound.records import Classes

Imported = tuple[Detector, Header]


def import_file(
    file: Path, source: str, model: str | None = None, names: Sequence[str] = ()
) -> Imported:
    """Read another project's weight file into a detector.

    Args:
        file: what to read.
        source: a key of ``SOURCES``.
        model: the catalogue name of the architecture, where the file does not say it.
        names: class names, where the file has none.

    Raises:
        ConfigError: the source or the model is unknown.
        CheckpointError: the file does not hold what it should.
    """
    if source not in SOURCES:
        raise unknown_name("source of weights", source, SOURCES)
    classes = Classes(tuple(names)) if names else None
    detector, header = SOURCES[source](file, model, classes)
    return detector, replace(header, notes={**header.notes, "imported_from": source})


def _torchvision(file: Path, model: str | None, classes: Classes | None) -> Imported:
    from gazehound.checkpoints.torchvision import IMPORTERS, read_state_dict
    from gazehound.checkpoints.torchvision_ssd import SSD_IMPORTERS

    importers = {**IMPORTERS, **SSD_IMPORTERS}
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


def _yolox(file: Path, model: str | None, classes: Classes | None) -> Imported:
    from gazehound.checkpoints.yolox import import_yolox, read_yolox

    return import_yolox(read_yolox(file), model, classes)


SOURCES: dict[str, Callable[[Path, str | None, Classes | None], Imported]] = {
    "opencv-cascade": _opencv_cascade,
    "opencv-hog": _opencv_hog,
    "torchvision": _torchvision,
    "voc-dpm": _voc_dpm,
    "yolox": _yolox,
}
