"""A recorded detector as an ONNX model.

The recorded operations become ONNX operators; ours and two of torchvision's get their spelling here.
Preprocessing is a graph of its own that is put in front, so that the network behind it still takes
inputs of any size.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.export import ExportedProgram

from gazehound.data.preprocess import Preprocess
from gazehound.errors import ExportError
from gazehound.export.graph import Traced, picture_example
from gazehound.export.packages import need
from gazehound.export.pixels import Pixels
from gazehound.nn.suppression import kept_by_nms  # noqa: F401  (registers the operator)

OPSET = 20
FRONT = "preprocess/"  # begins the names of all that prepares pictures
PURPOSE = "export to ONNX"


def onnx_of(traced: Traced) -> Any:
    """Return the ``onnx.ModelProto`` of a network: ``images`` and ``sizes`` in, its outputs out.

    Raises:
        MissingDependency: onnx or onnxscript is not installed.
        ExportError: an operation has no spelling in ONNX.
    """
    return _converted(traced.program, ("images", "sizes"), traced.outputs)


def with_preprocessing(model: Any, preprocess: Preprocess, outputs: tuple[str, ...]) -> Any:
    """Return the ``onnx.ModelProto`` of a whole detector: ``pictures`` in, boxes in their pixels out.

    Args:
        model: of :func:`onnx_of`.
        preprocess: of the detector.
        outputs: names of the model's outputs.
    """
    if "keypoints" in outputs:
        raise ExportError(
            "keypoints cannot be mapped back inside an ONNX graph: leave --with-preprocessing away"
        )
    compose = need("onnx.compose", PURPOSE)
    given = ("images", "sizes", "scale", "limit")
    front = compose.add_prefix(_converted(_recorded(preprocess), ("pictures",), given), FRONT)
    network = compose.add_prefix(model, "network/")
    front.ir_version = network.ir_version = max(front.ir_version, network.ir_version)
    whole = compose.merge_models(
        front,
        network,
        io_map=[(f"{FRONT}{name}", f"network/{name}") for name in ("images", "sizes")],
        outputs=[*(f"network/{name}" for name in outputs), f"{FRONT}scale", f"{FRONT}limit"],
    )
    names = {f"network/{name}": name for name in outputs[1:]}
    return _mapped_back(_renamed(whole, {f"{FRONT}pictures": "pictures", **names}))


def _mapped_back(model: Any) -> Any:
    """Turn boxes of the network input into boxes of the picture, clipped to it."""
    helper = need("onnx.helper", PURPOSE)
    boxes, scale, limit = "network/boxes", f"{FRONT}scale", f"{FRONT}limit"
    zero = helper.make_tensor("restore/zero", 1, [], [0.0])
    model.graph.initializer.append(zero)
    model.graph.node.extend(
        [
            helper.make_node("Div", [boxes, scale], ["restore/scaled"], "restore/scale"),
            helper.make_node("Max", ["restore/scaled", zero.name], ["restore/low"], "restore/low"),
            helper.make_node("Min", ["restore/low", limit], ["boxes"], "restore/high"),
        ]
    )
    kept = [info for info in model.graph.output if info.name not in (scale, limit)]
    for info in kept:
        info.name = "boxes" if info.name == boxes else info.name
    del model.graph.output[:]
    model.graph.output.extend(kept)
    return model


def annotate(model: Any, metadata: Mapping[str, str]) -> None:
    """Write strings into the model's ``metadata_props``."""
    need("onnx", PURPOSE).helper.set_model_props(model, dict(metadata))
    model.producer_name = "gazehound"


def _recorded(preprocess: Preprocess) -> ExportedProgram:
    with torch.no_grad():
        example, dynamic = picture_example()
        module = Pixels(preprocess).eval()
        return torch.export.export(module, example, dynamic_shapes=dynamic, strict=False)


def _converted(program: ExportedProgram, inputs: Sequence[str], outputs: Sequence[str]) -> Any:
    need("onnx", PURPOSE)
    need("onnxscript", PURPOSE)
    try:
        with _quietly():
            converted = torch.onnx.export(
                program, input_names=list(inputs), output_names=list(outputs),
                opset_version=OPSET, dynamo=True, external_data=False, verbose=False,
                optimize=False,  # the runtimes do that when they load it, and sooner
                custom_translation_table=_spellings(),
            )  # fmt: skip
            assert converted is not None
            return converted.model_proto
    except Exception as error:
        named = re.search(
            r"No ONNX function found for (\S+)|target=(torch\.ops\.[\w.]+)", str(error)
        )
        what = next(filter(None, named.groups())) if named else type(error).__name__
        raise ExportError(f"ONNX has no spelling for a part of this detector: {what}") from error


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep the converter's progress and its warnings about versions off the user's screen."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _renamed(model: Any, names: Mapping[str, str]) -> Any:
    """Return the model with some values under other names."""
    for node in model.graph.node:
        for values in (node.input, node.output):
            for place, value in enumerate(values):
                if value in names:
                    values[place] = names[value]
    for info in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        info.name = names.get(info.name, info.name)
    return model


def _spellings() -> dict[Any, Any]:
    """Return how operators that ONNX does not know by themselves are written."""
    import torchvision.ops  # noqa: F401  (registers its operators)

    op = need("onnxscript", PURPOSE).opset20

    def nms(boxes: Any, scores: Any, groups: Any, iou_threshold: float, limit: int) -> Any:
        """Suppress all images and groups at once: a group has a score of its own for every box."""
        one = op.Constant(value_ints=[1])
        last = op.ReduceMax(groups, keepdims=0)
        every = op.Range(op.Constant(value_int=0), op.Add(last, op.Constant(value_int=1)),
                         op.Constant(value_int=1))  # fmt: skip
        own = op.Equal(
            op.Unsqueeze(groups, one), op.Unsqueeze(every, op.Constant(value_ints=[0, 2]))
        )
        is_any = op.Greater(scores, op.Constant(value_float=0.0))
        counted = op.And(own, op.Unsqueeze(is_any, one))  # B x G x C
        rows = op.Where(counted, op.Unsqueeze(scores, one), op.Constant(value_float=-1.0))
        chosen = op.NonMaxSuppression(
            boxes,
            rows,
            op.Constant(value_ints=[limit]),
            op.Constant(value_floats=[iou_threshold]),
            op.Constant(value_floats=[0.0]),
        )  # rows of image, group, box
        places = op.Gather(chosen, op.Constant(value_ints=[0, 2]), axis=1)
        none = op.Expand(op.Constant(value_float=0.0), op.Shape(scores))
        ones = op.Expand(op.Constant(value_float=1.0), op.Shape(places, start=0, end=1))
        return op.Cast(op.ScatterND(none, places, ones), to=9)  # bool

    def deform(
        input: Any, weight: Any, offset: Any, mask: Any, bias: Any,  # noqa: A002
        stride_h: int, stride_w: int, pad_h: int, pad_w: int, dilation_h: int, dilation_w: int,
        n_weight_grps: int, n_offset_grps: int, use_mask: bool,
    ) -> Any:  # fmt: skip
        """Spell the deformable convolution, whose arguments ONNX has in another order."""
        settings = {
            "strides": [stride_h, stride_w],
            "pads": [pad_h, pad_w, pad_h, pad_w],
            "dilations": [dilation_h, dilation_w],
            "group": n_weight_grps,
            "offset_group": n_offset_grps,
        }
        if use_mask:
            return op.DeformConv(input, weight, offset, bias, mask, **settings)
        return op.DeformConv(input, weight, offset, bias, **settings)

    return {
        torch.ops.gazehound.kept_by_nms.default: nms,
        torch.ops.torchvision.deform_conv2d.default: deform,
    }
