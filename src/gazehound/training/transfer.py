"""Start a detector from the weights of another one, and say what became of every tensor.

Weights are taken by name wherever the shape fits. The layers whose shape depends on the number of
classes are made new and keep their own initialisation (the prior of a focal classifier, say); the
rows of a class that both detectors know by the same name are copied, and so are the rows that belong
to no class (background, objectness, box).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from rich.console import Console
from torch import Tensor

from gazehound.checkpoints.native import Header, load_tensors
from gazehound.checkpoints.published.store import weights_file
from gazehound.checkpoints.rebuild import build, without_pretraining
from gazehound.errors import ConfigError
from gazehound.records import Classes

if TYPE_CHECKING:
    from gazehound.detectors.network import Network

CLASS_OUTERMOST = (
    "box",
    "delta",
)  # in names of layers whose rows are class by class, 4 numbers each
COUNTERS = "num_batches_tracked"  # of BatchNorm; no weights, not worth a word


@dataclass(frozen=True)
class ClassAxis:
    """How the first axis of a tensor is made of classes.

    Attributes:
        per_class: rows for each class.
        rest: rows that belong to no class.
        outermost: the rows of a class lie together; otherwise the classes of an anchor do.
    """

    per_class: int
    rest: int
    outermost: bool

    def rows(self, count: int) -> int:
        """Return the length of the axis at so many classes."""
        return self.per_class * count + self.rest

    def table(self, count: int) -> tuple[Tensor, Tensor]:
        """Return where the rows are.

        Returns:
            (count, per_class) rows of each class, and (rest,) rows of none, both ascending. One spare
            row per block is the background and comes last; more come first (box and objectness).
        """
        if self.outermost:
            return torch.arange(count * self.per_class).reshape(count, -1), torch.arange(0)
        spare = self.rest // self.per_class
        blocks = torch.arange(self.rows(count)).reshape(self.per_class, -1)
        first = 0 if spare <= 1 else spare
        of_class = blocks[:, first : first + count]
        others = torch.cat((blocks[:, :first], blocks[:, first + count :]), dim=1)
        return of_class.T.contiguous(), others.reshape(-1)


@dataclass(frozen=True)
class Transferred:
    """What became of the tensors.

    Attributes:
        loaded: names of those taken whole.
        remade: names of those that keep their fresh weights, in all rows or in some.
        copied: classes whose rows were copied into the re-made layers.
        left_out: names in the file that the detector has no place for.
        weights: numbers that were taken.
    """

    loaded: tuple[str, ...]
    remade: tuple[str, ...]
    copied: tuple[str, ...]
    left_out: tuple[str, ...]
    weights: int

    def lines(self, source: str) -> list[str]:
        """Return the report for people."""
        rows = (
            f", with the rows of {_some(self.copied)} copied" if self.copied and self.remade else ""
        )
        return [
            f"from {source}: {len(self.loaded)} tensors loaded ({self.weights / 1e6:.2f} M numbers)",
            f"made new: {len(self.remade)}{rows}{_listed(self.remade)}",
            f"left out: {len(self.left_out)}{_listed(self.left_out)}",
        ]


def _some(names: tuple[str, ...], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _listed(names: tuple[str, ...]) -> str:
    return f" ({_some(names, 4)})" if names else ""


def read_source(source: str) -> tuple[dict[str, Tensor], Header]:
    """Read what training starts from: a native checkpoint, or a name with bundled or published weights.

    Raises:
        ConfigError: neither a file nor a name, or a name without trained weights.
        CheckpointError: the file is not a whole gazehound checkpoint, or cannot be downloaded.
    """
    if source.endswith(".safetensors") or Path(source).exists():
        return load_tensors(source)
    return load_tensors(weights_file(source))


def class_axes(network: Network, header: Header) -> dict[str, ClassAxis]:
    """Find the tensors whose first axis is made of classes.

    The same detector is built once more, for one class more and without memory for its weights; what
    differs in shape depends on the classes.
    """
    count = len(network.classes)
    more = Classes(tuple(f"class {k}" for k in range(count + 1)))
    arguments = without_pretraining(header.arguments)
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        larger, _ = build(header.detector, more, arguments)
    axes = {}
    for name, tensor in larger.state_dict().items():  # type: ignore[attr-defined]
        own = network.state_dict().get(name)
        if own is not None and own.shape != tensor.shape and own.shape[1:] == tensor.shape[1:]:
            step = tensor.shape[0] - own.shape[0]
            rest = own.shape[0] - step * count
            if step > 0 and rest >= 0 and rest % step == 0:
                part = name.rpartition(".")[0].lower()
                outermost = rest == 0 and any(word in part for word in CLASS_OUTERMOST)
                axes[name] = ClassAxis(step, rest, outermost)
    return axes


@torch.no_grad()
def transfer(
    network: Network, header: Header, tensors: Mapping[str, Tensor], source: Header
) -> Transferred:
    """Put the weights that fit into a detector, in place.

    Args:
        network: what is started; freshly built.
        header: its header: name and arguments tell which layers depend on the classes.
        tensors: the weights to start from.
        source: their header; its classes name the rows.

    Raises:
        ConfigError: not one tensor fits.
    """
    axes = class_axes(network, header)
    shared = [name for name in network.classes.names if name in source.classes.names]
    same = network.classes.names == source.classes.names
    loaded, remade, weights = [], [], 0
    own = network.state_dict()
    for name, tensor in own.items():
        given, axis = tensors.get(name), axes.get(name)
        if given is None or given.shape[1:] != tensor.shape[1:]:
            remade.append(name)
        elif axis is not None and not same:
            remade.append(name)
            if given.shape[0] == axis.rows(len(source.classes)):
                weights += _copy_rows(tensor, given, axis, network.classes, source.classes)
        elif given.shape == tensor.shape:
            tensor.copy_(given)
            loaded.append(name)
            weights += tensor.numel()
        else:
            remade.append(name)
    _need_some(loaded, len(tensors), header, source)
    return Transferred(
        _without_counters(loaded),
        _without_counters(remade),
        tuple(shared),
        _without_counters([name for name in tensors if name not in own]),
        weights,
    )


def start_from(source: str, network: Network, header: Header, console: Console) -> Transferred:
    """Take the weights of another detector where they fit, and print what became of each.

    From the same kind of detector its preprocessing is taken, too: the weights expect it.

    Raises:
        ConfigError: the source is unknown, or nothing in it fits.
        CheckpointError: the file is not a whole gazehound checkpoint.
    """
    tensors, known = read_source(source)
    report = transfer(network, header, tensors, known)
    if known.detector == header.detector:
        network.preprocess = network.preprocess.changed(known.preprocess)
    for line in report.lines(source):
        console.print(line, highlight=False, soft_wrap=True)
    return report


def _copy_rows(
    target: Tensor, given: Tensor, axis: ClassAxis, classes: Classes, known: Classes
) -> int:
    """Copy the rows of classes of one name, and the rows of none; return how many numbers."""
    label_of = known.label_of_name()
    pairs = [(k, label_of[name]) for k, name in enumerate(classes.names) if name in label_of]
    (to_class, to_rest), (from_class, from_rest) = (axis.table(len(c)) for c in (classes, known))
    into = torch.cat([*(to_class[k] for k, _ in pairs), to_rest])
    out_of = torch.cat([*(from_class[k] for _, k in pairs), from_rest])
    target[into] = given[out_of].to(target)
    return int(target[into].numel())


def _need_some(loaded: list[str], count: int, header: Header, source: Header) -> None:
    if not loaded:
        raise ConfigError(
            f"none of the {count} tensors of '{source.detector}' fits '{header.detector}': names or "
            "shapes differ everywhere; give the same model (and --set arguments...) or no --from"
        )


def _without_counters(names: list[str]) -> tuple[str, ...]:
    return tuple(name for name in names if not name.endswith(COUNTERS))
