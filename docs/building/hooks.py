"""What MkDocs does to a page before it becomes HTML; every part fails loudly when it finds nothing.

Comments in a page, invisible elsewhere, stand for what is made of the code and of other pages::

    <!-- variants: gazehound.detectors.retinanet -->      rows of the catalogue
    <!-- source: gazehound.detectors.retinanet:RetinaNet.losses -->      the code itself
    <!-- deviations: RetinaNet; IoU of boxes -->          rows of deviations.md that begin so
    <!-- results: gazehound.detectors.retinanet -->       rows of results.md about these models
    <!-- not run: why -->                                 above a block that the tests do not run

A fenced block ``figure`` becomes a drawing (see ``figures.py``).
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from figures import draw

from gazehound.catalog import ENTRIES
from gazehound.catalog.entry import Entry
from gazehound.checkpoints.published.rows import ROWS, VAL

DOCS = Path(__file__).parent.parent
MACRO = re.compile(r"^<!-- (variants|source|deviations|results|not run): (.+?) -->$", re.MULTILINE)
FIGURE = re.compile(
    r"^```figure(?: (?P<caption>[^\n]*))?\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
MORE = "More"  # the part of the navigation for pages that mkdocs.yml does not name


class PageError(ValueError):
    """A page asks for something that is not there."""


def on_config(config: Any) -> Any:
    """Leave out what is named in ``nav`` but absent; add pages that are there but not named."""
    named: set[str] = set()
    config["nav"] = [item for item in (_present(item, named) for item in config["nav"]) if item]
    others = sorted(path.name for path in DOCS.glob("*.md") if path.name not in named)
    if others:
        config["nav"].append({MORE: others})
    return config


def _present(item: Any, named: set[str]) -> Any:
    if isinstance(item, str):
        named.add(item)
        return item if (DOCS / item).is_file() else None
    ((title, inner),) = item.items()
    if isinstance(inner, str):
        return item if _present(inner, named) else None
    kept = [entry for entry in (_present(entry, named) for entry in inner) if entry]
    return {title: kept} if kept else None


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fill in what the comments of a page stand for, and draw its figures."""
    try:
        markdown = FIGURE.sub(lambda found: draw(found["text"], found["caption"] or ""), markdown)
        return MACRO.sub(lambda found: MACROS[found[1]](found[2]), markdown)
    except ValueError as error:
        raise PageError(f"{page.file.src_uri}: {error}") from error


def entries_of(modules: str) -> list[Entry]:
    """Return the catalogue's rows whose builders live in these modules (separated by blanks)."""
    wanted = modules.split()
    found = [entry for entry in ENTRIES if entry.builder.split(":")[0] in wanted]
    if not found:
        raise PageError(f"no row of the catalogue is built in {modules}")
    return found


def variants(modules: str) -> str:
    """Return a table of catalogue rows, with the weights that are published for them."""
    rows = [
        "| name | year | parameters, millions | what it is | published weights |",
        "|---|---|---:|---|---|",
    ]
    for entry in entries_of(modules):
        millions = "" if entry.parameters is None else f"{entry.parameters:g}"
        weights = "in the package" if entry.weights else ", ".join(_published(entry.name))
        rows.append(f"| `{entry.name}` | {entry.year} | {millions} | {entry.summary} | {weights} |")
    if any("`@" in row for row in rows):
        rows += [
            "",
            '`gazehound.load("NAME@VARIANT")` loads published weights, `NAME` alone the first ones; in',
            f"brackets what their publisher measured, {VAL} where nothing else is said",
            "([weights by name](../weights.md)).",
        ]
    return "\n".join(rows)


def _published(name: str) -> Iterator[str]:
    for row in ROWS:
        if row.name == name:
            measure = "" if row.measure == VAL else f" {row.measure}"
            yield f"`@{row.variant}` ({row.score:g}{measure})"


def source(place: str) -> str:
    """Return the code of ``module:name.name`` in a fenced block, under the path of its file."""
    module, _, name = place.partition(":")
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise PageError(f"no module {module}")
    text = Path(spec.origin).read_text(encoding="utf-8")
    node: ast.AST = ast.parse(text)
    for part in name.split("."):
        inner = (n for n in getattr(node, "body", ()) if getattr(n, "name", None) == part)
        node = next(inner, None) or _missing(place)
    lines = text.splitlines()[node.lineno - 1 : node.end_lineno]  # type: ignore[attr-defined]
    code = textwrap.dedent("\n".join(lines))
    path = "src/" + module.replace(".", "/") + ".py"
    return f'```python title="{path}"\n{code}\n```'


def _missing(place: str) -> ast.AST:
    raise PageError(f"{place} is not in the code")


def tables_of(page: str) -> Iterator[tuple[str, str, list[str]]]:
    """Yield heading, head and rows of every table of a page."""
    heading, block = "", []
    for line in [*(DOCS / page).read_text(encoding="utf-8").splitlines(), ""]:
        if line.startswith("|"):
            block.append(line)
            continue
        if len(block) > 2:
            yield heading, "\n".join(block[:2]), block[2:]
        block = []
        if line.startswith("#"):
            heading = line.lstrip("# ")


def deviations(beginnings: str) -> str:
    """Return the rows of deviations.md whose first column begins with one of these."""
    wanted = tuple(part.strip() for part in beginnings.split(";"))
    for part in wanted:
        if not any(
            _first(row).startswith(part)
            for _, _, rows in tables_of("deviations.md")
            for row in rows
        ):
            raise PageError(f"no deviation begins with '{part}'")
    out = ["From the list of all [deviations](../deviations.md):", ""]
    for _, head, rows in tables_of("deviations.md"):
        chosen = [row for row in rows if _first(row).startswith(wanted)]
        out += [head, *chosen, ""] if chosen else []
    return "\n".join(out)


def _first(row: str) -> str:
    return row.strip("|").split("|")[0].strip().replace("`", "")


def results(modules: str) -> str:
    """Return the rows of results.md that name these models, or say that there is none."""
    names = [f"`{entry.name}`" for entry in entries_of(modules)]
    out: list[str] = []
    for heading, head, rows in tables_of("results.md"):
        chosen = [row for row in rows if any(name in row for name in names)]
        if chosen:
            out += [
                f"{heading} ([how it was measured](../results.md#{_anchor(heading)})):",
                "",
                head,
                *chosen,
                "",
            ]
    return (
        "\n".join(out)
        or "Not measured yet: [results](../results.md) has no row about these models."
    )


def _anchor(heading: str) -> str:
    """Return the id that Python-Markdown gives a heading."""
    plain = re.sub(r"[^\w\s-]", "", heading.replace("`", "")).strip().lower()
    return re.sub(r"[-\s]+", "-", plain)


def not_run(reason: str) -> str:
    """Say above a block why the tests do not run it."""
    return f'<p class="gh-note">Not run by the tests: {reason}.</p>'


MACROS: dict[str, Callable[[str], str]] = {
    "variants": variants,
    "source": source,
    "deviations": deviations,
    "results": results,
    "not run": not_run,
}
