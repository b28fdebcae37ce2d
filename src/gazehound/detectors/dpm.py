"""Deformable part models (Felzenszwalb, Girshick, McAllester, Ramanan, PAMI 2010; voc-release5).

    image -> feature pyramid -> roots + deformed parts -> placements -> boxes -> suppression

One mixture of components per class. A component is a root filter and parts at twice its resolution;
its mirror image is a component too. Learning is a latent SVM over where the parts stand and which
component it is (``features.part_training``). The models of voc-release5 run here as well
(``checkpoints.voc_dpm``).

Scores are the SVM's margins m, mapped to 0..1 by 1 / (1 + exp(-2 m)): the order is theirs, 0.5 is the
decision boundary, but they are no calibrated probabilities.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from gazehound.boxes.formats import clip
from gazehound.errors import CheckpointError, ConfigError, TrainingError, unknown_name
from gazehound.features.dpm_features import FeaturePyramid, feature_pyramid, magnified
from gazehound.features.part_boxes import Boxes, PartsPlaced, filter_boxes, suppress_covered
from gazehound.features.part_cascade import cascade_level
from gazehound.features.part_model import PartModel
from gazehound.features.part_plan import Scene, TrainingPlan
from gazehound.features.part_training import Trainer
from gazehound.features.parts import Placements, find_placements
from gazehound.records import Classes, Detections, FloatArray
from gazehound.watching import Suppression, show

if TYPE_CHECKING:
    from gazehound.data import Dataset

STEEPNESS = 2.0  # of the map from margins to scores: margins of -1, 0 and 1 are 0.12, 0.5 and 0.88


class DPM:
    """A mixture of deformable part models per class, behind the ``Fittable`` protocol.

    Args:
        classes: names and ids of the classes.
        interval: pyramid levels per octave at detection.
        box_prediction: predict the box from the parts where the model can; else the root's window.
        cascade: give up early where parts cannot save the score, where the model is calibrated.
        overlap: a box is dropped when a better one covers more than this share of it.
        limit: the largest number of detections per image, the best ones.
        magnify: images are enlarged this many times first, which finds smaller objects.
        training: how to learn, as keyword arguments of ``features.part_plan.TrainingPlan``.

    Raises:
        ConfigError: an argument is out of its range.
    """

    def __init__(
        self,
        classes: Classes,
        *,
        interval: int = 10,
        box_prediction: bool = True,
        cascade: bool = False,
        overlap: float = 0.5,
        limit: int = 100,
        magnify: int = 1,
        training: Mapping[str, Any] | None = None,
    ) -> None:
        for name, value in (("interval", interval), ("limit", limit), ("magnify", magnify)):
            if value < 1:
                raise ConfigError(f"{name} must be at least 1; got {value}")
        if not 0 <= overlap <= 1:
            raise ConfigError(f"overlap must be in 0..1; got {overlap}")
        self.classes = classes
        self.interval = interval
        self.box_prediction = box_prediction
        self.cascade = cascade
        self.overlap = overlap
        self.limit = limit
        self.magnify = magnify
        self.plan = _plan(training or {})
        self.models: dict[int, PartModel] = {}

    def predict(
        self, images: Sequence[NDArray[np.uint8]], *, score: float | None = None
    ) -> list[Detections]:
        """Detect in images of any sizes; grey and 16-bit images are taken too.

        Args:
            images: each (H, W, 3), (H, W, 1) or (H, W).
            score: the lowest score kept, 0..1; None: each class's own threshold.

        Raises:
            ConfigError: the detector has not been trained.
            ImageError: an image has another shape, or no pixels.
        """
        if not self.models:
            raise ConfigError("this detector has no model yet: fit it, or load one")
        return [self._detect(image, score) for image in images]

    def _detect(self, image: NDArray[np.uint8], score: float | None) -> Detections:
        height, width = image.shape[:2]
        boxes, scores, labels = [], [], []
        for label, model in self.models.items():
            threshold = model.threshold if score is None else margin_of(score)
            own_boxes, margins = self._detect_class(image, label, threshold)
            boxes.append(own_boxes)
            scores.append(score_of(margins))
            labels.append(np.full(len(own_boxes), label, np.int64))
        all_scores = np.concatenate(scores)
        order = np.argsort(-all_scores, kind="stable")[: self.limit]
        return Detections(
            np.concatenate(boxes)[order].astype(np.float32),
            all_scores[order],
            np.concatenate(labels)[order],
            self.classes,
            (height, width),
        )

    def _detect_class(
        self, image: NDArray[Any], label: int, threshold: float
    ) -> tuple[Boxes, FloatArray]:
        """Return the boxes (N, 4) and margins (N,) of one class after suppression, best first."""
        model = self.models[label]
        if self.magnify > 1:
            image = magnified(image, self.magnify)
        pyramid, found = self.place(image, model, threshold)
        filters = filter_boxes(model.mixture, pyramid, found)
        boxes = clip(filters[:, 0], *pyramid.image_size)
        seen = _has_area(boxes)
        boxes, filters, found = boxes[seen], filters[seen], found.select(seen)
        if self.box_prediction and model.regression is not None:
            boxes = model.regression.predict(boxes, filters, found.components)
            boxes = clip(boxes, *pyramid.image_size)
            seen = _has_area(boxes)
            boxes, filters, found = boxes[seen], filters[seen], found.select(seen)
        kept = suppress_covered(boxes, found.scores, self.overlap)
        groups = np.full(len(boxes), label)
        show(PartsPlaced(label, model.mixture, pyramid, found, filters, boxes, self.magnify))
        show(Suppression(boxes / self.magnify, found.scores, groups, kept, self.overlap, True))
        return boxes[kept] / self.magnify, found.scores[kept]

    def place(
        self, image: NDArray[Any], model: PartModel, threshold: float
    ) -> tuple[FeaturePyramid, Placements]:
        """Return the pyramid of an image and every placement of a model above a margin."""
        mixture = model.mixture
        pyramid = feature_pyramid(image, mixture.cell, self.interval, mixture.padding)
        scorer = None
        if self.cascade and model.cascade is not None:
            scorer = partial(cascade_level, mixture, model.cascade, pyramid)
        return pyramid, find_placements(mixture, pyramid, threshold, scorer=scorer)

    def fit(self, dataset: Dataset, *, seed: int = 0, progress: bool = True) -> None:
        """Learn one mixture per class; see ``features.part_training`` for the stages.

        Crowds and difficult objects are not learned from, and are no background either.

        Raises:
            TrainingError: a class has too few objects, or none that is large enough.
        """
        models = {}
        for label, name in enumerate(self.classes):
            with _progress_line(name, progress) as report:
                trainer = Trainer(
                    self._scenes(dataset, label), self.plan, np.random.default_rng(seed), report
                )
                try:
                    models[label] = trainer.train()
                except TrainingError as error:
                    raise TrainingError(f"class '{name}': {error}") from None
        self.models = models

    def calibrate_cascade(self, dataset: Dataset, *, score: float | None = None) -> None:
        """Choose order and thresholds of the early exit from objects that the models find.

        Training does it by itself; imported models need it before ``cascade`` has an effect.

        Args:
            dataset: with objects of all classes.
            score: only objects found above it must survive, 0..1; the higher, the earlier the
                exits. None: each model's own threshold.

        Raises:
            TrainingError: a component finds no object of its class.
        """
        models = {}
        for label, model in self.models.items():
            plan = replace(self.plan, cell=model.mixture.cell, reach=model.mixture.reach)
            scenes = self._scenes(dataset, label)
            trainer = Trainer(scenes, plan, np.random.default_rng(0))
            models[label] = trainer.calibrated(
                model, model.threshold if score is None else margin_of(score)
            )
        self.models = models

    def _scenes(self, dataset: Dataset, label: int) -> list[Scene]:
        """Return the training images as one class sees them, magnified."""
        scenes = []
        for index in range(len(dataset)):
            sample = dataset.annotations(index)
            own = sample.labels == label
            learnable = own & ~sample.crowd & ~sample.difficult
            boxes = sample.boxes * np.float32(self.magnify)
            load = partial(_picture, dataset, index, self.magnify)
            scenes.append(Scene(load, boxes[learnable], boxes[own]))
        return scenes

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the models of all classes, by name: ``<label>.<array>``."""
        return {
            f"{label}.{name}": array
            for label, model in self.models.items()
            for name, array in model.to_arrays().items()
        }

    def load_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take the models of all classes.

        Raises:
            CheckpointError: a class has no model, or its arrays do not fit together.
        """
        models = {}
        for label, name in enumerate(self.classes):
            own = {
                key.removeprefix(f"{label}."): array
                for key, array in arrays.items()
                if key.startswith(f"{label}.")
            }
            if not own:
                raise CheckpointError(f"the file has no part model of class '{name}'")
            models[label] = PartModel.from_arrays(own)
        self.models = models


def _picture(dataset: Dataset, index: int, magnify: int) -> NDArray[Any]:
    image = dataset[index].image
    if image is None:
        raise TrainingError(f"image {index} of the data set has no picture")
    return image if magnify == 1 else magnified(image, magnify)


def _plan(options: Mapping[str, Any]) -> TrainingPlan:
    """Build the plan from keywords; ConfigError names the unknown one."""
    known = {field.name for field in fields(TrainingPlan)}
    for name in options:
        if name not in known:
            raise unknown_name("option of training", name, known)
    return TrainingPlan(**options)


@contextmanager
def _progress_line(name: str, shown: bool) -> Iterator[Callable[[str], None]]:
    """Give a function that shows what is being done, with a clock."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, disable=not shown, transient=True) as bar:
        task = bar.add_task(name)
        yield lambda text: bar.update(task, description=f"{name}: {text}")


def score_of(margin: FloatArray) -> FloatArray:
    """Return the scores 0..1 of margins."""
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-STEEPNESS * margin)), np.float32)


def margin_of(score: float) -> float:
    """Return the margin that has a score; scores of 0 and less, 1 and more are infinitely far."""
    if not 0 < score < 1:
        return -math.inf if score <= 0 else math.inf
    return math.log(score / (1 - score)) / STEEPNESS


def _has_area(boxes: Boxes) -> NDArray[np.bool_]:
    return np.asarray((boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]))


def dpm(classes: Classes, **options: Any) -> DPM:
    """Build an untrained detector; see :class:`DPM` for the options."""
    return DPM(classes, **options)
