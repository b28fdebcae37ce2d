"""A detector that looks at a large image tile by tile, so that small objects are seen at full size.

It is made of another detector and is one itself (Unel et al. 2019, "The Power of Tiling"; Akyon et al.
2022 call it slicing aided inference). How the tiles' boxes become one list is said in
:mod:`gazehound.boxes.tiles`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gazehound.boxes.tiles import merge_tiles, tile_grid
from gazehound.detectors.detector import Detector
from gazehound.errors import ConfigError
from gazehound.records import Detections


class Tiled:
    """Detects on overlapping tiles, and on the whole image for what is larger than they are.

    Args:
        detector: what looks at each of them.
        tile: side of the square tiles, pixels; an image that is no larger is looked at as it is.
        overlap: share of a tile that its neighbour also sees; larger than the objects is best.
        whole: look at the whole image as well, as the detector reduces it.
        batch: tiles that it is given together.
        iou_threshold: two boxes of a class, of different tiles, that overlap more are one object.

    Raises:
        ConfigError: a value is out of its range.
    """

    def __init__(
        self,
        detector: Detector,
        tile: int = 640,
        overlap: float = 0.2,
        *,
        whole: bool = True,
        batch: int = 1,
        iou_threshold: float = 0.5,
    ) -> None:
        tile_grid((1, 1), tile, float(overlap))  # says at once what is wrong with them
        if batch < 1:
            raise ConfigError(f"batch must be at least 1; got {batch}")
        self.classes = detector.classes
        self.detector = detector
        self.tile = tile
        self.overlap = float(overlap)
        self.whole = whole
        self.batch = batch
        self.iou_threshold = float(iou_threshold)

    def predict(
        self, images: Sequence[NDArray[np.uint8]], *, score: float | None = None
    ) -> list[Detections]:
        """Detect on (H, W, 3) uint8 RGB images; one record per image, best first."""
        return [self._predict_one(image, score) for image in images]

    def _predict_one(self, image: NDArray[np.uint8], score: float | None) -> Detections:
        height, width = image.shape[:2]
        tiles = tile_grid((height, width), self.tile, self.overlap)
        if len(tiles) == 1:
            return self.detector.predict([image], score=score)[0]
        if self.whole:
            tiles = np.concatenate([tiles, [[0, 0, width, height]]])
        found = self._look(image, tiles, score)
        seen_in = np.repeat(np.arange(len(tiles)), [len(record) for record in found])
        every = Detections.joined(found)
        boxes, rows = merge_tiles(
            every.boxes, every.scores, every.labels, seen_in, tiles, self.iou_threshold
        )
        return replace(every.select(rows), boxes=boxes)

    def _look(
        self, image: NDArray[np.uint8], tiles: NDArray[np.int64], score: float | None
    ) -> list[Detections]:
        """Return what is found in each tile, in pixels of the image."""
        size = (image.shape[0], image.shape[1])
        found: list[Detections] = []
        for start in range(0, len(tiles), self.batch):
            places = tiles[start : start + self.batch].tolist()
            crops = [np.ascontiguousarray(image[y1:y2, x1:x2]) for x1, y1, x2, y2 in places]
            records = self.detector.predict(crops, score=score)
            found += [
                _moved(record, place, size) for record, place in zip(records, places, strict=True)
            ]
        return found


def _moved(record: Detections, tile: Sequence[int], size: tuple[int, int]) -> Detections:
    """Return what was found in a tile in pixels of the whole image, keypoints too."""
    corner = np.asarray(tile[:2], np.float32)
    extras = dict(record.extras)
    if "keypoints" in extras:
        points = extras["keypoints"].copy()
        points[..., :2] += corner
        extras["keypoints"] = points
    return replace(record, boxes=record.boxes + np.tile(corner, 2), image_size=size, extras=extras)
