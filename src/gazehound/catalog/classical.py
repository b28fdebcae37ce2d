"""Detectors that need no network (2001 to 2010)."""

from __future__ import annotations

from gazehound.catalog.entry import Entry

_VIOLA_JONES = "Viola and Jones, Rapid Object Detection using a Boosted Cascade"
_HOG = "Dalal, Triggs, Histograms of Oriented Gradients for Human Detection"
_DPM = "Felzenszwalb et al., Object Detection with Discriminatively Trained Part-Based Models"

ROWS: tuple[Entry, ...] = (
    Entry(
        "hog-svm", "gazehound.detectors.hog_svm:hog_svm", 2005, _HOG,
        "classical", None, "HOG blocks and a linear SVM slid over a pyramid; any class, any window",
    ),
    Entry(
        "hog-person", "gazehound.detectors.hog_svm:hog_person", 2005, _HOG,
        "classical", None, "HOG + SVM for upright persons, trained, in the package",
        weights="hog_person.safetensors",
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
