"""``gazehound serve``: a detector behind HTTP, with a page for people."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class LogLevel(StrEnum):
    """What the server writes on standard error."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def serve(
    model: Annotated[
        str, typer.Argument(help="A checkpoint (.safetensors), or a name with bundled weights.")
    ],
    host: Annotated[
        str, typer.Option(help="Address to listen at; 0.0.0.0 lets other machines in.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen at; 0 takes a free one.")
    ] = 8000,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1, mps; default: where the model loads.")
    ] = None,
    batch: Annotated[
        int, typer.Option(min=1, help="Images that go through the model together at most.")
    ] = 8,
    wait: Annotated[
        float, typer.Option(min=0, help="Milliseconds that a batch waits for more images.")
    ] = 5.0,
    queue: Annotated[
        int, typer.Option(min=1, help="Requests in work at once; more are told to come again.")
    ] = 128,
    time_limit: Annotated[
        float, typer.Option(min=0.001, help="Seconds for an upload, and for a detection.")
    ] = 30.0,
    upload_limit: Annotated[
        float, typer.Option(min=0.001, help="Size of an image file at most, megabytes.")
    ] = 20.0,
    pixel_limit: Annotated[
        float, typer.Option(min=0.0001, help="Size of an image at most, megapixels.")
    ] = 50.0,
    score: Annotated[
        float, typer.Option("--score", "-s", min=0, max=1, help="Where the page's slider starts.")
    ] = 0.25,
    log_level: Annotated[
        LogLevel, typer.Option(help="What is logged; info: every request.")
    ] = LogLevel.WARNING,
) -> None:
    """Serve a detector: an API, its description, metrics, and a page to try it in a browser.

    gazehound serve runs/cells/best.safetensors --port 8000
    """
    from gazehound.model import load
    from gazehound.serve.running import need_packages, run
    from gazehound.serve.settings import MEGABYTE, Settings

    need_packages()
    settings = Settings(
        batch=batch,
        wait=wait / 1000,
        queue=queue,
        seconds=time_limit,
        upload_bytes=int(upload_limit * MEGABYTE),
        pixels=int(pixel_limit * 1e6),
        start_score=score,
    )
    loaded = load(model)
    if device:
        loaded.to(device)

    def started(address: str) -> None:
        typer.echo(f"{loaded.name} at {address}  (Ctrl-C ends)")

    run(
        loaded.detector, loaded.header, settings,
        host=host, port=port, log_level=log_level.value, started=started,
    )  # fmt: skip
