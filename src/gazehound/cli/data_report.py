"""How the findings of the data gate look on a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gazehound.data.check import SIDES, Report
from gazehound.data.faults import KINDS, Fault, Severity

COLOURS = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}
BAR = 40  # characters of the longest bar
MOST_CLASSES = 30  # rows of the class table before the rest is summed up


def print_report(report: Report, limit: int) -> None:
    """Print what the gate found; at most ``limit`` findings of each kind (0: all)."""
    console = Console(highlight=False, soft_wrap=True)
    facts = report.as_dict()
    console.print(f"[bold]{escape(facts['path'])}[/], {facts['format']}")
    if report.splits:
        console.print(_splits(facts["splits"]))
        console.print(_classes(facts["classes"], list(report.splits)))
        console.print(_sizes(facts["size_histogram"]["counts"]))
    for code, group in report.by_code().items():
        _print_group(console, code, group, limit)
    console.print(_verdict(report))


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column(columns[0])
    for column in columns[1:]:
        table.add_column(column, justify="right")
    return table


def _splits(splits: dict[str, dict[str, int]]) -> Table:
    table = _table("split", "images", "without objects", "boxes", "crowd", "difficult")
    for name, numbers in splits.items():
        table.add_row(escape(name) or "(all)", *(f"{number:,}" for number in numbers.values()))
    return table


def _classes(counts: dict[str, dict[str, int]], splits: list[str]) -> Table:
    table = _table("class", *(escape(split) or "boxes" for split in splits))
    ordered = sorted(counts.items(), key=lambda item: -sum(item[1].values()))
    shown = ordered if len(ordered) <= MOST_CLASSES + 1 else ordered[:MOST_CLASSES]
    for name, numbers in shown:
        table.add_row(escape(name), *(f"{numbers.get(split, 0):,}" for split in splits))
    rest = ordered[len(shown) :]
    if rest:
        sums = [sum(numbers.get(split, 0) for _, numbers in rest) for split in splits]
        table.add_row(f"({len(rest)} more classes)", *(f"{number:,}" for number in sums))
    return table


def _sizes(counts: list[int]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("size, px", justify="right")
    table.add_column("boxes", justify="right")
    table.add_column("")
    edges = ["0", *map(str, SIDES), "more"]
    for low, high, count in zip(edges, edges[1:], counts, strict=False):
        bar = "█" * round(BAR * count / max(*counts, 1)) or ("▏" if count else "")
        table.add_row(f"{low} to {high}", f"{count:,}", f"[green]{bar}[/]")
    return table


def _print_group(console: Console, code: str, group: list[Fault], limit: int) -> None:
    kind = KINDS[code]
    colour = COLOURS[kind.severity]
    head = f"[{colour}]{kind.severity}[/] [bold]{code}[/] x {len(group):,}: {escape(kind.meaning)}"
    console.print(head + (f"  [dim](--fix: {escape(kind.repair)})[/]" if kind.repair else ""))
    shown = group if limit == 0 else group[:limit]
    for fault in shown:
        console.print(f"  {escape(str(fault))}")
    if len(shown) < len(group):
        console.print(f"  [dim]and {len(group) - len(shown):,} more (--limit 0 shows all)[/]")


def _verdict(report: Report) -> Any:
    errors, warnings, notes = (report.count(severity) for severity in Severity)
    told = f"{errors:,} errors, {warnings:,} warnings, {notes:,} notes"
    skipped = "" if report.decoded else "; images were not decoded (--no-images)"
    if report.passed:
        return f"[bold green]passed[/]: {told}{skipped}"
    return f"[bold red]failed[/]: {told}{skipped}; --fix OUT writes a repaired copy"
