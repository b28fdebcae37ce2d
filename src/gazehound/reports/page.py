"""Turn a template and its values into one self-contained HTML file."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from gazehound import __version__

_TEMPLATES = Path(__file__).parent / "templates"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = percent
    environment.globals["version"] = __version__
    return environment


def render(template: str, **values: Any) -> str:
    """Return the page of a template in ``reports/templates``; a missing value is an error.

    Args:
        template: file name, such as ``evaluation.html``; it extends ``base.html``.
        values: what the template shows. Text is escaped; a chart is ``markupsafe.Markup``.
    """
    values.setdefault("facts", [])
    return _environment().get_template(template).render(**values)


def percent(value: float | None, digits: int = 1) -> str:
    """Return a fraction as a number out of 100; a dash where it is undefined."""
    return "–" if value is None else f"{100 * value:.{digits}f}"
