"""Place a model on a known object: the best of all placements whose window overlaps its box enough.

The latent step of training (Felzenszwalb et al., PAMI 2010, section 4.4), as in voc-release5: the
image is cut half an object around the box, windows are clipped to it before they are compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gazehound.boxes.formats import area
from gazehound.features.dpm_features import FeaturePyramid, feature_pyramid, level_sizes
from gazehound.features.parts import Mixture, Placements, place_parts, score_level

Box = NDArray[np.float64]
Image = NDArray[np.uint8]
Masks = list[NDArray[np.bool_]]


@dataclass(frozen=True)
class Placed:
    """One placement on an object.

    Attributes:
        found: one row.
        pyramid: of the image around the object.
        box: (4,) the object's box in that image.
    """

    found: Placements
    pyramid: FeaturePyramid
    box: Box

    @property
    def component(self) -> int:
        """Return the component that was placed."""
        return int(self.found.components[0])

    @property
    def score(self) -> float:
        """Return its score."""
        return float(self.found.scores[0])


def place_object(
    mixture: Mixture, image: Image, box: Box, interval: int, overlap: float
) -> Placed | None:
    """Return the best placement on an object; None when no window overlaps its box enough.

    Args:
        mixture: the model.
        image: (H, W, 3) uint8.
        box: (4,) of the object.
        interval: pyramid levels per octave.
        overlap: the lowest IoU of window and box.
    """
    image, box = _cut_out(image, box)
    size = (image.shape[0], image.shape[1])
    shapes = level_sizes(size, mixture.cell, interval)
    masks = {
        level: _good_places(mixture, shape, size, box, 2 ** (level / interval), overlap)
        for level, shape in enumerate(shapes)
    }
    masks = {level: own for level, own in masks.items() if any(mask.any() for mask in own)}
    if not masks:
        return None
    pyramid = feature_pyramid(image, mixture.cell, interval, mixture.padding, only=masks.keys())
    each = [_best_of_level(mixture, pyramid, level, own) for level, own in masks.items()]
    found = Placements.joined([one for one in each if one is not None], mixture.part_count)
    return Placed(found.select(np.arange(1)), pyramid, box) if len(found) else None


def _best_of_level(
    mixture: Mixture, pyramid: FeaturePyramid, level: int, masks: Masks
) -> Placements | None:
    scored = score_level(mixture, pyramid, level)
    for scores, mask in zip(scored.scores, masks, strict=True):
        allowed = np.zeros(scores.shape, bool)
        allowed[: mask.shape[0], : mask.shape[1]] = mask
        scores[~allowed] = -np.inf
    place = np.unravel_index(int(scored.scores.argmax()), scored.scores.shape)
    if not np.isfinite(scored.scores[place]):
        return None
    return place_parts(mixture, pyramid, scored, np.array([place]))


def _cut_out(image: Image, box: Box) -> tuple[Image, Box]:
    """Return the image half an object around a box, and the box in it."""
    half = (box[2:] - box[:2]) / 2
    x1, y1 = np.maximum(np.round(box[:2] - half), 0).astype(int)
    x2, y2 = np.round(box[2:] + half).astype(int)
    cut = image[y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)]
    return cut, box - np.array([x1, y1, x1, y1])


def _good_places(
    mixture: Mixture,
    shape: tuple[int, int],
    image_size: tuple[int, int],
    box: Box,
    zoom: float,
    overlap: float,
) -> Masks:
    """Return, per component, the places of a level whose clipped window overlaps a box enough.

    Args:
        mixture: the model.
        shape: (height, width) of the shrunk image, pixels.
        image_size: (height, width) of the image.
        box: (4,).
        zoom: pixels of the image per pixel of the shrunk one.
        overlap: the lowest IoU.
    """
    masks = []
    for component in mixture.components:
        shared, own = np.ones((1, 1)), np.ones((1, 1))
        for axis in (0, 1):
            cells = max(int(shape[axis] / mixture.cell + 0.5) - 2, 0)
            length, padding = component.root.shape[axis], mixture.padding[axis]
            places = np.arange(max(cells + 2 * (padding + 1) - length + 1, 0)) - padding
            first = np.clip(places * mixture.cell * zoom, 0, image_size[axis])
            last = np.clip((places + length) * mixture.cell * zoom, 0, image_size[axis])
            inside = np.minimum(last, box[3 - axis]) - np.maximum(first, box[1 - axis])
            column = (slice(None), None) if axis == 0 else (None, slice(None))
            shared = shared * np.maximum(inside, 0)[column]
            own = own * (last - first)[column]
        union = own + area(box) - shared
        masks.append(shared >= overlap * np.maximum(union, 1e-9))
    return masks
