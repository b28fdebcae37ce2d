"""Training a window template: positives from boxes, rounds of hard negatives (Dalal & Triggs, 2005).

A box of fitting shape becomes the window around it and its mirror image. Negatives are first drawn
at random from the pyramids, then the current template scans them all and its false alarms join:
windows whose object part overlaps no object of the class. An SVM is fitted after each round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gazehound.boxes.iou import pairwise
from gazehound.boxes.nms import nms
from gazehound.errors import TrainingError
from gazehound.features.hog import Hog
from gazehound.features.linear_svm import fit_linear_svm
from gazehound.features.pyramid import Level, byte_planes, pyramid_levels
from gazehound.features.threads import in_threads
from gazehound.features.window_scan import Hits, Raster, Template, scan
from gazehound.records import BoolArray, FloatArray, Sample

CLEAR = 0.3  # a window is no negative when this share of it lies in an object
ALIKE = 0.5  # of negatives of one image that overlap more, only the hardest is taken
VIOLATION = -1.0  # the response above which a negative violates the SVM's margin
TRIMMINGS = 2  # fits without the worst positives
EASY = -1.2  # mined negatives that respond below this are forgotten between rounds


class Samples(Protocol):
    """A data set, as far as training needs it."""

    def __getitem__(self, index: int) -> Sample: ...


@dataclass(frozen=True)
class Shape:
    """A window and where the object lies in it.

    Attributes:
        window: (height, width), pixels.
        content: (height, width) of the object, centred in the window.
    """

    window: tuple[int, int]
    content: tuple[int, int]

    @classmethod
    def around(cls, window: tuple[int, int], cell: int) -> Shape:
        """Leave two cells of surroundings at every side, a quarter of the shorter side at most."""
        margin = min(2 * cell, min(window) // 4)
        return cls(window, (window[0] - 2 * margin, window[1] - 2 * margin))

    @classmethod
    def fitting(cls, boxes: FloatArray, hog: Hog, area: float = 32 * 96) -> Shape:
        """Return the window whose content has the median shape of the boxes, and this area."""
        sides = boxes[:, 2:] - boxes[:, :2]
        aspect = float(np.median(sides[:, 0] / np.maximum(sides[:, 1], 1e-6)))
        height, width = (area / aspect) ** 0.5, (area * aspect) ** 0.5
        margin = 2 * hog.cell

        def whole(side: float) -> int:
            blocks = max(round((side + 2 * margin - hog.side) / hog.stride), 0)
            return hog.side + blocks * hog.stride

        return cls.around((whole(height), whole(width)), hog.cell)

    def matched(self, boxes: FloatArray, factor: float) -> Shape:
        """Return the shape whose content is as wide as the fitting ones of the boxes usually are."""
        good = boxes[self.fits(boxes, factor, 0.0)]
        if not len(good):
            return self
        aspect = float(np.median((good[:, 2] - good[:, 0]) / (good[:, 3] - good[:, 1])))
        return Shape(self.window, (self.content[0], max(round(self.content[0] * aspect), 1)))

    def fits(self, boxes: FloatArray, factor: float, smallest: float) -> BoolArray:
        """Return which boxes have the content's aspect within a factor, and enough height."""
        width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
        aspect = self.content[1] / self.content[0]
        ratio = width / np.maximum(height, 1e-6) / aspect
        shaped = (ratio <= factor) & (ratio >= 1 / factor)
        return np.asarray(shaped & (height >= smallest * self.content[0]) & (height > 0))


@dataclass(frozen=True)
class Rules:
    """How a template is trained.

    Attributes:
        c: the SVM's weight of the loss.
        rounds: of hard-negative mining.
        factor: boxes count as positives whose aspect differs at most so much from the content's.
        border: boxes nearer to the edge of the image, pixels, are cut-off objects and no positives.
        alone: share of a box that another object may cover for it to be a positive.
        trim: share of the positives, those with the lowest responses, that each SVM leaves out: no
            plane holds them, and they would turn it away from the others.
        balanced: positives together weigh as much in the loss as negatives; else all samples the same.
        per_image: negatives drawn from an image, at random and in each round.
        images: how many images a round of mining scans, drawn anew each time.
        most: mined negatives at most, over all images.
        step: ratio of pyramid scales while mining.
        start: first pyramid scale; below 1 the smallest positives are magnified ones.
        seed: of everything random.
    """

    c: float = 0.01
    rounds: int = 3
    factor: float = 1.8
    border: float = 0.0
    alone: float = 1.0
    trim: float = 0.0
    balanced: bool = True
    per_image: int = 10
    images: int = 500
    most: int = 16_000
    step: float = 1.1
    start: float = 0.5
    seed: int = 0


Progress = Callable[[str, Sequence[Sequence[int]]], Iterable[Sequence[int]]]


def crop_descriptor(
    planes: NDArray[np.uint8], box: FloatArray, shape: Shape, hog: Hog
) -> FloatArray:
    """Return the descriptor (rows, columns, D) of the window around a box of an image.

    The box's height becomes the content's; what lies outside the image is mirrored in. One block
    stride more is resized and left out again, so that gradients at the window's edge are true.
    """
    scale = (box[3] - box[1]) / shape.content[0]
    sides = np.array(shape.window) + 2 * hog.stride
    centre = np.array([box[1] + box[3], box[0] + box[2]]) / 2
    first = np.rint(centre - sides * scale / 2).astype(int)
    last = np.maximum(np.rint(centre + sides * scale / 2).astype(int), first + 1)
    rows, columns = (_mirrored(first[k], last[k], planes.shape[k + 1]) for k in range(2))
    crop = np.ascontiguousarray(planes[:, rows[:, None], columns])
    grid = hog.grid(crop, (int(sides[0]), int(sides[1])))
    height, width = hog.blocks(shape.window)
    return grid[1 : 1 + height, 1 : 1 + width]


def _mirrored(first: int, last: int, length: int) -> NDArray[np.int64]:
    index = np.arange(first, last)
    if length == 1:
        return np.zeros_like(index)
    index = index % (2 * length - 2)
    return np.minimum(index, 2 * length - 2 - index)


def positives_of(sample: Sample, label: int, shape: Shape, hog: Hog, rules: Rules) -> FloatArray:
    """Return the descriptors (P, rows, columns, D) of a sample's fitting boxes, mirrored too."""
    planes = byte_planes(_picture(sample))
    good = (sample.labels == label) & ~sample.crowd & ~sample.difficult
    good &= shape.fits(sample.boxes, rules.factor, rules.start)
    good &= _whole(sample.boxes, (planes.shape[1], planes.shape[2]), rules)
    found = [crop_descriptor(planes, box, shape, hog) for box in sample.boxes[good]]
    flipped = np.ascontiguousarray(planes[:, :, ::-1])
    width = planes.shape[2]
    for x1, y1, x2, y2 in sample.boxes[good]:
        box = np.array([width - x2, y1, width - x1, y2], np.float32)
        found.append(crop_descriptor(flipped, box, shape, hog))
    rows, columns = hog.blocks(shape.window)
    return np.array(found, np.float32).reshape(-1, rows, columns, hog.length)


def _whole(boxes: FloatArray, size: tuple[int, int], rules: Rules) -> BoolArray:
    """Return which boxes are neither cut off by the image of ``size`` nor covered by another."""
    inside = (boxes[:, :2] >= rules.border) & (boxes[:, 2:] <= np.array(size[::-1]) - rules.border)
    covered = pairwise(boxes, boxes, "ioa")
    np.fill_diagonal(covered, 0.0)
    return np.asarray(inside.all(axis=1) & (covered.max(axis=1, initial=0.0) <= rules.alone))


def content_boxes(
    hits: Hits, levels: Sequence[Level], size: tuple[int, int], shape: Shape
) -> FloatArray:
    """Return the boxes (N, 4) of the contents of windows, pixels of the image of ``size``."""
    ratio = np.array(
        [(size[1] / level.size[1], size[0] / level.size[0]) for level in levels]
    ).reshape(-1, 2)[hits.level]
    margin = np.array([shape.window[k] - shape.content[k] for k in (1, 0)]) / 2
    low = (hits.corner + margin) * ratio
    high = low + np.array([shape.content[1], shape.content[0]]) * ratio
    return np.concatenate([low, high], axis=1).astype(np.float32)


def random_negatives(
    sample: Sample, label: int, shape: Shape, hog: Hog, rules: Rules, seed: int
) -> FloatArray:
    """Return descriptors (N, rows, columns, D) of random windows of a sample without the class."""
    planes = byte_planes(_picture(sample))
    size = (planes.shape[1], planes.shape[2])
    levels = pyramid_levels(size, shape.window, rules.step, rules.start)
    rng = np.random.default_rng([rules.seed, seed])
    room = [
        (level.size[0] - shape.window[0] + 1, level.size[1] - shape.window[1] + 1)
        for level in levels
    ]
    places = np.array([rows * columns for rows, columns in room], np.float64)
    found = []
    for _ in range(rules.per_image if levels else 0):
        index = rng.choice(len(levels), p=places / places.sum())
        corner = np.array([[rng.integers(room[index][1]), rng.integers(room[index][0])]])
        hit = Hits(np.array([index]), corner, np.zeros(1, np.float32))
        box = content_boxes(hit, levels, size, shape)
        if _clear_of(box, sample, label)[0]:
            found.append(crop_descriptor(planes, box[0], shape, hog))
    return _stacked(found, shape, hog)


def hard_negatives(
    sample: Sample, label: int, shape: Shape, hog: Hog, rules: Rules, template: Template
) -> FloatArray:
    """Return descriptors (N, rows, columns, D) of the hardest false alarms in a sample."""
    planes = byte_planes(_picture(sample))
    size = (planes.shape[1], planes.shape[2])
    levels = pyramid_levels(size, shape.window, rules.step, rules.start)
    hits = scan(planes, hog, [template], levels, Raster(hog.stride), VIOLATION)[0]
    boxes = content_boxes(hits, levels, size, shape)
    clear = _clear_of(boxes, sample, label)
    hits, boxes = hits.select(clear), boxes[clear]
    chosen = hits.select(nms(boxes, hits.margin, ALIKE)[: rules.per_image])
    rows, columns = hog.blocks(shape.window)
    found = []
    for index in np.unique(chosen.level):
        grid = hog.grid(planes, levels[index].size)
        for x, y in chosen.corner[chosen.level == index] // hog.stride:
            found.append(grid[y : y + rows, x : x + columns])
    return _stacked(found, shape, hog)


def _stacked(found: Sequence[FloatArray], shape: Shape, hog: Hog) -> FloatArray:
    return np.array(found, np.float32).reshape(-1, *hog.blocks(shape.window), hog.length)


def _clear_of(boxes: FloatArray, sample: Sample, label: int) -> BoolArray:
    """Return which boxes hold no object of the class, and no large part of one.

    The half of a big person, or one of a crowd, looks like a person: as a negative it would teach
    the template against its own positives.
    """
    own = sample.labels == label
    if not own.any() or not len(boxes):
        return np.ones(len(boxes), bool)
    return np.asarray(pairwise(boxes, sample.boxes[own], "ioa").max(axis=1) < CLEAR)


def _picture(sample: Sample) -> NDArray[Any]:
    if sample.image is None:
        raise TrainingError(f"{sample.file or sample.image_id}: the sample has no picture")
    return sample.image


def train_template(
    samples: Samples,
    rows: Sequence[int],
    label: int,
    shape: Shape,
    hog: Hog,
    rules: Rules,
    progress: Progress,
) -> Template:
    """Train the template of one class on the images ``rows`` of a data set.

    Raises:
        TrainingError: no box of the class fits the window, or there is nothing beside the objects.
    """
    blocks = (*hog.blocks(shape.window), hog.length)
    rng = np.random.default_rng(rules.seed)

    def over(text: str, chosen: Sequence[int], work: Callable[[int], FloatArray]) -> FloatArray:
        found = [one for part in progress(text, _batches(chosen)) for one in in_threads(work, part)]
        return np.concatenate(found).reshape(-1, int(np.prod(blocks)))

    def positives(row: int) -> FloatArray:
        return positives_of(samples[row], label, shape, hog, rules)

    def drawn(row: int) -> FloatArray:
        return random_negatives(samples[row], label, shape, hog, rules, row)

    def solved() -> Template:
        others = np.concatenate([anywhere, hard])
        weights, bias = fit_trimmed_svm(objects, others, rules)
        return Template(shape.window, weights.reshape(blocks), bias)

    objects = over("positives", rows, positives)
    if not len(objects):
        raise TrainingError(
            f"class {label}: no box fits a window of {shape.window[1]}x{shape.window[0]} pixels "
            f"with an object of {shape.content[1]}x{shape.content[0]}; choose another window"
        )
    anywhere = over("random negatives", rows, drawn)  # kept: else what they taught is forgotten
    hard = anywhere[:0]
    template = solved()
    for turn in range(rules.rounds):
        chosen = rng.permutation(np.asarray(rows))[: rules.images].tolist()
        mined = partial(_mined, samples, label, shape, hog, rules, template)
        fresh = over(f"hard negatives, round {turn + 1}", chosen, mined)
        responses = hard @ template.weights.reshape(-1) + template.bias
        hardest = np.argsort(-responses, kind="stable")
        kept = hard[hardest[responses[hardest] >= EASY]]
        hard = _without_twins(np.concatenate([fresh, kept]))[: rules.most]
        template = solved()
    return template


def fit_trimmed_svm(
    positives: FloatArray, negatives: FloatArray, rules: Rules
) -> tuple[FloatArray, float]:
    """Fit an SVM, then twice more without the positives (P, D) that respond lowest to the last one."""
    weight = None if rules.balanced else 1.0
    fit = partial(fit_linear_svm, c=rules.c, seed=rules.seed, positive_weight=weight)
    weights, bias = fit(positives, negatives)
    for _ in range(TRIMMINGS if rules.trim else 0):
        responses = positives @ weights
        kept = positives[responses >= np.quantile(responses, rules.trim)]
        weights, bias = fit(kept, negatives)
    return weights, bias


def _mined(
    samples: Samples, label: int, shape: Shape, hog: Hog, rules: Rules, template: Template, row: int
) -> FloatArray:
    return hard_negatives(samples[row], label, shape, hog, rules, template)


def _batches(rows: Sequence[int], size: int = 16) -> list[Sequence[int]]:
    return [rows[k : k + size] for k in range(0, len(rows), size)]


def _without_twins(rows: FloatArray) -> FloatArray:
    """Return the rows, each once: a stubborn false alarm is found again in every round."""
    _, first = np.unique([hash(row.tobytes()) for row in rows], return_index=True)
    return rows[np.sort(first)]
