"""Write a data set in any of the four formats, images included."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from gazehound.data.dataset import Dataset
from gazehound.data.losses import losses
from gazehound.data.writers import Part, write_coco, write_kitti, write_voc, write_yolo
from gazehound.errors import ConfigError, ImageError, unknown_name

WRITERS: dict[str, Callable[[Sequence[Part], Path], None]] = {
    "coco": write_coco,
    "voc": write_voc,
    "yolo": write_yolo,
    "kitti": write_kitti,
}
IMAGE_FOLDERS = {
    "coco": "images",
    "voc": "JPEGImages",
    "yolo": "images",
    "kitti": "training/image_2",
}
IMAGE_MODES = ("copy", "link", "none")


def write_dataset(
    dataset: Dataset | Sequence[Dataset],
    path: str | Path,
    format: str,  # noqa: A002
    images: str = "copy",
    progress: Callable[[], None] = lambda: None,
) -> tuple[str, ...]:
    """Write a data set, or several splits of one, into a new folder.

    Boxes are written with as few decimals as give the same float32 values back. Images are put into
    one folder (YOLO: one per split); names that would collide get the name of their old folder in
    front. Procedural images are written as PNG.

    Args:
        dataset: one data set, or its splits.
        path: a folder that does not exist yet or is empty.
        format: ``coco``, ``voc``, ``yolo`` or ``kitti``.
        images: ``copy`` the files, make symbolic ``link``s to them, or ``none``.
        progress: called after each image.

    Returns:
        One line for everything that the format cannot hold.

    Raises:
        ConfigError: the format is unknown, the folder is not empty, or the splits do not belong
            together.
        ImageError: an image is missing.
        DataError: YOLO needs the size of an image, and it is not known.
    """
    datasets = (dataset,) if isinstance(dataset, Dataset) else tuple(dataset)
    root = Path(path)
    _check(datasets, root, format, images)
    parts = _place(datasets, per_split=format == "yolo")
    WRITERS[format](parts, root)
    if images != "none":
        _bring_images(parts, root / IMAGE_FOLDERS[format], images, progress)
    return _grouped({part.dataset.split: losses(part.dataset, format) for part in parts})


def _check(datasets: Sequence[Dataset], root: Path, wanted: str, images: str) -> None:
    if wanted not in WRITERS:
        raise unknown_name("data format", wanted, WRITERS)
    if images not in IMAGE_MODES:
        raise unknown_name("way to bring images", images, IMAGE_MODES)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise ConfigError(f"{root}: must be a new or an empty folder; nothing is overwritten")
    splits = [dataset.split for dataset in datasets]
    if not splits or len(set(splits)) < len(splits) or ("" in splits and len(splits) > 1):
        raise ConfigError(
            f"data sets that are written together need different splits; got {splits}"
        )
    if any(dataset.classes != datasets[0].classes for dataset in datasets):
        raise ConfigError("splits that are written together must have the same classes")


def _grouped(lines: dict[str, list[str]]) -> tuple[str, ...]:
    """Return each line once, with the splits that it is true of unless it is of all."""
    splits: dict[str, list[str]] = {}
    for split, told in lines.items():
        for line in told:
            splits.setdefault(line, []).append(split)
    return tuple(
        line if len(of) == len(lines) else f"{', '.join(of)}: {line}" for line, of in splits.items()
    )


def _place(datasets: Sequence[Dataset], per_split: bool) -> list[Part]:
    """Choose a file name for every image; one that is in several splits is placed once."""
    placed: dict[str, str] = {}
    taken: set[str] = set()
    parts = []
    for dataset in datasets:
        files: dict[str, None] = {}
        for index in range(len(dataset)):
            source = _source(dataset, index)
            if source not in placed or placed[source] in files:  # listed twice: a file for each
                folder = f"{dataset.split}/" if per_split and dataset.split else ""
                placed[source] = _free_name(Path(source), folder, taken)
                taken.add(placed[source].rsplit(".", 1)[0])
            files[placed[source]] = None
        parts.append(Part(dataset, list(files)))
    return parts


def _source(dataset: Dataset, index: int) -> str:
    path = dataset.image_path(index)
    if dataset.images.render is not None:
        return str(Path(dataset.split) / path.name)
    return os.path.abspath(path)  # noqa: PTH100  (resolve() would follow links and lose the name)


def _free_name(source: Path, folder: str, taken: set[str]) -> str:
    """Return a file name whose stem is not taken yet."""
    stem = source.stem
    if f"{folder}{stem}" in taken:
        stem = f"{source.parent.name}_{stem}"
    number = 2
    name = stem
    while f"{folder}{name}" in taken:
        name, number = f"{stem}_{number}", number + 1
    return f"{folder}{name}{source.suffix}"


def _bring_images(
    parts: Sequence[Part], folder: Path, how: str, progress: Callable[[], None]
) -> None:
    for part in parts:
        folder.mkdir(parents=True, exist_ok=True)
        for index, file in enumerate(part.files):
            target = folder / file
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                _bring(part.dataset, index, target, how)
            progress()


def _bring(dataset: Dataset, index: int, target: Path, how: str) -> None:
    if dataset.images.render is not None:
        Image.fromarray(dataset.images.render(dataset.image_ids[index].item())).save(target)
        return
    source = dataset.image_path(index)
    if not source.is_file():
        raise ImageError(f"{source}: no such file")
    if how == "link":
        target.symlink_to(source.absolute())
    else:
        shutil.copyfile(source, target)
