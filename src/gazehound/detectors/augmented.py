"""Test-time augmentation: a detector that looks at mirror images and at other sizes, too.

It is made of another detector and is one itself. What the looks find is averaged by weighted box
fusion, or thinned out by class-aware non-maximum suppression.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gazehound.boxes.fusion import fuse
from gazehound.boxes.nms import batched_nms
from gazehound.detectors.detector import Detector
from gazehound.detectors.network import Network
from gazehound.errors import ConfigError, unknown_name
from gazehound.records import Detections

MERGES = ("wbf", "nms")
SCALES = (0.8, 1.0, 1.25)


class Augmented:
    """Detects on an image at several scales, each also mirrored, and merges what it finds.

    A network's input size is scaled; for any other detector the image is.

    Args:
        detector: what looks.
        scales: of the input; 1 is the detector's own.
        flip: look at the mirror image as well.
        merge: ``wbf``, weighted box fusion; or ``nms``, which leaves boxes and scores as they are.
        iou_threshold: two boxes of a class that overlap more are one object.

    Raises:
        ConfigError: a value is out of its range.
    """

    def __init__(
        self,
        detector: Detector,
        scales: Sequence[float] = SCALES,
        *,
        flip: bool = True,
        merge: str = "wbf",
        iou_threshold: float = 0.55,
    ) -> None:
        if not scales or min(scales) <= 0:
            raise ConfigError(f"scales must be one or more numbers above 0; got {tuple(scales)}")
        if merge not in MERGES:
            raise unknown_name("way of merging", merge, MERGES)
        if not 0 <= iou_threshold <= 1:
            raise ConfigError(f"iou_threshold must lie in 0..1; got {iou_threshold}")
        self.classes = detector.classes
        self.detector = detector
        self.scales = tuple(scales)
        self.flip = flip
        self.merge = merge
        self.iou_threshold = float(iou_threshold)

    @property
    def looks(self) -> int:
        """Return how often an image is looked at."""
        return len(self.scales) * (2 if self.flip else 1)

    def predict(
        self, images: Sequence[NDArray[np.uint8]], *, score: float | None = None
    ) -> list[Detections]:
        """Detect on (H, W, 3) uint8 RGB images; one record per image, best first.

        Raises:
            ConfigError: the detector finds more than boxes (keypoints, 3D), which nobody mirrors here,
                or is a network that one of the scales is too small for.
        """
        if not images:
            return []
        # a mean may pass where a single look does not: the threshold comes after averaging
        asked = None if self.merge == "wbf" else score
        by_look = [
            found
            for scale in self.scales
            for mirrored in ((False, True) if self.flip else (False,))
            for found in [self._look(images, scale, mirrored, asked)]
        ]
        merged = [self._merged(records) for records in zip(*by_look, strict=True)]
        return merged if score is None else [record.above(score) for record in merged]

    def _look(
        self, images: Sequence[NDArray[np.uint8]], scale: float, mirrored: bool, score: float | None
    ) -> list[Detections]:
        """Return what one look finds, in pixels of the images as they are."""
        sides = [(image.shape[0], image.shape[1]) for image in images]
        seen = [np.ascontiguousarray(image[:, ::-1]) if mirrored else image for image in images]
        detector = self.detector
        if scale != 1 and isinstance(detector, Network):
            detector = _at_scale(detector, scale)
        elif scale != 1:
            seen = [_resized(image, scale) for image in seen]
        try:
            found = detector.predict(seen, score=score)
        except RuntimeError as error:
            if scale == 1:
                raise
            reason = str(error).splitlines()[0]
            raise ConfigError(
                f"this network cannot look at {scale:g} times its input size: {reason}"
            ) from None
        return [
            _of_image(record, size, mirrored) for record, size in zip(found, sides, strict=True)
        ]

    def _merged(self, records: Sequence[Detections]) -> Detections:
        every = Detections.joined(records)
        if self.merge == "nms":
            keep = batched_nms(every.boxes, every.scores, every.labels, self.iou_threshold)
            return every.select(keep)
        boxes, scores, rows = fuse(
            every.boxes, every.scores, every.labels, self.looks, self.iou_threshold
        )
        return replace(every.select(rows), boxes=boxes, scores=scores)


def _at_scale(network: Network, scale: float) -> Network:
    """Return a network that shares all weights and sees images at another size."""
    own = network.preprocess
    size = own.size * scale
    if own.square or own.resize == "stretch":  # these want whole cells
        size = max(1, round(size / own.multiple)) * own.multiple
    twin = copy.copy(network)
    twin.preprocess = own.at_size(max(1, round(size)))
    return twin


def _resized(image: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    picture = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(picture)


def _of_image(record: Detections, size: tuple[int, int], mirrored: bool) -> Detections:
    """Return boxes of a scaled or mirrored look in pixels of the image."""
    if record.extras:
        raise ConfigError(
            "test-time augmentation mirrors and averages boxes; this detector also finds "
            + ", ".join(record.extras)
        )
    height, width = size
    shown = np.asarray([record.image_size[1], record.image_size[0]] * 2, np.float32)
    boxes = record.boxes * (np.asarray([width, height] * 2, np.float32) / shown)
    if mirrored:
        boxes = np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], 1)
    return replace(record, boxes=boxes.astype(np.float32), image_size=size)
