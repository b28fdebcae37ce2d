"""Small data sets on disk for the tests: one sound folder per format, spoiled by each test."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 60, 80
BOX = [10.0, 12.0, 20.0, 16.0]  # xywh


def picture(file: Path, seed=0, height=HEIGHT, width=WIDTH, **save) -> Path:
    """A picture that no other seed resembles."""
    file.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(file, **save)
    return file


def coco_document(count=2, **changes):
    document = {
        "images": [
            {"id": 10 * i, "file_name": f"{i}.png", "height": HEIGHT, "width": WIDTH}
            for i in range(1, count + 1)
        ],
        "annotations": [
            {"id": 7, "image_id": 10, "category_id": 1, "bbox": BOX, "area": 320.0, "iscrowd": 0},
            {"id": 9, "image_id": 10, "category_id": 5, "bbox": [5, 5, 30, 9], "iscrowd": 0},
        ],
        "categories": [{"id": 5, "name": "dog"}, {"id": 1, "name": "cat"}],
    }
    return document | changes


def coco(root: Path, document=None, split="train") -> Path:
    document = coco_document() if document is None else document
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    file = root / "annotations" / f"instances_{split}.json"
    file.write_text(document if isinstance(document, str) else json.dumps(document))
    for place, image in enumerate(document["images"] if isinstance(document, dict) else []):
        if isinstance(image.get("file_name"), str):
            picture(root / split / image["file_name"], seed=sum(map(ord, split)) + place)
    return root


def voc_object(name="cat", corners=(11, 13, 30, 28), more=""):
    tags = "".join(
        f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
    )
    return f"<object>\n<name>{name}</name>{more}\n<bndbox>{tags}</bndbox>\n</object>\n"


def voc_xml(objects=(), height=HEIGHT, width=WIDTH, name="a.png"):
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation>\n<filename>{name}</filename>\n{size}\n{''.join(objects)}</annotation>\n"


def voc(root: Path, files=None, splits=None) -> Path:
    files = files or {"a": voc_xml([voc_object()]), "b": voc_xml([voc_object("dog")])}
    (root / "Annotations").mkdir(parents=True)
    for place, (stem, text) in enumerate(files.items()):
        (root / "Annotations" / f"{stem}.xml").write_text(text)
        picture(root / "JPEGImages" / f"{stem}.png", seed=place)
    for split, stems in (splits or {}).items():
        listed = root / "ImageSets" / "Main" / f"{split}.txt"
        listed.parent.mkdir(parents=True, exist_ok=True)
        listed.write_text("\n".join(stems))
    return root


def yolo(root: Path, labels=None, names=("cat", "dog"), split="train") -> Path:
    labels = labels or {"a": "0 0.5 0.5 0.25 0.5\n", "b": "1 0.5 0.5 0.5 0.5\n"}
    for place, (stem, text) in enumerate(labels.items()):
        picture(root / "images" / split / f"{stem}.png", seed=place)
        label = root / "labels" / split / f"{stem}.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        if text is not None:
            label.write_text(text)
    lines = [f"{split}: images/{split}"]
    if names is not None:
        lines.append("names: [" + ", ".join(names) + "]")
    (root / "data.yaml").write_text("\n".join(lines) + "\n")
    return root


def kitti_line(name="Car", box=(10, 12, 30, 28), **_):
    corners = " ".join(f"{value:.2f}" for value in box)
    return f"{name} 0.00 0 -0.20 {corners} 1.89 0.48 1.20 1.84 1.47 8.41 0.01"


def kitti(root: Path, labels=None) -> Path:
    labels = labels or {"000000": kitti_line(), "000001": kitti_line("Cyclist")}
    for place, (stem, text) in enumerate(labels.items()):
        picture(root / "training" / "image_2" / f"{stem}.png", seed=place)
        label = root / "training" / "label_2" / f"{stem}.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text(text + "\n")
    return root


SOUND = {"coco": coco, "voc": voc, "yolo": yolo, "kitti": kitti}
