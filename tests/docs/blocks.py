"""The fenced blocks of the documentation, and the folder that they are run in."""

import re
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import orjson
from PIL import Image
from skimage.data import astronaut

import gazehound
from gazehound.data import open_dataset, write_dataset
from gazehound.data.images import read_image
from gazehound.data.shapes import shapes
from gazehound.records import Classes, Detections, Sample

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted(
    [ROOT / "README.md", *(p for p in (ROOT / "docs").rglob("*.md") if "api" not in p.parts)],
    key=str,
)
BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>run|not run: [^\n]+) -->\n+)?^```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
SHELLS = ("console", "bash", "sh", "")

# Blocks on pages that say so in their text instead of by a comment: page, beginning of the code, why.
NOT_RUN = {
    ("docs/weights.md", "import gazehound"): "downloads published weights",
    ("docs/scaling.md", "from dataclasses"): "reads a bucket through a package of others",
}


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: its file, from the root of the project.
        line: where it begins.
        language: what the fence says.
        code: what stands in it.
        run: a shell block that is marked to be run, not only to be checked.
        why_not: why a Python block is not run; empty for those that are.
    """

    page: str
    line: int
    language: str
    code: str
    run: bool
    why_not: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(file: Path) -> list[Block]:
    text, page = file.read_text(encoding="utf-8"), str(file.relative_to(ROOT))
    return [_block(page, text, found) for found in BLOCK.finditer(text)]


def _block(page: str, text: str, found: re.Match[str]) -> Block:
    mark, code = found["mark"] or "", found["code"]
    why_not = mark.removeprefix("not run: ") if mark.startswith("not run") else ""
    for (where, start), why in NOT_RUN.items():
        if page == where and code.startswith(start):
            why_not = why
    line = text[: found.start("code")].count("\n") + 1
    return Block(page, line, found["language"], code, mark == "run", why_not)


ALL = [block for page in PAGES for block in blocks_of(page)]


def commands(block: Block) -> list[str]:
    """Return the lines of a shell block that call gazehound; a line that goes on is joined."""
    lines = block.code.replace("\\\n", " ").splitlines()
    plain = [line.removeprefix("$ ").strip() for line in lines]
    return [line for line in plain if line.startswith("gazehound ")]


def lay_out(folder: Path) -> None:
    """Put everything there that the pages talk of: pictures, data sets, a model, other tools' files."""
    Image.fromarray(astronaut()).save(folder / "photo.jpg", quality=90)
    (folder / "photos").mkdir()
    for number, picture in enumerate(astronaut()[:384, :384].reshape(2, 192, 2, 192, 3), 1):
        Image.fromarray(np.ascontiguousarray(picture[:, 0])).save(folder / f"photos/{number}.jpg")
    Image.fromarray(astronaut()[:128, 160:300]).save(folder / "small.jpg", quality=95)
    Image.fromarray(astronaut()).save(folder / "aerial.tif")
    easy = {"size": 96, "objects": (1, 2), "classes": ("circle", "square")}
    splits = [shapes(8, 0, split="train", **easy), shapes(4, 1, split="val", **easy)]
    write_dataset(splits, folder / "cells", "yolo")
    write_dataset(shapes(5, 2, split="test", **easy), folder / "data/bccd", "coco")
    _results(folder)
    model = gazehound.create(
        "retinanet_r18", splits[0].classes, preprocess={"resize": "longer", "size": 96},
        backbone="test_resnet", channels=32, depth=1,
    )  # fmt: skip
    (folder / "runs/cells").mkdir(parents=True)
    model.save(folder / "runs/cells/best.safetensors")
    hog = cv2.HOGDescriptor()
    hog.setSVMDetector(cv2.HOGDescriptor_getDefaultPeopleDetector())
    hog.save(str(folder / "people.yml"))
    cascade = Path(cv2.data.haarcascades) / "haarcascade_frontalface_default.xml"
    (folder / cascade.name).write_bytes(cascade.read_bytes())


def _results(folder: Path) -> None:
    """Write truths as COCO's file, and two files of detections that miss a little."""
    truths = open_dataset(folder / "data/bccd", split="test")
    (file,) = (folder / "data/bccd").rglob("*.json")
    (folder / "val.json").write_bytes(file.read_bytes())
    document = orjson.loads(file.read_bytes())
    assert len(document["images"]) == len(truths)
    for name, shift in (("results.json", 1.0), ("old.json", 4.0)):
        rows = [
            {
                "image_id": row["image_id"],
                "category_id": row["category_id"],
                "bbox": [row["bbox"][0] + shift, *row["bbox"][1:]],
                "score": 0.9,
            }
            for row in document["annotations"]
        ]
        (folder / name).write_bytes(orjson.dumps(rows))


def _found(sample: Sample, classes: Classes) -> Detections:
    """Return detections that are right, but for the first one's name."""
    labels = sample.labels.copy()
    labels[:1] = (labels[:1] + 1) % len(classes)
    scores = np.linspace(0.9, 0.5, len(labels), dtype=np.float32)
    return Detections(sample.boxes, scores, labels, classes, sample.size)


def names_for(folder: Path) -> dict[str, object]:
    """Return the names that a page may use without saying where they come from."""
    dataset = open_dataset(folder / "cells", split="val").subset([0, 1])
    samples = [dataset[row] for row in range(len(dataset))]
    return {
        "__name__": "page",
        "classes": dataset.classes,
        "dataset": dataset,
        "frames": [sample.image for sample in samples],
        "image": read_image(folder / "small.jpg"),
        "model": gazehound.load(folder / "runs/cells/best.safetensors"),
        "pairs": [(sample, _found(sample, dataset.classes)) for sample in samples],
    }
