"""Pictures to prove an exported file on, and to calibrate one with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gazehound.data import Dataset, open_dataset
from gazehound.data.opening import split_of_path
from gazehound.data.shapes import shapes
from gazehound.data.sources import find_sources, frames
from gazehound.errors import DataError
from gazehound.records import Classes, Sample

SIZES = ((240, 320), (320, 240), (200, 480))  # pixels, of the pictures made for want of others
PHOTOGRAPHS = ("astronaut", "coffee", "chelsea")  # of scikit-image, where it is installed
Samples = Dataset | Sequence[Sample]


@dataclass(frozen=True)
class Evidence:
    """Pictures, with or without truths.

    Attributes:
        samples: drawn one by one.
        text: which they are, for the report.
        truths: whether their boxes are truths of the detector's own classes.
    """

    samples: Samples
    text: str
    truths: bool

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[Sample]:
        return (self.samples[row] for row in range(len(self.samples)))


def evidence_of(data: str | None, classes: Classes) -> Evidence:
    """Return the validation pictures of a data set, the pictures of a folder, or some of our own.

    Args:
        data: a data set as :func:`gazehound.data.open_dataset` takes it, whose validation split is
            used unless another is named; or a folder of pictures without truths.
        classes: of the detector.

    Raises:
        DataError: there are no pictures.
    """
    if data is None:
        return _made()
    try:
        dataset = _validation(data)
    except DataError as error:
        pictures = _pictures(data)
        if not pictures:
            raise error from None
        return Evidence(pictures, f"{len(pictures)} pictures of {data} (no truths)", False)
    known = dataset.classes.names == classes.names
    text = f"{len(dataset)} images of {data}"
    return Evidence(dataset, text if known else f"{text} (other classes, no truths)", known)


def pictures_of(path: str, most: int) -> list[NDArray[np.uint8]]:
    """Return at most ``most`` pictures of a data set or folder, evenly spread; for calibration."""
    samples = evidence_of(path, Classes(("none",))).samples
    rows = np.unique(np.linspace(0, len(samples) - 1, min(most, len(samples))).astype(int))
    images = (samples[int(row)].image for row in rows)
    return [image for image in images if image is not None]


def _validation(data: str) -> Dataset:
    """Open the split that is named, else the validation split, else whatever there is."""
    path, split = split_of_path(data, None)
    if split is not None:
        return open_dataset(path, split)
    try:
        return open_dataset(path, "val")
    except DataError:
        return open_dataset(path)


def _pictures(data: str) -> list[Sample]:
    if not Path(data).exists():
        return []
    found = find_sources([data])
    images = [(source, frame) for source in found.sources for frame in frames(source)]
    return [Sample.of(frame.image, file=str(source.path)) for source, frame in images]


def _made() -> Evidence:
    """Return procedural shapes, photographs if there are any at hand, and noise."""
    drawn = [shapes(count=2, seed=number, size=size)[row]
             for number, size in enumerate(SIZES) for row in range(2)]  # fmt: skip
    noise = np.random.default_rng(0).integers(0, 256, (180, 260, 3), dtype=np.uint8)
    samples = [Sample.of(s.image, file=f"shapes {n}") for n, s in enumerate(drawn)]
    samples.append(Sample.of(noise, file="noise"))
    names = ["6 pictures of shapes", "1 of noise"]
    if find_spec("skimage"):
        photographs = _photographs()
        samples += photographs
        names += [f"{len(photographs)} photographs of scikit-image"] if photographs else []
    return Evidence(samples, f"{', '.join(names)} (no truths: give --data for mAP)", False)


def _photographs() -> list[Sample]:
    """Return what the installed package brings along; nothing is downloaded."""
    import skimage.data

    folder = Path(skimage.data.__file__).parent
    samples = []
    for name in PHOTOGRAPHS:
        files = [folder / f"{name}{suffix}" for suffix in (".png", ".jpg")]
        file = next((file for file in files if file.is_file()), None)
        if file is not None:
            image = next(iter(frames(find_sources([str(file)]).sources[0]))).image
            samples.append(Sample.of(image, file=file.name))
    return samples
