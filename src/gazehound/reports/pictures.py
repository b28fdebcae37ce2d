"""Truths beside predictions: pairs of pictures with what was found, missed and invented."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gazehound.boxes.iou import pairwise
from gazehound.data.images import read_image
from gazehound.errors import ImageError
from gazehound.records import BoolArray, Detections, Sample
from gazehound.reports.drawing import Layer, data_url, draw, enlarged

LEAST, LONGEST = 420, 560  # pixels; smaller pictures are enlarged, larger ones reduced
BOLD = 1.7  # the pictures are shown small
MOST_NAMES = 8  # boxes; above it names would hide the picture, and colours must do
IOU = 0.5


@dataclass(frozen=True)
class Judged:
    """One image, its truths, and how the detections above a score meet them.

    Attributes:
        sample: the image with its truths.
        found: the detections at or above the score.
        right: detections that match a truth.
        wrong: detections that match none (those on crowd regions and difficult truths not counted).
        missed: truths without a detection.
    """

    sample: Sample
    found: Detections
    right: int
    wrong: int
    missed: int

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 1 where nothing was to find and nothing was."""
        total = 2 * self.right + self.wrong + self.missed
        return 2 * self.right / total if total else 1.0


@dataclass(frozen=True)
class Pair:
    """What the page shows of one image.

    Attributes:
        truth: ``data:`` address of the picture with its truths.
        found: the same with the detections.
        name: of the file.
        f1: see :class:`Judged`.
        words: counts, in words.
        labels: that occur in it.
    """

    truth: str
    found: str
    name: str
    f1: float
    words: str
    labels: tuple[int, ...] = ()


def judge(sample: Sample, found: Detections, score: float) -> Judged:
    """Match detections at or above ``score`` with the truths of their class at IoU 0.5, best first."""
    kept = found.above(score)
    right, wrong, missed = match(sample, kept)
    return Judged(sample, kept, int(right.sum()), int(wrong.sum()), int(missed.sum()))


def match(sample: Sample, found: Detections) -> tuple[BoolArray, BoolArray, BoolArray]:
    """Match detections with the truths of their class at IoU 0.5, best first.

    Returns:
        Which detections are right, (N,), and which are wrong, (N,): one on a crowd region or on a
        difficult truth is neither; and which truths are missed, (M,).
    """
    counted = ~(sample.crowd | sample.difficult)
    overlap = pairwise(found.boxes, sample.boxes)
    overlap = np.where(found.labels[:, None] == sample.labels[None], overlap, 0.0)
    missed = counted.copy()
    right, wrong = (np.zeros(len(found), bool) for _ in range(2))
    for k, row in enumerate(overlap):
        free = np.where(missed, row, 0.0)
        best = int(free.argmax()) if len(free) else 0
        if len(free) and free[best] >= IOU:
            missed[best] = False
            right[k] = True
        else:
            wrong[k] = not (row[~counted] >= IOU).any()
    return right, wrong, missed


def choose(judged: Sequence[Judged], most: int) -> dict[str, list[Judged]]:
    """Sort images into ``worst``, ``typical`` and ``best``, at most ``most`` in all, none twice.

    A short list is shown whole, as ``all``.
    """
    ordered = sorted(judged, key=lambda one: one.f1)
    if len(ordered) <= most:
        return {"all": ordered[::-1]}
    share = max(1, most // 4)
    typical_places = np.linspace(share, len(ordered) - 1 - share, max(1, most - 2 * share))
    typical = [ordered[place] for place in sorted({round(float(p)) for p in typical_places})]
    return {"typical": typical[::-1], "worst": ordered[:share], "best": ordered[::-1][:share]}


def show(judged: Judged) -> Pair | None:
    """Draw one image twice; None when it cannot be read any more."""
    sample, found = judged.sample, judged.found
    try:
        image = read_image(sample.file) if sample.image is None else sample.image
    except ImageError:
        return None
    image, scale = enlarged(image, LEAST)
    truths = replace(Layer.of_truths(sample, found.classes), boxes=_scaled(sample.boxes, scale))
    detections = replace(Layer.of_detections(found), boxes=_scaled(found.boxes, scale))
    name = Path(sample.file).name or str(sample.image_id)
    named = max(len(sample), len(found)) <= MOST_NAMES
    left, right = (draw(image, one, names=named, bold=BOLD) for one in (truths, detections))
    return Pair(
        data_url(left, LONGEST, 80),
        data_url(right, LONGEST, 80),
        name,
        judged.f1,
        count_words(judged),
        tuple(sorted({*sample.labels.tolist(), *found.labels.tolist()})),
    )


def _scaled(boxes: NDArray[np.float32], scale: float) -> NDArray[np.float32]:
    return np.asarray(boxes * np.float32(scale), np.float32)


def count_words(judged: Judged) -> str:
    """Return what was found, missed and invented, in words."""
    alarms = f"{judged.wrong} false alarm{'s' if judged.wrong != 1 else ''}"
    truths = judged.right + judged.missed
    if not truths:
        return f"no objects, {alarms}" if judged.wrong else "no objects, none found"
    text = f"{judged.right} of {truths} found"
    return f"{text}, {alarms}" if judged.wrong else text
