"""The LVIS protocol: a federated data set, where not every class is annotated in every image.

Gupta, Dollar and Girshick, "LVIS: A Dataset for Large Vocabulary Instance Segmentation", section 2.3,
and ``lvis-api``. A detection counts only in images where its class is known to be present or absent;
where a class is not exhaustively annotated, an unmatched detection of it does not count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gazehound.errors import DataError
from gazehound.metrics.coco import CocoResult, evaluate_coco
from gazehound.metrics.tables import Found, Tables

LIMIT = 300  # detections per image, all classes together
FREQUENCIES = {"r": "rare", "c": "common", "f": "frequent"}


@dataclass(frozen=True)
class Federation:
    """What a federated data set says of images and classes.

    Attributes:
        negative: (P, 2) int64 (image index, label): the class is not in the image.
        partial: (Q, 2) int64 (image index, label): not all objects of the class are annotated.
        frequency: of each label: ``r`` rare, ``c`` common, ``f`` frequent.
    """

    negative: NDArray[np.int64]
    partial: NDArray[np.int64]
    frequency: tuple[str, ...]

    @classmethod
    def of(
        cls,
        images: Sequence[Mapping[str, Any]],
        categories: Sequence[Mapping[str, Any]],
        name: str = "annotations",
    ) -> Federation:
        """Build it from the image and category entries of an LVIS file.

        Args:
            images: in the order of the image index.
            categories: in the order of the labels.
            name: of the file, for messages.

        Raises:
            DataError: an entry lacks its sets or its frequency, or names an unknown category.
        """
        label_of = {category["id"]: label for label, category in enumerate(categories)}
        frequency = []
        for category in categories:
            if category.get("frequency") not in FREQUENCIES:
                raise DataError(
                    f"{name}: category {category['id']}: frequency must be r, c or f for LVIS; "
                    f"got {category.get('frequency')!r}"
                )
            frequency.append(category["frequency"])

        def pairs(key: str) -> NDArray[np.int64]:
            rows = []
            for index, image in enumerate(images):
                if not isinstance(image.get(key), list):
                    raise DataError(f"{name}: image {image['id']} has no '{key}', which LVIS needs")
                for category in image[key]:
                    if category not in label_of:
                        raise DataError(
                            f"{name}: image {image['id']}: {key} names unknown category {category}"
                        )
                    rows.append((index, label_of[category]))
            return np.asarray(rows, np.int64).reshape(-1, 2)

        return cls(
            pairs("neg_category_ids"), pairs("not_exhaustive_category_ids"), tuple(frequency)
        )


@dataclass(frozen=True)
class LvisResult:
    """The COCO arrays of the federated evaluation, and the frequency of the classes.

    Attributes:
        coco: precision, recall and scores; axis M has the one limit of 300.
        frequency: of each label.
    """

    coco: CocoResult
    frequency: tuple[str, ...]

    @property
    def summary(self) -> dict[str, float | None]:
        """AP, AP50, AP75, APs, APm, APl, APr, APc, APf, AR300, ARs, ARm, ARl."""
        of_coco = self.coco.summary
        rows = {}
        for letter in FREQUENCIES:
            labels = [label for label, value in enumerate(self.frequency) if value == letter]
            values = self.coco.precision[:, :, labels, 0, -1]
            defined = values[values > -1]
            rows[f"AP{letter}"] = float(np.mean(defined)) if len(defined) else None
        recalls = {key: value for key, value in of_coco.items() if key.startswith("AR")}
        return {key: v for key, v in of_coco.items() if key not in recalls} | rows | recalls

    @property
    def per_class(self) -> list[dict[str, Any]]:
        """One row per class, as of COCO, with its frequency."""
        return [
            row | {"frequency": FREQUENCIES[frequency]}
            for row, frequency in zip(self.coco.per_class, self.frequency, strict=True)
        ]


def federated(tables: Tables, federation: Federation, limit: int = LIMIT) -> Tables:
    """Return the tables that LVIS evaluates: capped per image, undecided detections left out.

    Crowds do not exist in LVIS; a truth is ignored only where the file says ``ignore``.
    """
    found, n_labels = tables.found, len(tables.classes)
    kept = np.flatnonzero(_rank_in_image(found) < limit)
    of_truth = tables.truths.image.astype(np.int64) * n_labels + tables.truths.label
    of_found = found.image[kept].astype(np.int64) * n_labels + found.label[kept]
    decided = np.isin(of_found, np.concatenate([of_truth, _keys(federation.negative, n_labels)]))
    kept, of_found = kept[decided], of_found[decided]
    few = Found(
        found.image[kept], found.label[kept], found.xywh[kept], found.score[kept],
        np.isin(of_found, _keys(federation.partial, n_labels)),
    )  # fmt: skip
    none = np.zeros(len(tables.truths), bool)
    ignored = tables.truths.extras.get("ignore", none)
    truths = replace(tables.truths, crowd=none, ignored=ignored)
    return replace(tables, found=few, truths=truths)


def evaluate_lvis(tables: Tables, federation: Federation, limit: int = LIMIT) -> LvisResult:
    """Evaluate the LVIS box protocol.

    Args:
        tables: truths and detections.
        federation: negative and not exhaustive sets, and frequencies.
        limit: detections per image, all classes together.
    """
    result = evaluate_coco(federated(tables, federation, limit), limits=(limit,))
    return LvisResult(result, federation.frequency)


def _keys(pairs: NDArray[np.int64], n_labels: int) -> NDArray[np.int64]:
    return pairs[:, 0] * n_labels + pairs[:, 1]


def _rank_in_image(found: Found) -> NDArray[np.int64]:
    """Return how many detections of the same image have a higher score, or the same and come first."""
    order = np.lexsort((-found.score, found.image))
    image = found.image[order]
    starts = np.flatnonzero(np.append(True, image[1:] != image[:-1])) if len(image) else image
    sizes = np.diff(np.append(starts, len(image)))
    rank = np.empty(len(image), np.int64)
    rank[order] = np.arange(len(image)) - np.repeat(starts, sizes)
    return rank
