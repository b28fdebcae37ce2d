"""Files that lie in a data set without belonging to it: stray images, labels without an image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from gazehound.data.faults import Fault, Parsed
from gazehound.data.folders import image_files
from gazehound.data.opening import Located


def unlisted_faults(located: Located, splits: Mapping[str, Parsed]) -> Iterator[Fault]:
    """Yield image files beside listed ones that no split lists, and orphaned label files."""
    listed = {Path(path) for parsed in splits.values() for path in parsed.dataset.paths()}
    folders = sorted({path.parent for path in listed})
    for folder in folders:
        for name in image_files(folder):
            if folder / name not in listed:
                message = "no split or annotation mentions it"
                yield Fault("image-unlisted", message, str(folder / name))
    yield from _orphans(located.format, listed, splits)


def _orphans(kind: str, listed: set[Path], splits: Mapping[str, Parsed]) -> Iterator[Fault]:
    """Yield annotation files whose image is neither listed nor there.

    Text files beside images are passed over, since lists and notes look like labels there.
    """
    pattern = {"voc": "*.xml", "yolo": "*.txt", "kitti": "*.txt"}.get(kind)
    if pattern is None:
        return
    sources = {Path(str(source)) for parsed in splits.values() for source in parsed.sources}
    images = {path.parent for path in listed}
    there = {Path(name).stem for folder in images for name in image_files(folder)}
    for folder in sorted({source.parent for source in sources}):
        if kind != "voc" and folder in images:
            continue
        for file in sorted(folder.glob(pattern)):
            if file not in sources and file.stem not in there:
                yield Fault("annotation-orphan", "there is no image of this name", str(file))
