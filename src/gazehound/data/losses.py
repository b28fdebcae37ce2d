"""What a format cannot hold of a data set, in words for the user."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from gazehound.boxes.formats import area
from gazehound.data.dataset import Dataset
from gazehound.data.writers import kitti_name

FULL = frozenset({"coco"})  # COCO's JSON takes keys of any name, so it holds everything

CROWD = {
    "voc": "are marked difficult, as VOC has no crowd flag",
    "yolo": "are left out, as YOLO has no crowd flag and would take them for objects",
    "kitti": "become DontCare regions without a class",
}
EXTRAS = {
    "voc": frozenset({"pose", "truncated", "occluded"}),
    "yolo": frozenset({"polygon", "score"}),
    "kitti": frozenset(
        {"truncated", "occluded", "alpha", "dimensions", "location", "rotation_y", "score"}
    ),
}


def losses(dataset: Dataset, target: str) -> list[str]:
    """Return one line for everything that a format cannot hold of this data set.

    Args:
        dataset: what is to be written.
        target: ``coco``, ``voc``, ``yolo`` or ``kitti``.
    """
    checks: Sequence[Callable[[Dataset, str], str]] = (
        _crowd, _difficult, _annotation_ids, _image_ids, _class_ids, _class_names, _areas,
        _columns, _image_columns, _info,
    )  # fmt: skip
    return [line for check in checks if (line := check(dataset, target))]


def _crowd(dataset: Dataset, target: str) -> str:
    dontcare = dataset.extras.get("dontcare")
    flags = dataset.crowd & ~np.asarray(dontcare if dontcare is not None else False, bool)
    if target == "kitti":
        return f"{flags.sum()} crowd regions {CROWD[target]}" if flags.any() else ""
    if target in FULL or not dataset.crowd.any():
        return ""
    lines = [f"{flags.sum()} crowd regions {CROWD[target]}"] if flags.any() else []
    regions = int(dataset.crowd.sum() - flags.sum())
    lines += [f"{regions} DontCare regions are left out, as they have no class"] * (regions > 0)
    return "; ".join(lines)


def _difficult(dataset: Dataset, target: str) -> str:
    count = int(dataset.difficult.sum())
    lost = count and target in ("yolo", "kitti")
    return f"{count} boxes lose the flag 'difficult'" if lost else ""


def _annotation_ids(dataset: Dataset, target: str) -> str:
    numbered = np.array_equal(dataset.ids, np.arange(1, len(dataset.ids) + 1))
    return "" if target in FULL or numbered else "annotation ids are lost"


def _image_ids(dataset: Dataset, target: str) -> str:
    texts = dataset.image_ids.dtype.kind != "i"
    if target in FULL:
        return "image ids that are no numbers become 1, 2, ..." if texts else ""
    return "" if texts else "image ids are lost; the file names stay"


def _class_ids(dataset: Dataset, target: str) -> str:
    plain = dataset.classes.ids == tuple(range(len(dataset.classes)))
    return "" if target in FULL or plain else "category ids become 0 to K-1"


def _class_names(dataset: Dataset, target: str) -> str:
    if target in FULL:
        return ""
    changed = [n for n in dataset.classes if target == "kitti" and kitti_name(n) != n]
    lines = [f"class names lose their spaces ({', '.join(changed)})"] if changed else []
    lines += ["supercategories are lost"] if dataset.classes.supercategories else []
    return "; ".join(lines)


def _areas(dataset: Dataset, target: str) -> str:
    if target in FULL or not len(dataset.boxes):
        return ""
    other = ~np.isclose(dataset.area, area(dataset.boxes), rtol=1e-4, atol=1e-2)
    return f"{other.sum()} areas other than width x height (of masks) are lost" * bool(other.any())


def _columns(dataset: Dataset, target: str) -> str:
    if target in FULL or target == dataset.format:
        return ""
    kept = EXTRAS[target] | ({"dontcare"} if target == "kitti" else set())
    lost = [name for name in dataset.extras if name not in kept]
    lines = [f"properties of boxes are lost: {', '.join(lost)}"] if lost else []
    if target == "voc" and dataset.format == "kitti":
        lines.append("truncated and occluded become flags")
    return "; ".join(lines)


def _image_columns(dataset: Dataset, target: str) -> str:
    names = list(dataset.images.extras)
    lost = names and target not in FULL and target != dataset.format
    return f"properties of images are lost: {', '.join(names)}" if lost else ""


def _info(dataset: Dataset, target: str) -> str:
    lost = dataset.info and target not in FULL
    return f"the entries {', '.join(dataset.info)} are lost" if lost else ""
