"""``gazehound models``: the catalogue."""

from __future__ import annotations

from typing import Annotated

import typer


def models(
    name: Annotated[
        str | None, typer.Argument(help="One model in full: paper, weights, licences, addresses.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """List every detector: paper, parameters, published weights, and what this machine has of them.

    gazehound models
    gazehound models faster_rcnn_r50
    """
    from gazehound.cli.catalogue import show

    show(name, json)
