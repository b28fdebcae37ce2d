"""Run a detector over a data set and accumulate the evaluation."""

from __future__ import annotations

from rich.progress import track

from gazehound.data import Dataset
from gazehound.detectors.detector import Detector
from gazehound.errors import ConfigError
from gazehound.metrics import Evaluation
from gazehound.records import Classes


def evaluate(
    detector: Detector, dataset: Dataset, *, batch: int = 1, progress: bool = False
) -> Evaluation:
    """Detect on every image of ``dataset`` and hand truths and boxes to an :class:`Evaluation`.

    Raises:
        ConfigError: the classes of detector and data set differ.
    """
    need_same_classes(detector.classes, dataset.classes)
    evaluation = Evaluation(dataset.classes)
    starts = range(0, len(dataset), max(1, batch))
    for start in track(starts, description="detecting", disable=not progress, transient=True):
        rows = range(start, min(start + max(1, batch), len(dataset)))
        samples = [dataset[row] for row in rows]
        found = detector.predict([s.image for s in samples if s.image is not None])
        for sample, detections in zip(samples, found, strict=True):
            evaluation.add(sample, detections)
    return evaluation


def need_same_classes(model: Classes, data: Classes) -> None:
    """Raise ConfigError unless label for label the names agree; says what differs."""
    if model.names == data.names:
        return
    missing = [name for name in data.names if name not in model.names]
    unknown = [name for name in model.names if name not in data.names]
    if missing or unknown:
        detail = f"only in the data: {missing or 'none'}; only in the model: {unknown or 'none'}"
    else:
        detail = f"the order differs: model {list(model.names)}, data {list(data.names)}"
    raise ConfigError(f"the model and the data set do not have the same classes; {detail}")
