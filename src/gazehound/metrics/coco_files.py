"""Truths and detections from COCO files, as float64 columns exactly as written.

The annotations are one JSON object (images, annotations, categories), the results one JSON array of
``{"image_id", "category_id", "bbox": [x, y, w, h], "score"}``. Nothing is skipped: whatever cannot
be evaluated is one line that names the file, the entry and what was expected.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gazehound.errors import ConfigError, DataError
from gazehound.kernels.grouping import index_of_ids
from gazehound.kernels.json_rows import after_value
from gazehound.metrics.annotations import Annotations
from gazehound.metrics.checks import check_boxes, check_scores, check_xywh
from gazehound.metrics.rows import Bytes, Rows, kind_of, parse_json, read_bytes, rows_of, scan
from gazehound.metrics.tables import Found, Tables, Truths
from gazehound.records import Classes

_TRUTH_KEYS = ("id", "image_id", "category_id", "area", "iscrowd", "ignore")
_OPTIONAL = ("iscrowd", "ignore")
_FOUND_KEYS = ("image_id", "category_id", "score")
_LARGEST_ID = 2.0**53


def read_coco(annotations: str | Path, detections: str | Path, any_score: bool = False) -> Tables:
    """Read a COCO annotation file and a COCO results file.

    Args:
        annotations: the annotation file.
        detections: the results file.
        any_score: accept scores outside 0..1.

    Raises:
        DataError: a file cannot be read, or an entry is wrong; the message says which and why.
    """
    truth = read_coco_annotations(annotations)
    return truth.with_found(read_coco_results(detections, truth, any_score))


def read_coco_annotations(path: str | Path) -> Annotations:
    """Read a COCO annotation file.

    Raises:
        DataError: the file cannot be read, or an entry is wrong.
    """
    path = Path(path)
    sections, rows = _sections(path, read_bytes(path))
    for name in ("images", "categories"):
        if not isinstance(sections.get(name), list):
            raise DataError(f"{path}: expected a COCO annotation file with an array '{name}'")
    images = sorted(_entries(path, "images", sections["images"]), key=lambda entry: entry["id"])
    categories = sorted(
        _entries(path, "categories", sections["categories"]), key=lambda entry: entry["id"]
    )
    for i, category in enumerate(categories):
        if "name" not in category:
            raise DataError(f"{path}: categories[{i}] has no 'name'")
    image_ids = np.asarray([entry["id"] for entry in images], np.int64)
    try:
        classes = Classes(
            tuple(str(entry["name"]) for entry in categories),
            tuple(entry["id"] for entry in categories),
        )
    except ConfigError as error:
        raise DataError(f"{path}: categories: {error}") from None
    where = f"{path}: annotations"
    truths = Truths(
        image=_places(where, "image_id", rows.columns["image_id"], image_ids),
        label=_places(where, "category_id", rows.columns["category_id"], np.asarray(classes.ids)),
        xywh=rows.boxes,
        area=np.ascontiguousarray(rows.columns["area"]),
        crowd=rows.columns["iscrowd"] != 0,
        difficult=np.zeros(len(rows.boxes), bool),
        phantom=rows.columns["id"] == 0,
        extras={"ignore": rows.columns["ignore"] != 0},
    )
    check_boxes(where, truths.xywh)
    _check_truths(where, rows)
    sizes = [_size(path, entry) for entry in images]
    return Annotations(
        name=str(path),
        classes=classes,
        image_ids=image_ids,
        sizes=np.asarray(sizes, np.int64).reshape(-1, 2),
        files=tuple(str(entry.get("file_name", "")) for entry in images),
        truths=truths,
        images=tuple(images),
        categories=tuple(categories),
    )


def read_coco_results(path: str | Path, truth: Annotations, any_score: bool = False) -> Found:
    """Read a COCO results file.

    Args:
        path: the file.
        truth: the annotations that it belongs to.
        any_score: accept scores outside 0..1.

    Raises:
        DataError: the file cannot be read, or an entry is wrong.
    """
    path = Path(path)
    if truth.image_ids.dtype.kind == "U":
        rows = _rows_with_names(path, truth)
    else:
        rows = _result_rows(path, read_bytes(path))
    known = np.arange(len(truth.files)) if truth.image_ids.dtype.kind == "U" else truth.image_ids
    image = _places(f"{path}: ", "image_id", rows.columns["image_id"], known)
    label = _places(
        f"{path}: ",
        "category_id",
        rows.columns["category_id"],
        np.asarray(truth.classes.ids, np.int64),
    )
    score = np.ascontiguousarray(rows.columns["score"])
    check_scores(f"{path}: ", score, any_score)
    check_boxes(f"{path}: ", rows.boxes)
    check_xywh(f"{path}: ", rows.boxes, image, truth.sizes)
    return Found(image, label, rows.boxes, score)


def _result_rows(path: Path, text: Bytes) -> Rows:
    begin = _first(text, 0)
    if begin < len(text) and text[begin] == ord("["):
        first = _first(text, begin + 1)
        if first < len(text) and text[first] == ord("{"):
            scanned = scan(text, first, _FOUND_KEYS)
            if scanned is not None and _first(text, scanned[1]) == len(text):
                return scanned[0]
    found = parse_json(path, text.tobytes())
    if not isinstance(found, list):
        hint = " (this is an annotation file)" if "annotations" in found else ""
        raise DataError(
            f"{path}: expected an array of {{image_id, category_id, bbox, score}}; "
            f"got {kind_of(found)}{hint}"
        )
    return rows_of(f"{path}: ", found, _FOUND_KEYS)


def _rows_with_names(path: Path, truth: Annotations) -> Rows:
    """Read results whose images are named by text; ``image_id`` becomes the place of the image."""
    found = parse_json(path, read_bytes(path).tobytes())
    names = truth.places_by_name()
    if isinstance(found, list):
        for i, entry in enumerate(found):
            if not isinstance(entry, dict) or "image_id" not in entry:
                continue  # rows_of says what is wrong
            name = str(entry["image_id"])
            if name not in names:
                raise DataError(
                    f"{path}: [{i}]: image_id {name!r} is none of the {len(truth.files)} images "
                    f"of {truth.name}"
                )
            entry["image_id"] = names[name]
    return rows_of(f"{path}: ", found, _FOUND_KEYS)


def _sections(path: Path, text: Bytes) -> tuple[dict[str, Any], Rows]:
    """Return the small sections of an annotation file, parsed, and the columns of the large one."""
    plain = _plain_sections(path, text)
    if plain is not None:
        return plain
    root = parse_json(path, text.tobytes())
    if not isinstance(root, dict) or "annotations" not in root:
        raise DataError(
            f"{path}: expected an object with images, annotations and categories; "
            f"got {kind_of(root)}"
        )
    rows = rows_of(f"{path}: annotations", root.pop("annotations"), _TRUTH_KEYS, _OPTIONAL)
    return root, rows


def _plain_sections(path: Path, text: Bytes) -> tuple[dict[str, Any], Rows] | None:
    """Walk the keys of the root, scanning ``annotations``; None when anything is unusual."""
    sections: dict[str, Any] = {}
    rows = None
    at = _first(text, 0)
    if at == len(text) or text[at] != ord("{"):
        return None
    while True:
        at = _first(text, at + 1)  # after the brace or comma
        after = after_value(text, at, len(text))
        if after >= len(text) or text[at] != ord('"'):
            return None
        key = text[at + 1 : after - 1].tobytes().decode(errors="replace")
        at = _first(text, after)
        if at == len(text) or text[at] != ord(":"):
            return None
        at = _first(text, at + 1)
        if key == "annotations":
            first = _first(text, at + 1)
            scanned = None
            if first < len(text) and text[at] == ord("[") and text[first] == ord("{"):
                scanned = scan(text, first, _TRUTH_KEYS, _OPTIONAL)
            if scanned is None or rows is not None:
                return None
            rows, at = scanned
        else:
            after = after_value(text, at, len(text))
            if key in ("images", "categories"):
                sections[key] = parse_json(path, text[at:after].tobytes())
            at = after
        at = _first(text, at)
        if at < len(text) and text[at] == ord(","):
            continue
        closed = at < len(text) and text[at] == ord("}") and _first(text, at + 1) == len(text)
        return (sections, rows) if closed and rows is not None else None


def _first(text: Bytes, at: int) -> int:
    """Return the place of the next byte that is no white space."""
    while at < len(text) and text[at] in b" \n\r\t":
        at += 1
    return at


def _entries(path: Path, section: str, entries: list[Any]) -> list[dict[str, Any]]:
    seen: dict[int, int] = {}
    for i, entry in enumerate(entries):
        id_ = entry.get("id") if isinstance(entry, dict) else None
        if not isinstance(id_, int) or abs(id_) > _LARGEST_ID:
            raise DataError(f"{path}: {section}[{i}]: expected an object with a whole number 'id'")
        if entry["id"] in seen:
            raise DataError(
                f"{path}: {section}[{i}]: id {entry['id']} was used by "
                f"{section}[{seen[entry['id']]}]"
            )
        seen[entry["id"]] = i
    return entries


def _size(path: Path, image: dict[str, Any]) -> tuple[int, int]:
    """Return height and width of an image entry, zeros where it has none."""
    height, width = image.get("height") or 0, image.get("width") or 0
    if not (isinstance(height, int | float) and isinstance(width, int | float)):
        raise DataError(
            f"{path}: image {image['id']}: height and width must be numbers; "
            f"got {height!r} and {width!r}"
        )
    return int(height), int(width)


def _places(
    where: str, key: str, values: NDArray[np.float64], known: NDArray[np.int64]
) -> NDArray[np.int32]:
    """Return the place of each id in ``known``; DataError for the first that is not there."""
    whole = (values == np.floor(values)) & (np.abs(values) <= _LARGEST_ID)
    if not whole.all():
        row = int(np.flatnonzero(~whole)[0])
        raise DataError(f"{where}[{row}]: {key} must be a whole number; got {values[row]:g}")
    places = index_of_ids(values.astype(np.int64), known.astype(np.int64))
    unknown = places < 0
    if unknown.any():
        row, count = int(np.flatnonzero(unknown)[0]), int(unknown.sum())
        what = "images" if key == "image_id" else "categories"
        raise DataError(
            f"{where}[{row}]: {key} {int(values[row])} is none of the {len(known)} {what} "
            f"of the annotations ({count} such entries)"
        )
    return places


def _check_truths(where: str, rows: Rows) -> None:
    ids = rows.columns["id"]
    order = np.argsort(ids, kind="stable")
    again = np.flatnonzero(ids[order][1:] == ids[order][:-1])
    if len(again):
        first, row = int(order[again[0]]), int(order[again[0] + 1])
        raise DataError(f"{where}[{row}]: id {ids[row]:.0f} was used by annotations[{first}]")
    area = rows.columns["area"]
    bad = ~(np.isfinite(area) & (area >= 0))
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise DataError(f"{where}[{row}]: area must be a number of at least 0; got {area[row]:g}")
