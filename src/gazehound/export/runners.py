"""Exported files as detectors: the same pictures in, the same detections out, on another runtime."""

from __future__ import annotations

import itertools
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from gazehound.checkpoints.native import Header
from gazehound.data.preprocess import Preprocess
from gazehound.detectors.network import to_original
from gazehound.errors import CheckpointError, GazehoundError
from gazehound.export.packages import need
from gazehound.export.passport import SUFFIXES, Passport
from gazehound.nn.postprocess import Found, Limits, suppress
from gazehound.records import Batch, Detections, Geometry

EXTRA_FILE = "gazehound.json"
Arrays = dict[str, NDArray[Any]]


class Runner(Protocol):
    """A graph that is ready to run."""

    def __call__(self, inputs: Arrays, outputs: Sequence[str]) -> list[NDArray[Any]]:
        """Run it; returns the named outputs."""
        ...


class Exported:
    """A detector that runs an exported file; it predicts like the checkpoint that it was made from.

    Args:
        run: the graph.
        passport: what the file says about itself.
    """

    def __init__(self, run: Runner, passport: Passport) -> None:
        self.run, self.passport = run, passport
        self.classes = passport.header.classes
        self.preprocess = Preprocess.from_dict(passport.header.preprocess)

    def predict(
        self, images: Sequence[NDArray[np.uint8]], *, score: float | None = None
    ) -> list[Detections]:
        """Detect on (H, W, 3) uint8 RGB images of any sizes; one record per image, best first."""
        if not images:
            return []
        if not self.passport.preprocessing:
            batch = self.preprocess.batch(images)
            inputs = {"images": batch.images.numpy(), "sizes": batch.sizes.numpy()}
            return self._found(inputs, batch.geometry, score)
        found: list[Detections] = []
        for shape, group in itertools.groupby(images, key=lambda image: image.shape[:2]):
            pictures = np.stack(list(group))
            same = Geometry(shape, shape)
            found += self._found({"pictures": pictures}, (same,) * len(pictures), score)
        return found

    def to(self, device: str) -> Exported:
        """Stay where it is; RuntimeError for another device, whose runtimes are not at hand."""
        if device != "cpu":
            raise RuntimeError("exported files run on the CPU here")
        return self

    def _found(
        self, inputs: Arrays, geometry: tuple[Geometry, ...], score: float | None
    ) -> list[Detections]:
        names = self.passport.outputs
        columns = {
            name: torch.from_numpy(np.ascontiguousarray(column))
            for name, column in zip(names, self.run(inputs, names), strict=True)
        }
        boxes, scores, labels = (columns.pop(name) for name in names[:3])
        found = Found(boxes, scores, labels, scores > 0, columns)
        if self.passport.nms == "outside":
            found = suppress(boxes, scores, labels, Limits(**{**self.passport.limits, "nms": True}))
        return to_original(found, geometry, self.classes, score)


def load_exported(file: str | Path) -> tuple[Exported, Header]:
    """Open an exported file on the runtime that its suffix names.

    Raises:
        CheckpointError: the file is missing, damaged, or was not written by ``gazehound export``.
        MissingDependency: its runtime is not installed.
    """
    path = Path(file)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    opened = {"onnx": _open_onnx, "openvino": _open_openvino, "torch-export": _open_torch}
    try:
        run, metadata = opened[SUFFIXES[path.suffix]](path)
    except GazehoundError:
        raise
    except Exception as error:  # the runtimes raise kinds of their own
        first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        raise CheckpointError(f"{path}: cannot be opened ({first[:200]})") from None
    passport = Passport.from_metadata(metadata, path)
    return Exported(run, passport), passport.header


def _open_onnx(path: Path) -> tuple[Runner, Mapping[str, str]]:
    runtime = need("onnxruntime", "running an .onnx file")
    settings = runtime.SessionOptions()
    settings.log_severity_level = 3  # errors
    settings.intra_op_num_threads = torch.get_num_threads()
    session = runtime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])

    def run(inputs: Arrays, outputs: Sequence[str]) -> list[NDArray[Any]]:
        found: list[NDArray[Any]] = session.run(list(outputs), inputs)
        return found

    return run, session.get_modelmeta().custom_metadata_map


def _open_openvino(path: Path) -> tuple[Runner, Mapping[str, str]]:
    runtime = need("openvino", "running an OpenVINO model")
    core = runtime.Core()
    model = core.read_model(path)
    metadata = {}
    if model.has_rt_info("gazehound"):
        names = model.get_rt_info("gazehound").value
        metadata = {name: str(model.get_rt_info(["gazehound", name]).value) for name in names}
    # On some CPUs it would take bfloat16 by itself, which is not what was proven.
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    compiled = core.compile_model(model, "CPU", settings)

    def run(inputs: Arrays, outputs: Sequence[str]) -> list[NDArray[Any]]:
        results = compiled(inputs)
        return [np.array(results[compiled.output(name)]) for name in outputs]

    return run, metadata


def _open_torch(path: Path) -> tuple[Runner, Mapping[str, str]]:
    import json

    with zipfile.ZipFile(path) as archive:
        inside = [name for name in archive.namelist() if name.endswith(f"extra/{EXTRA_FILE}")]
        text = archive.read(inside[0]) if inside else b"{}"
    metadata: dict[str, str] = json.loads(text)
    Passport.from_metadata(metadata, path)  # before anything else of the file is believed
    import torchvision.ops  # noqa: F401  (region pooling is an operator of it)

    module = torch.export.load(path).module()

    def run(inputs: Arrays, outputs: Sequence[str]) -> list[NDArray[Any]]:
        with torch.inference_mode():
            found = module(*(torch.from_numpy(column) for column in inputs.values()))
        return [column.numpy() for column in found]

    return run, metadata


def inputs_of(images: Sequence[NDArray[np.uint8]], passport: Passport) -> Arrays:
    """Return what a graph is fed for images of one size."""
    if passport.preprocessing:
        return {"pictures": np.stack(images)}
    batch: Batch = Preprocess.from_dict(passport.header.preprocess).batch(images)
    return {"images": batch.images.numpy(), "sizes": batch.sizes.numpy()}
