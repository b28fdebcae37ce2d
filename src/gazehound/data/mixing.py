"""Augmentations that put several pictures into one: mosaic, mixup, pasted objects."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from gazehound.boxes.iou import intersection_over_area
from gazehound.data.augment import Augment
from gazehound.data.chance import beta, happens, integer, uniform
from gazehound.data.distortion import distort, draw_matrix
from gazehound.data.preprocess import Preprocess
from gazehound.data.scene import Scene, canvas_of, together

Partner = Callable[[], Scene]
"""Draws another picture of the data set, at random."""

GREY = 114  # of empty canvas, where the preprocessing has no fill of its own; the YOLO line's grey
HIDDEN = 0.3  # a pasted object may cover no more of any other object
SMALLEST_PASTED = 8.0  # pixels; smaller objects are not pasted
TRIES = 5  # places tried for each pasted object


def compose(
    scene: Scene, augment: Augment, preprocess: Preprocess, partner: Partner
) -> tuple[Scene, bool]:
    """Paste, build a mosaic, distort, mix.

    Returns:
        The scene, and whether it has the size of the network input already.
    """
    if happens(augment.paste):
        scene = paste(scene, partner())
    fill = GREY if preprocess.fill is None else preprocess.fill
    if happens(augment.mosaic):
        size = preprocess.size
        tiles = _tiles(scene, partner, 9 if happens(augment.mosaic_nine) else 4)
        scene = mosaic(tiles, size, fill)
        matrix = draw_matrix(augment, scene.size, (size, size), augment.mosaic_scale)
        scene = distort(scene, matrix, (size, size), fill)
        if happens(augment.mixup):
            scene = mixup(scene, partner(), augment, fill)
        return scene, True
    if augment.distorts:
        target = preprocess.resized(*scene.size)
        fitted = scene.resized(*target)
        matrix = draw_matrix(augment, target, target, augment.scale)
        return distort(fitted, matrix, target, fill), True
    return scene, False


def _tiles(first: Scene, partner: Partner, count: int) -> list[Scene]:
    """Return the scene and its partners, the scene at a random place."""
    tiles = [partner() for _ in range(count - 1)]
    tiles.insert(integer(count), first)
    return tiles


def mosaic(tiles: Sequence[Scene], size: int, fill: int = GREY) -> Scene:
    """Lay four or nine pictures into a square of twice the input size (Bochkovskiy et al. 2020).

    Random cuts divide the square into 2 x 2 or 3 x 3 cells. Pictures touch the cuts: those of the
    outer cells are pushed against the inner ones, those of inner cells stand in the middle; each is
    cut to its cell. Four pictures have the input size (longer side); nine have two thirds of it.

    Args:
        tiles: 4 or 9 scenes, row by row.
        size: input size, pixels.
        fill: grey level between them.

    Returns:
        A scene of 2 ``size`` x 2 ``size``.
    """
    cells = 2 if len(tiles) == 4 else 3
    longest = size if cells == 2 else max(1, round(size * 2 / 3))
    columns, rows = _cuts(cells, size), _cuts(cells, size)
    canvas = canvas_of(2 * size, 2 * size, fill)
    placed = []
    for number, tile in enumerate(tiles):
        row, column = divmod(number, cells)
        fitted = _fit_longer(tile, longest)
        height, width = fitted.size
        x1, x2, y1, y2 = columns[column], columns[column + 1], rows[row], rows[row + 1]
        corner = (_start(column, cells, x1, x2, width), _start(row, cells, y1, y2, height))
        placed.append(fitted.onto(canvas, corner, (x1, y1, x2, y2)))
    return together(canvas, placed)


def _cuts(cells: int, size: int) -> list[int]:
    """Draw where the cells of one axis begin and end: each inner cut within half a cell's reach."""
    step = 2 * size / cells
    inner = [round(step * k + uniform(-0.5, 0.5) * step * (1 if cells == 2 else 0.5))
             for k in range(1, cells)]  # fmt: skip
    return [0, *inner, 2 * size]


def _start(index: int, cells: int, low: int, high: int, length: int) -> int:
    """Return where a picture begins in its cell."""
    if index == 0:
        return high - length
    return low if index == cells - 1 else low + (high - low - length) // 2


def _fit_longer(scene: Scene, longest: int, zoom: float = 1.0) -> Scene:
    height, width = scene.size
    scale = longest / max(height, width) * zoom
    return scene.resized(max(1, round(height * scale)), max(1, round(width * scale)))


def mixup(scene: Scene, other: Scene, augment: Augment, fill: int = GREY) -> Scene:
    """Lay another picture over the scene, half transparent (Zhang et al. 2018, as in YOLOX).

    The other picture is fitted to the scene, zoomed, flipped or not, and shifted or cropped at
    random. Both keep their boxes with full weight.

    Args:
        scene: keeps its size.
        other: what is laid over.
        augment: ``mixup_beta`` and ``mixup_scale``.
        fill: grey level around the other picture.
    """
    height, width = scene.size
    if happens(0.5):
        other = other.mirrored()
    fitted = _fit_longer(other, max(height, width), uniform(*augment.mixup_scale))
    corner = tuple(
        _shift(room - side) for room, side in ((width, fitted.size[1]), (height, fitted.size[0]))
    )
    canvas = canvas_of(height, width, fill)
    over = fitted.onto(canvas, (corner[0], corner[1]), (0, 0, width, height))
    weight = beta(augment.mixup_beta)
    mixed = Image.blend(Image.fromarray(scene.image), Image.fromarray(canvas), weight)
    return together(np.asarray(mixed), [scene, over])


def _shift(slack: int) -> int:
    """Return a random start: anywhere in the room there is, or a crop where there is none."""
    return integer(slack + 1) if slack >= 0 else -integer(-slack + 1)


def paste(scene: Scene, other: Scene) -> Scene:
    """Paste some objects of another picture, boxes with their contents (Dwibedi et al. 2017).

    Each object of the other picture takes part by the toss of a coin, keeps its size relative to its
    picture, and goes to the first of a few random places where it covers at most ``HIDDEN`` of any
    object that is there. What it covers is taken off the ``seen`` share of the others.

    Args:
        scene: what is pasted on; not changed.
        other: where the objects come from.
    """
    canvas = scene.image.copy()
    result = replace(scene, image=canvas)
    scale = max(scene.size) / max(other.size)
    for patch in _patches(other, scale):
        room = (scene.size[1] - patch.size[1], scene.size[0] - patch.size[0])
        if min(room) < 0:
            continue
        for _ in range(TRIES):
            x, y = (integer(side + 1) for side in room)
            frame = np.asarray([[x, y, x + patch.size[1], y + patch.size[0]]], np.float32)
            hidden = intersection_over_area(result.boxes, frame)  # N, against the one frame
            if (hidden <= HIDDEN).all():
                dimmed = replace(result, seen=result.seen * (1 - hidden))
                window = (x, y, x + patch.size[1], y + patch.size[0])
                result = together(canvas, [dimmed, patch.onto(canvas, (x, y), window)])
                break
    return result


def _patches(other: Scene, scale: float) -> Iterator[Scene]:
    """Yield the chosen objects of a picture, each cut out along whole pixels, at their new scale."""
    height, width = other.size
    for row in range(len(other.boxes)):
        if not happens(0.5):
            continue
        x1, y1 = np.floor(other.boxes[row, :2]).astype(int).clip(0)
        x2, y2 = np.ceil(other.boxes[row, 2:]).astype(int)
        x2, y2 = min(int(x2), width), min(int(y2), height)
        if min(x2 - x1, y2 - y1) * scale < SMALLEST_PASTED:
            continue
        only = np.arange(len(other.boxes)) == row
        shifted = other.boxes - np.asarray([x1, y1, x1, y1], np.float32)
        crop = replace(other, image=other.image[y1:y2, x1:x2], boxes=shifted).select(only)
        crop = crop.cut((0, 0, x2 - x1, y2 - y1))
        yield crop.resized(max(1, round((y2 - y1) * scale)), max(1, round((x2 - x1) * scale)))
