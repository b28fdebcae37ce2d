"""The catalogue: every detector by name, one literal table, each builder imported only when asked for.

A builder takes ``classes`` and its own keyword arguments and returns a detector.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from gazehound.errors import unknown_name

WEIGHTS = Path(__file__).parent / "weights"  # trained models that ship with the package


@dataclass(frozen=True)
class Entry:
    """One row of the catalogue.

    Attributes:
        name: what a user types.
        builder: ``module:function``.
        year: of the paper.
        paper: authors and short title.
        kind: ``network`` (Trainable) or ``classical`` (Fittable).
        parameters: millions of weights at 80 classes; None for classical detectors.
        weights: file name of a bundled model in ``gazehound/weights``, if any.
        summary: one line.
        tiny: builder arguments that make it small enough to learn eight images in a test.
    """

    name: str
    builder: str
    year: int
    paper: str
    kind: str
    parameters: float | None
    summary: str
    weights: str | None = None
    tiny: Mapping[str, Any] = field(default_factory=dict)

    def resolve(self) -> Callable[..., Any]:
        """Import and return the builder."""
        module, function = self.builder.split(":")
        builder: Callable[..., Any] = getattr(import_module(module), function)
        return builder


_TINY_PYRAMID: Mapping[str, Any] = {"backbone": "resnet10t", "channels": 64}
_RETINANET = "Lin et al., Focal Loss for Dense Object Detection"
_HOG = "Dalal, Triggs, Histograms of Oriented Gradients for Human Detection"
_DPM = "Felzenszwalb et al., Object Detection with Discriminatively Trained Part-Based Models"
_VIOLA_JONES = "Viola and Jones, Rapid Object Detection using a Boosted Cascade"

ENTRIES: tuple[Entry, ...] = (
    Entry(
        "retinanet_r18", "gazehound.detectors.retinanet:retinanet_r18", 2017, _RETINANET,
        "network", 14.5, "RetinaNet, ResNet-18 and 128 channels: the small all-rounder",
        tiny=_TINY_PYRAMID,
    ),
    Entry(
        "retinanet_r50", "gazehound.detectors.retinanet:retinanet_r50", 2017, _RETINANET,
        "network", 33.8, "RetinaNet as published; torchvision's retinanet_resnet50_fpn",
        tiny=_TINY_PYRAMID,
    ),
    Entry(
        "retinanet_r50_v2", "gazehound.detectors.retinanet:retinanet_r50_v2", 2017, _RETINANET,
        "network", 38.0, "GroupNorm towers, GIoU loss; torchvision's retinanet_resnet50_fpn_v2",
        tiny=_TINY_PYRAMID,
    ),
    Entry(
        "retinanet_r101", "gazehound.detectors.retinanet:retinanet_r101", 2017, _RETINANET,
        "network", 52.8, "RetinaNet as published, ResNet-101",
        tiny=_TINY_PYRAMID,
    ),
    Entry(
        "hog-svm", "gazehound.detectors.hog_svm:hog_svm", 2005, _HOG,
        "classical", None, "HOG blocks and a linear SVM slid over a pyramid; any class, any window",
    ),
    Entry(
        "dpm", "gazehound.detectors.dpm:dpm", 2010, _DPM,
        "classical", None, "mixture of roots with deformable parts, latent SVM; runs voc-release5",
    ),
    Entry(
        "viola-jones", "gazehound.detectors.viola_jones:viola_jones", 2001, _VIOLA_JONES,
        "classical", None, "AdaBoost on Haar-like features, attentional cascade; to train",
    ),
    Entry(
        "viola-jones-face", "gazehound.detectors.viola_jones:viola_jones_face", 2001, _VIOLA_JONES,
        "classical", None, "Viola-Jones for frontal faces, trained, in the package",
        weights="viola_jones_face.safetensors",
    ),
)  # fmt: skip

BY_NAME = {entry.name: entry for entry in ENTRIES}


def find(name: str) -> Entry:
    """Return the row of ``name``; ConfigError with near matches when there is none.

    Dashes and underscores are the same.
    """
    key = {known.replace("-", "_"): known for known in BY_NAME}.get(name.replace("-", "_"))
    if key is None:
        raise unknown_name("model", name, BY_NAME)
    return BY_NAME[key]
