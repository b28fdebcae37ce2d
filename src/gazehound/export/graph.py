"""From a living detector to a graph of tensor operations: ``forward`` and ``decode`` in one program."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from gazehound.data.preprocess import Preprocess
from gazehound.detectors.network import Network
from gazehound.errors import ExportError, GazehoundError
from gazehound.export.pixels import Pixels, Restored, fixed_shape
from gazehound.nn.postprocess import Found

MOST_IMAGES = 4096
LONGEST = 8192  # pixels of a side
TRACED_AT = (736, 992)  # pixels; larger than any pyramid's coarsest cell
PICTURE = (300, 420)  # pixels; any two lengths that are not a network's


@dataclass(frozen=True)
class Plan:
    """What the graph is asked to hold.

    Attributes:
        nms: suppress inside, where the detector suppresses.
        preprocessing: take pictures instead of prepared images.
    """

    nms: bool = False
    preprocessing: bool = False


@dataclass(frozen=True)
class Traced:
    """A recorded detector.

    Attributes:
        program: takes ``images`` and ``sizes``; or ``pictures`` if they are prepared inside.
        outputs: names of what comes out.
        nms: ``inside``, ``outside`` or ``none``.
        shape: (height, width) of the network input where it is fixed.
    """

    program: ExportedProgram
    outputs: tuple[str, ...]
    nms: str
    shape: tuple[int, int] | None


class Detecting(nn.Module):
    """``forward`` and ``decode`` of a network, with tensors at both ends.

    Args:
        network: the detector.
        tell: is called with what ``decode`` returns, while that is recorded.
    """

    def __init__(self, network: Network, tell: Callable[[Found], None]) -> None:
        super().__init__()
        self.network, self.tell = network, tell

    def forward(self, images: Tensor, sizes: Tensor) -> list[Tensor]:
        """Return boxes, scores and labels of prepared images (B, 3, H, W) with contents ``sizes``."""
        found = self.network.decode(self.network(images), sizes)
        self.tell(found)
        return [found.boxes, found.scores, found.labels, *found.extras.values()]


class Seeing(nn.Module):
    """A whole detector: preprocessing, network, and the way back to the picture.

    Args:
        detecting: the network.
        preprocess: of the detector.
        outputs: names of the network's outputs.
    """

    def __init__(
        self, detecting: Detecting, preprocess: Preprocess, outputs: tuple[str, ...]
    ) -> None:
        super().__init__()
        self.pixels, self.detecting = Pixels(preprocess), detecting
        self.restored = Restored(outputs)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Return boxes in pixels of the pictures (B, H, W, 3) uint8 RGB, scores and labels."""
        images, sizes, scale, limit = self.pixels(pictures)
        boxes, *others = self.detecting(images, sizes)
        return self.restored(boxes, scale, limit, *others)  # type: ignore[no-any-return]


def trace(network: Network, plan: Plan) -> Traced:
    """Record a network in evaluation mode, for batches of any length.

    Its input may have any size that is a multiple of ``preprocess.multiple``, unless the preprocessing
    always makes one size.

    Raises:
        ExportError: the network does something that no graph holds, or its input's shape follows from
            the picture and ``plan.preprocessing`` wants both in one program.
    """
    shape = fixed_shape(network.preprocess)
    with _for_export(network, plan):
        seen: list[Found] = []
        detecting = Detecting(network, seen.append)
        example = _example(network.preprocess, shape)
        program = _recorded(detecting, example, _dynamic(network.preprocess, shape), network)
        found = seen[-1]
        outputs = ("boxes", "scores", "labels", *found.extras)
        if plan.preprocessing:
            if shape is None:
                raise ExportError(
                    "preprocessing inside torch-export needs an input of one size, and this detector's "
                    f"follows from the picture (resize '{network.preprocess.resize}'): take onnx or "
                    "openvino, or leave --with-preprocessing away"
                )
            seeing = Seeing(detecting, network.preprocess, outputs)
            program = _recorded(seeing, *picture_example(), network)
    return Traced(program, outputs, _kind_of_nms(network, found), shape)


def picture_example() -> tuple[tuple[Tensor], tuple[Any, ...]]:
    """Return pictures to record with, and which of their axes may have any length."""
    pictures = torch.zeros(2, *PICTURE, 3, dtype=torch.uint8)
    sides = {axis: Dim(name, min=1, max=LONGEST) for axis, name in ((1, "height"), (2, "width"))}
    return (pictures,), ({0: Dim("batch", min=1, max=MOST_IMAGES), **sides},)


@contextmanager
def _for_export(network: Network, plan: Plan) -> Iterator[None]:
    """Evaluate, on the host, with or without NMS; everything is as before afterwards."""
    limits: Any = getattr(network, "limits", None)
    training, device = network.training, next(network.parameters()).device
    try:
        network.eval().cpu()
        if hasattr(limits, "nms"):
            network.limits = replace(limits, nms=plan.nms)
        with torch.no_grad():
            yield
    finally:
        if limits is not None:
            network.limits = limits
        network.train(training).to(device)


def _kind_of_nms(network: Network, found: Found) -> str:
    if not found.final:
        return "outside"
    return "inside" if hasattr(getattr(network, "limits", None), "nms") else "none"


def _example(preprocess: Preprocess, shape: tuple[int, int] | None) -> tuple[Tensor, Tensor]:
    multiple = preprocess.multiple
    height, width = shape or tuple(-(-side // multiple) * multiple for side in TRACED_AT)
    sizes = torch.tensor([[height, width]] * 2, dtype=torch.float32)
    return torch.zeros(2, 3, height, width), sizes


def _dynamic(preprocess: Preprocess, shape: tuple[int, int] | None) -> tuple[Any, Any]:
    batch = Dim("batch", min=1, max=MOST_IMAGES)
    images: dict[int, Any] = {0: batch}
    if shape is None:
        most = LONGEST // preprocess.multiple
        for axis, name in ((2, "rows"), (3, "columns")):
            images[axis] = preprocess.multiple * Dim(name, min=1, max=most)
    return images, {0: batch}


def _recorded(
    module: nn.Module, example: tuple[Tensor, ...], dynamic: tuple[Any, ...], network: Network
) -> ExportedProgram:
    disabled = logging.root.manager.disable
    try:
        logging.disable(logging.CRITICAL)  # a failure would print the whole graph first
        return torch.export.export(module, example, dynamic_shapes=dynamic, strict=False)
    except GazehoundError:  # says it better itself
        raise
    except Exception as error:  # torch raises a dozen kinds, each over many lines
        what = type(network).__name__
        first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        raise ExportError(
            f"{what} cannot be recorded as a graph: {type(error).__name__}: {first[:300]}"
        ) from error
    finally:
        logging.disable(disabled)


def limits_of(network: Network) -> dict[str, Any]:
    """Return what a detector keeps as plain values."""
    limits: Any = getattr(network, "limits", None)
    return {} if limits is None else asdict(limits)
