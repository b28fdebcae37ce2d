"""The work of ``gazehound explain``: find the picture's truths, explain, write the page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from gazehound.data import Dataset, available_splits, open_dataset
from gazehound.errors import ConfigError, DataError
from gazehound.model import load
from gazehound.records import Classes, Sample


def run(
    name: str,
    image: Path,
    out: Path | None,
    data: Path | None,
    split: str | None,
    device: str | None,
) -> str:
    """Explain a model on a picture, write the page, and return the line that says so.

    Raises:
        ConfigError: an option does not fit, or the model has no weights.
        DataError: the data set does not hold the picture, or none of its classes is the model's.
        ImageError: the picture cannot be read.
        CheckpointError: the model's file cannot be read.
    """
    if split is not None and data is None:
        raise ConfigError("--split chooses a split of --truths, which is not given")
    out = out or Path("runs/explain") / f"{image.stem}.html"
    if out.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"--out must be an .html file; got {out}")
    model = load(name)
    if device:
        model.to(device)
    truths, left_out = truths_of(image, data, split, model.classes) if data else (None, "")
    explained = model.explain(image, truths=truths, out=out)
    shown = f"{len(explained.panels)} steps of {explained.name}, {len(explained.found)} detections"
    return f"wrote {out}: {shown}{left_out}"


def truths_of(image: Path, data: Path, split: str | None, classes: Classes) -> tuple[Sample, str]:
    """Return the annotations of a picture with the model's labels, and what was left out, in words.

    Raises:
        DataError: no split holds a picture of this name, or no truth of it is of the model's classes.
    """
    splits = (split,) if split else available_splits(data) or (None,)
    for one in splits:
        dataset = open_dataset(data, split=one)
        row = _row_of(image, dataset)
        if row is not None:
            return _relabelled(dataset.annotations(row), dataset.classes, classes, image)
    where = f"split '{split}' of {data}" if split else str(data)
    raise DataError(f"{where} does not hold a picture named {image.name}")


def _row_of(image: Path, dataset: Dataset) -> int | None:
    """Return the row of a picture: the file itself, else the only one of its name."""
    paths = [Path(path) for path in dataset.paths()]
    whole = image.resolve()
    named = [row for row, path in enumerate(paths) if path.name == image.name]
    same = [row for row in named if paths[row].resolve() == whole]
    if same or len(named) == 1:
        return (same or named)[0]
    return None


def _relabelled(sample: Sample, theirs: Classes, ours: Classes, image: Path) -> tuple[Sample, str]:
    """Return the annotations whose class the model knows, with its labels."""
    known = ours.label_of_name()
    labels = np.array([known.get(theirs.names[label], -1) for label in sample.labels], np.int64)
    kept = labels >= 0
    if len(sample) and not kept.any():
        raise DataError(
            f"{image.name}: none of its truths is of the model's classes ({', '.join(ours.names[:8])}"
            f"{', ...' if len(ours) > 8 else ''})"
        )
    lost = len(sample) - int(kept.sum())
    words = f"; {lost} truths of other classes left out" if lost else ""
    return replace(sample.select(kept), labels=labels[kept]), words
