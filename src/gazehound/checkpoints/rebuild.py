"""From a catalogue name or a native checkpoint to a living detector, and back to a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gazehound.catalog import find
from gazehound.checkpoints.native import (
    Header,
    load_arrays,
    load_tensors,
    read_header,
    save_arrays,
    save_tensors,
)
from gazehound.detectors.detector import Detector, Fittable
from gazehound.errors import CheckpointError, ConfigError
from gazehound.records import Classes

if TYPE_CHECKING:
    from torch import Tensor


def build(
    name: str,
    classes: Classes,
    arguments: Mapping[str, Any] | None = None,
    preprocess: Mapping[str, Any] | None = None,
) -> tuple[Detector, Header]:
    """Build an untrained detector of the catalogue, and the header that its checkpoints will carry.

    ``preprocess`` holds the settings that differ from what the builder thinks right for its network.

    Raises:
        ConfigError: the name or an argument is unknown, or an argument's value is wrong.
    """
    entry = find(name)
    arguments = dict(arguments or {})
    try:
        detector: Any = entry.resolve()(classes, **arguments)
    except TypeError as error:
        if "unexpected keyword" not in str(error):
            raise
        raise ConfigError(f"model '{entry.name}': {str(error).split(') ')[-1]}") from None
    if entry.kind != "network":
        return detector, Header(entry.name, arguments, classes, dict(preprocess or {}))
    detector.preprocess = detector.preprocess.changed(preprocess or {})
    return detector, Header(entry.name, arguments, classes, detector.preprocess.to_dict())


def load(file: str | Path) -> tuple[Detector, Header]:
    """Rebuild the detector of a native checkpoint with its weights.

    Raises:
        CheckpointError: the file is not a whole gazehound checkpoint, or its tensors do not fit.
    """
    header = read_header(file)
    arguments = without_pretraining(header.arguments)
    detector, _ = build(header.detector, header.classes, arguments, header.preprocess)
    if isinstance(detector, Fittable):
        detector.load_arrays(load_arrays(file)[0])
    else:
        _load_state(detector, load_tensors(file)[0], Path(file))
    return detector, header


def without_pretraining(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments that build the same architecture without looking for pretrained weights.

    What the backbone once started from does not matter when weights are loaded over it.
    """
    changed = dict(arguments)
    if "pretrained" in changed:
        changed["pretrained"] = False
    if arguments.get("pretrained") and "norm" not in changed:
        changed["norm"] = "frozen"  # what ``norm=None`` meant when it was built
    return changed


def _load_state(network: Any, tensors: Mapping[str, Tensor], file: Path) -> None:
    """Load a state dict; every difference is an error that names the first tensors that differ."""
    wanted = network.state_dict()
    missing, extra = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
    shapes = [
        f"{n} is {tuple(tensors[n].shape)}, not {tuple(wanted[n].shape)}"
        for n in sorted(wanted.keys() & tensors.keys())
        if tensors[n].shape != wanted[n].shape
    ]
    problems = [f"missing {n}" for n in missing] + [f"unknown {n}" for n in extra] + shapes
    if problems:
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        raise CheckpointError(
            f"{file}: its tensors do not fit the architecture: {'; '.join(problems[:3])}{more}"
        )
    network.load_state_dict(dict(tensors))


def save(file: str | Path, detector: Detector, header: Header) -> None:
    """Write a detector and its header to a native checkpoint."""
    if isinstance(detector, Fittable):
        save_arrays(file, detector.arrays(), header)
    else:
        save_tensors(file, detector.state_dict(), header)  # type: ignore[attr-defined]
