"""COCO JSON: https://cocodataset.org/#format-data.

``images`` [{id, file_name, height, width}], ``annotations`` [{id, image_id, category_id, bbox
(x, y, width, height; continuous pixels), area, iscrowd, ...}], ``categories`` [{id, name}].
Category ids may have gaps; labels are the ranks of the sorted ids. Every further key of an
annotation, an image or the file is kept (``extras``, ``images.extras``, ``info``) and written back.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from gazehound.boxes.formats import xywh_to_xyxy
from gazehound.data.columns import columns_of
from gazehound.data.dataset import BoxTable, Dataset, ImageTable
from gazehound.data.faults import AnnotationFileError, Fault, Parsed
from gazehound.data.folders import sizes_of
from gazehound.records import Classes, IntArray

IMAGE_KEYS = frozenset({"id", "file_name", "height", "width"})
BOX_KEYS = frozenset({"id", "image_id", "category_id", "bbox", "area", "iscrowd", "difficult"})
CATEGORY_KEYS = frozenset({"id", "name", "supercategory"})

LISTS = ("categories", "images", "annotations")
CATEGORY_EXTRAS = "category_extras"  # key of ``info``: what else was told of each class

Record = dict[str, Any]


@dataclass
class _Reading:
    """One file while it is read: where faults are noted."""

    file: str
    split: str
    faults: list[Fault] = field(default_factory=list)

    def note(self, code: str, message: str, place: str = "") -> None:
        self.faults.append(Fault(code, message, self.file, place, split=self.split))


def parse(
    file: Path,
    folder_of: Callable[[list[str]], Path],
    split: str = "",
    name: str = "",
    shift: int = 0,
) -> Parsed:
    """Parse one COCO file.

    Args:
        file: the JSON file.
        folder_of: finds the folder of the images, given their names.
        split: name of the split.
        name: name of the data set.
        shift: added to the category id of every annotation.

    Raises:
        AnnotationFileError: the file is missing, or is not JSON with the three lists.
    """
    with collection_paused():
        return _parse(load(file), _Reading(str(file), split), folder_of, name or file.stem, shift)


@contextmanager
def collection_paused() -> Iterator[None]:
    """Keep the garbage collector from walking millions of fresh records again and again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _parse(
    document: Record,
    reading: _Reading,
    folder_of: Callable[[list[str]], Path],
    name: str,
    shift: int,
) -> Parsed:
    file = Path(reading.file)
    lists = [_records(document, key, file) for key in LISTS]
    classes, label_of_id = _classes(lists[0], reading)
    label_of_id = _shifted(label_of_id, lists[2], shift, reading)
    names = [record.get("file_name") for record in lists[1]]
    folder = folder_of([_portable(text) for text in names if isinstance(text, str) and text])
    table, row_of_image = _image_table(lists[1], folder, reading)
    truths, places, raw = _box_table(lists[2], label_of_id, row_of_image, len(table), reading)
    info = {k: v for k, v in document.items() if k not in LISTS}
    extras = _category_extras(lists[0], classes)
    if any(extras):
        info[CATEGORY_EXTRAS] = extras
    dataset = Dataset(classes, table, truths, name, "coco", reading.split, info)
    sources = np.full(len(table), reading.file)
    return Parsed(dataset, tuple(reading.faults), sources, places, raw)


def load(file: Path) -> Record:
    """Read a JSON file whose top level is an object; NaN and Infinity are let through.

    Raises:
        AnnotationFileError: it is missing, not JSON, or not an object.
    """
    try:
        text = file.read_bytes()
    except OSError as error:
        raise AnnotationFileError(file, f"cannot be read ({error.strerror})") from None
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        document = _load_slowly(file, text)
    if not isinstance(document, dict):
        kind = type(document).__name__
        raise AnnotationFileError(file, f"COCO JSON is an object; got a {kind}")
    return document


def _load_slowly(file: Path, text: bytes) -> Any:
    """Parse what the fast parser refuses: NaN is not JSON, but Python writes it."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"{error.lineno}:{error.colno}"
        raise AnnotationFileError(file, f"not JSON: {error.msg}", place) from None
    except UnicodeDecodeError as error:
        raise AnnotationFileError(file, f"not JSON: byte {error.start} is not UTF-8") from None


def _records(document: Record, key: str, file: Path) -> list[Record]:
    records = document.get(key)
    if not isinstance(records, list):
        found = ", ".join(document) or "nothing"
        raise AnnotationFileError(file, f"COCO JSON needs a list '{key}'; its keys are {found}")
    wrong = next((i for i, r in enumerate(records) if not isinstance(r, dict)), None)
    if wrong is not None:
        reason = f"must be an object; got {records[wrong]!r}"
        raise AnnotationFileError(file, reason, f"{key}[{wrong}]")
    return records


def _classes(records: list[Record], reading: _Reading) -> tuple[Classes, dict[Any, int]]:
    """Return the classes by ascending id, and the label of every id that was given."""
    first: dict[Any, Record] = {}
    for index, record in enumerate(records):
        place, category, name = f"categories[{index}]", record.get("id"), record.get("name")
        if type(category) is not int or not isinstance(name, str):
            reading.note("line-malformed", "a category needs an integer id and a name", place)
        elif category in first:
            message = f"id {category} is '{first[category]['name']}' and '{name}'"
            reading.note("class-id-duplicate", message, place)
        else:
            first[category] = record
    ids: list[int] = []
    names: list[str] = []
    supers: list[str] = []
    label_of_id: dict[Any, int] = {}
    for category in sorted(first):
        name = first[category]["name"]
        if name in names:
            message = f"'{name}' has the ids {ids[names.index(name)]} and {category}"
            reading.note("class-name-duplicate", message)
        else:
            ids.append(category)
            names.append(name)
            supers.append(str(first[category].get("supercategory", "")))
        label_of_id[category] = names.index(name)
    if not names:
        reading.note("class-none", "'categories' is empty")
    return Classes(tuple(names), tuple(ids), tuple(supers) if any(supers) else ()), label_of_id


def _shifted(
    label_of_id: dict[Any, int], annotations: list[Record], shift: int, reading: _Reading
) -> dict[Any, int]:
    """Return the label of every id as annotations use it, and note ids that count from 0."""
    count = len(label_of_id)
    used = [annotation.get("category_id") for annotation in annotations]
    plain = shift == 0 and list(label_of_id) == list(range(1, count + 1))
    if plain and 0 in used and count not in used:
        message = f"annotations use the ids 0 to {count - 1}, the categories are 1 to {count}"
        reading.note("class-zero-based", message)
    return {category - shift: label for category, label in label_of_id.items()}


def _category_extras(records: list[Record], classes: Classes) -> list[Record]:
    """Return the further keys of each class, such as the names of its keypoints."""
    told = {record.get("id"): record for record in reversed(records)}
    return [
        {key: value for key, value in told[category].items() if key not in CATEGORY_KEYS}
        for category in classes.ids
    ]


def _image_table(
    records: list[Record], folder: Path, reading: _Reading
) -> tuple[ImageTable, dict[Any, int]]:
    row_of_image: dict[Any, int] = {}
    kept: list[Record] = []
    for index, record in enumerate(records):
        problem = _image_problem(record)
        if problem:
            reading.note("line-malformed", problem, f"images[{index}]")
        elif record["id"] in row_of_image:
            other = kept[row_of_image[record["id"]]]["file_name"]
            message = f"id {record['id']} is '{other}' and '{record['file_name']}'"
            reading.note("image-id-duplicate", message, f"images[{index}]")
        else:
            row_of_image[record["id"]] = len(kept)
            kept.append(record)
    files = np.array([_portable(record["file_name"]) for record in kept], np.str_)
    sizes = np.array([_size(record) for record in kept], np.int64).reshape(-1, 2)
    blank = np.flatnonzero((sizes == 0).any(axis=1))
    sizes[blank] = sizes_of(folder, files[blank].tolist())
    ids = _flat_ids([record["id"] for record in kept])
    table = ImageTable(folder, files, ids, sizes, columns_of(kept, IMAGE_KEYS))
    return table, row_of_image


def _portable(name: str) -> str:
    """Return a file name with the slashes of this system, without a leading ``./``."""
    return (name if "/" in name else name.replace("\\", "/")).removeprefix("./")


def _image_problem(record: Record) -> str:
    if not _is_id(record.get("id")):
        return f"an image needs an id; got {record.get('id')!r}"
    if not isinstance(record.get("file_name"), str) or not record["file_name"]:
        return f"an image needs a file_name; got {record.get('file_name')!r}"
    return ""


def _size(record: Record) -> tuple[int, int]:
    """Return (height, width), (0, 0) where the file does not say."""
    sides = (record.get("height"), record.get("width"))
    if all(isinstance(side, int | float) and side >= 1 for side in sides):
        return int(sides[0]), int(sides[1])  # type: ignore[arg-type]
    return 0, 0


def _flat_ids(ids: list[Any]) -> NDArray[Any]:
    if all(type(value) is int for value in ids):
        return np.array(ids, np.int64)
    return np.array([str(value) for value in ids], np.str_)


def _box_table(
    records: list[Record],
    label_of_id: dict[Any, int],
    row_of_image: dict[Any, int],
    images: int,
    reading: _Reading,
) -> tuple[BoxTable, IntArray, NDArray[np.float64]]:
    """Return the table, and for each of its rows the place in the list and the numbers written."""
    places = _sound_places(records, label_of_id, row_of_image, reading)
    kept = records if len(places) == len(records) else [records[place] for place in places]
    raw = np.array([record["bbox"] for record in kept], np.float64).reshape(-1, 4)
    owner = np.array([row_of_image[record["image_id"]] for record in kept], np.int64)
    order = np.argsort(owner, kind="stable")
    areas = [_number(record.get("area"), record["bbox"]) for record in kept]
    table = BoxTable.of(
        owner,
        xywh_to_xyxy(raw),
        [label_of_id[record["category_id"]] for record in kept],
        images,
        crowd=np.array([bool(record.get("iscrowd", 0)) for record in kept], bool),
        difficult=np.array([bool(record.get("difficult", 0)) for record in kept], bool),
        area=np.array(areas, np.float32),
        ids=_annotation_ids(kept, places, reading),
        extras=columns_of(kept, BOX_KEYS),
    )
    return table, np.array(places, np.int64)[order], raw[order]


def _sound_places(
    records: list[Record],
    label_of_id: dict[Any, int],
    row_of_image: dict[Any, int],
    reading: _Reading,
) -> list[int]:
    """Return the places of the annotations that have a box, a known image and a known class."""
    places = []
    for place, record in enumerate(records):
        try:
            box = record["bbox"]
            record["image_id"], record["category_id"]
        except KeyError as error:
            message = f"an annotation needs the key {error}; it has {', '.join(record) or 'none'}"
            reading.note("line-malformed", message, f"annotations[{place}]")
            continue
        if not _is_box(box):
            message = f"bbox must be four numbers (x, y, width, height); got {box!r}"
            reading.note("line-malformed", message, f"annotations[{place}]")
        elif not _is_id(record["image_id"]) or record["image_id"] not in row_of_image:
            message = f"image_id {record['image_id']!r} is not among the {len(row_of_image)} images"
            reading.note("image-unknown", message, f"annotations[{place}]")
        elif not _is_id(record["category_id"]) or record["category_id"] not in label_of_id:
            known = _ranges(label_of_id)
            message = f"category_id {record['category_id']!r} is not among the categories ({known})"
            reading.note("class-unknown", message, f"annotations[{place}]")
        else:
            places.append(place)
    return places


def _is_id(value: Any) -> bool:
    return type(value) is int or type(value) is str


def _is_box(box: Any) -> bool:
    return isinstance(box, list) and len(box) == 4 and set(map(type, box)) <= {int, float}


def _number(area: Any, box: list[float]) -> float:
    return float(area) if type(area) in (int, float) else box[2] * box[3]


def _ranges(values: Iterable[int]) -> str:
    """Return ``1-11, 13`` for sorted integers."""
    groups: list[list[int]] = []
    for value in sorted(values):
        if groups and value == groups[-1][-1] + 1:
            groups[-1][1:] = [value]
        else:
            groups.append([value])
    return ", ".join("-".join(map(str, group)) for group in groups) or "none"


def _annotation_ids(records: list[Record], places: list[int], reading: _Reading) -> IntArray:
    """Return the ids as given; renumber from 1 when they repeat or are not integers."""
    ids = [record.get("id") for record in records]
    if all(value is None for value in ids):
        return np.arange(1, len(ids) + 1, dtype=np.int64)
    seen: dict[Any, int] = {}
    sound = True
    for place, value in zip(places, ids, strict=True):
        problem = f"id must be an integer; got {value!r}" if type(value) is not int else ""
        if not problem and value in seen:
            problem = f"id {value} was used at annotations[{seen[value]}]"
        if problem:
            reading.note("annotation-id-duplicate", problem, f"annotations[{place}]")
            sound = False
        elif value is not None:
            seen[value] = place
    return np.array(ids if sound else range(1, len(ids) + 1), np.int64)
