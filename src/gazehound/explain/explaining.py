"""Explain one prediction: watch it once, then let every part draw the steps that it knows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gazehound.detectors.detector import Detector
from gazehound.explain import (
    activations,
    assignments,
    cascades,
    gradients,
    parts,
    peaks,
    regions,
    suppression,
)
from gazehound.explain.panels import Explanation, Panel
from gazehound.explain.run import Run, watched
from gazehound.records import Sample

PARTS: tuple[Callable[[Run], list[Panel]], ...] = (
    cascades.panels,
    gradients.panels,
    parts.panels,
    activations.panels,
    assignments.panels,
    peaks.panels,
    regions.panels,
    suppression.panels,
)
"""In the order of the page. Each returns nothing where nothing of its kind was shown."""


def explain(
    detector: Detector,
    image: NDArray[np.uint8],
    *,
    truths: Sample | None = None,
    name: str = "",
) -> Explanation:
    """Let a detector predict on a picture, and draw each of its steps.

    The detector predicts once, as always; everything drawn was computed in that prediction. Where a
    panel is about learning (which anchor would learn which object), the detector's own assigner is
    asked about the outputs of that prediction.

    Args:
        detector: any of the catalogue's.
        image: (H, W, 3) uint8 RGB.
        truths: what is there, labels as the detector's; without them its best detections stand in.
        name: for the page.

    Raises:
        ConfigError: the detector has not been trained.
        ImageError: the image is not one.
    """
    run = watched(detector, image, truths)
    panels = [panel for part in PARTS for panel in part(run)]
    return Explanation(name or type(detector).__name__, image, run.found, run.best, truths, panels)
