"""Detections as one Parquet file, and back.

The rows are the table of :meth:`gazehound.records.Detections.columns`. What rows cannot say (images
without detections, classes that nothing was found of) stands in the file's metadata under
``gazehound``, as JSON: ``{"images": [{file, width, height, image_id}, ...], "classes": {names, ids}}``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from gazehound.errors import DataError, MissingDependency
from gazehound.records import TRACK, UNTRACKED, Classes, Detections

KEY = b"gazehound"
CORNERS = ("x1", "y1", "x2", "y2")


def write_parquet(
    found: Sequence[Detections], classes: Classes, folder: Path, names: Sequence[str]
) -> Path:
    """Write ``detections.parquet``.

    Raises:
        MissingDependency: pyarrow is not installed.
    """
    pa, pq = _pyarrow()
    records = [r if r.file else replace(r, file=name) for r, name in zip(found, names, strict=True)]
    empty = Detections(
        np.zeros((0, 4), np.float32),
        np.zeros(0, np.float32),
        np.zeros(0, np.int64),
        classes,
        (1, 1),
    )
    columns = [record.columns() for record in records if len(record)] or [empty.columns()]
    common = [name for name in columns[0] if all(name in table for table in columns)]
    table = pa.table(
        {name: _array([table[name] for table in columns], name, pa) for name in common}
    )
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "detections.parquet"
    pq.write_table(table.replace_schema_metadata({KEY: _metadata(records, classes)}), file)
    return file


def read_parquet(file: str | Path) -> list[Detections]:
    """Read what :func:`write_parquet` wrote.

    Returns:
        One record per image, in the order in which they were written.

    Raises:
        MissingDependency: pyarrow is not installed.
        DataError: the file is missing, damaged, or not written by gazehound.
    """
    pa, pq = _pyarrow()
    path = Path(file)
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise DataError(f"{path}: cannot be read as Parquet ({reason})") from None
    said = (table.schema.metadata or {}).get(KEY)
    if said is None:
        raise DataError(f"{path}: a Parquet file, but its detections were not written by gazehound")
    facts = orjson.loads(said)
    classes = Classes(tuple(facts["classes"]["names"]), tuple(facts["classes"]["ids"]))
    columns = {name: _numbers(table[name], name) for name in table.column_names}
    return [_record(columns, classes, image) for image in facts["images"]]


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingDependency("pyarrow", "Parquet", "frames") from None
    return pyarrow, pyarrow.parquet


def _array(parts: Sequence[NDArray[Any]], name: str, pa: Any) -> Any:
    values = np.concatenate(parts)
    if name in ("file", "class"):
        return pa.array(values.tolist(), pa.string())
    return pa.array(values, mask=values == UNTRACKED if name == TRACK else None)


def _metadata(records: Sequence[Detections], classes: Classes) -> bytes:
    images = [
        {
            "file": r.file,
            "height": r.image_size[0],
            "width": r.image_size[1],
            "image_id": r.image_id,
        }
        for r in records
    ]
    known = {"names": classes.names, "ids": classes.ids}
    return orjson.dumps({"images": images, "classes": known}, option=orjson.OPT_SERIALIZE_NUMPY)


def _numbers(column: Any, name: str) -> NDArray[Any]:
    if name == TRACK:
        column = column.fill_null(UNTRACKED)
    values: NDArray[Any] = column.to_numpy()
    return values


def _record(
    columns: dict[str, NDArray[Any]], classes: Classes, image: dict[str, Any]
) -> Detections:
    rows = columns["file"] == image["file"]
    label_of = classes.label_of_id()
    labels = [label_of[category] for category in columns["category_id"][rows].tolist()]
    plain = {*CORNERS, "file", "score", "class", "category_id", "image_width", "image_height"}
    return Detections(
        np.stack([columns[name][rows] for name in CORNERS], axis=1),
        columns["score"][rows],
        np.asarray(labels, np.int64),
        classes,
        (image["height"], image["width"]),
        image["image_id"],
        image["file"],
        {name: column[rows] for name, column in columns.items() if name not in plain},
    )
