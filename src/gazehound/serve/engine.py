"""The detector as the server uses it: lists of images in, a result or an error for each out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from gazehound.catalog import BY_NAME
from gazehound.checkpoints.native import Header
from gazehound.detectors.detector import Detector
from gazehound.errors import GazehoundError
from gazehound.records import Detections
from gazehound.serve.batching import Ask, Picture, Results
from gazehound.serve.candidates import Suppression, is_plain, loosened, suppression_of
from gazehound.serve.settings import Settings

log = logging.getLogger("gazehound.serve")


class Engine:
    """A detector and its twin without suppression; used by one thread at a time.

    Args:
        detector: finds the objects.
        header: what its checkpoint says.
        settings: how many candidates, from which score.

    Attributes:
        suppression: what the detector does with its candidates; ``plain`` only after
            :meth:`warm_up` has tried it.
    """

    def __init__(self, detector: Detector, header: Header, settings: Settings) -> None:
        self.detector, self.header, self.settings = detector, header, settings
        self.entry = BY_NAME.get(header.detector)
        self.suppression = Suppression(False)
        self._raw = detector

    @property
    def parameters(self) -> int | None:
        """Return the number of weights of a network."""
        parameters = getattr(self.detector, "parameters", None)
        return None if parameters is None else sum(p.numel() for p in parameters())

    def warm_up(self) -> None:
        """Detect on a made-up picture, so that no client waits for kernels that are compiled first.

        Raises:
            Exception: whatever the detector raises; it could not serve anybody.
        """
        picture = warm_up_picture()
        self.detector.predict([picture])
        if self._can_loosen(picture):
            self.suppression = suppression_of(self.detector)
            most, score = self.settings.candidates, self.settings.candidate_score
            self._raw = loosened(self.detector, score, most)
            self._raw.predict([picture], score=score)

    def _can_loosen(self, picture: Picture) -> bool:
        try:
            return is_plain(self.detector, picture)
        except Exception:  # it serves without candidates then
            log.exception("candidates before suppression cannot be had of this detector")
            return False

    def detect(self, ask: Ask, images: Sequence[Picture]) -> Results:
        """Find the objects of images; where a batch fails, each image is tried alone.

        Returns:
            For each image what was found, or the error that it raised.
        """

        def predict(chosen: Sequence[Picture]) -> list[Detections]:
            if not ask.candidates:
                return self.detector.predict(chosen, score=ask.score)
            score = self.settings.candidate_score if ask.score is None else ask.score
            return self._raw.predict(chosen, score=score)

        return _each(predict, images)


def _each(
    predict: Callable[[Sequence[Picture]], list[Detections]], images: Sequence[Picture]
) -> Results:
    try:
        return predict(images)
    except Exception as error:
        if len(images) == 1:
            if not isinstance(error, GazehoundError):
                log.exception("the detector failed on an image of shape %s", images[0].shape)
            return [error]
    return [_each(predict, [image])[0] for image in images]


def warm_up_picture() -> NDArray[np.uint8]:
    """Return a picture (192, 256, 3) with edges and texture at several scales."""
    rng = np.random.default_rng(0)
    picture = np.full((192, 256, 3), 118, np.uint8)
    for side in (96, 48, 24, 12):
        for _ in range(96 // side):
            y, x = int(rng.integers(0, 192 - side)), int(rng.integers(0, 256 - side))
            picture[y : y + side, x : x + side] = rng.integers(0, 256, 3, dtype=np.uint8)
    noise = rng.integers(-12, 13, picture.shape)
    return np.asarray(np.clip(picture + noise, 0, 255), np.uint8)
