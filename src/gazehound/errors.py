"""Every error a user can meet, as one small tree.

``GazehoundError`` is what a program catches; the command line prints its one line and leaves with a
non-zero exit code. A message names the thing, what was required, and what came.

    GazehoundError
    ├── DataError          a data set, an annotation or a label is wrong (file, line, box index)
    ├── ImageError         an image cannot be read
    │   └── ImageTooLarge  it has more pixels than may be decoded
    ├── CheckpointError    a weight file is truncated, foreign, or does not fit the architecture
    ├── ConfigError        an option or recipe value is out of its range or unknown
    ├── MissingDependency  an optional package is not installed (names the install command)
    ├── ExportError        a model cannot be exported, or the exported file does not do the same
    └── TrainingError      training cannot go on (non-finite loss, nothing to resume)
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class GazehoundError(Exception):
    """Base of every error that gazehound raises on purpose."""


class DataError(GazehoundError):
    """A data set, an annotation or a label is wrong; the message says where."""


class ImageError(GazehoundError):
    """An image cannot be read; the message names the file and the reason."""


class ImageTooLarge(ImageError):
    """An image has more pixels than may be decoded safely; the message says how many are allowed."""


class CheckpointError(GazehoundError):
    """A weight file is truncated, foreign, or does not fit the architecture."""


class ConfigError(GazehoundError):
    """An option or a recipe value is unknown or out of its range."""


class MissingDependency(GazehoundError):
    """An optional package is not installed."""

    def __init__(self, package: str, purpose: str, extra: str = "") -> None:
        install = f"'gazehound[{extra}]'" if extra else package
        super().__init__(f"{purpose} needs the package '{package}': pip install {install}")
        self.package = package


class ExportError(GazehoundError):
    """A model cannot be exported, or the exported file does not find the same; says where."""


class TrainingError(GazehoundError):
    """Training cannot start or go on; the message says what to do."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> ConfigError:
    """Return the error for a name that is not in a table, with the nearest known names."""
    names = sorted(known)
    near = get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names)}"
    return ConfigError(f"unknown {kind} '{name}'; {hint}")
