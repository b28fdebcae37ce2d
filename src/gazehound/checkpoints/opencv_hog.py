"""Import a ``HOGDescriptor`` of OpenCV with its linear detector: the published people detector.

OpenCV writes one with ``HOGDescriptor.save`` as YAML, XML or JSON; ``people.npy``-like vectors of
``HOGDescriptor_getDefaultPeopleDetector()`` are read too, with the descriptor's defaults. The
detector made of it keeps OpenCV's rules (scales of 1.05, windows every 8 pixels, rectangles grouped
from three on), so its boxes are those of ``detectMultiScale``. Its score is the logistic of the
margin: no held-out images have calibrated it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import yaml
from numpy.typing import NDArray

from gazehound.checkpoints.native import Header
from gazehound.detectors.hog_svm import HogSvm
from gazehound.errors import CheckpointError
from gazehound.features.hog import weights_from_opencv
from gazehound.records import Classes

DEFAULTS: Mapping[str, Any] = {
    "winSize": [64, 128],
    "blockSize": [16, 16],
    "blockStride": [8, 8],
    "cellSize": [8, 8],
    "nbins": 9,
    "derivAperture": 1,
    "winSigma": -1.0,
    "histogramNormType": 0,
    "L2HysThreshold": 0.2,
    "gammaCorrection": 1,
    "nlevels": 64,
    "signedGradient": 0,
}
_FIXED = {"derivAperture": 1, "histogramNormType": 0, "nlevels": 64}
_YAML_HEAD = "%YAML:1.0"  # OpenCV's spelling, which YAML readers refuse
_YAML_TAG = "!!opencv-object-detector-hog"


def load_opencv_hog(
    file: str | Path, classes: Classes | None = None, **options: Any
) -> tuple[HogSvm, Header]:
    """Read a saved ``HOGDescriptor`` (.yml, .yaml, .xml, .json) or its vector alone (.npy).

    Args:
        file: what OpenCV wrote.
        classes: one class; None: ``person``.
        options: further arguments of ``HogSvm`` in place of OpenCV's rules.

    Raises:
        CheckpointError: the file cannot be read, or is no HOG detector.
    """
    path = Path(file)
    if path.suffix == ".npy":
        fields = {**DEFAULTS, "SVMDetector": _read_vector(path)}
    else:
        fields = _read_fields(path)
    return from_opencv(fields, str(path), classes, **options)


def from_opencv(
    fields: Mapping[str, Any], where: str, classes: Classes | None = None, **options: Any
) -> tuple[HogSvm, Header]:
    """Build the detector of a ``HOGDescriptor``'s fields, under the names that OpenCV saves them by.

    Args:
        fields: see ``DEFAULTS``; ``SVMDetector`` holds the weights and, last, the bias.
        where: for messages.
        classes: one class; None: ``person``.
        options: further arguments of ``HogSvm``.

    Raises:
        CheckpointError: a field is missing or has a value that is not supported.
    """
    missing = [name for name in (*DEFAULTS, "SVMDetector") if name not in fields]
    if missing:
        raise CheckpointError(f"{where}: no HOG detector of OpenCV: it lacks {', '.join(missing)}")
    for name, value in _FIXED.items():
        if int(fields[name]) != value:
            raise CheckpointError(f"{where}: {name} must be {value}; got {fields[name]}")
    cell, block, stride = (
        _square(fields, n, where) for n in ("cellSize", "blockSize", "blockStride")
    )
    if cell < 1 or block % cell:
        raise CheckpointError(f"{where}: blockSize {block} is no multiple of cellSize {cell}")
    sigma = float(fields["winSigma"])
    width, height = (int(side) for side in fields["winSize"])
    arguments: dict[str, Any] = {
        "window": [height, width],
        "hog": {
            "cell": cell,
            "block": block // cell,
            "stride": stride,
            "bins": int(fields["nbins"]),
            "signed": bool(int(fields["signedGradient"])),
            "gamma": bool(int(fields["gammaCorrection"])),
            "sigma": sigma if sigma >= 0 else None,
            "clip": float(fields["L2HysThreshold"]),
        },
        "step": 1.05,
        "start": 1.0,
        "stride": cell,
        "pad": 0,
        "fusion": "rectangles",
        "overlap": 2.0,
        "threshold": 0.5,
        "limit": 10_000,
        **options,
    }
    detector = HogSvm(classes or Classes(("person",)), **arguments)
    blocks = detector.hog.blocks((height, width))
    vector = np.asarray(fields["SVMDetector"], np.float32).reshape(-1)
    length = blocks[0] * blocks[1] * detector.hog.length
    if len(vector) not in (length, length + 1):
        raise CheckpointError(
            f"{where}: a window of {width}x{height} needs {length} weights and perhaps a bias; "
            f"got {len(vector)} numbers"
        )
    bias = float(vector[length]) if len(vector) > length else 0.0
    detector.load_arrays(
        {
            "0.weights": weights_from_opencv(vector[:length], blocks, detector.hog.length),
            "0.shape": np.array([[height, width], [height, width]]),
            "0.scores": np.array([bias, 1.0, 0.0]),
        }
    )
    return detector, Header("hog-svm", arguments, detector.classes)


def _square(fields: Mapping[str, Any], name: str, where: str) -> int:
    width, height = (int(side) for side in fields[name])
    if width != height:
        raise CheckpointError(f"{where}: {name} must be square; got {width}x{height}")
    return width


def _read_vector(path: Path) -> NDArray[Any]:
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read as a NumPy array ({error})") from None


def _read_fields(path: Path) -> dict[str, Any]:
    """Return the fields of the one object in a file of OpenCV's FileStorage."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error})") from None
    try:
        if path.suffix == ".xml":
            objects = [_from_xml(node) for node in ElementTree.fromstring(text)]
        elif path.suffix == ".json":
            objects = list(json.loads(text).values())
        else:
            plain = text.removeprefix(_YAML_HEAD).replace(_YAML_TAG, "")
            objects = list(yaml.safe_load(plain).values())
    except (ElementTree.ParseError, yaml.YAMLError, ValueError, AttributeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path}: no file of OpenCV's FileStorage ({reason})") from None
    if len(objects) != 1 or not isinstance(objects[0], dict):
        raise CheckpointError(f"{path}: expected one HOGDescriptor; got {len(objects)} objects")
    return objects[0]


def _from_xml(node: ElementTree.Element) -> dict[str, Any]:
    numbers = {child.tag: [float(word) for word in (child.text or "").split()] for child in node}
    return {tag: row if len(row) > 1 else row[0] for tag, row in numbers.items() if row}
