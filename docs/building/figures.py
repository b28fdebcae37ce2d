"""Figures of the documentation, drawn from a literal description in the page itself.

A fenced block ``figure`` holds one line per card and one per way between cards::

    image  @ 0,0 image   | image
    body   @ 1,0 layers  | ResNet | C3, C4, C5
    head   @ 2,0 predict | head * | 9 anchors per cell
    image -> body -> head

``@ column,row``, a pictogram, a title, and perhaps a note; ``*`` marks what was new. Rows may be
fractions. A way may skip cards of its row (it then goes above them) and may lead back (below them).
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from pictograms import PICTOGRAMS

WIDTH, GAP = 136, 36  # of a card, and between columns
TOP, LINE = 66, 14  # where the title stands in a card, and the height of a line of the note
ROW_GAP = 26
TITLE, LONGEST, NOTE = (
    15,
    18,
    22,
)  # characters: of a title before it is narrowed, at most, of a line
CARD = re.compile(
    r"(?P<key>[\w-]+)\s*@\s*(?P<column>[\d.]+),(?P<row>[\d.]+)\s+(?P<picture>\w+)\s*\|(?P<text>.*)"
)


class FigureError(ValueError):
    """A description that cannot be drawn; says which line."""


@dataclass(frozen=True)
class Card:
    """A card: where it stands (in units), what it shows."""

    column: float
    row: float
    picture: str
    title: str
    note: tuple[str, ...]
    new: bool

    @property
    def height(self) -> int:
        """Return the height that its text needs."""
        return TOP + 12 + LINE * len(self.note)


@dataclass(frozen=True)
class Place:
    """Where a card was put, in units of the drawing."""

    x: float
    y: float
    height: float

    @property
    def middle(self) -> float:
        """Return the height at which ways come and go."""
        return self.y + self.height / 2


def read(text: str) -> tuple[dict[str, Card], list[tuple[str, str]]]:
    """Read a description.

    Raises:
        FigureError: a line is neither a card nor a way, or names something unknown.
    """
    cards: dict[str, Card] = {}
    ways: list[tuple[str, str]] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        found = CARD.fullmatch(line)
        if found:
            if found["picture"] not in PICTOGRAMS:
                raise FigureError(f"unknown pictogram in '{line}'; known: {', '.join(PICTOGRAMS)}")
            cards[found["key"]] = _card(found)
            continue
        names = [name.strip() for name in line.split("->")]
        unknown = [name for name in names if name not in cards]
        if len(names) < 2 or unknown:
            raise FigureError(f"neither a card nor a way between known cards: '{line}'")
        ways += list(pairwise(names))
    return cards, ways


def _card(found: re.Match[str]) -> Card:
    title, _, note = (part.strip() for part in found["text"].partition("|"))
    lines = tuple(textwrap.wrap(note, NOTE)) if note else ()
    new = title.endswith("*")
    if len(title.rstrip("* ")) > LONGEST:
        raise FigureError(f"a title has at most {LONGEST} characters: '{title}'")
    return Card(
        float(found["column"]),
        float(found["row"]),
        found["picture"],
        title.rstrip("* "),
        lines,
        new,
    )


def draw(text: str, caption: str = "") -> str:
    """Draw a description as one HTML figure with an inline SVG."""
    cards, ways = read(text)
    tall = max(card.height for card in cards.values())
    places = {
        key: Place(2 + card.column * (WIDTH + GAP), 2 + card.row * (tall + ROW_GAP), tall)
        for key, card in cards.items()
    }
    above = 30 if any(_skips(cards[a], cards[b], cards) for a, b in ways) else 0
    below = 30 if any(cards[b].column < cards[a].column for a, b in ways) else 0
    width = max(place.x for place in places.values()) + WIDTH + 2
    height = max(place.y + place.height for place in places.values()) + 2
    body = "".join(_way(cards, places, a, b) for a, b in ways)
    body += "".join(_drawn(card, places[key]) for key, card in cards.items())
    label = escape(caption or ", ".join(card.title for card in cards.values()))
    svg = (
        f'<svg viewBox="0 {-above} {width:g} {height + above + below:g}" style="max-width:{width:g}px" '
        f'role="img" aria-label="{label}"><defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" '
        f'markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0.5L7 4L0 7.5Z" class="tip"/>'
        f"</marker></defs>{body}</svg>"
    )
    told = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f'<figure class="gh-figure">{svg}{told}</figure>'


def _skips(start: Card, end: Card, cards: dict[str, Card]) -> bool:
    """Return whether a way forward in one row would run through another card."""
    between = (c for c in cards.values() if start.column < c.column < end.column)
    return start.row == end.row and any(abs(c.row - start.row) < 0.8 for c in between)


def _way(cards: dict[str, Card], places: dict[str, Place], start: str, end: str) -> str:
    a, b = places[start], places[end]
    if cards[start].column == cards[end].column:
        down = b.y > a.y
        x, y1, y2 = (
            a.x + WIDTH / 2,
            a.y + a.height if down else a.y,
            b.y if down else b.y + b.height,
        )
        path = f"M{x:g} {y1:g}V{y2:g}"
    elif _skips(cards[start], cards[end], cards):
        x1, x2, top = a.x + WIDTH * 0.6, b.x + WIDTH * 0.4, min(a.y, b.y)
        path = f"M{x1:g} {a.y:g}C{x1:g} {top - 34:g} {x2:g} {top - 34:g} {x2:g} {b.y:g}"
    elif b.x < a.x:
        x1, x2, low = a.x + WIDTH * 0.4, b.x + WIDTH * 0.6, max(a.y + a.height, b.y + b.height)
        path = f"M{x1:g} {a.y + a.height:g}C{x1:g} {low + 34:g} {x2:g} {low + 34:g} {x2:g} {b.y + b.height:g}"
    else:
        x1, x2, bend = a.x + WIDTH, b.x, GAP * 0.55
        y1, y2 = a.middle, b.middle
        path = f"M{x1:g} {y1:g}C{x1 + bend:g} {y1:g} {x2 - bend:g} {y2:g} {x2:g} {y2:g}"
    return f'<path d="{path}" class="way" marker-end="url(#tip)"/>'


def _drawn(card: Card, place: Place) -> str:
    x, y = place.x, place.y
    down = (place.height - card.height) / 2  # in the middle of a card that others made taller
    lines = "".join(
        f'<text x="{WIDTH / 2:g}" y="{TOP + 17 + LINE * i:g}" class="note">{escape(line)}</text>'
        for i, line in enumerate(card.note)
    )
    narrow = (
        f'textLength="{WIDTH - 10}" lengthAdjust="spacingAndGlyphs"'
        if len(card.title) > TITLE
        else ""
    )
    return (
        f'<g transform="translate({x:g} {y:g})" class="card{" new" if card.new else ""}">'
        f'<rect width="{WIDTH}" height="{place.height}" rx="8" class="ground"/>'
        f'<g transform="translate(0 {down:g})">'
        f'<g transform="translate({(WIDTH - 88) / 2:g} 7) scale(0.88)">{PICTOGRAMS[card.picture]()}</g>'
        f'<text x="{WIDTH / 2:g}" y="{TOP + 2}" class="title" {narrow}>{escape(card.title)}</text>'
        f"{lines}</g></g>"
    )
