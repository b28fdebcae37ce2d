"""The accumulator for streaming evaluation: add image by image, merge shards, ask for any protocol.

The digits do not depend on the order of the images, on how they were batched, or on which process
saw which: rows are kept per image, and put in the order of the image ids when a protocol is asked
for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gazehound.errors import ConfigError, DataError
from gazehound.metrics.coco import CocoResult, evaluate_coco
from gazehound.metrics.curves import Curve, curves
from gazehound.metrics.kitti import KittiResult, evaluate_kitti
from gazehound.metrics.lvis import Federation, LvisResult, evaluate_lvis
from gazehound.metrics.tables import Found, Tables, Truths, xywh_of
from gazehound.metrics.voc import VocResult, evaluate_voc
from gazehound.records import Classes, Detections, Sample

State = dict[str, NDArray[Any]]

_TRUTH: dict[str, tuple[type, tuple[int, ...]]] = {
    "label": (np.int32, ()),
    "xywh": (np.float64, (4,)),
    "area": (np.float64, ()),
    "crowd": (np.bool_, ()),
    "difficult": (np.bool_, ()),
    "truncated": (np.float64, ()),
    "occluded": (np.float64, ()),
    "dontcare": (np.float64, ()),
}
_EXTRAS = ("truncated", "occluded", "dontcare")
_FOUND: dict[str, tuple[type, tuple[int, ...]]] = {
    "label": (np.int32, ()),
    "xywh": (np.float64, (4,)),
    "score": (np.float64, ()),
}


@dataclass(frozen=True)
class _Image:
    """The rows of one image."""

    size: tuple[int, int]
    file: str
    truths: State
    found: State

    def fingerprint(self, of: State) -> bytes:
        return b"".join(of[name].tobytes() for name in sorted(of))


class Evaluation:
    """Collects truths and detections; answers with any protocol.

    >>> evaluation = Evaluation(classes)
    >>> for truth, detections in pairs:
    ...     evaluation.add(truth, detections)
    >>> evaluation.coco().summary["AP"]
    """

    def __init__(self, classes: Classes) -> None:
        """Begin without images.

        Args:
            classes: names and ids of the labels of truths and detections.
        """
        self.classes = classes
        self._images: dict[int | str, _Image] = {}
        self._tables: Tables | None = None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._images)

    def add(self, truth: Sample, detections: Detections) -> None:
        """Add one image.

        Args:
            truth: its annotations; ``image`` may be None.
            detections: what was found in it, boxes in pixels of the original image.

        Raises:
            DataError: the image was added before, a number is not finite, or a label has no class.
        """
        key = truth.image_id
        where = f"image {key!r}"
        if key in self._images:
            raise DataError(f"{where} was added twice; an evaluation sees every image once")
        if detections.image_id is not None and detections.image_id != key:
            raise DataError(f"{where}: the detections are of image {detections.image_id!r}")
        if detections.classes.names != self.classes.names:
            raise DataError(f"{where}: the detections have other classes than the evaluation")
        truths = _truth_rows(truth)
        found: State = {
            "label": np.asarray(detections.labels, np.int32),
            "xywh": xywh_of(detections.boxes),
            "score": np.asarray(detections.scores, np.float64),
        }
        for what, rows in (("truth", truths), ("detection", found)):
            _check_rows(f"{where}: {what}", rows, len(self.classes))
        self._images[key] = _Image(truth.size, truth.file, truths, found)
        self._tables = None

    def merge(self, other: Self) -> None:
        """Take in the images of another accumulator of the same classes.

        An image that both hold (a sampler that pads its last batch) counts once. Its truths must
        agree; of different detections the same copy is kept whatever the order of merging.

        Raises:
            ConfigError: the classes differ.
            DataError: both hold an image with different truths.
        """
        if other.classes != self.classes:
            raise ConfigError("evaluations of different classes cannot be merged")
        for key, image in other._images.items():
            known = self._images.get(key)
            if known is None:
                self._images[key] = image
                continue
            if known.fingerprint(known.truths) != image.fingerprint(image.truths):
                raise DataError(f"image {key!r} came twice, with different truths")
            self._images[key] = min(known, image, key=lambda one: one.fingerprint(one.found))
        self._tables = None

    def state(self) -> State:
        """Return everything as flat arrays, for a gather across processes."""
        images = list(self._images.values())
        state: State = {
            "class_names": np.asarray(self.classes.names, np.str_),
            "class_ids": np.asarray(self.classes.ids, np.int64),
            "image_ids": _id_column(list(self._images)),
            "sizes": np.asarray([image.size for image in images], np.int64).reshape(-1, 2),
            "files": np.asarray([image.file for image in images], np.str_),
            "truth_counts": np.asarray([len(image.truths["label"]) for image in images], np.int64),
            "found_counts": np.asarray([len(image.found["label"]) for image in images], np.int64),
        }
        for name, rows in _joined([image.truths for image in images], _TRUTH).items():
            state[f"truth_{name}"] = rows
        for name, rows in _joined([image.found for image in images], _FOUND).items():
            state[f"found_{name}"] = rows
        return state

    @classmethod
    def from_state(cls, states: State | Sequence[State]) -> Self:
        """Build an accumulator from the ``state`` of one or of several others, in any order.

        Raises:
            ConfigError: there is no state, or their classes differ.
            DataError: two states hold an image with different truths.
        """
        parts = [states] if isinstance(states, dict) else list(states)
        if not parts:
            raise ConfigError("an evaluation needs at least one state; got none")
        merged = cls._of_one(parts[0])
        for part in parts[1:]:
            merged.merge(cls._of_one(part))
        return merged

    @classmethod
    def _of_one(cls, state: State) -> Self:
        names, ids = state["class_names"].tolist(), state["class_ids"].tolist()
        new = cls(Classes(tuple(names), tuple(ids)))
        split = {}
        for kind, columns in (("truth", _TRUTH), ("found", _FOUND)):
            marks = np.cumsum(state[f"{kind}_counts"])[:-1]
            split[kind] = {name: np.split(state[f"{kind}_{name}"], marks) for name in columns}
        for i, key in enumerate(state["image_ids"].tolist()):
            height, width = state["sizes"][i].tolist()
            new._images[key] = _Image(
                (height, width),
                str(state["files"][i]),
                {name: column[i] for name, column in split["truth"].items()},
                {name: column[i] for name, column in split["found"].items()},
            )
        return new

    @property
    def tables(self) -> Tables:
        """The columns of all images, in the order of their ids."""
        if self._tables is None:
            self._tables = self._build()
        return self._tables

    def _build(self) -> Tables:
        _id_column(list(self._images))
        keys = sorted(self._images)
        images = [self._images[key] for key in keys]
        truths = _joined([image.truths for image in images], _TRUTH)
        extras = {name: truths.pop(name) for name in _EXTRAS}
        found = _joined([image.found for image in images], _FOUND)
        return Tables(
            classes=self.classes,
            image_ids=_id_column(keys),
            truths=Truths(
                image=_image_column([image.truths for image in images]),
                phantom=np.zeros(len(truths["label"]), bool),
                extras=extras,
                **truths,
            ),
            found=Found(image=_image_column([image.found for image in images]), **found),
            sizes=np.asarray([image.size for image in images], np.int64).reshape(-1, 2),
            files=tuple(image.file for image in images),
        )

    def coco(self, **options: Any) -> CocoResult:
        """Return the result of the COCO protocol; options as of ``evaluate_coco``."""
        return evaluate_coco(self.tables, **options)

    def voc(self, **options: Any) -> VocResult:
        """Return the result of Pascal VOC 2010 and later; options as of ``evaluate_voc``."""
        return evaluate_voc(self.tables, **options)

    def voc07(self, **options: Any) -> VocResult:
        """Return the result of Pascal VOC 2007, averaged at eleven recalls."""
        return evaluate_voc(self.tables, eleven_points=True, **options)

    def kitti(self, **options: Any) -> KittiResult:
        """Return the result of the KITTI protocol; options as of ``evaluate_kitti``."""
        return evaluate_kitti(self.tables, **options)

    def lvis(self, federation: Federation, **options: Any) -> LvisResult:
        """Return the result of the LVIS protocol; options as of ``evaluate_lvis``.

        Args:
            federation: what is known of images and classes, by image in the order of the ids.
            options: further options.
        """
        return evaluate_lvis(self.tables, federation, **options)

    def curves(self, **options: Any) -> list[Curve]:
        """Return precision and recall along the score, one curve per class; see ``curves``."""
        return curves(self.tables, **options)


def _truth_rows(truth: Sample) -> State:
    count = len(truth)
    return {
        "label": np.asarray(truth.labels, np.int32),
        "xywh": xywh_of(truth.boxes),
        "area": np.asarray(truth.area, np.float64),
        "crowd": np.asarray(truth.crowd, np.bool_),
        "difficult": np.asarray(truth.difficult, np.bool_),
        **{
            name: np.asarray(truth.extras.get(name, np.zeros(count)), np.float64)
            for name in _EXTRAS
        },
    }


def _check_rows(where: str, rows: State, n_labels: int) -> None:
    for name, column in rows.items():
        if column.dtype.kind == "f" and not np.isfinite(column).all():
            first = int(
                np.flatnonzero(~np.isfinite(column.reshape(len(column), -1)).all(axis=1))[0]
            )
            raise DataError(f"{where} {first}: {name} must be finite; got {column[first]}")
    labels = rows["label"]
    if len(labels) and not 0 <= labels.min() <= labels.max() < n_labels:
        raise DataError(
            f"{where}: labels must lie in 0..{n_labels - 1}; got {labels.min()}..{labels.max()}"
        )


def _joined(parts: list[State], columns: dict[str, tuple[type, tuple[int, ...]]]) -> State:
    """Concatenate each column over the images; the right dtype and shape without any image."""
    return {
        name: np.concatenate([np.zeros((0, *shape), dtype), *(part[name] for part in parts)])
        for name, (dtype, shape) in columns.items()
    }


def _image_column(parts: list[State]) -> NDArray[np.int32]:
    counts = [len(part["label"]) for part in parts]
    return np.repeat(np.arange(len(parts), dtype=np.int32), counts)


def _id_column(keys: Sequence[int | str]) -> NDArray[Any]:
    """Return the image ids as one array.

    Raises:
        DataError: some are numbers and some are text, which have no common order.
    """
    texts = sum(isinstance(key, str) for key in keys)
    if texts not in (0, len(keys)):
        raise DataError("image ids must be all numbers or all text; got both")
    return np.asarray(keys, np.str_ if texts else np.int64)
