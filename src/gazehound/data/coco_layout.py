"""Where a COCO data set keeps its JSON files and its images."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path

from gazehound.data.faults import AnnotationFileError
from gazehound.data.folders import SPLIT_ORDER, canonical_split, named_splits

UNSPLIT_NAMES = frozenset({"", "default", "all", "annotations", "instances", "coco", "labels"})
SAMPLED = 20  # images looked for when the image folder is searched


@dataclass(frozen=True)
class CocoLayout:
    """The JSON files of a data set.

    Attributes:
        root: the folder of the data set.
        files: JSON file by name of the split; one under the empty name when there are no splits.
    """

    root: Path
    files: dict[str, Path]

    def images_of(self, file: Path, names: list[str]) -> Path:
        """Return the folder that holds the images of a JSON file, given their names.

        Raises:
            AnnotationFileError: none of the usual folders holds one of them.
        """
        names = names[:: max(len(names) // SAMPLED, 1)]
        folders = [folder for folder in self._candidates(file) if folder.is_dir()]
        hits = [sum((folder / name).is_file() for name in names) for folder in folders]
        if names and not any(hits):
            looked = ", ".join(dict.fromkeys(map(str, self._candidates(file))))
            reason = f"none of its images ({names[0]}, ...) is in {looked}"
            raise AnnotationFileError(file, reason)
        return folders[hits.index(max(hits))] if folders else self.root

    def _candidates(self, file: Path) -> list[Path]:
        name = _split_of(file)
        bases = list(dict.fromkeys((self.root, file.parent, file.parent.parent)))
        inner = (name, f"images/{name}", "images", "JPEGImages", "data", "")
        return list(dict.fromkeys(base / folder for base in bases for folder in inner))


def find(path: Path) -> CocoLayout | None:
    """Return the layout of a COCO data set (folder or JSON file), None if it is not one."""
    if path.is_file():
        if path.suffix.lower() != ".json":
            return None
        parent = path.parent
        root = parent.parent if parent.name == "annotations" else parent
        split = canonical_split(_split_of(path))
        return CocoLayout(root, {split if split in SPLIT_ORDER else "": path})
    files = _json_files(path)
    if not files:
        return None
    if len(files) == 1 and _split_of(files[0]) in UNSPLIT_NAMES:
        return CocoLayout(path, {"": files[0]})
    declared = {_split_of(file): file for file in files}
    return CocoLayout(path, {s: declared[name] for s, name in named_splits(declared).items()})


def _json_files(root: Path) -> list[Path]:
    """Return the annotation files: instances_*.json if there are any, else whatever is COCO."""
    instances = sorted((root / "annotations").glob("instances*.json"))
    if instances:
        return instances
    places = (root / "annotations", root, *(d for d in sorted(root.glob("*")) if d.is_dir()))
    files = [file for place in dict.fromkeys(places) for file in sorted(place.glob("*.json"))]
    return [file for file in files if _looks_like_coco(file)]


def _split_of(file: Path) -> str:
    """Return ``val`` for instances_val.json, ``train`` for train/_annotations.coco.json."""
    if file.name == "_annotations.coco.json":
        return file.parent.name
    return file.stem.removeprefix("instances").removeprefix("_")


def _looks_like_coco(file: Path) -> bool:
    """Tell whether a JSON file has the three lists, without parsing it."""
    if file.stat().st_size < 40:
        return False
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as text:
        keys = (b'"images"', b'"annotations"', b'"categories"')
        return all(text.find(key) >= 0 for key in keys)
