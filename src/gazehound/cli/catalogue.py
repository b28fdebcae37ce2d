"""The catalogue and its published weights as a table, as one row in full, and as JSON."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.markup import escape

from gazehound.catalog import ENTRIES, WEIGHTS, find
from gazehound.catalog.entry import Entry
from gazehound.checkpoints.published.rows import Published
from gazehound.checkpoints.published.store import cached, find_published, home, published_for

FOOT = (
    "AP: of boxes on COCO val2017, as its publisher measured it, where `gazehound models NAME` says\n"
    "nothing else. MB: what is downloaded when the weights are first used, ~ where only their number\n"
    "is known. Licence: of the weights; in brackets the code's, where none is stated for the weights."
)


def show(name: str | None, as_json: bool) -> None:
    """Print the catalogue, or one row of it.

    Raises:
        ConfigError: the name is unknown.
    """
    chosen = sorted(ENTRIES, key=lambda entry: (entry.year, entry.paper)) if name is None else []
    if name is not None:
        row = find_published(name)
        chosen = [find(name if row is None else row.name)]
    if as_json:
        import orjson

        rows = [as_record(entry) for entry in chosen]
        shown = rows if name is None else rows[0]
        print(orjson.dumps(shown, option=orjson.OPT_INDENT_2).decode())
        return
    console = Console()
    if name is None:
        lines = [*_lines(chosen), f"[dim]{FOOT}[/]"]
    else:
        lines = list(_in_full(chosen[0]))
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)


def as_record(entry: Entry) -> dict[str, Any]:
    """Return all that is known of a row, for JSON."""
    return {
        "name": entry.name,
        "year": entry.year,
        "paper": entry.paper,
        "kind": entry.kind,
        "parameters_millions": entry.parameters,
        "bundled_weights": entry.weights is not None,
        "summary": entry.summary,
        "weights": [_weights_record(row) for row in published_for(entry.name)],
    }


def _weights_record(row: Published) -> dict[str, Any]:
    file = cached(row)
    return {
        "name": row.title,
        "publisher": row.publisher.name,
        "known_as": row.known_as,
        "page": row.publisher.page,
        "urls": list(row.urls),
        "digest": row.digest or None,
        "megabytes": row.megabytes,
        "score": row.score,
        "measure": row.measure,
        "licence_of_weights": row.publisher.note,
        "licence_of_code": row.publisher.code_licence,
        "cached": None if file is None else str(file),
    }


def _lines(entries: list[Entry]) -> Iterator[str]:
    """Yield the table: the papers by year, and below each what follows it."""
    yield (
        "[dim]" + _line("  name", "M par.", "weights of", "score", "MB", "licence", "here") + "[/]"
    )
    for (year, paper), rows in groupby(entries, key=lambda entry: (entry.year, entry.paper)):
        yield f"[bold]{year}[/]  [cyan]{escape(paper)}[/]"
        for entry in rows:
            yield from _rows(entry)


def _rows(entry: Entry) -> Iterator[str]:
    millions = "-" if entry.parameters is None else f"{entry.parameters:.1f}"
    if entry.weights is not None:
        yield _line(f"  {entry.name}", millions, "gazehound", "", "", "Apache-2.0", "bundled")
    published = published_for(entry.name)
    for row in published:
        first = row is published[0] and entry.weights is None
        yield _line(
            f"  {entry.name}" if first else f"    @{row.variant}",
            millions if first else "",
            row.publisher.name,
            f"{row.score:.1f} {_measure(row)}",
            _megabytes(row, entry),
            row.publisher.weights_licence or f"({row.publisher.code_licence})",
            "cached" if cached(row) else "",
        )
    if entry.weights is None and not published:
        yield _line(f"  {entry.name}", millions)


def _line(
    name: str,
    millions: str,
    source: str = "",
    score: str = "",
    size: str = "",
    licence: str = "",
    here: str = "",
) -> str:
    return escape(
        f"{name:<29}{millions:>6}  {source:<12}{score:<10}{size:>5}  {licence:<17}{here}".rstrip()
    )  # fmt: skip


def _measure(row: Published) -> str:
    """Return the measure in one word: AP, AP50, AR."""
    found = re.search(r"A[PR]\d*", row.measure)
    return found[0] if found else ""


def _megabytes(row: Published, entry: Entry) -> str:
    if row.megabytes is not None:
        return f"{row.megabytes:.0f}"
    weights = entry.parameters or 0.0
    return f"~{row.publisher.bytes_per_weight * weights:.0f}"


def _in_full(entry: Entry) -> Iterator[str]:
    """Yield one row of the catalogue with all that is known of its weights."""
    yield f"[bold]{entry.name}[/]  {escape(entry.summary)}"
    yield f"paper        {entry.year}, {escape(entry.paper)}"
    yield f"kind         {entry.kind}"
    if entry.parameters is not None:
        yield f"parameters   {entry.parameters:.1f} million, for 80 classes"
    yield f"built by     {entry.builder}"
    if entry.weights is not None:
        yield f"weights      {WEIGHTS / entry.weights} (in the package, Apache-2.0)"
    published = published_for(entry.name)
    for row in published:
        yield ""
        yield from _weights_in_full(row, entry, row is published[0] and entry.weights is None)
    if entry.weights is None and not published:
        yield f"weights      none: gazehound train {entry.name} --data ..."


def _weights_in_full(row: Published, entry: Entry, default: bool) -> Iterator[str]:
    publisher, file = row.publisher, cached(row)
    also = f"  (or {row.title})" if default else ""
    yield f'weights      gazehound.load("{entry.name if default else row.title}"){also}'
    yield f"  of         {publisher.name}, {row.known_as} ({publisher.page})"
    yield f"  score      {row.score} {row.measure}"
    yield f"  size       {_megabytes(row, entry)} MB"
    for url in row.urls:
        yield f"  address    {url}"
    yield f"  hash       {row.digest or 'none is published; the tensors must fit'}"
    yield f"  licence    of the weights: {publisher.note}"
    yield f"             of the code that made them: {publisher.code_licence}"
    place = f"not here; goes to {home() / 'weights'}" if file is None else str(file)
    yield f"  here       {place}"
