"""The work of ``gazehound data preview`` and ``gazehound data anchors``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gazehound.data import Dataset
from gazehound.data.anchor_shapes import (
    LearnedAnchors,
    input_shapes,
    learn_anchors,
    mean_best_iou,
)
from gazehound.data.batching import EpochOrder, TrainingSamples
from gazehound.data.preprocess import Preprocess
from gazehound.data.transforms import Prepared
from gazehound.errors import ConfigError
from gazehound.records import Classes
from gazehound.reports.drawing import Layer, draw
from gazehound.training.recipe import Recipe, make_recipe, read_recipe

GAP = 8  # pixels between pictures
COCO_ANCHORS: Mapping[int, Sequence[tuple[int, int]]] = {  # Redmon and Farhadi 2018, at 416 px
    9: ((10, 13), (16, 30), (33, 23), (30, 61), (62, 45), (59, 119), (116, 90), (156, 198), (373, 326)),
    6: ((10, 14), (23, 27), (37, 58), (81, 82), (135, 169), (344, 319)),
}  # fmt: skip


def preview_recipe(recipe: Path | None, path: str, changes: Mapping[str, Any]) -> Recipe:
    """Return the recipe whose augmentation is shown: a file's, or the defaults, with changes."""
    values = {"data": path, **changes}
    if recipe is None:
        return make_recipe({"model": "preview", "size": 416, **values}, where="options")
    base = read_recipe(recipe, **{k: v for k, v in values.items() if k != "augment"})
    augment = {**vars(base.augment), **changes.get("augment", {})}
    return make_recipe({**vars(base), "augment": augment}, where=str(recipe))


def write_preview(
    dataset: Dataset, recipe: Recipe, out: Path, *, count: int, columns: int, epoch: int
) -> int:
    """Draw augmented training pictures with their boxes into one image file.

    Args:
        dataset: what is drawn from.
        recipe: says how pictures are augmented and resized.
        out: the file.
        count: pictures shown; they are the first ones that a run would see in this epoch.
        columns: pictures side by side.
        epoch: counted from 0.

    Returns:
        The number of boxes drawn.

    Raises:
        ConfigError: the data set has no images, or the file cannot be written.
    """
    if not len(dataset):
        raise ConfigError(f"{dataset.name}: there are no images to show")
    plain = Preprocess(recipe.resize or "longer", recipe.size or 640, mean=(0, 0, 0), std=(1, 1, 1))
    samples = TrainingSamples(
        dataset, recipe.augment, plain, recipe.seed,
        calm_from=recipe.calm_from, on_unreadable=recipe.on_unreadable,
    )  # fmt: skip
    order = EpochOrder(len(dataset), 1, recipe.seed, recipe.sizes, 1, epoch=epoch)
    draws = [rows[0] for rows, _ in zip(order, range(count), strict=False)]
    shown = [samples[draw] for draw in draws]
    picture = _grid([_drawn(prepared, dataset.classes) for prepared in shown], columns)
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        Image.fromarray(picture).save(out)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{out}: cannot be written as a picture ({error})") from None
    return sum(len(prepared.boxes) for prepared in shown)


def _drawn(prepared: Prepared, classes: Classes) -> NDArray[np.uint8]:
    pixels = (prepared.pixels.permute(1, 2, 0) * 255).round().clamp(0, 255).byte().numpy()
    boxes, labels = prepared.boxes.numpy(), prepared.labels.numpy()
    return draw(np.ascontiguousarray(pixels), Layer(boxes, labels, classes))


def _grid(pictures: Sequence[NDArray[np.uint8]], columns: int) -> NDArray[np.uint8]:
    """Lay pictures out in rows, each in a cell of the largest one's size."""
    height, width = (max(p.shape[axis] for p in pictures) for axis in (0, 1))
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    canvas = np.full((rows * (height + GAP) + GAP, columns * (width + GAP) + GAP, 3), 255, np.uint8)
    for number, picture in enumerate(pictures):
        row, column = divmod(number, columns)
        y, x = GAP + row * (height + GAP), GAP + column * (width + GAP)
        canvas[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
    return canvas


def anchor_lines(
    dataset: Dataset, number: int, size: int, resize: str, generations: int, seed: int
) -> tuple[LearnedAnchors, list[str]]:
    """Learn anchors and say how well they fit.

    Returns:
        The anchors, and lines for people.
    """
    preprocess = replace(Preprocess(resize="longer"), resize=resize, size=size)
    shapes = input_shapes(dataset, preprocess)
    learned = learn_anchors(shapes, number, generations=generations, seed=seed)
    fits = [f"{learned.clustered:.3f} after k-means", f"{learned.evolved:.3f} after evolution"]
    if number in COCO_ANCHORS:
        usual = np.array(COCO_ANCHORS[number]) * (size / 416)
        fits.insert(0, f"{mean_best_iou(shapes, usual):.3f} of the usual ones (learned on COCO)")
    rounded = ", ".join(f"[{width:.0f}, {height:.0f}]" for width, height in learned.shapes)
    return learned, [
        f"{len(shapes)} boxes of {len(dataset)} images at {size} px ({resize})",
        f"anchors, width and height: [{rounded}]",
        f"mean best IoU: {', '.join(fits)}",
    ]
