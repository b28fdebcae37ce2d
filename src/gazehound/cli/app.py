"""The tree of commands. Each lives in a module of its own and imports heavy packages when it runs."""

from __future__ import annotations

from typing import Annotated

import typer

from gazehound.cli import data
from gazehound.cli.compare import compare
from gazehound.cli.demo import demo
from gazehound.cli.evaluate import evaluate
from gazehound.cli.explain import explain
from gazehound.cli.exporting import export_command
from gazehound.cli.importing import import_command
from gazehound.cli.models import models
from gazehound.cli.predict import predict
from gazehound.cli.serve import serve
from gazehound.cli.train import train
from gazehound.cli.train_classifier import train_classifier
from gazehound.cli.tune import tune

app = typer.Typer(
    name="gazehound",
    help="Every object detector from Viola-Jones to YOLOX behind one interface.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        from gazehound import __version__

        typer.echo(f"gazehound {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Every object detector from Viola-Jones to YOLOX behind one interface."""


app.command()(demo)
app.command()(train)
app.command()(train_classifier)
app.command()(tune)
app.command()(predict)
app.command()(evaluate)
app.command()(compare)
app.command()(explain)
app.command()(serve)
app.add_typer(data.app, name="data")
app.command()(models)
app.command("import")(import_command)
app.command("export")(export_command)
