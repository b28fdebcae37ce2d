"""``gazehound demo``: the main job from start to end, on pictures that the package draws itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to write.")] = Path("runs/demo"),
    epochs: Annotated[int, typer.Option(help="Passes over the 240 training images.")] = 14,
) -> None:
    """Train a small detector on procedural images, evaluate it, detect on unseen ones, report."""
    from gazehound.cli.demonstration import run_demo

    run_demo(out, epochs)
