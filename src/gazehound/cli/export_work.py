"""The work of ``gazehound export``: load, write, prove, report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import track

from gazehound.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    from gazehound.model import Model

RUNTIMES = ("onnx", "openvino", "torch-export")
FORMATS = (*RUNTIMES, "darknet")
SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "torch-export": ".pt2", "darknet": ".weights"}


@dataclass(frozen=True)
class Options:
    """What the user asked for; see ``gazehound export --help``."""

    model: str
    form: str
    out: Path | None = None
    preprocessing: bool = False
    nms: bool = False
    data: str | None = None
    int8: bool = False
    calibration: str | None = None
    calibration_images: int = 64
    max_loss: float | None = None


def run(options: Options, console: Console | None = None) -> tuple[Path, ...]:
    """Export, and say what was written and how it was proven.

    Returns:
        The files.

    Raises:
        ConfigError: an option is unknown or does not go with another.
        ExportError: the detector has no such form, or the file does not find the same.
        CheckpointError: the checkpoint cannot be read.
    """
    from gazehound.model import load

    console = console or Console()
    _check(options)
    model = load(options.model)
    out = options.out or _beside(options)
    files = _darknet(model, out) if options.form == "darknet" else _runtime(
        model, options, out, console
    )  # fmt: skip
    for file in files:
        size = file.stat().st_size / 1e6
        console.print(
            f"wrote {file} ({size:.1f} MB)", highlight=False, soft_wrap=True, markup=False
        )
    return files


def _check(options: Options) -> None:
    if options.form not in FORMATS:
        raise unknown_name("format", options.form, FORMATS)
    if options.int8 != (options.calibration is not None):
        raise ConfigError(
            "--int8 and --calibration PATH go together: ranges are learned from pictures"
        )
    if options.max_loss is not None and not options.int8:
        raise ConfigError("--max-loss belongs to --int8: other files may lose 0.001 mAP at most")
    only = options.preprocessing or options.nms or options.data or options.int8
    if options.form == "darknet" and only:
        raise ConfigError(
            "Darknet's files hold weights and layers: they take no preprocessing, NMS, data or INT8"
        )


def _beside(options: Options) -> Path:
    """Return the checkpoint's own path with the format's suffix; a name's in this folder."""
    source = Path(options.model)
    place = source if source.suffix == ".safetensors" else Path(source.name)
    return place.with_name(f"{place.stem}{SUFFIXES[options.form]}")


def _darknet(model: Model, out: Path) -> tuple[Path, ...]:
    from gazehound.checkpoints.darknet import export_darknet

    return export_darknet(model.detector, model.header, out)


def _runtime(model: Model, options: Options, out: Path, console: Console) -> tuple[Path, ...]:
    from gazehound.export.evidence import evidence_of, pictures_of
    from gazehound.export.graph import Plan
    from gazehound.export.write import Order, export

    pictures = None
    if options.calibration is not None:
        pictures = pictures_of(options.calibration, options.calibration_images)
        console.print(f"[dim]calibrating with {len(pictures)} pictures[/]", highlight=False)
    order = Order(
        options.form, out, Plan(options.nms, options.preprocessing), pictures, options.max_loss
    )
    evidence = evidence_of(options.data, model.classes)
    bar = iter(track(range(len(evidence)), "comparing", console=console, transient=True,
                     disable=not console.is_terminal))  # fmt: skip

    def step() -> None:
        next(bar, None)

    files, proof = export(
        model.detector, model.header, order, evidence,
        tell=lambda line: console.print(f"[dim]{line}[/]", highlight=False),
        step=step,
    )  # fmt: skip
    first, *rest = proof.lines
    for line in (f"{'measured' if options.int8 else 'proven'} {first}", *rest):
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    if not proof.detections:
        console.print(
            "[yellow]note[/] the checkpoint finds nothing on these pictures, so nothing was compared: "
            "give --data with pictures of its objects", highlight=False, soft_wrap=True,
        )  # fmt: skip
    return files
