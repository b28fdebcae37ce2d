"""Write detections as files that other programs read, and read them back.

=======  ==========================================================================================
coco     ``detections.json``: a list of ``{image_id, category_id, bbox, score}``, the results file
         of COCO's evaluation servers; ``bbox`` is x, y, width, height
yolo     ``labels/NAME.txt``: one line ``label x y width height score`` for each box, centre and
         size as fractions of the picture, and ``data.yaml`` with the names
voc      ``annotations/NAME.xml``: 1-based inclusive corners, ``<score>`` in each object
csv      ``detections.csv``: one line for each box, corners in pixels, names and scores
parquet  ``detections.parquet``: the same columns, typed; its metadata names images and classes
=======  ==========================================================================================

Category ids and names are the data set's own. Numbers have as few decimals as give the same
float32 boxes back. An image without detections has an empty file in ``yolo`` and ``voc``, and is named in
the metadata of ``parquet``; the other two formats cannot say it. Columns of the detector's own with one
number per box (``track_id``, ``depth``) go to ``csv`` and ``parquet``; ``coco`` takes ``track_id``.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from gazehound.adapters.parquet import write_parquet
from gazehound.boxes.formats import xywh_to_xyxy, xyxy_to_xywh
from gazehound.data.dataset import BoxTable, Dataset, ImageTable
from gazehound.data.decimals import as_text, shortest
from gazehound.data.writers import Part, voc_document, write_yolo
from gazehound.errors import DataError, unknown_name
from gazehound.records import TRACK, UNTRACKED, Classes, Detections

CSV_COLUMNS = (
    "file", "x1", "y1", "x2", "y2", "score", "class", "category_id", "image_width", "image_height",
)  # fmt: skip


def as_dataset(found: Sequence[Detections], classes: Classes, files: Sequence[str] = ()) -> Dataset:
    """Return detections as a data set, the scores in its ``score`` column.

    Args:
        found: one record per image.
        classes: of all of them.
        files: name of each image; default the file of each record.

    Raises:
        DataError: the records have different classes.
    """
    for record in found:
        if record.classes != classes:
            raise DataError(f"{record.file}: its classes differ from those of the other detections")
    names = list(files) or [record.file or f"image{k}" for k, record in enumerate(found)]
    images = ImageTable(
        Path(),
        np.asarray(names, np.str_).reshape(-1),
        np.asarray(image_ids(found), np.int64).reshape(-1),
        np.asarray([record.image_size for record in found], np.int64).reshape(-1, 2),
    )
    owner = np.repeat(np.arange(len(found)), [len(record) for record in found])
    empty = [np.zeros((0, 4), np.float32)]
    truths = BoxTable.of(
        owner,
        np.concatenate([*(record.boxes for record in found), *empty]),
        np.concatenate([*(record.labels for record in found), np.zeros(0, np.int64)]),
        len(found),
        extras={"score": _short(np.concatenate([*(r.scores for r in found), empty[0][:, 0]]))},
    )
    return Dataset(classes, images, truths, name="detections", format="voc")


def image_ids(found: Sequence[Detections]) -> list[int]:
    """Return an integer id for each image, as COCO results need one.

    These are the data set's ids where all are integers; else the numbers that the files are named
    by (``000000000139.jpg`` is COCO's image 139) where all have different ones; else 1, 2, 3...
    """
    ids = [record.image_id for record in found]
    known = [k for k in ids if isinstance(k, int | np.integer)]
    if len(known) == len(found):
        return [int(k) for k in known]
    stems = [Path(record.file).stem for record in found]
    numbers = [int(stem) for stem in stems if stem.isascii() and stem.isdigit()]
    if len(set(numbers)) == len(found):
        return numbers
    return list(range(1, len(found) + 1))


def to_coco(found: Sequence[Detections]) -> list[dict[str, Any]]:
    """Return detections as COCO results.

    An entry also names its ``file_name`` where the image has no id of its own; evaluators ignore it.
    """
    entries = []
    for record, image in zip(found, image_ids(found), strict=True):
        numbers = shortest(
            xyxy_to_xywh(record.boxes.astype(np.float64)), xywh_to_xyxy, record.boxes
        )
        name = {} if record.image_id == image else {"file_name": Path(record.file).name}
        scores = _short(record.scores).tolist()
        for entry, box, score in zip(record.to_coco(image), numbers.tolist(), scores, strict=True):
            entries.append(entry | {"bbox": box, "score": score} | name)
    return entries


def _short(scores: Any) -> Any:
    """Return float32 scores as the float64 numbers with the fewest digits that are the same."""
    return np.asarray([float(str(score)) for score in scores], np.float64)


def write_coco(
    found: Sequence[Detections], classes: Classes, folder: Path, names: Sequence[str]
) -> Path:
    """Write ``detections.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "detections.json"
    file.write_bytes(orjson.dumps(to_coco(found)))
    return file


def write_yolo_labels(
    found: Sequence[Detections], classes: Classes, folder: Path, names: Sequence[str]
) -> Path:
    """Write ``labels/NAME.txt`` and ``data.yaml``."""
    files = [f"{name}.jpg" for name in names]
    write_yolo([Part(as_dataset(found, classes, files), files)], folder)
    return folder / "labels"


def write_voc(
    found: Sequence[Detections], classes: Classes, folder: Path, names: Sequence[str]
) -> Path:
    """Write ``annotations/NAME.xml``."""
    files = [
        Path(record.file).name or f"{name}.jpg" for record, name in zip(found, names, strict=True)
    ]
    part = Part(as_dataset(found, classes, files), files)
    raw = part.dataset.boxes.astype(np.float64) + np.array([1.0, 1.0, 0.0, 0.0])
    corner = np.array([1.0, 1.0, 0.0, 0.0])
    numbers = shortest(raw, lambda written: written - corner, part.dataset.boxes)
    for row, name in enumerate(names):
        file = folder / "annotations" / f"{name}.xml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(voc_document(part, row, numbers), encoding="utf-8")
    return folder / "annotations"


def write_csv(
    found: Sequence[Detections], classes: Classes, folder: Path, names: Sequence[str]
) -> Path:
    """Write ``detections.csv``."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "detections.csv"
    tables = [
        (record.columns(), record.file or name) for record, name in zip(found, names, strict=True)
    ]
    own = dict.fromkeys(name for table, _ in tables for name in table if name not in CSV_COLUMNS)
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow([*CSV_COLUMNS, *own])
        for table, name in tables:
            for k in range(len(table["score"])):
                row = [_cell(column, table[column][k]) for column in CSV_COLUMNS[1:]]
                more = [
                    _cell(column, table[column][k]) if column in table else "" for column in own
                ]
                writer.writerow([name, *row, *more])
    return file


def _cell(column: str, value: Any) -> Any:
    """Return a number with as few digits as are the same; nothing where a box has no track."""
    if column == TRACK and value == UNTRACKED:
        return ""
    if isinstance(value, np.floating):
        short = float(str(value))
        return as_text(short) if column in ("x1", "y1", "x2", "y2") else short
    return value


Writer = Callable[[Sequence[Detections], Classes, Path, Sequence[str]], Path]
WRITERS: Mapping[str, Writer] = {
    "coco": write_coco,
    "yolo": write_yolo_labels,
    "voc": write_voc,
    "csv": write_csv,
    "parquet": write_parquet,
}


def write_detections(
    found: Sequence[Detections],
    classes: Classes,
    format: str,  # noqa: A002
    folder: str | Path,
    names: Sequence[str],
) -> Path:
    """Write detections in a format of the table above.

    Args:
        found: one record per image.
        classes: of all of them.
        format: ``coco``, ``yolo``, ``voc``, ``csv`` or ``parquet``.
        folder: made where it does not exist; files of the same name are replaced.
        names: one per image, unique, for the files of ``yolo`` and ``voc``; may contain folders.

    Returns:
        The file or folder written.

    Raises:
        ConfigError: the format is unknown.
        DataError: the file cannot be written.
    """
    if format not in WRITERS:
        raise unknown_name("format of detections", format, WRITERS)
    try:
        return WRITERS[format](found, classes, Path(folder), names)
    except OSError as error:
        raise DataError(
            f"{error.filename or folder}: cannot be written ({error.strerror})"
        ) from None


def read_coco(
    file: str | Path, classes: Classes, sizes: Mapping[int, tuple[int, int]]
) -> dict[int, Detections]:
    """Read COCO results.

    Args:
        file: of a list of ``{image_id, category_id, bbox, score}``.
        classes: of the data set they were made for.
        sizes: (height, width) of every image id; images without results get empty records.

    Returns:
        One record for each image id, best score first.

    Raises:
        DataError: the file is not such a list, or names an unknown image or category.
    """
    path = Path(file)
    try:
        entries = orjson.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except orjson.JSONDecodeError as error:
        raise DataError(f"{path}: not JSON ({error})") from None
    if not isinstance(entries, list):
        raise DataError(f"{path}: COCO results are a list; got a {type(entries).__name__}")
    label_of = classes.label_of_id()
    rows: dict[int, list[tuple[float, list[float], int]]] = {image: [] for image in sizes}
    for k, entry in enumerate(entries):
        try:
            row = (
                float(entry["score"]),
                [float(v) for v in entry["bbox"]],
                label_of[entry["category_id"]],
            )
            if len(row[1]) != 4:
                raise ValueError("bbox needs 4 numbers")
            rows[entry["image_id"]].append(row)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}: entry {k}: missing, unknown or wrong: {error}") from None
    return {image: _record(found, classes, sizes[image], image) for image, found in rows.items()}


def _record(
    rows: list[tuple[float, list[float], int]], classes: Classes, size: tuple[int, int], image: int
) -> Detections:
    scores = np.asarray([row[0] for row in rows], np.float32)
    order = np.argsort(-scores, kind="stable")
    boxes = xywh_to_xyxy(np.asarray([row[1] for row in rows], np.float64).reshape(-1, 4))
    labels = np.asarray([row[2] for row in rows], np.int64)
    return Detections(
        boxes[order].astype(np.float32), scores[order], labels[order], classes, size, image
    )
