"""Selective search (Uijlings, van de Sande, Gevers, Smeulders 2013, *Selective Search for Object
Recognition*): boxes that may hold an object, whatever its class.

    image -> colour space -> superpixels -> most similar neighbours join, again and again -> boxes

Every region on the way from superpixels to the whole image gives a box. Objects differ in what holds
them together, so the same is done in several colour spaces, from several superpixels and by several
measures of similarity, and the boxes are put together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gazehound.errors import ConfigError, unknown_name
from gazehound.features.colour_spaces import SPACES, in_space
from gazehound.features.threads import in_threads
from gazehound.kernels import region_grouping as grouping
from gazehound.kernels import superpixels
from gazehound.records import FloatArray, IntArray
from gazehound.watching import show

COLOUR_BINS = 25
PARTS = "CTSF"  # colour, texture, size, fill


@dataclass(frozen=True)
class Mode:
    """What is varied: every colour space with every scale and every measure.

    Attributes:
        spaces: names of colour spaces.
        measures: each some of the letters C (colour), T (texture), S (size), F (fill).
        scales: ``k`` of the superpixels.
    """

    spaces: tuple[str, ...]
    measures: tuple[str, ...]
    scales: tuple[float, ...]


MODES: Mapping[str, Mode] = {
    "single": Mode(("hsv",), ("CTSF",), (100,)),
    "fast": Mode(("hsv", "lab"), ("CTSF", "TSF"), (50, 100)),
    "quality": Mode(
        ("hsv", "lab", "rgi", "hue", "intensity"), ("CTSF", "TSF", "F", "S"), (50, 100, 150, 300)
    ),
}
"""The paper's Table 5."""


@dataclass(frozen=True)
class Hierarchy:
    """One grouping of an image, from superpixels to the whole.

    Attributes:
        labels: (H, W) int32 superpixel of each pixel.
        boxes: (N, 4) ``xyxy`` of all regions: the R superpixels, then each new one in its order.
        made: (N - R, 2) the two regions that each new one was made of.
    """

    labels: NDArray[np.int32]
    boxes: IntArray
    made: IntArray


@dataclass(frozen=True)
class Searched:
    """The step that a selective search shows.

    Attributes:
        image: (H, W, 3) uint8 that was searched.
        hierarchies: every grouping of it.
        boxes: (N, 4) the proposals, the most promising first.
    """

    image: NDArray[np.uint8]
    hierarchies: list[Hierarchy]
    boxes: FloatArray


@dataclass(frozen=True)
class SelectiveSearch:
    """Proposes boxes by selective search; a ``Proposer``.

    Attributes:
        mode: ``single``, ``fast`` or ``quality``, or a :class:`Mode` of your own.
        smallest: boxes with a side under this many pixels are left out (R-CNN: 20, at 500 pixels width).
        sigma: of the Gaussian that smooths an image before superpixels, pixels.
        region: pixels that a superpixel has at least; ``None``: as many as the scale ``k`` says, as the
            published code has it.
        connected: 4 or 8 neighbours of a pixel.
        seed: of the random part of the order.
        even: how evenly large and small regions come; 0 is the paper's order, large ones first.

    Raises:
        ConfigError: a value is unknown or out of its range.
    """

    mode: str | Mode = "fast"
    smallest: float = 10.0
    sigma: float = 0.8
    region: int | None = 100
    connected: int = 8
    seed: int = 0
    even: float = 0.5

    def __post_init__(self) -> None:
        if isinstance(self.mode, str) and self.mode not in MODES:
            raise unknown_name("mode of selective search", self.mode, MODES)
        for space in self.plan.spaces:
            if space not in SPACES:
                raise unknown_name("colour space", space, SPACES)
        for measure in self.plan.measures:
            if not measure or set(measure) - set(PARTS):
                raise ConfigError(f"a measure is made of the letters {PARTS}; got '{measure}'")
        if self.connected not in (4, 8):
            raise ConfigError(f"connected must be 4 or 8; got {self.connected}")
        for name in ("sigma", "smallest", "even"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must not be negative; got {getattr(self, name)}")

    @property
    def plan(self) -> Mode:
        """Return the mode's spaces, measures and scales."""
        return MODES[self.mode] if isinstance(self.mode, str) else self.mode

    def propose(self, image: NDArray[np.uint8], limit: int = 2000) -> FloatArray:
        """Return boxes (N, 4) ``xyxy`` float32 in pixels of the image, the most promising first.

        A region's place in its hierarchy, counted from the whole image, times a random number gives
        its rank (section 3.3): large regions come early, but not all of them before all small ones.
        ``even`` adds that part of all places to each, which gives small ones a better chance among the
        first thousand. The same image gives the same boxes.

        Args:
            image: (H, W, 3) uint8 RGB.
            limit: the most boxes.

        Raises:
            ImageError: the image is not (H, W, 3) uint8, or has no pixels.
        """
        random = np.random.default_rng(self.seed)
        boxes, ranks = [], []
        hierarchies = self.hierarchies(image)
        for hierarchy in hierarchies:
            count = len(hierarchy.boxes)
            boxes.append(hierarchy.boxes)
            places = np.arange(count, 0, -1) + self.even * count
            ranks.append(random.random(count) * places)
        found = np.concatenate(boxes)[np.argsort(np.concatenate(ranks), kind="stable")]
        sides = found[:, 2:] - found[:, :2]
        found = found[(sides >= self.smallest).all(axis=1)]
        _, first = np.unique(found, axis=0, return_index=True)
        chosen = found[np.sort(first)[:limit]].astype(np.float32)
        show(Searched(image, hierarchies, chosen))
        return chosen

    def hierarchies(self, image: NDArray[np.uint8]) -> list[Hierarchy]:
        """Return every grouping of the image: space by space, scale by scale, measure by measure."""
        looks = in_threads(lambda space: self._look(image, space), self.plan.spaces)
        tasks = [(look, k) for look in looks for k in self.plan.scales]
        return [one for some in in_threads(lambda task: self._group(*task), tasks) for one in some]

    def _look(self, image: NDArray[np.uint8], space: str) -> _Look:
        """Compute what does not depend on the scale of the superpixels."""
        planes = in_space(image, space)
        smooth = superpixels.correlate_separable(planes, *[gaussian(self.sigma)] * 2)
        bell, slope = gaussian(1.0), gaussian_slope(1.0)
        across = superpixels.correlate_separable(planes, bell, slope)
        down = superpixels.correlate_separable(planes, slope, bell)
        colours = np.minimum(planes * np.float32(COLOUR_BINS / 256), COLOUR_BINS - 1)
        return _Look(
            superpixels.edges_of(smooth, self.connected // 2),
            colours.astype(np.uint8),
            grouping.texture_codes(across, down),
        )

    def _group(self, look: _Look, k: float) -> list[Hierarchy]:
        """Cut the image into superpixels at one scale and group them by every measure."""
        shape = look.colours.shape[1:]
        smallest = int(k) if self.region is None else self.region
        labels, count = superpixels.segment(look.edges, shape, self.connected // 2, k, smallest)
        sizes, boxes = grouping.measure_regions(labels, count)
        pairs = np.stack(np.divmod(np.unique(grouping.touching(labels, count)), count), axis=1)
        colour = grouping.count_codes(look.colours, labels, count, COLOUR_BINS).reshape(count, -1)
        texture = grouping.texture_histograms(look.textures, labels, count)
        colour /= colour.sum(axis=1, keepdims=True)
        texture /= texture.sum(axis=1, keepdims=True)
        hierarchies = []
        for measure in self.plan.measures:
            parts = tuple(letter in measure for letter in PARTS)
            grown, made = grouping.group_regions(
                sizes, boxes, colour, texture, pairs, parts, labels.size
            )
            hierarchies.append(Hierarchy(labels, grown, made))
        return hierarchies


@dataclass(frozen=True)
class _Look:
    """An image in one colour space.

    Attributes:
        edges: between pixels, from light to heavy.
        colours: (C, H, W) bins.
        textures: (C * 4, H, W) codes.
    """

    edges: NDArray[np.uint64]
    colours: NDArray[np.uint8]
    textures: NDArray[np.uint8]


def gaussian(sigma: float) -> FloatArray:
    """Return the weights of a Gaussian, cut at four sigma; a single 1 for sigma 0.

    The length, ``round(8 sigma + 1)`` made odd, is the one OpenCV takes for floats.
    """
    if sigma == 0:
        return np.ones(1, np.float32)
    radius = (round(8 * sigma + 1) | 1) // 2
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return np.asarray(weights / weights.sum(), np.float32)


def gaussian_slope(sigma: float) -> FloatArray:
    """Return weights whose correlation is the derivative of the smoothed row."""
    bell = gaussian(sigma)
    radius = len(bell) // 2
    return (np.arange(-radius, radius + 1, dtype=np.float32) / sigma**2 * bell).astype(np.float32)


def segment(
    image: NDArray[np.uint8],
    k: float = 100,
    *,
    space: str = "rgb",
    sigma: float = 0.8,
    smallest: int = 100,
    connected: int = 8,
) -> NDArray[np.int32]:
    """Return the superpixels (H, W) int32 of an image; see :mod:`gazehound.kernels.superpixels`.

    Args:
        image: (H, W, 3) uint8 RGB.
        k: scale: larger makes larger superpixels.
        space: colour space.
        sigma: of the Gaussian that smooths first, pixels.
        smallest: pixels that a superpixel has at least.
        connected: 4 or 8 neighbours of a pixel.
    """
    search = SelectiveSearch(Mode((space,), ("S",), (k,)), 0, sigma, smallest, connected)
    return search.hierarchies(image)[0].labels


def recall(
    proposals: Sequence[FloatArray], truths: Sequence[FloatArray], iou: float = 0.5
) -> tuple[float, float]:
    """Return the share of truths that some proposal overlaps by ``iou``, and the mean best overlap.

    Args:
        proposals: (P_i, 4) boxes of each image.
        truths: (T_i, 4) boxes of each image.
        iou: what counts as found.
    """
    from gazehound.boxes.iou import pairwise

    best = [
        pairwise(own, boxes).max(axis=1) if len(boxes) else np.zeros(len(own), np.float32)
        for boxes, own in zip(proposals, truths, strict=True)
    ]
    overlaps = np.concatenate(best) if best else np.zeros(0, np.float32)
    if not len(overlaps):
        return float("nan"), float("nan")
    return float((overlaps >= iou).mean()), float(overlaps.mean())
