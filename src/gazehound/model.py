"""The public face: ``load`` or ``create`` a model, then ``fit``, ``predict``, ``evaluate``, ``save``.

>>> import gazehound
>>> model = gazehound.load("runs/cells/best.safetensors")           # doctest: +SKIP
>>> model.predict("photo.jpg").above(0.5).names                     # doctest: +SKIP
['WBC', 'RBC']

Everything here delegates; nothing heavy is imported before it is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from gazehound.checkpoints import rebuild
from gazehound.checkpoints.native import Header
from gazehound.checkpoints.published.store import weights_file
from gazehound.data.images import read_image
from gazehound.detectors.detector import Detector, Fittable
from gazehound.errors import ConfigError, unknown_name
from gazehound.export.passport import SUFFIXES
from gazehound.records import Classes, Detections, Sample
from gazehound.records.notebook import facts

if TYPE_CHECKING:
    from rich.console import Console

    from gazehound.data import Dataset
    from gazehound.explain.panels import Explanation
    from gazehound.export.proof import Proof
    from gazehound.metrics import Evaluation

Picture = NDArray[np.uint8] | str | Path
"""An image: (H, W, 3) uint8 RGB, or the path of a file."""


@dataclass
class Model:
    """A detector with its name, its classes and its history.

    Attributes:
        detector: the living detector.
        header: what its checkpoint says: catalogue name, arguments, classes, preprocessing, notes.
    """

    detector: Detector
    header: Header

    @property
    def name(self) -> str:
        """Return the catalogue name."""
        return self.header.detector

    @property
    def classes(self) -> Classes:
        """Return names and original ids of the labels."""
        return self.detector.classes

    @overload
    def predict(  # type: ignore[overload-overlap]  # a str is a sequence of str
        self,
        images: Picture,
        *,
        score: float | None = None,
        batch: int = ...,
        tile: int | None = ...,
        overlap: float = ...,
        whole_image: bool = ...,
        tta: bool = ...,
    ) -> Detections: ...
    @overload
    def predict(
        self,
        images: Sequence[Picture],
        *,
        score: float | None = None,
        batch: int = ...,
        tile: int | None = ...,
        overlap: float = ...,
        whole_image: bool = ...,
        tta: bool = ...,
    ) -> list[Detections]: ...
    def predict(
        self,
        images: Picture | Sequence[Picture],
        *,
        score: float | None = None,
        batch: int = 1,
        tile: int | None = None,
        overlap: float = 0.2,
        whole_image: bool = True,
        tta: bool = False,
    ) -> Detections | list[Detections]:
        """Detect objects.

        Args:
            images: one image or a list: arrays (H, W, 3) uint8 RGB, or paths.
            score: lowest score kept; ``None`` keeps what the detector keeps.
            batch: images (or tiles) that go through a network together.
            tile: look at large images in tiles of this side, pixels.
            overlap: share of a tile that its neighbour sees, too.
            whole_image: look at the whole image as well as at its tiles.
            tta: look at mirror images and at other sizes, too, and average.

        Returns:
            One record for one image, a list for a list; boxes in pixels of each original image.

        Raises:
            ImageError: a file cannot be read.
            ConfigError: an array is not (H, W, 3) uint8, or a value is out of its range.
        """
        looking = _looking(self.detector, batch, tile, overlap, whole_image, tta)
        if isinstance(images, str | Path | np.ndarray):
            return next(_chunks(looking, [images], 1, score))[0]
        return [found for chunk in _chunks(looking, images, batch, score) for found in chunk]

    def _repr_html_(self) -> str:
        """Return what a notebook shows: a table of what this model is."""
        notes = self.header.notes
        return facts(
            {
                "model": self.name,
                "classes": f"{len(self.classes)}: {', '.join(self.classes.names[:10])}"
                + (", ..." if len(self.classes) > 10 else ""),
                **({"parameters": _count(self.detector)} if _count(self.detector) else {}),
                **{k: v for k, v in self.header.arguments.items() if v is not None},
                **{k: v for k, v in notes.items() if isinstance(v, str | int | float)},
                **{
                    f"{k} {m}": n
                    for k, v in notes.items()
                    if isinstance(v, dict)
                    for m, n in v.items()
                },
            }
        )

    def evaluate(self, dataset: Dataset, *, batch: int = 1, progress: bool = False) -> Evaluation:
        """Detect on every image of a data set and compare with its truths.

        Returns:
            The evaluation; ask it for ``.coco().summary`` and the like.

        Raises:
            ConfigError: the data set's classes are not this model's.
        """
        from gazehound.training.evaluating import evaluate

        return evaluate(self.detector, dataset, batch=batch, progress=progress)

    def explain(
        self,
        image: Picture,
        *,
        truths: Sample | None = None,
        out: str | Path | None = None,
    ) -> Explanation:
        """Detect in one image and draw each step of the way, from what was computed there.

        Args:
            image: an array (H, W, 3) uint8 RGB, or a path.
            truths: what is there, labels as the model's; else its best detections stand in.
            out: an HTML file to write the drawings into, as one self-contained page.

        Returns:
            The panels, with their drawings and the numbers behind them.

        Raises:
            ImageError: the file cannot be read.
            ConfigError: an array is not (H, W, 3) uint8, or the model has not been trained.
        """
        from gazehound.explain.explaining import explain

        explained = explain(self.detector, _pixels(image), truths=truths, name=self.name)
        if out is not None:
            from gazehound.reports.explanation import write

            write(explained, out, file=Path(image).name if isinstance(image, str | Path) else "")
        return explained

    def fit(
        self,
        data: str | Path | Dataset,
        *,
        out: str | Path = "runs/model",
        console: Console | None = None,
        **settings: Any,
    ) -> Model:
        """Train on a data set; see ``Recipe`` for the settings of networks.

        Returns:
            This model, trained.
        """
        self._need_checkpoint("trained")
        if isinstance(self.detector, Fittable):
            from gazehound.data import open_dataset

            split = settings.pop("train_split", "train")
            opened = open_dataset(data, split=split) if isinstance(data, str | Path) else data
            self.detector.fit(opened, **settings)
            return self
        from gazehound.training.fitting import fit_network

        fit_network(self.detector, self.header, data, Path(out), console, settings)  # type: ignore[arg-type]
        return self

    def save(self, file: str | Path) -> Path:
        """Write the native checkpoint; :func:`load` reads it back."""
        self._need_checkpoint("saved")
        rebuild.save(file, self.detector, self.header)
        return Path(file)

    def export(
        self,
        file: str | Path,
        *,
        nms: bool = False,
        with_preprocessing: bool = False,
        data: str | None = None,
    ) -> Proof:
        """Write ``.onnx``, OpenVINO's ``.xml`` or torch.export's ``.pt2``; a file that differs is not left.

        Args:
            file: its suffix is the format; :func:`load` reads it back.
            nms: suppress inside the graph.
            with_preprocessing: the graph takes pictures and gives boxes in their pixels.
            data: prove it on the validation images of this data set; else on pictures of our own.

        Returns:
            How far the file's detections are from this model's.

        Raises:
            ExportError: this detector has no such graph, or the file does not find the same.
        """
        from gazehound.export.evidence import evidence_of
        from gazehound.export.graph import Plan
        from gazehound.export.write import Order, export

        self._need_checkpoint("exported")
        out = Path(file)
        if out.suffix not in SUFFIXES:
            raise unknown_name("suffix of an exported file", out.suffix, SUFFIXES)
        order = Order(SUFFIXES[out.suffix], out, Plan(nms, with_preprocessing))
        return export(self.detector, self.header, order, evidence_of(data, self.classes))[1]

    def _need_checkpoint(self, verb: str) -> None:
        """Raise ConfigError for a model that was loaded from an exported file."""
        if hasattr(self.detector, "passport"):
            raise ConfigError(
                f"an exported file only predicts; the checkpoint that it was made from can be {verb}"
            )

    def to(self, device: str) -> Model:
        """Move a network to a device (``cpu``, ``cuda``, ``cuda:1``, ``mps``); classical ones stay."""
        if hasattr(self.detector, "to"):
            try:
                self.detector.to(device)
            except (RuntimeError, AssertionError) as error:
                reason = str(error).splitlines()[0]
                raise ConfigError(f"device '{device}' cannot be used here: {reason}") from None
        return self


def _looking(
    detector: Detector, batch: int, tile: int | None, overlap: float, whole_image: bool, tta: bool
) -> Detector:
    """Return a detector that looks more often, where that is asked for."""
    if tta:
        from gazehound.detectors.augmented import Augmented

        detector = Augmented(detector)
    if tile is not None:
        from gazehound.detectors.tiled import Tiled

        detector = Tiled(detector, tile, overlap, whole=whole_image, batch=batch)
    return detector


def _chunks(
    detector: Detector, images: Sequence[Picture], batch: int, score: float | None
) -> Iterator[list[Detections]]:
    for start in range(0, len(images), max(1, batch)):
        chosen = images[start : start + max(1, batch)]
        found = detector.predict([_pixels(image) for image in chosen], score=score)
        files = [str(i) if isinstance(i, str | Path) else "" for i in chosen]
        yield [replace(f, file=file) for f, file in zip(found, files, strict=True)]


def _count(detector: Detector) -> str:
    """Return the number of a network's weights in words; nothing for other detectors."""
    if not hasattr(detector, "parameters"):
        return ""
    return f"{sum(p.numel() for p in detector.parameters()) / 1e6:.2f} million"


def _pixels(image: Picture) -> NDArray[np.uint8]:
    if isinstance(image, str | Path):
        return read_image(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ConfigError(
            f"an image must be (H, W, 3) uint8 RGB; got shape {image.shape} of {image.dtype}"
        )
    return image


def load(path_or_name: str | Path) -> Model:
    """Load a trained model: a native checkpoint, an exported file, or a name with trained weights.

    Published weights (``gazehound models`` lists them) are downloaded once, checked, converted and kept
    in this machine's cache; see ``docs/weights.md``.

    Raises:
        CheckpointError: the file is not a whole gazehound checkpoint, or cannot be downloaded.
        ConfigError: no file, and no name with trained weights.
    """
    path = Path(path_or_name)
    if path.suffix in SUFFIXES:
        from gazehound.export.runners import load_exported

        return Model(*load_exported(path))
    if path.suffix == ".safetensors" or path.exists():
        return Model(*rebuild.load(path))
    return Model(*rebuild.load(weights_file(str(path_or_name))))


def create(
    name: str,
    classes: Classes | Sequence[str],
    *,
    preprocess: Mapping[str, Any] | None = None,
    **arguments: Any,
) -> Model:
    """Build an untrained model of the catalogue for these classes.

    Raises:
        ConfigError: the name or an argument is unknown.
    """
    chosen = classes if isinstance(classes, Classes) else Classes(tuple(classes))
    return Model(*rebuild.build(name, chosen, arguments, preprocess))
