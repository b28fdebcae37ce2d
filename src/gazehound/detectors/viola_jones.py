"""Viola-Jones (*Rapid Object Detection using a Boosted Cascade of Simple Features*, 2001; IJCV 2004).

    image -> grey -> integral images -> windows of every place and scale -> cascade -> grouping

One cascade per class. A cascade is trained from boxes, or from ready patches, by AdaBoost over all
Haar-like features (``features.cascade_training``); a window's score is the last stage's unthresholded
response, mapped from its possible range to 0..1 (the paper's own threshold of a strong classifier is
0.5 there). Cascades of OpenCV's files run here too (``checkpoints.opencv_cascade``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from gazehound.boxes.formats import clip, xywh_to_xyxy
from gazehound.boxes.nms import nms
from gazehound.errors import CheckpointError, ConfigError, TrainingError, unknown_name
from gazehound.features.background import ImageBackground, JoinedBackground, PatchBackground
from gazehound.features.cascade import Cascade
from gazehound.features.cascade_training import Background, CascadeRules, train_cascade
from gazehound.features.grey import crops, grey, resized
from gazehound.features.grouping import group_rectangles
from gazehound.features.scanning import Hits, scales_of, scan_images, scan_scales
from gazehound.records import Classes, Detections, FloatArray
from gazehound.watching import Merging, Suppression, show

if TYPE_CHECKING:
    from gazehound.data import Dataset

Scan = Literal["detector", "image"]
Grouping = Literal["rectangles", "nms", "none"]


class ViolaJones:
    """A cascade of boosted Haar-like features per class, behind the ``Fittable`` protocol.

    Args:
        classes: names and ids of the classes.
        window: (height, width) of the detector, pixels.
        scan: ``detector`` grows the detector (the paper), ``image`` shrinks the image (OpenCV).
        scale_step: ratio of two scales; None: 1.25 for ``detector``, 1.1 for ``image``.
        shift: pixels between windows at scale 1, for ``detector``.
        grouping: ``rectangles`` (OpenCV's), ``nms`` or ``none``.
        min_neighbors: for ``rectangles``, windows that a group must exceed.
        overlap: for ``nms``, IoU above which the weaker box is dropped.
        min_size: (height, width) of the smallest object looked for.
        limit: the largest number of detections per image, the best ones.
        training: how cascades are trained, as keyword arguments of ``CascadeRules``.

    Raises:
        ConfigError: an argument is out of its range.
    """

    def __init__(
        self,
        classes: Classes,
        *,
        window: tuple[int, int] = (24, 24),
        scan: Scan = "detector",
        scale_step: float | None = None,
        shift: float = 1.0,
        grouping: Grouping = "rectangles",
        min_neighbors: int = 3,
        overlap: float = 0.3,
        min_size: tuple[int, int] = (0, 0),
        limit: int = 100,
        training: Mapping[str, Any] | None = None,
    ) -> None:
        _need_known("scan", scan, ("detector", "image"))
        _need_known("grouping", grouping, ("rectangles", "nms", "none"))
        for name in training or {}:
            _need_known("option of training", name, tuple(CascadeRules.__dataclass_fields__))
        if (scale_step is not None and scale_step <= 1) or shift <= 0 or limit < 1:
            raise ConfigError(
                "viola-jones needs a scale_step over 1, a shift over 0 and a limit of 1 or more; "
                f"got {scale_step}, {shift} and {limit}"
            )
        self.classes = classes
        self.window = (int(window[0]), int(window[1]))
        self.scan, self.shift = scan, shift
        self.scale_step = scale_step or (1.25 if scan == "detector" else 1.1)
        self.grouping, self.min_neighbors, self.overlap = grouping, min_neighbors, overlap
        self.min_size = (int(min_size[0]), int(min_size[1]))
        self.limit = limit
        self.rules = CascadeRules(**(training or {}))
        self.cascades: tuple[Cascade, ...] = ()

    @classmethod
    def of_cascade(cls, cascade: Cascade, name: str = "object", **options: Any) -> ViolaJones:
        """Wrap a cascade, such as one of OpenCV's, which shrinks the image unless told otherwise."""
        options = {"window": cascade.window, "scan": "image", **options}
        detector = cls(Classes((name,)), **options)
        detector.cascades = (cascade,)
        return detector

    def predict(
        self, images: Sequence[NDArray[np.uint8]], *, score: float | None = None
    ) -> list[Detections]:
        """Detect in images of any sizes; grey and 16-bit images are taken too.

        Args:
            images: each (H, W, 3) RGB, (H, W, 1) or (H, W).
            score: the lowest score kept; None: every group of windows.

        Raises:
            ConfigError: the detector has not been trained.
            ImageError: an image has another shape or type, or no pixels.
        """
        return [self._detect(image, score) for image in images]

    def _detect(self, image: NDArray[Any], score: float | None) -> Detections:
        if not self.cascades:
            raise ConfigError("this detector has no cascade yet: fit it, or load one")
        pixels = grey(image)
        parts = [self._grouped(self.windows(pixels, c), c, pixels.shape) for c in self.cascades]
        boxes = np.concatenate([boxes for boxes, _ in parts])
        scores = np.concatenate([scores for _, scores in parts])
        labels = np.repeat(np.arange(len(parts)), [len(own) for own, _ in parts])
        order = np.argsort(-scores, kind="stable")
        if score is not None:
            order = order[scores[order] >= score]
        order = order[: self.limit]
        size = (pixels.shape[0], pixels.shape[1])
        return Detections(boxes[order], scores[order], labels[order], self.classes, size)

    def windows(self, pixels: NDArray[np.uint8], cascade: Cascade) -> Hits:
        """Return every window of a grey image (H, W) that the cascade lets through."""
        size = (pixels.shape[0], pixels.shape[1])
        scales = scales_of(cascade.window, size, self.scale_step, self.min_size)
        if self.scan == "image":
            return scan_images(cascade, pixels, scales)
        return scan_scales(cascade, pixels, scales, self.shift)

    def _grouped(
        self, hits: Hits, cascade: Cascade, size: Sequence[int]
    ) -> tuple[FloatArray, FloatArray]:
        """Merge the windows around each object; boxes ``xyxy``, clipped to the image, and scores."""
        low, high = cascade.response_range
        boxes = hits.boxes
        response = ((hits.response - low) / max(high - low, 1e-9)).astype(np.float32)
        before = clip(xywh_to_xyxy(boxes.astype(np.float32)), size[0], size[1])
        if self.grouping == "nms":
            kept = nms(before, response, self.overlap)
            groups = np.zeros(len(before), np.int64)
            show(Suppression(before, response, groups, kept, self.overlap))
            return before[kept], response[kept]
        if self.grouping == "none":
            return before, response
        boxes, best, _ = group_rectangles(boxes, response, self.min_neighbors)
        merged = clip(xywh_to_xyxy(boxes.astype(np.float32)), size[0], size[1])
        show(Merging(before, response, merged, best))
        return merged, best

    def fit(
        self,
        dataset: Dataset,
        *,
        seed: int = 0,
        progress: bool = True,
        state: str | Path | None = None,
    ) -> None:
        """Train a cascade per class: objects from its boxes, others from areas without any object.

        Args:
            dataset: images with boxes.
            seed: of every choice made by chance.
            progress: whether to show a progress bar.
            state: file (one per class, numbered) to write after every round and resume from.

        Raises:
            TrainingError: a class has too few boxes, or there is no area without objects.
        """
        if len(dataset) == 0:
            raise TrainingError("viola-jones cannot be trained on a data set without images")

        def pixels(row: int) -> NDArray[np.uint8]:
            image = dataset[row].image
            assert image is not None
            return grey(image)

        objects = tuple(dataset.annotations(row).boxes for row in range(len(dataset)))
        background = ImageBackground(pixels, objects, self.window)
        self.cascades = tuple(
            self._train(_crops(dataset, label, pixels, self.window), background, seed, progress,
                        state and Path(f"{state}.{label}"))
            for label in range(len(self.classes))
        )  # fmt: skip

    def fit_patches(
        self,
        objects: NDArray[np.uint8],
        others: NDArray[np.uint8],
        images: ImageBackground | None = None,
        *,
        seed: int = 0,
        progress: bool = True,
        state: str | Path | None = None,
        report: Callable[[str], Any] | None = None,
    ) -> None:
        """Train the one class from ready grey patches.

        Args:
            objects: (N, H, W) uint8, resized to the window.
            others: (M, H, W) uint8 without objects.
            images: more area without objects.
            seed: of every choice made by chance.
            progress: whether to show a progress bar.
            state: file to write after every round and resume from.
            report: receives one line per finished stage.
        """
        if len(self.classes) != 1:
            raise ConfigError(f"patches train one class; this detector has {len(self.classes)}")
        patches = PatchBackground(resized(others, self.window))
        background = JoinedBackground(patches, images) if images else patches
        found = resized(objects, self.window)
        place = state and Path(state)
        self.cascades = (self._train(found, background, seed, progress, place, report),)

    def _train(
        self,
        objects: NDArray[np.uint8],
        background: Background,
        seed: int,
        progress: bool,
        state: str | Path | None,
        report: Callable[[str], Any] | None = None,
    ) -> Cascade:
        return train_cascade(
            objects, background, self.rules, seed=seed, progress=progress,
            state=Path(state) if state else None, report=report,
        )  # fmt: skip

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the learned state, ``<label>.<array of the cascade>``."""
        return {
            f"{label}.{name}": array
            for label, cascade in enumerate(self.cascades)
            for name, array in cascade.arrays().items()
        }

    def load_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take a learned state.

        Raises:
            CheckpointError: a class has no cascade, or its arrays do not fit each other.
        """
        cascades = []
        for label, name in enumerate(self.classes):
            start = f"{label}."
            own = {
                key[len(start) :]: array for key, array in arrays.items() if key.startswith(start)
            }
            try:
                cascades.append(Cascade.from_arrays(own))
            except CheckpointError as error:
                raise CheckpointError(f"class '{name}': {error}") from None
        self.cascades = tuple(cascades)


def _need_known(what: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise unknown_name(what, value, known)


def _crops(
    dataset: Dataset,
    label: int,
    pixels: Callable[[int], NDArray[np.uint8]],
    window: tuple[int, int],
) -> NDArray[np.uint8]:
    """Cut out every box of the class that is neither a crowd nor difficult."""
    found = [np.zeros((0, *window), np.uint8)]
    for row in range(len(dataset)):
        sample = dataset.annotations(row)
        chosen = sample.boxes[(sample.labels == label) & ~sample.crowd & ~sample.difficult]
        if len(chosen):
            found.append(crops(pixels(row), chosen, window))
    return np.concatenate(found)


def viola_jones(classes: Classes, **options: Any) -> ViolaJones:
    """Build an untrained detector; see :class:`ViolaJones` for the options."""
    return ViolaJones(classes, **options)


def viola_jones_face(classes: Classes | None = None, **options: Any) -> ViolaJones:
    """Build the detector of frontal faces whose cascade ships with the package."""
    return ViolaJones(classes or Classes(("face",)), **{"window": (19, 19), **options})
