"""The proof: an exported file and its checkpoint look at the same pictures and find the same.

Two computations that differ in the last digit may decide differently where a decision is a tie: a score
at the limit, an overlap at the threshold of NMS. Such a detection may appear on one side alone; it is
counted and said, and any other one that does is a difference.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gazehound.boxes.iou import pairwise
from gazehound.detectors.detector import Detector
from gazehound.errors import ExportError
from gazehound.export.evidence import Evidence
from gazehound.metrics import Evaluation
from gazehound.records import Detections

BOX_LIMIT = 0.5  # pixels of the original picture, any side
SCORE_LIMIT = 0.01
MAP_LIMIT = 0.001
TIE = 0.02  # of IoU, around the threshold of NMS


@dataclass(frozen=True)
class Difference:
    """One detection that differs, or was found by one side alone.

    Attributes:
        text: what and where.
        amount: how far beyond its limit, as a factor; infinite where the other side has nothing.
    """

    text: str
    amount: float


@dataclass(frozen=True)
class Comparison:
    """Two lists of detections of one picture.

    Attributes:
        pairs: how many both sides have.
        box: largest distance of a side, pixels.
        score: largest difference of scores.
        ties: detections of one side alone that a tie explains.
        differences: what no tie explains, or lies beyond a limit.
    """

    pairs: int
    box: float
    score: float
    ties: int
    differences: tuple[Difference, ...]


@dataclass(frozen=True)
class Proof:
    """What the comparison found over all pictures.

    Attributes:
        pictures: which.
        images: how many.
        detections: of the checkpoint.
        box: largest distance of a side, pixels of the original picture.
        score: largest difference of scores.
        ties: see :class:`Comparison`.
        differences: all, in the order of the pictures.
        native: mAP of the checkpoint where there are truths, 0..1.
        exported: mAP of the file.
    """

    pictures: str
    images: int
    detections: int
    box: float
    score: float
    ties: int
    differences: tuple[Difference, ...]
    native: float | None = None
    exported: float | None = None

    @property
    def loss(self) -> float | None:
        """Return how much mAP the file loses, 0..1; None without truths."""
        if self.native is None or self.exported is None:
            return None
        return self.native - self.exported

    @property
    def lines(self) -> list[str]:
        """Return the report."""
        ties = f", {self.ties} ties decided otherwise" if self.ties else ""
        told = [
            f"on {self.pictures}: {self.detections} detections, boxes within {self.box:.2g} px, "
            f"scores within {self.score:.2g}{ties}"
        ]
        if self.loss is not None:
            told.append(
                f"mAP {self.native:.4f} of the checkpoint, {self.exported:.4f} of the exported file "
                f"({-self.loss:+.4f})"
            )
        return told

    def demand(self) -> None:
        """Raise ExportError, with the worst difference and its place, unless both sides agree."""
        if self.differences:
            worst = max(self.differences, key=lambda difference: difference.amount)
            more = len(self.differences) - 1
            also = f" (and {more} more)" if more else ""
            raise ExportError(f"the exported file finds something else: {worst.text}{also}")
        if self.loss is not None and abs(self.loss) > MAP_LIMIT:
            raise ExportError(
                f"the exported file finds something else: its mAP is {self.exported:.4f}, not "
                f"{self.native:.4f}; at most {MAP_LIMIT} may lie between them"
            )


def prove(
    native: Detector,
    exported: Detector,
    evidence: Evidence,
    limits: dict[str, Any],
    step: Callable[[], None] = lambda: None,
) -> Proof:
    """Compare two detectors on pictures.

    Args:
        native: the checkpoint.
        exported: the file.
        evidence: the pictures.
        limits: what the detector keeps: ``score``, ``per_image``, ``iou`` where it has them.
        step: called after each picture.
    """
    sides = [Evaluation(native.classes), Evaluation(native.classes)] if evidence.truths else []
    compared, total = [], 0
    for number, sample in enumerate(evidence):
        assert sample.image is not None
        wanted, got = (detector.predict([sample.image])[0] for detector in (native, exported))
        compared.append(compare(wanted, got, limits, sample.file or f"picture {number}"))
        total += len(wanted)
        for evaluation, detections in zip(sides, (wanted, got), strict=False):
            evaluation.add(sample, detections)
        step()
    scores = [_map(evaluation) for evaluation in sides] or [None, None]
    return Proof(
        evidence.text,
        len(compared),
        total,
        max((c.box for c in compared), default=0.0),
        max((c.score for c in compared), default=0.0),
        sum(c.ties for c in compared),
        tuple(d for c in compared for d in c.differences),
        *scores,
    )


def compare(
    native: Detections, exported: Detections, limits: dict[str, Any], name: str
) -> Comparison:
    """Pair the detections of one picture by class and nearest box, and explain the rest."""
    pairs, alone, strangers = _paired(native, exported)
    boxes = np.array([_distance(native.boxes[i], exported.boxes[j]) for i, j in pairs])
    scores = np.array([abs(native.scores[i] - exported.scores[j]) for i, j in pairs])
    told = [
        _moved(native, exported, pair, float(box), float(score), name)
        for pair, box, score in zip(pairs, boxes, scores, strict=True)
        if box > BOX_LIMIT or score > SCORE_LIMIT
    ]
    single = [(native, row, "the exported file") for row in alone]
    single += [(exported, row, "the checkpoint") for row in strangers]
    single.sort(key=lambda one: -float(one[0].scores[one[1]]))
    tied: list[tuple[Detections, int]] = []
    for side, row, other in single:
        if _is_tie(side, row, (native, exported), limits, tied):
            tied.append((side, row))
        else:
            told.append(Difference(f"{_place(side, row, name)} is not found by {other}", np.inf))
    largest = [float(values.max()) if len(values) else 0.0 for values in (boxes, scores)]
    return Comparison(len(pairs), largest[0], largest[1], len(tied), tuple(told))


def _paired(
    native: Detections, exported: Detections
) -> tuple[list[tuple[int, int]], list[int], list[int]]:
    """Return pairs of rows, and the rows of each side that have no partner within reach.

    The nearest pairs are taken first. A box may be far off and still be meant: up to half of it.
    """
    gap = np.abs(native.boxes[:, None] - exported.boxes[None]).max(axis=2, initial=0.0)
    sides = native.boxes[:, 2:] - native.boxes[:, :2]
    reach = np.maximum(BOX_LIMIT, 0.5 * sides.min(axis=1, initial=np.inf))
    other = native.labels[:, None] != exported.labels[None]
    gap = np.where(other | (gap > reach[:, None]), np.inf, gap)
    order = np.argsort(gap, axis=None, kind="stable")
    rows: list[tuple[int, int]] = []
    used_native: set[int] = set()
    used_exported: set[int] = set()
    for flat in order[: int(np.isfinite(gap).sum())]:
        i, j = (int(index) for index in np.unravel_index(flat, gap.shape))
        if i not in used_native and j not in used_exported:
            rows.append((i, j))
            used_native.add(i)
            used_exported.add(j)
    alone = [i for i in range(len(native)) if i not in used_native]
    return rows, alone, [j for j in range(len(exported)) if j not in used_exported]


def _is_tie(
    side: Detections,
    row: int,
    both: tuple[Detections, Detections],
    limits: dict[str, Any],
    tied: list[tuple[Detections, int]],
) -> bool:
    """Say whether a detection of one side alone was on the edge of being kept."""
    score = float(side.scores[row])
    cut = float(limits.get("score", 0.0))
    if len(side) >= int(limits.get("per_image", len(side) + 1)):
        cut = max(cut, float(side.scores.min()))
    if score <= cut + SCORE_LIMIT:
        return True
    threshold = limits.get("iou")
    if threshold is None:
        return False
    for found in both:
        rivals = (found.labels == side.labels[row]) & (found.scores > score - SCORE_LIMIT)
        overlap = pairwise(side.boxes[row][None], found.boxes[rivals])[0]
        if np.any(np.abs(overlap - threshold) < TIE):
            return True
    # What it overlaps was a tie itself: with another decision there, another one here.
    return any(
        other.labels[index] == side.labels[row]
        and pairwise(side.boxes[row][None], other.boxes[index][None])[0, 0] > threshold - TIE
        for other, index in tied
    )


def _moved(
    native: Detections,
    exported: Detections,
    pair: tuple[int, int],
    box: float,
    score: float,
    name: str,
) -> Difference:
    i, j = pair
    text = f"{_place(native, i, name)} moved by {box:.2f} px (at most {BOX_LIMIT} may)"
    if box <= BOX_LIMIT:
        text = (
            f"{_place(native, i, name)} has score {exported.scores[j]:.4f} in the exported file "
            f"(at most {SCORE_LIMIT} may lie between them)"
        )
    return Difference(text, max(box / BOX_LIMIT, score / SCORE_LIMIT))


def _place(found: Detections, row: int, name: str) -> str:
    numbers = ", ".join(f"{side:.1f}" for side in found.boxes[row])
    what = f"{found.names[row]} {found.scores[row]:.4f}"
    return f"{name}: detection {row + 1} ({what} at {numbers})"


def _distance(a: NDArray[Any], b: NDArray[Any]) -> float:
    return float(np.abs(a - b).max())


def _map(evaluation: Evaluation) -> float | None:
    value = evaluation.coco().summary["AP"]
    return None if value is None else float(value)
