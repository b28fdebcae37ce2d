"""HOG + linear SVM (Dalal & Triggs, *Histograms of Oriented Gradients for Human Detection*, 2005).

    image -> pyramid -> block grid per level -> linear template slid over it -> windows -> fusion

One template per class. The blocks of a level are normalised once and shared by all its windows, so
that a window's score is a correlation. Training mines hard negatives (``features.window_training``);
scores are probabilities, fitted on held-out images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from gazehound.boxes.formats import clip, xywh_to_xyxy
from gazehound.boxes.iou import pairwise
from gazehound.boxes.nms import nms
from gazehound.errors import CheckpointError, ConfigError, TrainingError, unknown_name
from gazehound.features.hog import Hog
from gazehound.features.linear_svm import Platt, fit_platt
from gazehound.features.pyramid import Level, byte_planes, pyramid_levels
from gazehound.features.window_fusion import fuse_by_grouping, fuse_by_mean_shift, whole_windows
from gazehound.features.window_scan import Hits, Raster, Template, scan
from gazehound.features.window_training import Rules, Shape, content_boxes, train_template
from gazehound.records import BoolArray, Classes, Detections, FloatArray, Sample
from gazehound.watching import Merging, Suppression, show

if TYPE_CHECKING:
    from gazehound.data import Dataset

Record = TypeVar("Record")
Fusion = Literal["nms", "mean-shift", "rectangles", "none"]
FUSIONS = ("nms", "mean-shift", "rectangles", "none")

LOWEST = -1.5  # the margin from which windows count while calibrating
RIGHT = 0.5  # IoU with an object from which a detection is right
HELD_OUT = 10  # every tenth image is kept from the SVM, for the calibration


class HogSvm:
    """A linear template on HOG blocks per class, behind the ``Fittable`` protocol.

    Args:
        classes: names and ids of the classes.
        window: (height, width) of the window in pixels; None: per class, from its boxes.
        hog: the descriptor, as keyword arguments of ``features.hog.Hog``.
        step: ratio of two pyramid scales.
        start: first pyramid scale; 0.5 magnifies twice, which finds objects half as large.
        stride: pixels between windows.
        pad: mirrored pixels around each level, so that windows can leave the image.
        fusion: ``nms``, ``mean-shift``, OpenCV's ``rectangles``, or ``none``.
        overlap: IoU above which NMS drops the weaker box; for ``rectangles`` and ``mean-shift``,
            the group threshold of OpenCV.
        threshold: the probability from which ``predict`` reports, when it is not told another.
        limit: the largest number of detections per image, the best ones.
        training: how templates are trained, as keyword arguments of ``window_training.Rules``.

    Raises:
        ConfigError: an argument is out of its range.
    """

    def __init__(
        self,
        classes: Classes,
        *,
        window: tuple[int, int] | None = None,
        hog: Mapping[str, Any] | None = None,
        step: float = 1.07,
        start: float = 0.5,
        stride: int = 8,
        pad: int = 16,
        fusion: Fusion = "nms",
        overlap: float = 0.4,
        threshold: float = 0.1,
        limit: int = 100,
        training: Mapping[str, Any] | None = None,
    ) -> None:
        if fusion not in FUSIONS:
            raise unknown_name("fusion", fusion, FUSIONS)
        if stride < 1 or pad < 0 or limit < 1 or step < 1 or start <= 0:
            raise ConfigError(
                "hog-svm needs stride, limit and step of at least 1, pad of at least 0 and a start "
                f"above 0; got {stride}, {limit}, {step}, {pad}, {start}"
            )
        self.classes = classes
        self.window = None if window is None else (int(window[0]), int(window[1]))
        self.hog = _record(Hog, hog, "hog")
        self.rules = _record(Rules, {"start": start, **(training or {})}, "training")
        if self.window and min(self.hog.blocks(self.window)) < 1:
            raise ConfigError(
                f"a window must hold a block of {self.hog.side} pixels; got {self.window}"
            )
        self.step, self.start = step, start
        self.raster = Raster(stride, pad)
        self.fusion, self.overlap = fusion, overlap
        self.threshold, self.limit = threshold, limit
        self.templates: tuple[Template, ...] = ()
        self.shapes: tuple[Shape, ...] = ()
        self.platt: tuple[Platt, ...] = ()

    def predict(
        self, images: Sequence[NDArray[np.uint8]], *, score: float | None = None
    ) -> list[Detections]:
        """Detect in images of any sizes; grey and 16-bit images are taken too.

        Args:
            images: each (H, W, 3) RGB, (H, W, 1) or (H, W).
            score: the lowest probability kept; None: the detector's ``threshold``.

        Raises:
            ConfigError: the detector has not been trained.
            ImageError: an image has another shape or type, or no pixels.
        """
        lowest = self.threshold if score is None else score
        margins = [max(platt.margin(lowest), LOWEST) for platt in self.platt]
        return [self._detect(image, margins) for image in images]

    def _detect(self, image: NDArray[np.uint8], margins: Sequence[float]) -> Detections:
        boxes, scores, labels = [], [], []
        for label, (own, margin) in enumerate(self.responses(image, margins)):
            boxes.append(own)
            scores.append(self.platt[label].probability(margin))
            labels.append(np.full(len(own), label, np.int64))
        all_scores = np.concatenate(scores)
        order = np.argsort(-all_scores, kind="stable")[: self.limit]
        height, width = image.shape[:2]
        return Detections(
            np.concatenate(boxes)[order],
            all_scores[order],
            np.concatenate(labels)[order],
            self.classes,
            (height, width),
        )

    def responses(
        self, image: NDArray[Any], threshold: float | Sequence[float] = 0.0
    ) -> list[tuple[FloatArray, FloatArray]]:
        """Return the fused boxes (N, 4) of each class and their raw margins (N,).

        Args:
            image: see :meth:`predict`.
            threshold: the smallest margin kept, one for all classes or one per class.
        """
        if not self.templates:
            raise ConfigError("this detector has no template yet: fit it, or load one")
        planes = byte_planes(image)
        size = (planes.shape[1], planes.shape[2])
        smallest = tuple(
            min(t.window[k] for t in self.templates) - 2 * self.raster.pad for k in range(2)
        )
        levels = pyramid_levels(
            size, (max(smallest[0], 1), max(smallest[1], 1)), self.step, self.start
        )
        found = scan(planes, self.hog, self.templates, levels, self.raster, threshold)
        return [self._fused(hits, levels, size, label) for label, hits in enumerate(found)]

    def _fused(
        self, hits: Hits, levels: Sequence[Level], size: tuple[int, int], label: int
    ) -> tuple[FloatArray, FloatArray]:
        """Turn the windows of a class into boxes, one per object, clipped to the image."""
        shape = self.shapes[label]
        if self.fusion in ("rectangles", "mean-shift"):
            windows, scales = whole_windows(hits, levels, shape.window)
            if self.fusion == "rectangles":
                boxes, margin = fuse_by_grouping(windows, hits.margin, self.overlap)
            else:
                boxes, margin = fuse_by_mean_shift(
                    windows, scales, hits.margin, shape.window, self.overlap
                )
            before, boxes = xywh_to_xyxy(windows.astype(np.float32)), clip(boxes, *size)
            show(Merging(clip(before, *size), hits.margin, boxes, margin, label))
            return boxes, margin
        boxes = clip(content_boxes(hits, levels, size, shape), *size)
        if self.fusion == "none":
            return boxes, hits.margin
        kept = nms(boxes, hits.margin, self.overlap)
        show(Suppression(boxes, hits.margin, np.full(len(boxes), label), kept, self.overlap))
        return boxes[kept], hits.margin[kept]

    def fit(self, dataset: Dataset, *, seed: int = 0, progress: bool = True) -> None:
        """Train a template per class, then calibrate the scores on every tenth image.

        Raises:
            TrainingError: a class has no box that fits its window, or there are no images.
        """
        if len(dataset) == 0:
            raise TrainingError("hog-svm cannot be trained on a data set without images")
        order = np.random.default_rng(seed).permutation(len(dataset)).tolist()
        count = len(order) // HELD_OUT
        held, rows = sorted(order[:count]), sorted(order[count:])
        rules = _record(Rules, {**vars(self.rules), "seed": seed}, "training")
        self.shapes = tuple(self._shape(dataset, label) for label in range(len(self.classes)))
        templates = []
        for label, name in enumerate(self.classes):
            shown = partial(_track, name, progress)
            templates.append(
                train_template(dataset, rows, label, self.shapes[label], self.hog, rules, shown)
            )
        self.templates = tuple(templates)
        self.platt = self._calibrated(dataset, held or rows, progress)

    def _shape(self, dataset: Dataset, label: int) -> Shape:
        boxes = dataset.boxes[(dataset.labels == label) & ~dataset.crowd]
        if not len(boxes):
            raise TrainingError(f"class '{self.classes.names[label]}' has no box to learn from")
        if self.window is None:
            return Shape.fitting(boxes, self.hog)
        return Shape.around(self.window, self.hog.cell).matched(boxes, self.rules.factor)

    def _calibrated(
        self, dataset: Dataset, rows: Sequence[int], progress: bool
    ) -> tuple[Platt, ...]:
        margins: list[list[FloatArray]] = [[] for _ in self.classes]
        right: list[list[BoolArray]] = [[] for _ in self.classes]
        for row in _track("all classes", progress, "calibration", rows):
            sample = dataset[row]
            assert sample.image is not None
            for label, (boxes, margin) in enumerate(self.responses(sample.image, LOWEST)):
                margins[label].append(margin)
                right[label].append(_is_right(boxes, sample, label))
        return tuple(
            fit_platt(np.concatenate(m), np.concatenate(r))
            for m, r in zip(margins, right, strict=True)
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the learned state: per class ``<label>.weights`` and ``<label>.numbers``."""
        out: dict[str, NDArray[Any]] = {}
        for label, (template, shape, platt) in enumerate(
            zip(self.templates, self.shapes, self.platt, strict=True)
        ):
            out[f"{label}.weights"] = template.weights
            out[f"{label}.shape"] = np.array([shape.window, shape.content], np.int64)
            out[f"{label}.scores"] = np.array([template.bias, platt.slope, platt.offset])
        return out

    def load_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take a learned state.

        Raises:
            CheckpointError: a class has no template, or its arrays do not fit the descriptor.
        """
        templates, shapes, platt = [], [], []
        for label, name in enumerate(self.classes):
            try:
                weights, sides, numbers = (
                    arrays[f"{label}.{part}"] for part in ("weights", "shape", "scores")
                )
            except KeyError as error:
                raise CheckpointError(f"the file has no {error} of class '{name}'") from None
            window, content = ((int(side[0]), int(side[1])) for side in sides)
            needed = (*self.hog.blocks(window), self.hog.length)
            if weights.shape != needed:
                raise CheckpointError(
                    f"class '{name}': a window of {window} needs weights {needed}; "
                    f"got {weights.shape}"
                )
            bias, slope, offset = (float(number) for number in numbers)
            templates.append(Template(window, weights.astype(np.float32), bias))
            shapes.append(Shape(window, content))
            platt.append(Platt(slope, offset))
        self.templates, self.shapes, self.platt = tuple(templates), tuple(shapes), tuple(platt)


def _record(kind: type[Record], values: Mapping[str, Any] | None, name: str) -> Record:
    """Build a record of options from keywords; ConfigError names the unknown one."""
    known = getattr(kind, "__dataclass_fields__")  # noqa: B009
    for key in values or {}:
        if key not in known:
            raise unknown_name(f"option of {name}", key, known)
    return kind(**(values or {}))


def _is_right(boxes: FloatArray, sample: Sample, label: int) -> BoolArray:
    """Return which boxes overlap an object of the class well enough."""
    own = sample.boxes[(sample.labels == label) & ~sample.crowd]
    if not len(own):
        return np.zeros(len(boxes), bool)
    return np.asarray(pairwise(boxes, own).max(axis=1) >= RIGHT)


def _track(name: str, shown: bool, text: str, work: Sequence[Any]) -> Any:
    return track(work, f"{name}: {text}", disable=not shown)


def hog_svm(classes: Classes, **options: Any) -> HogSvm:
    """Build an untrained detector; see :class:`HogSvm` for the options."""
    return HogSvm(classes, **options)


def hog_person(classes: Classes | None = None, **options: Any) -> HogSvm:
    """Build the detector of upright persons whose template ships with the package."""
    return HogSvm(classes or Classes(("person",)), **{"window": (128, 64), **options})
