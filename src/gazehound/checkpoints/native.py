"""The native checkpoint: one ``.safetensors`` file that says what it is.

The tensors are the learned state; the metadata holds everything needed to rebuild the detector:

    format        "gazehound"
    version       "1"
    detector      a name of the catalogue
    arguments     JSON: the builder's arguments
    classes       JSON: {"names": [...], "ids": [...]}
    preprocess    JSON: how images become network inputs ({} for classical detectors)
    notes         JSON: provenance, scores, licence

Loading never unpickles anything. The header is read and checked before a byte of tensor data is
touched; nothing here imports torch.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gazehound.errors import CheckpointError
from gazehound.records import Classes

FORMAT = "gazehound"
VERSION = "1"
LARGEST_HEADER = 100_000_000  # bytes; the limit that the safetensors reader itself sets


@dataclass(frozen=True)
class Header:
    """What a checkpoint says about itself (see the module's docstring)."""

    detector: str
    arguments: dict[str, Any]
    classes: Classes
    preprocess: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)

    def to_metadata(self) -> dict[str, str]:
        """Return the header as safetensors metadata (strings to strings)."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "detector": self.detector,
            "arguments": json.dumps(self.arguments),
            "classes": json.dumps({"names": self.classes.names, "ids": self.classes.ids}),
            "preprocess": json.dumps(self.preprocess),
            "notes": json.dumps(self.notes),
        }

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], file: Path) -> Header:
        """Read the header from safetensors metadata; CheckpointError when it is not ours."""
        if metadata.get("format") != FORMAT:
            raise CheckpointError(
                f"{file}: a safetensors file, but not written by gazehound (its metadata has no "
                f"format '{FORMAT}'); for weights of other projects use `gazehound import`"
            )
        if metadata.get("version") != VERSION:
            raise CheckpointError(
                f"{file}: checkpoint version {metadata.get('version')!r}; this gazehound reads {VERSION}"
            )
        try:
            classes = json.loads(metadata["classes"])
            return cls(
                detector=metadata["detector"],
                arguments=json.loads(metadata["arguments"]),
                classes=Classes(tuple(classes["names"]), tuple(classes["ids"])),
                preprocess=json.loads(metadata.get("preprocess", "{}")),
                notes=json.loads(metadata.get("notes", "{}")),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{file}: checkpoint metadata is damaged ({error!r})") from None


def read_header(file: str | Path) -> Header:
    """Read and check only the header of a checkpoint.

    Raises:
        CheckpointError: the file is missing, truncated, of another format, or not gazehound's.
    """
    path = Path(file)
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            start = stream.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            if not 2 <= length <= LARGEST_HEADER or stream.read(1) != b"{":
                raise CheckpointError(_foreign(path, start))
            if 8 + length > size:
                raise CheckpointError(
                    f"{path}: truncated: its header needs {8 + length} bytes of {size}"
                )
            table = json.loads(b"{" + stream.read(length - 1))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError:
        raise CheckpointError(f"{path}: damaged: its header is not valid JSON") from None
    metadata = table.pop("__metadata__", {})
    end = 8 + length + max((row["data_offsets"][1] for row in table.values()), default=0)
    if end != size:
        raise CheckpointError(f"{path}: truncated or damaged: {end} bytes expected, {size} found")
    return Header.from_metadata(metadata, path)


def _foreign(path: Path, start: bytes) -> str:
    known = {
        b"PK\x03\x04": "a torch (zip) file",
        b"\x80\x02": "a pickle file",
        b"<?xm": "an XML file",
    }
    guess = next(
        (name for magic, name in known.items() if start.startswith(magic)), "another format"
    )
    return (
        f"{path}: not a safetensors file (it looks like {guess}); "
        "for weights of other projects use `gazehound import`"
    )


def save_arrays(file: str | Path, arrays: Mapping[str, NDArray[Any]], header: Header) -> None:
    """Write NumPy arrays and the header to one file, whole or not at all."""
    from safetensors.numpy import save_file

    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    _write_whole(Path(file), lambda part: save_file(contiguous, part, header.to_metadata()))


def load_arrays(file: str | Path) -> tuple[dict[str, NDArray[Any]], Header]:
    """Read a checkpoint as NumPy arrays; see :func:`read_header` for the errors."""
    from safetensors.numpy import load_file

    header = read_header(file)
    return load_file(file), header


def save_tensors(file: str | Path, tensors: Mapping[str, Any], header: Header) -> None:
    """Write torch tensors and the header to one file, whole or not at all."""
    from safetensors.torch import save_file

    contiguous = {
        name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()
    }
    _write_whole(Path(file), lambda part: save_file(contiguous, part, header.to_metadata()))


def load_tensors(file: str | Path) -> tuple[dict[str, Any], Header]:
    """Read a checkpoint as torch tensors on the CPU; see :func:`read_header` for the errors."""
    from safetensors.torch import load_file

    header = read_header(file)
    return load_file(file), header


def _write_whole(path: Path, write: Any) -> None:
    """Write beside ``path``, then rename, so that a killed write leaves the last good file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    from safetensors import SafetensorError

    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(part)
        os.replace(part, path)  # noqa: PTH105  (atomic on one file system)
    except (OSError, SafetensorError) as error:  # its writer wraps what the system says
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(f"{path}: cannot be written ({reason})") from None
    finally:
        part.unlink(missing_ok=True)
