"""``gazehound models``: the catalogue."""

from __future__ import annotations

from typing import Annotated

import typer


def models(
    json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """List every detector: name, year, paper, parameters, and whether weights ship with it."""
    from gazehound.catalog import ENTRIES

    rows = [
        {
            "name": entry.name,
            "year": entry.year,
            "paper": entry.paper,
            "kind": entry.kind,
            "parameters_millions": entry.parameters,
            "bundled_weights": entry.weights is not None,
            "summary": entry.summary,
        }
        for entry in sorted(ENTRIES, key=lambda e: (e.year, e.name))
    ]
    if json:
        import orjson

        typer.echo(orjson.dumps(rows, option=orjson.OPT_INDENT_2).decode())
        return
    from rich.console import Console
    from rich.table import Column, Table

    table = Table(Column("name", no_wrap=True), "year", "M weights", "trained", "what it is")
    for row in rows:
        millions = row["parameters_millions"]
        table.add_row(
            str(row["name"]),
            str(row["year"]),
            "-" if millions is None else f"{millions:.1f}",
            "bundled" if row["bundled_weights"] else "",
            str(row["summary"]),
        )
    Console().print(table)
