"""Write a repaired copy of a data set, and one line in a report for everything that was changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gazehound.boxes.formats import area, clip
from gazehound.data.box_faults import box_masks, duplicate_rows, frames_of
from gazehound.data.check import Report
from gazehound.data.dataset import BoxTable, Dataset
from gazehound.data.faults import KINDS, Fault, Parsed
from gazehound.data.images import image_size
from gazehound.data.writing import write_dataset
from gazehound.errors import DataError
from gazehound.records import BoolArray, FloatArray

REPORT_FILE = "repairs.txt"
SINGLE_BOX = frozenset(
    {"box-not-finite", "box-inverted", "box-degenerate", "box-outside", "box-out-of-frame"}
)
DROPPED_IMAGES = frozenset({"image-missing", "image-damaged", "image-in-two-splits"})
EVERYWHERE = frozenset(
    {"image-missing", "image-damaged", "image-size-mismatch", "image-size-unturned"}
)
EXIF_ORIENTATION = 0x0112


@dataclass
class _Work:
    """One split while it is repaired.

    Attributes:
        parsed: the split as it came, which knows the files and lines.
        boxes: (N, 4) the boxes as they are now.
        sizes: (I, 2) the sizes as they are now.
        keep: (N,) boxes that stay.
        lines: what was done.
    """

    parsed: Parsed
    boxes: FloatArray
    sizes: NDArray[np.int64]
    keep: BoolArray
    lines: list[str] = field(default_factory=list)

    def log(self, code: str, where: str, message: str) -> None:
        self.lines.append(f"{where}: {code}: {message} -> {KINDS[code].repair}")

    def log_row(self, code: str, row: int) -> None:
        fault = self.parsed.fault(code, "", row=row)
        corners = ", ".join(f"{value:g}" for value in self.boxes[row].tolist())
        self.log(code, fault.where, f"({corners})")


def repair(
    report: Report,
    out: str | Path,
    images: str = "copy",
    progress: Callable[[], None] = lambda: None,
) -> list[str]:
    """Write a copy of a checked data set in which every repairable fault is repaired.

    The copy has the format of the original and holds ``repairs.txt``: one line per repair with the
    file and line of the original. What the table of faults gives no repair for is left as it is.

    Args:
        report: what the gate found; it must have checked every split that is to be written.
        out: a new or an empty folder.
        images: ``copy``, ``link`` or ``none``, see :func:`gazehound.data.write_dataset`.
        progress: called after each image that was written.

    Returns:
        The lines of ``repairs.txt``.

    Raises:
        DataError: no split could be read, or the classes cannot be told.
        ConfigError: the folder is not empty.
    """
    if not report.splits or any(fault.code == "class-none" for fault in report.faults):
        raise DataError(f"{report.located.path}: nothing to repair: no split with classes was read")
    lines = _parser_repairs(report)
    datasets = []
    for name, parsed in report.splits.items():
        dataset, done = _repair_split(parsed, _image_faults(report, name))
        datasets.append(dataset)
        lines += [line for line in done if line not in lines]
    told = write_dataset(_same_classes(datasets), out, report.located.format, images, progress)
    lines += [f"{report.located.path}: not held by the format: {line}" for line in told]
    text = "".join(f"{line}\n" for line in lines) or "nothing had to be repaired\n"
    (Path(out) / REPORT_FILE).write_text(text, encoding="utf-8")
    return lines


def _parser_repairs(report: Report) -> list[str]:
    """Return the lines of what is already mended by how the parser reads it."""
    elsewhere = SINGLE_BOX | DROPPED_IMAGES | {
        "box-duplicate", "image-size-mismatch", "image-size-unturned", "image-listed-twice",
    }  # fmt: skip
    return [
        f"{fault.where}: {fault.code}: {fault.message} -> {KINDS[fault.code].repair}"
        for fault in report.faults
        if KINDS[fault.code].repair and fault.code not in elsewhere
    ]


def _image_faults(report: Report, split: str) -> list[Fault]:
    """Return the faults of the images of a split, also those told for another that shares them."""
    dataset = report.splits[split].dataset
    image_of = {path: image for image, path in enumerate(dataset.paths())}
    return [
        fault if fault.split == split else replace(fault, image=image_of[fault.file])
        for fault in report.faults
        if fault.split == split or (fault.code in EVERYWHERE and fault.file in image_of)
    ]


def _same_classes(datasets: list[Dataset]) -> list[Dataset]:
    classes = max((dataset.classes for dataset in datasets), key=len)
    if any(dataset.classes.names != classes.names[: len(dataset.classes)] for dataset in datasets):
        raise DataError("the splits name different classes; repair them one at a time (--split)")
    return [replace(dataset, classes=classes) for dataset in datasets]


def _repair_split(parsed: Parsed, faults: list[Fault]) -> tuple[Dataset, list[str]]:
    dataset = parsed.dataset
    work = _Work(
        parsed, dataset.boxes.copy(), dataset.sizes.copy(), np.ones(len(dataset.boxes), bool)
    )
    for fault in faults:
        if fault.code in ("image-size-mismatch", "image-size-unturned"):
            _mend_size(work, fault)
    _mend_boxes(work)
    dropped = _dropped_images(work, faults)
    truths = replace(dataset.truths, boxes=work.boxes, area=_new_areas(dataset, work.boxes))
    mended = replace(dataset, images=replace(dataset.images, sizes=work.sizes), truths=truths)
    rows, earlier = duplicate_rows(mended)
    for row, first in zip(rows.tolist(), earlier.tolist(), strict=True):
        if work.keep[row] and work.keep[first]:
            work.log_row("box-duplicate", row)
            work.keep[row] = False
    kept = replace(mended, truths=mended.truths.take(work.keep))
    merged = _merge_listings(work, kept, faults)
    return merged.subset(np.flatnonzero(~dropped)), work.lines


def _merge_listings(work: _Work, dataset: Dataset, faults: list[Fault]) -> Dataset:
    """Return the data set in which the boxes of a file listed again belong to its first listing."""
    twice = [fault for fault in faults if fault.code == "image-listed-twice"]
    if not twice:
        return dataset
    owner = dataset.truths.owner()
    first = {file: image for image, file in reversed([*enumerate(dataset.files.tolist())])}
    for fault in twice:
        work.log(fault.code, fault.where, fault.message)
        owner[owner == fault.image] = first[str(dataset.files[fault.image])]
    table = dataset.truths
    columns = {name: getattr(table, name) for name in ("crowd", "difficult", "area", "ids")}
    merged = BoxTable.of(
        owner, table.boxes, table.labels, len(dataset), **columns, extras=table.extras
    )
    return replace(dataset, truths=merged)


def _new_areas(dataset: Dataset, boxes: FloatArray) -> FloatArray:
    """Return the area of every box that changed; the others keep theirs (a mask's, perhaps)."""
    changed = (boxes != dataset.boxes).any(axis=1)
    return np.where(changed, area(boxes), dataset.area).astype(np.float32)


def _mend_size(work: _Work, fault: Fault) -> None:
    """Take the size of the picture; where EXIF turned it, turn the boxes along."""
    file = work.parsed.dataset.image_path(fault.image)
    work.log(fault.code, fault.where, fault.message)
    work.sizes[fault.image] = image_size(file)
    if fault.code == "image-size-unturned":
        starts = work.parsed.dataset.starts
        rows = slice(starts[fault.image], starts[fault.image + 1])
        with Image.open(file) as image:
            orientation = image.getexif().get(EXIF_ORIENTATION, 1)
        height, width = work.sizes[fault.image].tolist()
        work.boxes[rows] = turn(work.boxes[rows], orientation, height, width)


def turn(boxes: FloatArray, orientation: int, height: int, width: int) -> FloatArray:
    """Turn boxes of the stored rows of a picture into its upright view.

    Args:
        boxes: (N, 4) ``xyxy`` in the picture as stored.
        orientation: EXIF 2.32, tag 274; 5 to 8 exchange the sides.
        height: of the upright picture, pixels.
        width: of the upright picture, pixels.
    """
    x1, y1, x2, y2 = boxes.T
    turned = {
        5: (y1, x1, y2, x2),
        6: (width - y2, x1, width - y1, x2),
        7: (width - y2, height - x2, width - y1, height - x1),
        8: (y1, height - x2, y2, height - x1),
    }[orientation]
    return np.stack(turned, axis=1).astype(np.float32)


def _mend_boxes(work: _Work) -> None:
    """Swap inverted sides, then drop what has no place in its image and clip what leaves it."""
    frames = _frames(work)
    inverted = box_masks(work.boxes, frames)["box-inverted"]
    for row in np.flatnonzero(inverted).tolist():
        work.log_row("box-inverted", row)
    low = np.minimum(work.boxes[:, :2], work.boxes[:, 2:])
    high = np.maximum(work.boxes[:, :2], work.boxes[:, 2:])
    work.boxes[inverted] = np.concatenate([low, high], axis=1)[inverted]
    masks = box_masks(work.boxes, frames)
    for code in ("box-not-finite", "box-degenerate", "box-outside"):
        for row in np.flatnonzero(masks[code]).tolist():
            work.log_row(code, row)
        work.keep &= ~masks[code]
    over = masks["box-out-of-frame"]
    for row in np.flatnonzero(over).tolist():
        work.log_row("box-out-of-frame", row)
    work.boxes[over] = clip(work.boxes[over], frames[over, 1], frames[over, 0])


def _frames(work: _Work) -> FloatArray:
    images = replace(work.parsed.dataset.images, sizes=work.sizes)
    return frames_of(replace(work.parsed, dataset=replace(work.parsed.dataset, images=images)))


def _dropped_images(work: _Work, faults: list[Fault]) -> BoolArray:
    dataset = work.parsed.dataset
    dropped = np.zeros(len(dataset), bool)
    for fault in faults:
        if fault.image >= 0 and fault.code == "image-listed-twice":
            dropped[fault.image] = True
        elif fault.image >= 0 and fault.code in DROPPED_IMAGES:
            count = int(dataset.starts[fault.image + 1] - dataset.starts[fault.image])
            message = f"{fault.message} ({count} boxes with it)"
            if not dropped[fault.image]:
                work.log(fault.code, fault.where, message)
            dropped[fault.image] = True
    return dropped
