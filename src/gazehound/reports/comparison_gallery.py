"""The gallery of a comparison: each picture once, and above it what every detector made of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from gazehound.data import Dataset
from gazehound.errors import ImageError
from gazehound.metrics import Tables
from gazehound.records import Detections, FloatArray, IntArray, Sample
from gazehound.reports.drawing import data_url
from gazehound.reports.pictures import Judged, count_words, match
from gazehound.reports.standings import Standing

LONGEST = 720  # pixels of an embedded picture
NAMED = 10  # with more boxes names would hide the picture
MOST_BOXES = 80  # drawn of one detector in one picture


@dataclass(frozen=True)
class View:
    """What one detector made of a picture.

    Attributes:
        boxes: as SVG.
        words: what was found, missed and invented.
        f1: harmonic mean of precision and recall at the detector's best threshold.
    """

    boxes: Markup
    words: str
    f1: float


@dataclass(frozen=True)
class Shot:
    """A picture of the gallery.

    Attributes:
        name: of its file.
        width: pixels.
        height: pixels.
        data: the picture as a ``data:`` address.
        truths: as SVG.
        views: one per row of the table.
    """

    name: str
    width: int
    height: int
    data: str
    truths: Markup
    views: list[View]


def gallery(rows: Sequence[Standing], dataset: Dataset, most: int) -> list[Shot]:
    """Return pictures with what every detector found at its best threshold.

    Half of them are those that the detectors disagree on most, the others are spread over the split.

    Args:
        rows: the table.
        dataset: the split.
        most: pictures.
    """
    found = [_by_image(row, dataset) for row in rows]
    spread = np.zeros(len(dataset))
    for k in range(len(dataset)):
        sample = dataset.annotations(k)
        scores = [_judged(sample, one[k], row).f1 for one, row in zip(found, rows, strict=True)]
        spread[k] = max(scores, default=0.0) - min(scores, default=0.0)
    shots = []
    for k in choose(spread, most):
        try:
            sample = dataset[k]
        except ImageError:
            continue  # it was readable when the detectors looked; the others are shown
        shots.append(_shot(sample, [one[k] for one in found], rows))
    return shots


def choose(spread: NDArray[np.float64], most: int) -> list[int]:
    """Return the rows of at most ``most`` images, rising: the widest spread first, then evenly spaced."""
    count = len(spread)
    chosen = np.argsort(-spread, kind="stable")[: (most + 1) // 2].tolist()
    left = np.setdiff1d(np.arange(count), chosen)
    more = min(most - len(chosen), len(left))
    if more > 0:
        chosen += left[np.linspace(0, len(left) - 1, more).round().astype(int)].tolist()
    return sorted(chosen)


def _by_image(row: Standing, dataset: Dataset) -> list[Detections]:
    """Return the detections above a detector's best threshold, image by image of the data set."""
    tables = row.contender.tables
    known = {name: place for place, name in enumerate(tables.classes.names)}
    judged = np.asarray([known[name] for name in row.contender.judged])
    keep = (tables.found.score >= row.threshold) & np.isin(tables.found.label, judged)
    rows = np.flatnonzero(keep)
    rows = rows[np.lexsort((-tables.found.score[rows], tables.found.image[rows]))]
    starts = np.searchsorted(tables.found.image[rows], np.arange(len(tables.image_ids) + 1))
    place = {key: k for k, key in enumerate(tables.image_ids.tolist())}
    out = []
    for key, size in zip(dataset.image_ids.tolist(), dataset.sizes.tolist(), strict=True):
        own = rows[starts[place[key]] : starts[place[key] + 1]][:MOST_BOXES]
        out.append(_detections(tables, own, (size[0], size[1])))
    return out


def _detections(tables: Tables, rows: IntArray, size: tuple[int, int]) -> Detections:
    xywh = tables.found.xywh[rows]
    corners = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
    return Detections(
        corners.astype(np.float32),
        tables.found.score[rows].astype(np.float32),
        tables.found.label[rows].astype(np.int64),
        tables.classes,
        size,
    )


def _judged(sample: Sample, found: Detections, row: Standing) -> Judged:
    right, wrong, missed = match(_asked(sample, found, row), found)
    return Judged(sample, found, int(right.sum()), int(wrong.sum()), int(missed.sum()))


def _asked(sample: Sample, found: Detections, row: Standing) -> Sample:
    """Return the truths of the classes that a detector is judged on."""
    names = np.asarray(found.classes.names)[sample.labels]
    return sample.select(np.isin(names, row.contender.judged))


def _shot(sample: Sample, found: Sequence[Detections], rows: Sequence[Standing]) -> Shot:
    assert sample.image is not None
    height, width = sample.image.shape[:2]
    classes = found[0].classes.names
    counted = ~(sample.crowd | sample.difficult)
    truths = "".join(
        _box(box, "truth" if solid else "truth vague", f"truth: {classes[label]}")
        for box, label, solid in zip(sample.boxes, sample.labels, counted, strict=True)
    )
    return Shot(
        Path(sample.file).name or str(sample.image_id),
        width,
        height,
        data_url(sample.image, LONGEST, 82),
        Markup(truths),
        [_view(sample, one, row) for one, row in zip(found, rows, strict=True)],
    )


def _view(sample: Sample, found: Detections, row: Standing) -> View:
    asked = _asked(sample, found, row)
    right, wrong, missed = match(asked, found)
    judged = Judged(asked, found, int(right.sum()), int(wrong.sum()), int(missed.sum()))
    parts = [
        _box(box, "missed", f"missed: {found.classes.names[label]}")
        for box, label in zip(asked.boxes[missed], asked.labels[missed], strict=True)
    ]
    texts = [f"{name} {score:.2f}" for name, score in zip(found.names, found.scores, strict=True)]
    kinds = [
        "right" if yes else "wrong" if no else "vague" for yes, no in zip(right, wrong, strict=True)
    ]
    parts += [
        _box(box, kind, f"{kind}: {text}")
        for box, kind, text in zip(found.boxes, kinds, texts, strict=True)
    ]
    if len(found) <= NAMED:
        parts += [
            _tag(box, kind, text, found.image_size)
            for box, kind, text in zip(found.boxes, kinds, texts, strict=True)
        ]
    return View(Markup("".join(parts)), count_words(judged), judged.f1)


def _box(box: FloatArray, kind: str, title: str) -> str:
    x1, y1, x2, y2 = box.tolist()
    return (
        f'<rect class="{kind}" x="{x1:.1f}" y="{y1:.1f}" width="{max(x2 - x1, 0):.1f}" '
        f'height="{max(y2 - y1, 0):.1f}"><title>{escape(title)}</title></rect>'
    )


def _tag(box: FloatArray, kind: str, text: str, size: tuple[int, int]) -> str:
    """Return a name above its box, or inside it where the picture ends."""
    letter = max(size) / 38
    wide, tall = 0.56 * letter * len(text) + 0.6 * letter, 1.35 * letter
    x = max(0.0, min(float(box[0]), size[1] - wide))
    y = float(box[1]) - tall
    y = y if y >= 0 else float(box[1])
    return (
        f'<g class="label {kind}"><rect x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" '
        f'height="{tall:.1f}" rx="{letter / 5:.1f}"/><text x="{x + 0.3 * letter:.1f}" '
        f'y="{y + letter:.1f}" font-size="{letter:.1f}">{escape(text)}</text></g>'
    )
