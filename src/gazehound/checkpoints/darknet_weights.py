"""Darknet's ``.weights`` files: a header of a few integers, then float32 numbers, layer by layer.

Per convolution, in the order of the cfg file: the norm's bias, weight, mean and variance (or the
convolution's bias where it has no norm), then the kernels (out, in, height, width). Little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gazehound.checkpoints.darknet_layers import Convolution
from gazehound.errors import CheckpointError
from gazehound.nn.blocks import ConvNorm


@dataclass(frozen=True)
class WeightsHeader:
    """What stands before the numbers.

    Attributes:
        version: major, minor, revision of the format.
        seen: images that training has seen.
    """

    version: tuple[int, int, int] = (0, 2, 5)
    seen: int = 0

    @property
    def wide(self) -> bool:
        """Return whether ``seen`` has 64 bits: from version 0.2 on."""
        major, minor, _ = self.version
        return major * 10 + minor >= 2 and major < 1000 and minor < 1000

    def to_bytes(self) -> bytes:
        """Return the header as it stands in a file."""
        return struct.pack("<3iq" if self.wide else "<4i", *self.version, self.seen)

    @classmethod
    def from_bytes(cls, data: bytes, name: str) -> WeightsHeader:
        """Read the header; CheckpointError when the file is too short for one."""
        try:
            version = struct.unpack_from("<3i", data)
            kind = "<q" if cls(version).wide else "<i"
            return cls(version, struct.unpack_from(kind, data, 12)[0])
        except struct.error:
            raise CheckpointError(
                f"{name}: not a Darknet weight file: {len(data)} bytes are too few for its header"
            ) from None


def read_weights(file: Path) -> tuple[WeightsHeader, NDArray[np.float32]]:
    """Read a weight file.

    Raises:
        CheckpointError: it is missing, or too short, or does not hold whole numbers.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{file}: cannot be read ({error.strerror})") from None
    header = WeightsHeader.from_bytes(data, str(file))
    rest = data[len(header.to_bytes()) :]
    if len(rest) % 4:
        raise CheckpointError(
            f"{file}: truncated or damaged: {len(rest)} bytes behind the header are no whole number "
            "of float32"
        )
    return header, np.frombuffer(rest, "<f4")


def tensors_of(convolutions: Sequence[Convolution]) -> Iterator[Tensor]:
    """Yield the tensors that a weight file holds, in its order."""
    for module in convolutions:
        if isinstance(module, ConvNorm):
            norm = module.norm
            yield from (norm.bias, norm.weight, norm.running_mean, norm.running_var)  # type: ignore[misc]
            yield module.conv.weight
        else:
            assert module.bias is not None
            yield module.bias
            yield module.weight


def count_of(convolutions: Sequence[Convolution]) -> int:
    """Return how many numbers these layers have in a weight file."""
    return sum(tensor.numel() for tensor in tensors_of(convolutions))


@torch.no_grad()
def fill(convolutions: Sequence[Convolution], values: NDArray[np.float32], name: str) -> None:
    """Copy the numbers of a weight file into the layers.

    Raises:
        CheckpointError: there are more or fewer of them than the layers have.
    """
    wanted = count_of(convolutions)
    if len(values) != wanted:
        raise CheckpointError(
            f"{name}: holds {len(values):,} numbers; this architecture has {wanted:,}"
        )
    start = 0
    for tensor in tensors_of(convolutions):
        part = values[start : start + tensor.numel()].astype(np.float32)
        tensor.copy_(torch.from_numpy(part).view(tensor.shape))
        start += tensor.numel()


def to_bytes(convolutions: Sequence[Convolution], header: WeightsHeader) -> bytes:
    """Return the weight file of these layers."""
    parts = [header.to_bytes()]
    for tensor in tensors_of(convolutions):
        parts.append(tensor.detach().cpu().float().contiguous().numpy().astype("<f4").tobytes())
    return b"".join(parts)
