"""What an exported file says about itself: the checkpoint's header, and how its graph is to be fed.

The same strings travel in every format: as ``metadata_props`` of ONNX, as ``rt_info`` under
``gazehound`` of OpenVINO, and as the extra file ``gazehound.json`` of torch.export. They are the keys
of :class:`gazehound.checkpoints.native.Header`, and one more:

    export        JSON: the fields of :class:`Passport` other than ``header``
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gazehound.checkpoints.native import Header
from gazehound.errors import CheckpointError

SUFFIXES = {".onnx": "onnx", ".xml": "openvino", ".pt2": "torch-export"}
"""By which a file is known when it is loaded, and the format that it then has."""


@dataclass(frozen=True)
class Passport:
    """How a graph is fed and read.

    Attributes:
        header: of the checkpoint that it was made from.
        format: ``onnx``, ``openvino`` or ``torch-export``.
        nms: ``inside`` the graph; ``outside``: candidates come out, and whoever runs the graph suppresses
            them by ``limits``; ``none``: the detector has no NMS after its last layer.
        preprocessing: the graph takes pictures as they are, (B, H, W, 3) uint8 RGB, and gives boxes in
            their pixels; otherwise it takes prepared ``images`` and the ``sizes`` of their content.
        outputs: names of what comes out; ``boxes``, ``scores``, ``labels`` first.
        shape: (height, width) of the network input when it is always the same, in pixels.
        multiple: other inputs must be multiples of it, in pixels.
        limits: what the detector keeps, see ``gazehound.nn.postprocess.Limits``.
        int8: convolutions run on 8-bit integers.
        licence: of the code and of the weights, as far as the checkpoint states them.
        version: of gazehound.
    """

    header: Header
    format: str
    nms: str
    preprocessing: bool
    outputs: tuple[str, ...]
    shape: tuple[int, int] | None
    multiple: int
    limits: dict[str, Any] = field(default_factory=dict)
    int8: bool = False
    licence: dict[str, str] = field(default_factory=dict)
    version: str = ""

    def to_metadata(self) -> dict[str, str]:
        """Return everything as strings under their names."""
        own = {name: value for name, value in asdict(self).items() if name != "header"}
        return {**self.header.to_metadata(), "export": json.dumps(own)}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], file: Path) -> Passport:
        """Read it back.

        Raises:
            CheckpointError: the file is not gazehound's, or damaged.
        """
        if "export" not in metadata:
            raise CheckpointError(
                f"{file}: holds a network, but was not written by `gazehound export`: without its "
                "metadata nobody knows the classes and the preprocessing"
            )
        header = Header.from_metadata(metadata, file)
        try:
            own = json.loads(metadata["export"])
            shape = own.pop("shape")
            outputs = tuple(own.pop("outputs"))
            return cls(header=header, shape=shape and tuple(shape), outputs=outputs, **own)
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{file}: export metadata is damaged ({error!r})") from None


def licence_of(header: Header) -> dict[str, str]:
    """Return the licences of the code and of the weights that a checkpoint states."""
    notes = header.notes
    weights = notes.get("weights_licence") or notes.get("licence") or "not stated"
    return {"code": str(notes.get("code_licence", "Apache-2.0")), "weights": str(weights)}
