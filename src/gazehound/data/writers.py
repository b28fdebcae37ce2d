"""The annotation files of each format. Images are placed by ``gazehound.data.writing``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import orjson
import yaml

from gazehound.boxes.formats import xywh_to_xyxy, xyxy_to_cxcywh, xyxy_to_xywh
from gazehound.data import kitti, voc, yolo
from gazehound.data.coco import CATEGORY_EXTRAS
from gazehound.data.columns import ABSENT, record_at, value_at
from gazehound.data.dataset import Dataset
from gazehound.data.decimals import Numbers, as_text, shortest, two_places
from gazehound.errors import DataError

KITTI_UNKNOWN: dict[str, Any] = {  # what the devkit writes where nothing is known
    "truncated": -1.0,
    "occluded": -1,
    "alpha": -10.0,
    "dimensions": [-1.0] * 3,
    "location": [-1000.0] * 3,
    "rotation_y": -10.0,
}


@dataclass(frozen=True)
class Part:
    """One split on its way out.

    Attributes:
        dataset: what to write.
        files: name of each image inside the image folder of the new data set.
    """

    dataset: Dataset
    files: Sequence[str]


def write_coco(parts: Sequence[Part], root: Path) -> None:
    """Write annotations/instances_SPLIT.json (``instances_default`` without splits)."""
    folder = root / "annotations"
    folder.mkdir(parents=True)
    for part in parts:
        name = part.dataset.split or "default"
        text = orjson.dumps(coco_document(part), option=orjson.OPT_SERIALIZE_NUMPY)
        (folder / f"instances_{name}.json").write_bytes(text)


def coco_document(part: Part) -> dict[str, Any]:
    """Return a data set as a COCO document."""
    dataset = part.dataset
    info = dict(dataset.info)
    more = info.pop(CATEGORY_EXTRAS, None) or [{}] * len(dataset.classes)
    supers = dataset.classes.supercategories
    categories = [
        {"id": category, "name": name}
        | ({"supercategory": supers[label]} if supers else {})
        | more[label]
        for label, (category, name) in enumerate(
            zip(dataset.classes.ids, dataset.classes.names, strict=True)
        )
    ]
    ids = coco_image_ids(dataset)
    images = [
        {"id": ids[row], "file_name": file, "height": height, "width": width}
        | record_at(dict(dataset.images.extras), row)
        for row, (file, (height, width)) in enumerate(
            zip(part.files, dataset.sizes.tolist(), strict=True)
        )
    ]
    return info | {
        "images": images,
        "annotations": _coco_annotations(dataset, ids),
        "categories": categories,
    }


def coco_image_ids(dataset: Dataset) -> list[int]:
    """Return the image ids, numbered from 1 where they are not integers."""
    if dataset.image_ids.dtype.kind == "i":
        numbers: list[int] = dataset.image_ids.tolist()
        return numbers
    return list(range(1, len(dataset) + 1))


def _coco_annotations(dataset: Dataset, image_ids: list[int]) -> list[dict[str, Any]]:
    numbers = shortest(xyxy_to_xywh(dataset.boxes.astype(np.float64)), xywh_to_xyxy, dataset.boxes)
    areas = [float(str(area)) for area in dataset.area]
    owner = dataset.truths.owner().tolist()
    extras = {k: v for k, v in dataset.extras.items() if k not in ("id", "bbox")}
    annotations = []
    for row, label in enumerate(dataset.labels.tolist()):
        annotation = {
            "id": int(dataset.ids[row]),
            "image_id": image_ids[owner[row]],
            "category_id": dataset.classes.ids[label],
            "bbox": numbers[row].tolist(),
            "area": areas[row],
            "iscrowd": int(dataset.crowd[row]),
        }
        if dataset.difficult[row]:
            annotation["difficult"] = 1
        annotations.append(annotation | record_at(extras, row))
    return annotations


def write_voc(parts: Sequence[Part], root: Path) -> None:
    """Write Annotations/*.xml, ImageSets/Main/SPLIT.txt and labels.txt."""
    (root / "Annotations").mkdir(parents=True)
    _write_lines(root / "labels.txt", parts[0].dataset.classes.names)
    for part in parts:
        stems = [Path(file).stem for file in part.files]
        if part.dataset.split:
            _write_lines(root / "ImageSets" / "Main" / f"{part.dataset.split}.txt", stems)
        raw = part.dataset.boxes.astype(np.float64) + np.array([1.0, 1.0, 0.0, 0.0])
        numbers = shortest(raw, lambda n: voc.to_xyxy(n, n), part.dataset.boxes)
        for row, stem in enumerate(stems):
            text = voc_document(part, row, numbers)
            (root / "Annotations" / f"{stem}.xml").write_text(text, encoding="utf-8")


def voc_document(part: Part, image: int, numbers: Numbers) -> str:
    """Return the XML of one image; ``numbers`` (N, 4) are the corners to write, of all images."""
    dataset = part.dataset
    own = dataset.format == "voc"
    height, width = dataset.sizes[image].tolist()
    header = record_at(dict(dataset.images.extras), image) if own else {}
    tree: list[tuple[str, Any]] = [
        ("folder", header.pop("folder", "JPEGImages")),
        ("filename", part.files[image]),
        *header.items(),
        ("size", {"width": width, "height": height, "depth": 3}),
    ]
    keys = [key for key in dataset.extras if own or key in ("pose", *voc.FLAGS)]
    dontcare = dataset.extras.get("dontcare")
    for row in range(dataset.starts[image], dataset.starts[image + 1]):
        if dontcare is not None and value_at(dontcare, row) is True:
            continue
        extras = record_at({key: dataset.extras[key] for key in keys}, row)
        if not own:
            extras = {key: _voc_value(key, value) for key, value in extras.items()}
        corners = dict(zip(voc.CORNERS, map(as_text, numbers[row].tolist()), strict=True))
        hard = bool(dataset.difficult[row] or dataset.crowd[row])
        name = dataset.classes.names[dataset.labels[row]]
        tree.append(("object", {"name": name, **extras, "difficult": int(hard), "bndbox": corners}))
    return f"<annotation>\n{''.join(_element(tag, value, 1) for tag, value in tree)}</annotation>\n"


def _voc_value(key: str, value: Any) -> Any:
    """Return KITTI's graded ``truncated`` and ``occluded`` as VOC's flags."""
    return int(value > 0) if key in voc.FLAGS and isinstance(value, int | float) else value


def _element(tag: str, value: Any, depth: int) -> str:
    """Return one XML element; lists repeat it, records nest."""
    if isinstance(value, list):
        return "".join(_element(tag, item, depth) for item in value)
    indent = "\t" * depth
    if isinstance(value, dict):
        inner = "".join(_element(key, item, depth + 1) for key, item in value.items())
        return f"{indent}<{tag}>\n{inner}{indent}</{tag}>\n"
    return f"{indent}<{tag}>{escape(str(value))}</{tag}>\n"


def write_yolo(parts: Sequence[Part], root: Path) -> None:
    """Write labels/*.txt and data.yaml; a split that shares images with another becomes a list."""
    root.mkdir(parents=True, exist_ok=True)
    document: dict[str, Any] = {}
    for part in parts:
        dataset = part.dataset
        frames = dataset.sizes[dataset.truths.owner()][:, ::-1].astype(np.float64)
        if not (dataset.sizes > 0).all():
            raise DataError(f"{dataset.name}: YOLO needs the size of every image; one is unknown")
        raw = xyxy_to_cxcywh(dataset.boxes.astype(np.float64) / np.tile(frames, 2))
        numbers = shortest(raw, _decoder(frames), dataset.boxes)
        for row, file in enumerate(part.files):
            target = (root / "labels" / file).with_suffix(".txt")
            _write_lines(target, yolo_lines(dataset, row, numbers))
        if dataset.split:
            folders = {Path(file).parent.as_posix() for file in part.files}
            if folders <= {dataset.split}:
                document[dataset.split] = f"images/{dataset.split}"
            else:
                document[dataset.split] = f"{dataset.split}.txt"
                lines = [f"./images/{file}" for file in part.files]
                _write_lines(root / f"{dataset.split}.txt", lines)
    document["names"] = dict(enumerate(parts[0].dataset.classes.names))
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    (root / "data.yaml").write_text(text, encoding="utf-8")


def _decoder(frames: Numbers) -> Callable[[Numbers], Numbers]:
    return lambda numbers: yolo.to_xyxy(numbers, frames)


def yolo_lines(dataset: Dataset, image: int, numbers: Numbers) -> list[str]:
    """Return the label lines of one image; crowd regions are left out."""
    polygons, scores = dataset.extras.get("polygon"), dataset.extras.get("score")
    lines = []
    for row in range(dataset.starts[image], dataset.starts[image + 1]):
        if dataset.crowd[row]:
            continue
        values = numbers[row].tolist()
        polygon = ABSENT if polygons is None else value_at(polygons, row)
        score = ABSENT if scores is None else value_at(scores, row)
        if polygon is not ABSENT and _fits(polygon, dataset, image, row):
            values = polygon
        elif score is not ABSENT:
            values = [*values, score]
        lines.append(" ".join([str(dataset.labels[row]), *map(as_text, values)]))
    return lines


def _fits(polygon: Any, dataset: Dataset, image: int, row: int) -> bool:
    """Tell whether the extent of a polygon still is the box; a repair may have changed the box."""
    frame = dataset.sizes[image, ::-1].astype(np.float64)
    box = yolo.to_xyxy(np.array([yolo.extent(polygon)]), frame[None])
    return bool((box.astype(np.float32) == dataset.boxes[row]).all())


def write_kitti(parts: Sequence[Part], root: Path) -> None:
    """Write training/label_2/*.txt, ImageSets/SPLIT.txt and labels.txt."""
    folder = root / "training" / "label_2"
    folder.mkdir(parents=True)
    _write_lines(root / "labels.txt", map(kitti_name, parts[0].dataset.classes.names))
    for part in parts:
        stems = [Path(file).stem for file in part.files]
        if part.dataset.split:
            _write_lines(root / "ImageSets" / f"{part.dataset.split}.txt", stems)
        numbers = shortest(part.dataset.boxes.astype(np.float64), lambda n: n, part.dataset.boxes)
        for row, stem in enumerate(stems):
            _write_lines(folder / f"{stem}.txt", kitti_lines(part.dataset, row, numbers))


def kitti_name(name: str) -> str:
    """Return a class name as one word."""
    return "_".join(name.split())


def kitti_lines(dataset: Dataset, image: int, numbers: Numbers) -> list[str]:
    """Return the label lines of one image; crowd regions become ``DontCare``."""
    lines = []
    for row in range(dataset.starts[image], dataset.starts[image + 1]):
        extras = KITTI_UNKNOWN | record_at(dict(dataset.extras), row)
        name = kitti_name(dataset.classes.names[dataset.labels[row]])
        words = [
            kitti.DONT_CARE if dataset.crowd[row] else name,
            _truncation(extras["truncated"]),
            str(int(extras["occluded"])),
            *map(two_places, (extras["alpha"], *numbers[row].tolist(), *extras["dimensions"])),
            *map(two_places, (*extras["location"], extras["rotation_y"])),
        ]
        if "score" in extras:
            words.append(as_text(extras["score"]))
        lines.append(" ".join(words))
    return lines


def _truncation(value: float) -> str:
    return "-1" if value == -1 else two_places(value)


def _write_lines(file: Path, lines: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
