"""KITTI object labels: https://www.cvlibs.net/datasets/kitti/eval_object.php, the devkit's readme.

One text file per image with 15 columns (16 with a score): type, truncated, occluded, alpha, left,
top, right, bottom (0-based continuous pixels), height, width, length, x, y, z, rotation_y.

``DontCare`` marks a region that nobody labelled; it is no class. Here such a region is a crowd row:
``crowd`` and ``extras["dontcare"]`` are true and its label, which says nothing, is 0. Training
leaves crowd rows out, and the KITTI protocol reads ``dontcare``; the writer gives it back.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gazehound.data.faults import Parsed
from gazehound.data.folders import (
    by_stem,
    class_file,
    image_files,
    lines_of,
    named_splits,
    sizes_of,
    text_of,
)
from gazehound.data.rows import Raw, Rows
from gazehound.errors import DataError
from gazehound.records import Classes

KITTI_CLASSES = (
    "Car", "Van", "Truck", "Pedestrian", "Person_sitting", "Cyclist", "Tram", "Misc",
)  # fmt: skip
DONT_CARE = "DontCare"
COLUMNS = (
    "truncated", "occluded", "alpha", "left", "top", "right", "bottom", "height", "width",
    "length", "x", "y", "z", "rotation_y", "score",
)  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """Where a KITTI data set keeps its things.

    Attributes:
        root: the folder that was opened.
        labels: the folder of the label files.
        images: the folder of the images.
        splits: image lists by name of the split; empty when there are none.
    """

    root: Path
    labels: Path
    images: Path
    splits: dict[str, Path]


def find(root: Path) -> Layout | None:
    """Return the layout of a KITTI data set, None if the folder does not look like one."""
    for base in (root / "training", root):
        labels, images = base / "label_2", base / "image_2"
        if labels.is_dir():
            lists = [p for d in (root, base) for p in sorted((d / "ImageSets").glob("*.txt"))]
            named = {path.stem: path for path in lists}
            splits = {short: named[name] for short, name in named_splits(named).items()}
            return Layout(root, labels, images, splits)
    return None


def stems_of(layout: Layout, split: str) -> list[str]:
    """Return the image names of a split; for the empty split, of every image and label file."""
    if split:
        return lines_of(layout.splits[split])
    stems = {path.stem for path in layout.labels.glob("*.txt")}
    return sorted(stems | set(by_stem(image_files(layout.images))))


def read_classes(layout: Layout) -> Classes:
    """Return the classes of all label files: in KITTI's order, then any others by name."""
    given = class_file(layout.root)
    if given is not None:
        return Classes(given)
    found = {
        line.split(maxsplit=1)[0]
        for file in layout.labels.glob("*.txt")
        for line in text_of(file).splitlines()
        if line.strip()
    } - {DONT_CARE}
    others = sorted(found - set(KITTI_CLASSES))
    return Classes((*(name for name in KITTI_CLASSES if name in found), *others))


def parse(layout: Layout, split: str = "", name: str = "") -> Parsed:
    """Parse one split of a KITTI data set; the empty split is all of it."""
    classes = read_classes(layout)
    label_of = classes.label_of_name()
    images = by_stem(image_files(layout.images))
    rows = Rows("kitti", split)
    files = []
    for stem in stems_of(layout, split):
        source = layout.labels / f"{stem}.txt"
        files.append(images.get(stem, f"{stem}.png"))
        rows.image(files[-1], source)
        try:
            text = text_of(source)
        except DataError as error:
            code = "file-unreadable" if source.exists() else "annotation-missing"
            rows.note(code, str(error).removeprefix(f"{source}: "))
            continue
        for line, content in enumerate(text.splitlines(), 1):
            if content.strip():
                _add(rows, content.split(), line, label_of)
    sizes = sizes_of(layout.images, files)
    return rows.parsed(classes, layout.images, name or layout.root.name, sizes, to_xyxy)


def to_xyxy(raw: Raw, frames: Raw) -> Raw:
    """Return the numbers as they are: KITTI writes continuous corners."""
    return raw


def _add(rows: Rows, words: list[str], line: int, label_of: dict[str, int]) -> None:
    """Add one label line, or note what is wrong with it."""
    if len(words) not in (15, 16):
        rows.note("line-malformed", f"a label has 15 columns, or 16; got {len(words)}", line)
        return
    try:
        values = [float(word) for word in words[1:]]
    except ValueError as error:
        rows.note("line-malformed", f"columns 2 to {len(words)} must be numbers; {error}", line)
        return
    kind, dontcare = words[0], words[0] == DONT_CARE
    if not dontcare and kind not in label_of:
        known = ", ".join(label_of) or "none"
        rows.note("class-unknown", f"class '{kind}' is not among the classes ({known})", line)
        return
    record = {
        "truncated": values[0],
        "occluded": int(values[1]) if np.isfinite(values[1]) else -1,
        "alpha": values[2],
        "dimensions": values[7:10],
        "location": values[10:13],
        "rotation_y": values[13],
        "dontcare": dontcare,
    }
    if len(values) == 15:
        record["score"] = values[14]
    rows.box(tuple(values[3:7]), label_of.get(kind, 0), line, record, crowd=dontcare)
