"""Detectors whose answers can be foretold, and pictures that tell them apart."""

import io
import threading
import time
from pathlib import PurePath

import numpy as np
from PIL import Image

from gazehound.boxes.nms import batched_nms
from gazehound.checkpoints.native import Header
from gazehound.records import Classes, Detections

CLASSES = Classes(("cat", "dog", "red [fox]"), (3, 17, 90))
HEADER = Header("stub", {}, CLASSES)
SECRET = str(PurePath("/srv/secret/weights.safetensors"))  # must never reach a client


def png(image):
    stream = io.BytesIO()
    Image.fromarray(np.asarray(image, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def plain(colour, height=12, width=16):
    """A picture of one colour."""
    return np.full((height, width, 3), colour, np.uint8)


class ColourDetector:
    """Answers with numbers read from the image itself: its colour, its size."""

    classes = CLASSES

    def __init__(self, seconds=0.0):
        self.batches = []
        self.seconds = seconds
        self.started = threading.Event()

    def predict(self, images, *, score=None):
        self.batches.append(len(images))
        self.started.set()
        time.sleep(self.seconds)
        return [self.expected(image, score or 0.0) for image in images]

    @staticmethod
    def expected(image, score=0.0):
        height, width = image.shape[:2]
        red, green, blue = (float(value) for value in image[0, 0])
        rows = np.float32([[0, 0, width, height], [red, green, red + 1, green + blue]])
        found = Detections(rows, np.float32([0.9, 0.4]), np.array([0, 2]), CLASSES, (height, width))
        return found.above(score)


class MoodyDetector(ColourDetector):
    """Fails on red pictures, and is slow on green ones, until it is released."""

    def __init__(self, seconds=0.0):
        super().__init__(seconds)
        self.released = threading.Event()

    def predict(self, images, *, score=None):
        if any(image[0, 0, 0] == 255 and image[0, 0, 1] == 0 for image in images):
            raise RuntimeError(f"no red at {SECRET}")
        if any(tuple(image[0, 0]) == (0, 255, 0) for image in images):
            self.started.set()
            self.released.wait(self.seconds)
            return [self.expected(image) for image in images]
        return [self.expected(image, score or 0.0) for image in images]


class CrowdDetector:
    """Many overlapping boxes of three classes, then per-class NMS like the real ones."""

    classes = CLASSES

    def __init__(self, grouping="nms"):
        self.grouping, self.overlap, self.limit = grouping, 0.45, 60

    def predict(self, images, *, score=None):
        return [self._detect(image, score or 0.0) for image in images]

    def _detect(self, image, score):
        found = candidates(*image.shape[:2]).above(score)
        if self.grouping == "nms":
            found = found.select(batched_nms(found.boxes, found.scores, found.labels, self.overlap))
        return found.select(np.arange(min(self.limit, len(found))))


def candidates(height, width):
    """Clusters of jittered boxes, best first; the same for every image of a size."""
    rng = np.random.default_rng(height * 10_000 + width)
    centres = rng.uniform((0.2, 0.2), (0.8, 0.8), (6, 2)).repeat(12, axis=0)
    centres += rng.normal(0, 0.03, centres.shape)
    sides = rng.uniform(0.12, 0.3, (6, 2)).repeat(12, axis=0) * rng.uniform(0.8, 1.25, (72, 2))
    boxes = np.concatenate([centres - sides / 2, centres + sides / 2], 1).clip(0, 1)
    scores = np.sort(rng.uniform(0.03, 0.99, 72).astype(np.float32))[::-1].copy()
    return Detections(
        (boxes * [width, height, width, height]).astype(np.float32),
        scores, rng.integers(0, 3, 72), CLASSES, (height, width),
    )  # fmt: skip
