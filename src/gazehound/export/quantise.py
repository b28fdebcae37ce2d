"""INT8: convolutions and matrix products on 8-bit integers, with ranges learned from pictures.

Only those are quantised: they are nearly all of the work. What decodes boxes stays in float32, where a
box at pixel 1,300 has not to share 256 values with one at pixel 3.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from gazehound.export.packages import need
from gazehound.export.runners import Arrays

FLOAT_OPERATIONS = (
    "Add", "Subtract", "Multiply", "Divide", "Power", "Maximum", "Minimum", "Clamp", "Interpolate",
    "Gather", "GatherElements", "Concat", "ReduceMax", "ReduceSum", "ReduceMean", "Exp", "Sqrt",
)  # fmt: skip
"""OpenVINO's operations that stay as they are; NNCF would quantise the inputs of most of them."""


def quantised_onnx(file: Path, out: Path, inputs: Sequence[Arrays]) -> None:
    """Write ``file`` with quantised convolutions and products to ``out`` (ONNX Runtime, QDQ form).

    Weights have a scale per channel and are signed; activations have one scale each.

    Raises:
        MissingDependency: onnxruntime is not installed.
    """
    quantization: Any = need("onnxruntime.quantization", "INT8 in ONNX")

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        """Hands out one set of inputs after another."""

        def __init__(self) -> None:
            self.rest: Iterator[Arrays] = iter(inputs)

        def get_next(self) -> Arrays | None:
            """Return the next inputs, or None at the end."""
            return next(self.rest, None)

    root = logging.getLogger()
    level = root.level
    try:
        root.setLevel(logging.ERROR)  # it recommends steps that the graph does not need
        quantization.quantize_static(
            file,
            out,
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Gemm", "MatMul"],
            per_channel=True,
            weight_type=quantization.QuantType.QInt8,
            activation_type=quantization.QuantType.QUInt8,
        )
    finally:
        root.setLevel(level)


def quantised_openvino(model: Any, inputs: Sequence[Arrays]) -> Any:
    """Return an OpenVINO model with quantised convolutions and products (NNCF).

    Raises:
        MissingDependency: nncf is not installed.
    """
    nncf = need("nncf", "INT8 in OpenVINO")
    nncf.set_log_level(logging.ERROR)
    scope = nncf.IgnoredScope(
        types=list(FLOAT_OPERATIONS), patterns=["preprocess/.*"], validate=False
    )
    with redirect_stdout(StringIO()):  # its progress bars
        return nncf.quantize(
            model,
            nncf.Dataset(list(inputs)),
            subset_size=len(inputs),
            preset=nncf.QuantizationPreset.MIXED,
            ignored_scope=scope,
        )
