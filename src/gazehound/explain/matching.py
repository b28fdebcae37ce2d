"""Ask a network which of its candidates would learn which object, about the outputs it has just made."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gazehound.explain.run import Run, host, no_gradient
from gazehound.nn.assigners.assigner import Candidates, Predictions
from gazehound.nn.assigners.assignment import Assignment
from gazehound.nn.rpn import AnchorOutputs
from gazehound.records import Targets


@runtime_checkable
class Assigning(Protocol):
    """A network, or a part of one, that assigns its candidates while computing its losses."""

    assign: Any

    def losses(self, outputs: Any, targets: Targets) -> dict[str, Tensor]:
        """Return the losses; ``assign`` is called on the way."""
        ...


@runtime_checkable
class Matching(Protocol):
    """A network that says itself which candidates learn which truth."""

    def match(self, outputs: Any, targets: Targets) -> Assignment:
        """Return one truth per candidate."""
        ...


@runtime_checkable
class Predicting(Protocol):
    """A network whose assigner goes by boxes alone, but that can say what it predicts."""

    def predictions(self, outputs: Any) -> Predictions:
        """Return what the outputs say at each candidate."""
        ...


@runtime_checkable
class Proposing(Assigning, Protocol):
    """The first stage of a network of two."""

    def propose(self, outputs: Any, sizes: Tensor) -> Any:
        """Return proposals."""
        ...


@dataclass(frozen=True)
class Matched:
    """What a network's own assigner answered.

    Attributes:
        assigner: the assigner.
        candidates: what it was asked about, level by level.
        even: every level has equally many candidates per cell, as other assigners want it.
        targets: the objects, in pixels of the network input.
        predictions: what it could read; ``None`` for an assigner that goes by boxes alone.
        result: its answer.
    """

    assigner: Any
    candidates: Candidates
    even: bool
    targets: Targets
    predictions: Predictions | None
    result: Assignment

    @property
    def name(self) -> str:
        """Return the assigner's name."""
        return type(self.assigner).__name__.removesuffix("Assigner")


class _Recorder:
    """Stands in for an assigner, asks it, and remembers question and answer."""

    def __init__(self, assign: Any) -> None:
        self.assign = assign
        self.calls: list[tuple[tuple[Any, ...], Any]] = []

    def __call__(self, *asked: Any, **more: Any) -> Any:
        answer = self.assign(*asked, **more)
        self.calls.append(((*asked, *more.values()), answer))
        return answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self.assign, name)


def matched(run: Run) -> Matched | None:
    """Let the network compute its losses on the outputs of the watched prediction, and listen in.

    No layer runs again: the outputs are those of the prediction. ``None`` where nothing is assigned, or
    there is no object to assign to.
    """
    inferred = run.inferred
    if inferred is None or not len(run.objects[0]):
        return None
    owner, outputs = _assigning(run.detector, inferred.outputs)
    if owner is None:
        return None
    targets = _targets(run, inferred.batch.images.device, classless=owner is not run.detector)
    with no_gradient():
        asked, answer = _overheard(owner, outputs, targets)
        if not isinstance(answer, Assignment):
            if not isinstance(owner, Matching):
                return None
            answer = owner.match(outputs, targets)
        predictions = next((a for a in asked if isinstance(a, Predictions)), None)
        if predictions is None and isinstance(owner, Predicting):
            predictions = owner.predictions(outputs)
        if isinstance(outputs, AnchorOutputs) and hasattr(owner, "coder"):
            boxes = owner.coder.decode(outputs.deltas[:, :, 0].float(), outputs.anchors)
            predictions = Predictions(outputs.objectness[..., None], boxes)
    candidates, even = _candidates(asked[0], outputs)
    return Matched(owner.assign, candidates, even, targets, predictions, answer)


def _assigning(detector: Any, outputs: Any) -> tuple[Any, Any]:
    """Return what assigns, and its outputs: the network itself, or its proposal network."""
    if isinstance(detector, Assigning):
        return detector, outputs
    for part in detector.children() if isinstance(detector, nn.Module) else ():
        if isinstance(part, Proposing):
            return part, getattr(outputs, "first", outputs)
    return None, None


def _targets(run: Run, device: torch.device, *, classless: bool) -> Targets:
    boxes, labels = run.objects
    rows = torch.from_numpy(run.geometry.to_input(boxes).astype(np.float32))[None]
    classes = torch.from_numpy(np.asarray(labels, np.int64))[None]
    classes = torch.zeros_like(classes) if classless else classes
    valid = torch.ones(1, len(boxes), dtype=torch.bool)
    return Targets(rows.to(device), classes.to(device), valid.to(device))


def _overheard(owner: Any, outputs: Any, targets: Targets) -> tuple[tuple[Any, ...], Any]:
    """Compute the losses of a copy of ``owner`` whose assigner remembers, and return what was said."""
    recorder = _Recorder(owner.assign)
    twin = copy.copy(owner)  # shares the weights; only this one attribute differs
    twin.assign = recorder
    twin.losses(outputs, targets)
    return recorder.calls[0]


def _candidates(asked: Any, outputs: Any) -> tuple[Candidates, bool]:
    """Return what an assigner was asked about as candidates with levels, and whether they are even."""
    if isinstance(asked, Candidates):
        return asked, True
    boxes = asked[0] if asked.ndim == 3 else asked
    strides, counts = [], []
    for level in boxes.split(list(outputs.lengths)):
        stride, count = _spacing(host((level[:, :2] + level[:, 2:]) / 2))
        strides.append(stride)
        counts.append(count)
    even = len(set(counts)) == 1
    return Candidates(boxes, tuple(outputs.lengths), tuple(strides), counts[0] if even else 1), even


def _spacing(centres: NDArray[np.float32]) -> tuple[int, int]:
    """Return the pixels between the cells of a level, and the candidates of one cell."""
    away = np.abs(centres - centres[0]).max(axis=1) > 0.5
    count = int(away.argmax()) if away.any() else len(centres)
    columns = np.unique(np.round(centres[:, 0]))
    stride = round(float(np.diff(columns).min())) if len(columns) > 1 else 1
    return max(stride, 1), count
