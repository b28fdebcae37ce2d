"""Write an exported file, and leave it only when it is proven."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gazehound import __version__
from gazehound.checkpoints.native import Header
from gazehound.detectors.detector import Detector
from gazehound.detectors.network import Network
from gazehound.errors import ConfigError, ExportError, unknown_name
from gazehound.export.evidence import Evidence
from gazehound.export.graph import Plan, Traced, limits_of, trace
from gazehound.export.packages import need
from gazehound.export.passport import SUFFIXES, Passport, licence_of
from gazehound.export.proof import Proof, prove
from gazehound.export.runners import EXTRA_FILE, inputs_of, load_exported

SUFFIX_OF = {form: suffix for suffix, form in SUFFIXES.items()}
FORMATS = tuple(SUFFIX_OF)
Images = Sequence[NDArray[np.uint8]]
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Order:
    """What to write.

    Attributes:
        form: ``onnx``, ``openvino`` or ``torch-export``.
        out: the file; its suffix is the format's.
        plan: what the graph holds beside the network.
        calibration: pictures to learn 8-bit ranges from; None for float32.
        max_loss: mAP, 0..1, that an INT8 file may lose; None for any.
    """

    form: str
    out: Path
    plan: Plan = field(default_factory=Plan)
    calibration: Images | None = None
    max_loss: float | None = None


def export(
    detector: Detector,
    header: Header,
    order: Order,
    evidence: Evidence,
    tell: Tell = lambda line: None,
    step: Callable[[], None] = lambda: None,
) -> tuple[tuple[Path, ...], Proof]:
    """Write a detector in another runtime's form, run the file, and compare it with the detector.

    The file has another name until it is proven; one that is not proven is removed.

    Args:
        detector: the checkpoint's.
        header: of the checkpoint.
        order: what to write.
        evidence: pictures to compare on.
        tell: is given a line at each stage.
        step: called after each picture.

    Returns:
        The files, and the proof.

    Raises:
        ExportError: this detector has no graph, nothing can be written there, or the file does not find
            the same.
        ConfigError: an option is wrong.
        MissingDependency: a package of the extra ``export`` is missing.
    """
    network = _network(detector, header)
    _check(order, evidence)
    folder = order.out.parent / f".{order.out.name}.{os.getpid()}.part"
    try:
        folder.mkdir(parents=True)
        tell(f"recording {header.detector} for {order.form}")
        traced = trace(network, _plan_of_trace(order))
        passport = _passport(network, header, order, traced)
        draft = folder / order.out.name
        _WRITERS[order.form](traced, passport, draft, order)
        tell("comparing the written file with the checkpoint")
        exported, _ = load_exported(draft)
        proof = prove(network, exported, evidence, limits_of(network), step)
        _judge(proof, order)
        names = sorted(file.name for file in folder.iterdir() if file.stem == order.out.stem)
        for name in names:
            os.replace(folder / name, order.out.parent / name)  # noqa: PTH105  (atomic)
        return tuple(order.out.parent / name for name in names), proof
    except OSError as error:
        raise ExportError(f"{order.out}: cannot be written ({error.strerror or error})") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _network(detector: Detector, header: Header) -> Network:
    if not isinstance(detector, Network):
        raise ExportError(
            f"{header.detector} cannot be exported: it is a classical detector, and only networks "
            "are graphs from end to end"
        )
    return detector


def _check(order: Order, evidence: Evidence) -> None:
    if order.form not in FORMATS:
        raise unknown_name("format", order.form, FORMATS)
    if order.out.suffix != SUFFIX_OF[order.form]:
        raise ConfigError(
            f"a file of format {order.form} ends in {SUFFIX_OF[order.form]}, by which it is known "
            f"when it is loaded; got {order.out.name}"
        )
    if order.calibration is not None and order.form == "torch-export":
        raise ConfigError("INT8 is for onnx and openvino; torch-export has none")
    if order.calibration is not None and not order.calibration:
        raise ConfigError("INT8 needs pictures to calibrate with; there are none")
    if order.max_loss is not None and not evidence.truths:
        raise ConfigError("a largest loss of mAP needs truths to measure it on: give --data")


def _plan_of_trace(order: Order) -> Plan:
    """Return what is recorded by torch: ONNX gets its preprocessing afterwards."""
    inside = order.plan.preprocessing and order.form == "torch-export"
    return Plan(order.plan.nms, inside)


def _passport(network: Network, header: Header, order: Order, traced: Traced) -> Passport:
    own = Header(header.detector, header.arguments, header.classes, network.preprocess.to_dict(),
                 header.notes)  # fmt: skip
    return Passport(
        own,
        order.form,
        traced.nms,
        order.plan.preprocessing,
        traced.outputs,
        traced.shape,
        network.preprocess.multiple,
        limits_of(network),
        order.calibration is not None,
        licence_of(header),
        __version__,
    )


def _judge(proof: Proof, order: Order) -> None:
    """Refuse what is not the same; of INT8, which never is, what loses more than it may."""
    if order.calibration is None:
        proof.demand()
    elif order.max_loss is not None and proof.loss is not None and proof.loss > order.max_loss:
        raise ExportError(
            f"INT8 loses {proof.loss:.4f} mAP ({proof.native:.4f} to {proof.exported:.4f}); at most "
            f"{order.max_loss} was allowed"
        )


def _write_onnx(traced: Traced, passport: Passport, draft: Path, order: Order) -> None:
    from gazehound.export.onnx_graph import annotate, onnx_of, with_preprocessing

    onnx = need("onnx", "export to ONNX")
    need("onnxruntime", "running an .onnx file")
    model = onnx_of(traced)
    if order.calibration is not None:
        model = _quantised_onnx(onnx, model, passport, draft, order.calibration)
    if passport.preprocessing:
        preprocess = _preprocess_of(passport)
        model = with_preprocessing(model, preprocess, traced.outputs)
    annotate(model, passport.to_metadata())
    onnx.save(model, draft)


def _quantised_onnx(
    onnx: Any, model: Any, passport: Passport, draft: Path, pictures: Images
) -> Any:
    """Quantise the network alone; preprocessing comes in front of it later, in float32."""
    from dataclasses import replace

    from gazehound.export.quantise import quantised_onnx

    plain, small = (draft.parent / f"{name}.onnx" for name in ("plain", "small"))
    onnx.save(model, plain)
    inside = replace(passport, preprocessing=False)
    quantised_onnx(plain, small, [inputs_of([picture], inside) for picture in pictures])
    model = onnx.load(small)
    for file in (plain, small):
        file.unlink()
    return model


def _write_openvino(traced: Traced, passport: Passport, draft: Path, order: Order) -> None:
    from gazehound.export.onnx_graph import onnx_of, with_preprocessing
    from gazehound.export.quantise import quantised_openvino

    onnx = need("onnx", "export to OpenVINO, by way of ONNX,")
    openvino = need("openvino", "export to OpenVINO")
    model = onnx_of(traced)
    if passport.preprocessing:
        model = with_preprocessing(model, _preprocess_of(passport), traced.outputs)
    between = draft.parent / "between.onnx"
    onnx.save(model, between)
    try:
        converted = openvino.Core().read_model(between)
    except RuntimeError as error:
        failed = re.search(r"Conversion is failed for: (.*)", str(error))
        what = failed[1] if failed else str(error).strip().splitlines()[-1]
        raise ExportError(f"OpenVINO does not read a part of this detector: {what}") from error
    between.unlink()
    if order.calibration is not None:
        inputs = [inputs_of([picture], passport) for picture in order.calibration]
        converted = quantised_openvino(converted, inputs)
    for name, text in passport.to_metadata().items():
        converted.set_rt_info(text, ["gazehound", name])
    # Weights in 16 bits would move boxes; the proof is about the file as it is.
    openvino.save_model(converted, draft, compress_to_fp16=False)


def _write_torch(traced: Traced, passport: Passport, draft: Path, order: Order) -> None:
    with suppress(AttributeError):  # examples: they would be unpickled by whoever loads the file
        traced.program._example_inputs = None
    metadata = json.dumps(passport.to_metadata())
    torch.export.save(traced.program, draft, extra_files={EXTRA_FILE: metadata})


def _preprocess_of(passport: Passport) -> Any:
    from gazehound.data.preprocess import Preprocess

    return Preprocess.from_dict(passport.header.preprocess)


_WRITERS: dict[str, Callable[[Traced, Passport, Path, Order], None]] = {
    "onnx": _write_onnx,
    "openvino": _write_openvino,
    "torch-export": _write_torch,
}
