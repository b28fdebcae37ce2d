"""A procedural data set: coloured shapes on textured ground, for demos and learning tests.

Every picture is a function of the seed and its index and is drawn when it is asked for; nothing is
stored. Shapes overlap and are cut by the frame; a box is tight around the pixels of its shape that
can be seen, and a shape that is wholly hidden has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gazehound.data.dataset import BoxTable, Dataset, ImageTable
from gazehound.data.shapes_drawing import (
    OUTLINES,
    Stamp,
    background,
    colour,
    crop,
    distractors,
    paint,
    stamp,
)
from gazehound.errors import ConfigError, DataError, unknown_name
from gazehound.records import Classes, IntArray

SHAPES = tuple(OUTLINES)
DEFAULT_SHAPES = SHAPES[:6]
SPLITS = {"train": (400, 0), "val": (100, 1), "test": (100, 2)}  # count and seed
SMALLEST = 6.0  # pixels, diameter
ATTEMPTS = 12  # places tried for a shape before it is given up
HALF = 128  # coverage (of 255) from which a pixel belongs to a shape

Size = tuple[int, int]


@dataclass(frozen=True)
class Placed:
    """A shape in a picture.

    Attributes:
        label: its class.
        drawn: its pixels.
        box: (x1, y1, x2, y2) of those that can be seen; zeros when there are none.
        seen: share of its pixels that can be seen, 0..1.
    """

    label: int
    drawn: Stamp
    box: tuple[int, int, int, int]
    seen: float


@dataclass(frozen=True)
class Scenes:
    """Everything that pictures are drawn from; a call draws one. See :func:`shapes`.

    Attributes:
        seed: of all random choices.
        smallest: (height, width) of the smallest picture.
        largest: (height, width) of the largest picture.
        classes: names of the shapes, in the order of the labels.
        objects: fewest and most shapes in a picture that is not empty.
        scale: smallest and largest diameter, relative to the shorter side.
        hidden: share of a shape that others or the frame may hide.
        empty: share of pictures without any shape.
        clutter: most distractors in a picture.
    """

    seed: int
    smallest: Size
    largest: Size
    classes: tuple[str, ...]
    objects: tuple[int, int]
    scale: tuple[float, float]
    hidden: float
    empty: float
    clutter: int

    def __call__(self, index: int) -> NDArray[np.uint8]:
        """Return picture ``index``, (H, W, 3) uint8 RGB."""
        height, width, placed = self.layout(index)
        random = np.random.default_rng((self.seed, index, 1))
        image, ground = background(random, height, width)
        if self.clutter:
            image = distractors(random, image, int(random.integers(self.clutter + 1)), ground)
        light = random.uniform(0, 2 * np.pi)
        for shape in placed:
            paint(image, shape.drawn, colour(random, ground), light)
        return image

    def layout(self, index: int) -> tuple[int, int, list[Placed]]:
        """Return height, width and the shapes of picture ``index``, the lowest first."""
        random = np.random.default_rng((self.seed, index, 0))
        height, width = (
            int(random.integers(low, high + 1))
            for low, high in zip(self.smallest, self.largest, strict=True)
        )
        owner = np.full((height, width), -1, np.int16)
        labels, stamps, totals = [], [], np.zeros(0, np.int64)
        wanted = int(random.integers(self.objects[0], self.objects[1] + 1))
        for _ in range(0 if random.random() < self.empty else wanted):
            label = int(random.integers(len(self.classes)))
            found = self._place(random, label, owner, totals)
            if found is not None:
                labels.append(label)
                stamps.append(found)
                totals = np.append(totals, np.count_nonzero(found.cover >= HALF))
        placed = [
            Placed(label, drawn, *_visible(owner, place, drawn, int(totals[place])))
            for place, (label, drawn) in enumerate(zip(labels, stamps, strict=True))
        ]
        return height, width, placed

    def _place(
        self, random: np.random.Generator, label: int, owner: NDArray[np.int16], totals: IntArray
    ) -> Stamp | None:
        """Draw a shape on top where it hides no other too much, and note its pixels in ``owner``.

        Args:
            random: the source of chance.
            label: class of the shape.
            owner: (H, W) which shape is seen in each pixel, -1 for the ground; changed.
            totals: (k,) pixels of each shape below.
        """
        height, width = owner.shape
        low, high = (max(share * min(height, width), SMALLEST) for share in self.scale)
        for _ in range(ATTEMPTS):
            radius = 0.5 * float(np.exp(random.uniform(np.log(low), np.log(high))))
            centre = random.uniform(0, width), random.uniform(0, height)
            drawn = stamp(self.classes[label], centre, radius, random.uniform(0, 2 * np.pi))
            rows, columns, patch_rows, patch_columns = crop(drawn, height, width)
            solid = drawn.cover[patch_rows, patch_columns] >= HALF
            below = owner[rows, columns]
            if self._leaves_enough(drawn, solid, below, owner, totals):
                below[solid] = len(totals)
                return drawn
        return None

    def _leaves_enough(
        self,
        drawn: Stamp,
        solid: NDArray[np.bool_],
        below: NDArray[np.int16],
        owner: NDArray[np.int16],
        totals: IntArray,
    ) -> bool:
        """Tell whether a new shape is inside the frame enough and hides no other too much."""
        least = 1 - self.hidden
        inside = np.count_nonzero(solid)
        if inside == 0 or inside < least * np.count_nonzero(drawn.cover >= HALF):
            return False
        covered = np.bincount(below[solid] + 1, minlength=len(totals) + 1)[1:]
        for place in np.flatnonzero(covered):
            left = np.count_nonzero(owner == place) - covered[place]
            if left < least * totals[place]:
                return False
        return True


def _visible(
    owner: NDArray[np.int16], place: int, drawn: Stamp, total: int
) -> tuple[tuple[int, int, int, int], float]:
    """Return the box around the pixels of a shape that can be seen, and their share."""
    rows, columns, _, _ = crop(drawn, *owner.shape)
    mask = owner[rows, columns] == place
    ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(ys):
        return (0, 0, 0, 0), 0.0
    top, left = rows.start, columns.start
    box = (left + int(xs[0]), top + int(ys[0]), left + int(xs[-1]) + 1, top + int(ys[-1]) + 1)
    return box, np.count_nonzero(mask) / total


def shapes(
    count: int = 100,
    seed: int = 0,
    size: int | Size | tuple[Size, Size] = 256,
    classes: Sequence[str] = DEFAULT_SHAPES,
    *,
    objects: tuple[int, int] = (1, 8),
    scale: tuple[float, float] = (0.08, 0.5),
    hidden: float = 0.5,
    empty: float = 0.0,
    clutter: int = 6,
    split: str = "",
) -> Dataset:
    """Return a data set of procedural pictures, drawn on demand.

    Picture ``i`` depends on the seed, ``i`` and the options, never on ``count``.

    Args:
        count: number of pictures.
        seed: of all random choices.
        size: side in pixels, (height, width), or the smallest and the largest (height, width).
        classes: names out of ``SHAPES``, in the order of their labels.
        objects: fewest and most shapes in a picture; fewer where they do not fit.
        scale: smallest and largest diameter, relative to the shorter side.
        hidden: share of a shape that others or the frame may hide, 0..1; at 1 a shape may vanish,
            and then has no box.
        empty: share of pictures without any shape, 0..1.
        clutter: most distractors (lines, arcs, dots) in a picture.
        split: name of the split that this is to be.

    Raises:
        ConfigError: an option is unknown or out of its range.
    """
    smallest, largest = _size_range(size)
    for name in classes:
        if name not in OUTLINES:
            raise unknown_name("shape", name, OUTLINES)
    _check(count >= 0, "count must be 0 or more", count)
    _check(len(classes) > 0, "classes must name a shape", classes)
    _check(0 <= objects[0] <= objects[1], "objects must be (fewest, most)", objects)
    _check(0 < scale[0] <= scale[1], "scale must be (smallest, largest), above 0", scale)
    _check(0 <= hidden <= 1 and 0 <= empty <= 1, "hidden and empty lie in 0..1", (hidden, empty))
    scenes = Scenes(seed, smallest, largest, tuple(classes), objects, scale, hidden, empty, clutter)
    return _dataset(scenes, count, split)


def open_shapes(split: str | None = None) -> Dataset:
    """Return the data set behind the path ``shapes``: 400 train, 100 val and 100 test pictures.

    Raises:
        DataError: there is no such split, or none was chosen.
    """
    if split not in SPLITS:
        known = ", ".join(SPLITS)
        raise DataError(f"shapes has the splits {known}; got {split!r} (shapes:train, --split)")
    count, seed = SPLITS[split]
    return shapes(count, seed, split=split)


def _check(fine: bool, need: str, value: object) -> None:
    if not fine:
        raise ConfigError(f"{need}; got {value!r}")


def _size_range(size: int | Size | tuple[Size, Size]) -> tuple[Size, Size]:
    if isinstance(size, int):
        low = high = (size, size)
    elif isinstance(size[0], int):
        low = high = (size[0], int(size[1]))
    else:
        low, high = size
    fine = all(16 <= a <= b for a, b in zip(low, high, strict=True))
    _check(fine, "size must be a side, (height, width) or a range of these, 16 or more", size)
    return low, high


def _dataset(scenes: Scenes, count: int, split: str) -> Dataset:
    """Lay out every picture (without drawing it) and gather the columns."""
    sizes = np.zeros((count, 2), np.int64)
    owner: list[int] = []
    seen: list[Placed] = []
    for index in range(count):
        height, width, placed = scenes.layout(index)
        sizes[index] = height, width
        visible = [shape for shape in placed if shape.seen > 0]
        owner += [index] * len(visible)
        seen += visible
    truths = BoxTable.of(
        owner,
        [shape.box for shape in seen],
        [shape.label for shape in seen],
        count,
        extras={"visible": np.array([shape.seen for shape in seen], np.float32)},
    )
    files = np.array([f"{index:06d}.png" for index in range(count)], np.str_)
    images = ImageTable(
        Path("shapes"), files, np.arange(count, dtype=np.int64), sizes, render=scenes
    )
    return Dataset(Classes(scenes.classes), images, truths, "shapes", "shapes", split)
