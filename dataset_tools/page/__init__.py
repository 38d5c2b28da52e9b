"""Stand-alone HTML pages of one style: what a page holds, and the template that shows it.

Every text is escaped by the template; the drawings are SVG of matplotlib. A page loads nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, ClassVar


@dataclass(frozen=True)
class Heading:
    """A heading of level 2 or 3."""

    text: str
    level: int = 2
    kind: ClassVar[str] = "heading"


@dataclass(frozen=True)
class Text:
    """A paragraph in small letters."""

    text: str
    kind: ClassVar[str] = "text"


@dataclass(frozen=True)
class Notes:
    """A list of sentences."""

    notes: Sequence[str]
    kind: ClassVar[str] = "notes"


@dataclass(frozen=True)
class Cell:
    """A number of a table that stands out: ``b`` for the best, ``u`` for the second."""

    text: str
    tag: str = ""
    marks: str = ""


@dataclass(frozen=True)
class Table:
    """A table that scrolls in its own box.

    Attributes:
        name: for readers that hear the page.
        texts: how many first columns hold text; the others are numbers.
    """

    name: str
    head: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    texts: int = 1
    kind: ClassVar[str] = "table"


@dataclass(frozen=True)
class Figure:
    """A drawing: SVG that is put into the page as it is, and what it shows."""

    svg: str
    caption: str


@dataclass(frozen=True)
class Figures:
    """Drawings side by side where there is room."""

    figures: Sequence[Figure]
    kind: ClassVar[str] = "figures"


@dataclass(frozen=True)
class Card:
    """An item: a data url of its picture or nothing, title, other texts, a line of facts."""

    picture: str
    title: str
    other: str
    note: str


@dataclass(frozen=True)
class Cards:
    """Items as a grid of cards."""

    cards: Sequence[Card]
    kind: ClassVar[str] = "cards"


Part = Heading | Text | Notes | Table | Figures | Cards


@dataclass(frozen=True)
class Page:
    """A whole page.

    Attributes:
        summary: what it is about, in a few lines below the title.
    """

    title: str
    parts: Sequence[Part]
    summary: Sequence[str] = field(default_factory=tuple)

    def html(self) -> str:
        """The page as one HTML file."""
        from markupsafe import Markup

        parts = [
            Figures([_Drawing(Markup(f.svg), f.caption) for f in part.figures])  # type: ignore[misc]
            if isinstance(part, Figures)
            else part
            for part in self.parts
        ]
        text: str = _template().render(title=self.title, summary=self.summary, parts=parts)
        return text


@dataclass(frozen=True)
class _Drawing:
    svg: Any
    caption: str


@cache
def _template() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    folder = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals["style"] = Markup((folder / "page.css").read_text(encoding="utf-8"))
    environment.globals["show"] = _show
    return environment.get_template("page.html.j2")


def _show(cell: str | Cell) -> Any:
    """A cell's text, in its tag and with its marks; all of it escaped."""
    from markupsafe import Markup, escape

    if isinstance(cell, str):
        return cell
    text = Markup(f"<{cell.tag}>{{}}</{cell.tag}>").format(cell.text) if cell.tag else cell.text
    return escape(text) + (Markup("<sup>{}</sup>").format(cell.marks) if cell.marks else "")
