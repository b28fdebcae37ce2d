"""One prediction, watched: the detector, the picture, and every step that was shown on the way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gazehound.detectors.detector import Detector
from gazehound.detectors.network import Inferred
from gazehound.explain.canvas import Canvas
from gazehound.records import Detections, Geometry, Sample
from gazehound.watching import watch

SHOWN = 0.3  # detections from this score on are drawn by themselves
FEW, MOST = 5, 50  # so many are drawn where none reaches it, and so many at most

Step = TypeVar("Step")


@dataclass(frozen=True)
class Run:
    """What happened when a detector looked at a picture.

    Attributes:
        detector: that looked.
        image: (H, W, 3) uint8 RGB.
        found: what it detected, all scores.
        truths: given ones, or ``None``.
        steps: that were shown, in their order.
        maps: what the modules of a network put out for the picture, feature maps (C, h, w) by name.
    """

    detector: Detector
    image: NDArray[np.uint8]
    found: Detections
    truths: Sample | None
    steps: Sequence[object]
    maps: Mapping[str, list[Tensor]]

    def shown(self, kind: type[Step]) -> list[Step]:
        """Return the steps of a kind."""
        return [step for step in self.steps if isinstance(step, kind)]

    @property
    def size(self) -> tuple[int, int]:
        """Return (height, width) of the picture."""
        return self.image.shape[0], self.image.shape[1]

    @property
    def inferred(self) -> Inferred | None:
        """Return what a network was fed and said; ``None`` for what is no network."""
        found = self.shown(Inferred)
        return found[-1] if found else None

    @property
    def geometry(self) -> Geometry:
        """Return how the picture became the input of what shows the steps."""
        inferred = self.inferred
        return inferred.batch.geometry[0] if inferred else Geometry(self.size, self.size)

    def to_image(self, boxes: Any) -> NDArray[np.float64]:
        """Map boxes (N, 4) of the detector's input to the picture; they may leave it."""
        rows = np.asarray(host(boxes), np.float64).reshape(-1, 2)
        back = self.geometry.points_to_original(np.asarray(rows, np.float32))
        return back.reshape(-1, 4).astype(np.float64)

    @property
    def input_box(self) -> NDArray[np.float64]:
        """Return the ``xyxy`` of the whole network input, padding too, in pixels of the picture."""
        inferred = self.inferred
        height, width = inferred.batch.images.shape[-2:] if inferred else self.size
        return self.to_image(np.array([[0, 0, width, height]])).reshape(4)

    @property
    def best(self) -> NDArray[np.int64]:
        """Return the rows of the detections worth drawing, best first."""
        rows = np.flatnonzero(self.found.scores >= SHOWN)
        return rows[:MOST] if len(rows) else np.arange(min(FEW, len(self.found)))

    @property
    def objects(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the boxes and labels that stand for the truth: given ones, else the best detections."""
        if self.truths is not None:
            kept = ~self.truths.crowd
            return self.truths.boxes[kept], self.truths.labels[kept]
        return self.found.boxes[self.best], self.found.labels[self.best]

    @property
    def objects_are(self) -> str:
        """Return, in words, what :attr:`objects` are."""
        if self.truths is not None:
            return ""
        return (
            "No truths were given, so the detector's own best detections stand in for them: "
            "give truths to see what it would learn here."
        )

    def name(self, label: int) -> str:
        """Return the name of a class; its number where there is none."""
        names = self.found.classes.names
        return names[label] if 0 <= label < len(names) else str(label)

    def canvas(self, view: Any = None) -> Canvas:
        """Return an empty drawing."""
        return Canvas(self.size, view)


def host(values: Any) -> NDArray[Any]:
    """Return a tensor or an array as an array."""
    if isinstance(values, Tensor):
        values = values.detach()
        return np.asarray((values.float() if values.is_floating_point() else values).cpu().numpy())
    return np.asarray(values)


def watched(detector: Detector, image: NDArray[np.uint8], truths: Sample | None) -> Run:
    """Let a detector predict on a picture, once, and keep every step that it shows."""
    with _recorded(detector) as maps, watch() as steps:
        (found,) = detector.predict([image])
    run = Run(detector, image, found, truths, steps, maps)
    if run.inferred is None:
        return run
    height, width = run.inferred.batch.images.shape[-2:]
    fitting = {
        name: [m for m in own if _covers(m.shape[-2:], (height, width))]
        for name, own in maps.items()
    }
    return replace(run, maps={name: own for name, own in fitting.items() if own})


def _covers(cells: Sequence[int], image: tuple[int, int]) -> bool:
    """Say whether a grid of cells has the shape of an image, up to a cell of padding."""
    rows, columns = cells
    return abs(rows * image[1] - columns * image[0]) <= max(image)


@contextmanager
def _recorded(detector: Detector) -> Iterator[dict[str, list[Tensor]]]:
    """Keep the feature maps that the parts of a network put out."""
    maps: dict[str, list[Tensor]] = {}
    parts = detector.named_children() if isinstance(detector, nn.Module) else ()
    handles = [
        part.register_forward_hook(_keeper(maps, name))
        for owner, module in parts
        for name, part in _parts_of(owner, module)
    ]
    try:
        yield maps
    finally:
        for handle in handles:
            handle.remove()


def _parts_of(name: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    if isinstance(module, nn.ModuleList):  # has no forward of its own
        yield from ((f"{name}.{number}", part) for number, part in enumerate(module))
    else:
        yield name, module


def _keeper(maps: dict[str, list[Tensor]], name: str) -> Any:
    def keep(_: nn.Module, __: Any, output: Any) -> None:
        found = list(_flat(output))
        if name not in maps and found and all(m.ndim == 4 and len(m) == 1 for m in found):
            maps[name] = [m[0] for m in found]

    return keep


def _flat(output: Any) -> Iterator[Tensor]:
    """Yield the tensors of nested lists, tuples and mappings."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        yield from (t for part in output.values() for t in _flat(part))
    elif isinstance(output, list | tuple):
        yield from (t for part in output for t in _flat(part))


def inference(of: Run) -> Inferred:
    """Return the network's step of a run that has one."""
    inferred = of.inferred
    if inferred is None:
        raise TypeError("only a run of a network has this step")
    return inferred


def no_gradient() -> Any:
    """Return the context in which a network's tensors of prediction may be used again."""
    return torch.inference_mode()
