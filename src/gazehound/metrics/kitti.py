"""The KITTI 2D object protocol: easy, moderate and hard, with 11 or 40 recall positions.

Geiger, Lenz and Urtasun, "Are we ready for autonomous driving?", CVPR 2012, and the rules of the
devkit's ``evaluate_object``. R40 leaves out recall 0, as Simonelli et al. (2019) proposed and the
benchmark adopted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gazehound.kernels import kitti as kernel
from gazehound.metrics.curves import mean_of
from gazehound.metrics.tables import Tables
from gazehound.records import Classes

Floats = NDArray[np.float64]
Index = NDArray[np.int64]
_SAMPLES = 41  # recall positions 0, 1/40, ..., 1


@dataclass(frozen=True)
class Difficulty:
    """Which objects count; the others are ignored.

    Attributes:
        name: for the result.
        height: objects must be taller than this, detections at least as tall, pixels.
        occlusion: highest ``occluded`` that counts.
        truncation: highest ``truncated`` that counts.
    """

    name: str
    height: float
    occlusion: float
    truncation: float


DIFFICULTIES = (
    Difficulty("easy", 40, 0, 0.15),
    Difficulty("moderate", 25, 1, 0.30),
    Difficulty("hard", 25, 2, 0.50),
)
OVERLAPS = {"car": 0.7, "pedestrian": 0.5, "cyclist": 0.5}  # a match must exceed
NEIGHBOURS = {"car": "van", "pedestrian": "person_sitting"}  # ignored when the class is asked for


@dataclass(frozen=True)
class KittiResult:
    """Precision at 41 recall positions for each class and difficulty.

    Attributes:
        classes: names and ids of all classes of the data.
        evaluated: labels of the classes that have a result, in this order.
        precision: (len(evaluated), 3, 41) float64, zero beyond the highest recall.
        positives: (len(evaluated), 3) truths that count.
        detections: (len(evaluated),) detections of each class.
    """

    classes: Classes
    evaluated: tuple[int, ...]
    precision: Floats
    positives: Index
    detections: Index

    def average_precision(self, row: int, difficulty: int, positions: int = 40) -> float | None:
        """Return the mean precision at 40 or 11 recall positions; None where no truth counts."""
        if not self.positives[row, difficulty]:
            return None
        curve = self.precision[row, difficulty]
        return float(np.mean(curve[1:] if positions == 40 else curve[::4]))

    @property
    def summary(self) -> dict[str, float | None]:
        """The mean over classes as easy_R40, moderate_R40, hard_R40 and so with R11; AP is moderate."""
        out: dict[str, float | None] = {}
        for positions in (40, 11):
            for d, difficulty in enumerate(DIFFICULTIES):
                values = [
                    self.average_precision(row, d, positions) for row in range(len(self.evaluated))
                ]
                out[f"{difficulty.name}_R{positions}"] = mean_of(values)
        return {"AP": out["moderate_R40"]} | out

    @property
    def per_class(self) -> list[dict[str, Any]]:
        """One row per evaluated class, with the six numbers; AP is that of moderate, R40."""
        rows = []
        for row, label in enumerate(self.evaluated):
            out: dict[str, Any] = {
                "name": self.classes.names[label],
                "id": self.classes.ids[label],
                "truths": int(self.positives[row, -1]),
                "detections": int(self.detections[row]),
                "AP": self.average_precision(row, 1),
            }
            for positions in (40, 11):
                for d, difficulty in enumerate(DIFFICULTIES):
                    key = f"{difficulty.name}_R{positions}"
                    out[key] = self.average_precision(row, d, positions)
            rows.append(out)
        return rows


@dataclass(frozen=True)
class _Side:
    """Truths or detections by image, boxes as ``xyxy``."""

    starts: Index
    rows: Index
    boxes: Floats


def evaluate_kitti(tables: Tables, overlaps: dict[str, float] | None = None) -> KittiResult:
    """Evaluate the KITTI protocol for every class but those that are only a neighbour.

    Truths need the extras ``truncated`` and ``occluded`` (zero where missing); ``dontcare`` marks
    regions that nobody labelled.

    Args:
        tables: truths and detections.
        overlaps: by class name in small letters, what a match must exceed; default 0.7 for cars and
            0.5 for all others.
    """
    limits = OVERLAPS if overlaps is None else overlaps
    names = [name.lower() for name in tables.classes.names]
    neighbours = {NEIGHBOURS[name] for name in names if name in NEIGHBOURS}
    evaluated = tuple(label for label, name in enumerate(names) if name not in neighbours)
    precision = np.zeros((len(evaluated), len(DIFFICULTIES), _SAMPLES))
    positives = np.zeros((len(evaluated), len(DIFFICULTIES)), np.int64)
    dontcare = tables.truths.extras.get("dontcare", tables.truths.crowd).astype(bool)
    sides = _Sides(
        _side(tables.truths.image, tables.truths.xywh, ~dontcare, len(tables.image_ids)),
        _side(tables.truths.image, tables.truths.xywh, dontcare, len(tables.image_ids)),
        _side(
            tables.found.image, tables.found.xywh, np.ones(len(tables.found), bool),
            len(tables.image_ids),
        ),
    )  # fmt: skip
    for row, label in enumerate(evaluated):
        for d, difficulty in enumerate(DIFFICULTIES):
            least = limits.get(names[label], 0.5)
            precision[row, d], positives[row, d] = _curve(tables, sides, label, difficulty, least)
    detections = np.bincount(tables.found.label, minlength=len(names))[list(evaluated)]
    return KittiResult(tables.classes, evaluated, precision, positives, detections)


@dataclass(frozen=True)
class _Sides:
    truths: _Side
    regions: _Side
    found: _Side


def _side(image: NDArray[np.int32], xywh: Floats, keep: NDArray[np.bool_], n_images: int) -> _Side:
    rows = np.flatnonzero(keep)
    rows = rows[np.argsort(image[rows], kind="stable")]
    boxes = np.concatenate([xywh[rows, :2], xywh[rows, :2] + xywh[rows, 2:]], axis=1)
    starts = np.searchsorted(image[rows], np.arange(n_images + 1)).astype(np.int64)
    return _Side(starts, rows, np.ascontiguousarray(boxes))


def _curve(
    tables: Tables, sides: _Sides, label: int, difficulty: Difficulty, least: float
) -> tuple[Floats, int]:
    """Return the precision at the 41 positions and the number of truths that count."""
    truths, regions, found = sides.truths, sides.regions, sides.found
    truth_state = _truth_state(tables, truths, label, difficulty)
    state = _found_state(tables, found, label, difficulty)
    score = tables.found.score[found.rows]
    positives = int((truth_state == kernel.USED).sum())
    scores = kernel.found_scores(
        truths.starts, truths.boxes, truth_state, found.starts, found.boxes, state, score, least
    )
    curve = np.zeros(_SAMPLES)
    for i, threshold in enumerate(score_thresholds(scores, positives)[:_SAMPLES]):
        true, false, _ = kernel.count_at(
            truths.starts, truths.boxes, truth_state, regions.starts, regions.boxes,
            found.starts, found.boxes, state, score, least, threshold,
        )  # fmt: skip
        curve[i] = true / (true + false) if true + false else 0.0
    return np.maximum.accumulate(curve[::-1])[::-1], positives


def score_thresholds(scores: Floats, positives: int) -> list[float]:
    """Return the scores at which recall passes 0, 1/40, ..., as near as the data allow.

    Args:
        scores: of the detections that find an object.
        positives: truths that count.
    """
    falling = np.sort(scores)[::-1].tolist()
    out: list[float] = []
    recall = 0.0
    for i, score in enumerate(falling):
        here = (i + 1) / positives
        last = i == len(falling) - 1
        after = here if last else (i + 2) / positives
        if after - recall < recall - here and not last:
            continue  # the next one comes nearer
        out.append(score)
        recall += 1 / (_SAMPLES - 1)
    return out


def _truth_state(
    tables: Tables, truths: _Side, label: int, difficulty: Difficulty
) -> NDArray[np.int8]:
    names = np.asarray([name.lower() for name in tables.classes.names])
    own = tables.truths.label[truths.rows] == label
    near = names[tables.truths.label[truths.rows]] == NEIGHBOURS.get(str(names[label]), "")
    zeros = np.zeros(len(tables.truths))
    occluded = tables.truths.extras.get("occluded", zeros)[truths.rows]
    truncated = tables.truths.extras.get("truncated", zeros)[truths.rows]
    height = truths.boxes[:, 3] - truths.boxes[:, 1]
    hard = (
        (occluded > difficulty.occlusion)
        | (truncated > difficulty.truncation)
        | (height <= difficulty.height)
    )
    state = np.full(len(own), kernel.OTHER, np.int8)
    state[near | (own & hard)] = kernel.IGNORED
    state[own & ~hard] = kernel.USED
    return state


def _found_state(
    tables: Tables, found: _Side, label: int, difficulty: Difficulty
) -> NDArray[np.int8]:
    """Small detections are ignored whatever their class, as in the devkit."""
    state = np.full(len(found.rows), kernel.OTHER, np.int8)
    state[tables.found.label[found.rows] == label] = kernel.USED
    height = np.trunc(np.abs(found.boxes[:, 3] - found.boxes[:, 1]))
    state[height < difficulty.height] = kernel.IGNORED
    return state
