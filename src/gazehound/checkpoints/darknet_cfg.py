"""Darknet's ``.cfg`` files: read, written, and compared layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gazehound.errors import CheckpointError

KINDS = ("convolutional", "shortcut", "route", "maxpool", "upsample", "yolo")


@dataclass(frozen=True)
class Section:
    """One ``[kind]`` of a cfg file.

    Attributes:
        kind: what stands in the brackets.
        options: key to value, as text.
        line: of the bracket in its file; 0 when it was not read from one.
    """

    kind: str
    options: Mapping[str, str] = field(default_factory=dict)
    line: int = 0


def parse_cfg(text: str, name: str) -> list[Section]:
    """Split a cfg file into its sections.

    Args:
        text: of the file.
        name: for messages.

    Raises:
        CheckpointError: a line is neither a section nor ``key = value``, or there is no ``[net]``.
    """
    sections: list[Section] = []
    options: dict[str, str] = {}
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.partition("#")[0].partition(";")[0].strip()
        if not line:
            continue
        if line.startswith("[") and line.endswith("]"):
            options = {}
            sections.append(Section(line[1:-1].strip().lower(), options, number))
        elif "=" in line and sections:
            key, _, value = line.partition("=")
            options[key.strip()] = value.strip()
        else:
            raise CheckpointError(
                f"{name}:{number}: expected [section] or key = value; got '{line}'"
            )
    if not sections or sections[0].kind not in ("net", "network"):
        raise CheckpointError(f"{name}: a cfg file begins with [net]")
    return sections


def read_cfg(file: Path) -> list[Section]:
    """Read a cfg file; see :func:`parse_cfg`."""
    try:
        return parse_cfg(file.read_text(encoding="utf-8"), str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{file}: cannot be read ({error})") from None


def render_cfg(sections: Sequence[Section]) -> str:
    """Return the text of a cfg file."""
    blocks = (
        "\n".join([f"[{s.kind}]", *(f"{key}={value}" for key, value in s.options.items())])
        for s in sections
    )
    return "\n\n".join(blocks) + "\n"


def numbers(section: Section, key: str) -> list[float]:
    """Return the comma-separated numbers of an option, none when it is absent.

    Raises:
        CheckpointError: something else stands there.
    """
    text = section.options.get(key, "")
    try:
        return [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise CheckpointError(
            f"line {section.line}, [{section.kind}]: {key} must hold numbers; got '{text}'"
        ) from None


def number(section: Section, key: str, default: float = 0) -> float:
    """Return the number of an option; CheckpointError when it is not one."""
    found = numbers(section, key)
    if len(found) > 1:
        raise CheckpointError(f"line {section.line}, [{section.kind}]: {key} must be one number")
    return found[0] if found else default


def describe(section: Section, index: int) -> dict[str, object]:
    """Return what a layer computes, with defaults filled in and layer numbers absolute.

    Options that only training reads are left out, so two layers are equal when these are.

    Args:
        section: the layer.
        index: its number, the first behind ``[net]`` being 0.
    """
    readers = {
        "convolutional": _convolutional, "shortcut": _shortcut, "route": _route,
        "maxpool": _maxpool, "upsample": _upsample, "yolo": _yolo,
    }  # fmt: skip
    reader = readers.get(section.kind)
    if reader is None:
        return {"kind": section.kind}
    return {"kind": section.kind, **reader(section, index)}


def _convolutional(section: Section, index: int) -> dict[str, object]:
    size = number(section, "size", 1)
    padding = size // 2 if number(section, "pad") else number(section, "padding")
    return {
        "filters": number(section, "filters", 1),
        "size": size,
        "stride": number(section, "stride", 1),
        "padding": padding,
        "groups": number(section, "groups", 1),
        "dilation": number(section, "dilation", 1),
        "batch_normalize": bool(number(section, "batch_normalize")),
        "activation": section.options.get("activation", "logistic"),
    }


def _shortcut(section: Section, index: int) -> dict[str, object]:
    return {
        "from": [_absolute(layer, index) for layer in numbers(section, "from")],
        "activation": section.options.get("activation", "linear"),
    }


def _route(section: Section, index: int) -> dict[str, object]:
    groups = number(section, "groups", 1)
    return {
        "layers": [_absolute(layer, index) for layer in numbers(section, "layers")],
        "groups": groups,
        "group_id": number(section, "group_id") if groups > 1 else 0.0,
    }


def _maxpool(section: Section, index: int) -> dict[str, object]:
    stride = number(section, "stride", 1)
    size = number(section, "size", stride)
    return {"size": size, "stride": stride, "padding": number(section, "padding", size - 1)}


def _upsample(section: Section, index: int) -> dict[str, object]:
    return {"stride": number(section, "stride", 2)}


def _yolo(section: Section, index: int) -> dict[str, object]:
    return {
        "mask": numbers(section, "mask"),
        "anchors": numbers(section, "anchors"),
        "classes": number(section, "classes", 20),
        "num": number(section, "num", 1),
        "scale_x_y": number(section, "scale_x_y", 1),
        "new_coords": number(section, "new_coords"),
    }


def _absolute(layer: float, index: int) -> int:
    return int(layer) + index if layer < 0 else int(layer)


def first_difference(ours: Sequence[Section], theirs: Sequence[Section]) -> tuple[int, str] | None:
    """Return the number of the first layer that differs, and in what; ``None`` for equal networks.

    Args:
        ours: the layers behind ``[net]`` of a known architecture.
        theirs: those of a file.
    """
    for index in range(max(len(ours), len(theirs))):
        if index >= len(theirs):
            return index, f"[{ours[index].kind}] is missing: the file ends"
        if index >= len(ours):
            return index, f"line {theirs[index].line}: [{theirs[index].kind}] is one too many"
        wanted, got = (describe(side[index], index) for side in (ours, theirs))
        if wanted != got:
            return index, f"line {theirs[index].line}: {_spoken(wanted, got)}"
    return None


def _spoken(wanted: Mapping[str, object], got: Mapping[str, object]) -> str:
    if wanted["kind"] != got["kind"]:
        known = "" if got["kind"] in KINDS else " (of a kind that is not known here)"
        return f"expected [{wanted['kind']}]; got [{got['kind']}]{known}"
    key = next(key for key in wanted if wanted[key] != got[key])
    return f"[{got['kind']}]: expected {key}={_plain(wanted[key])}; got {_plain(got[key])}"


def _plain(value: object) -> str:
    if isinstance(value, list):
        return ",".join(_plain(item) for item in value)
    return (
        f"{value:g}"
        if isinstance(value, int | float) and not isinstance(value, bool)
        else f"{value}"
    )
