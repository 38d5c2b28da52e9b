"""The one template of all pages: every text is escaped, and tables stay in their boxes."""

from __future__ import annotations

import pytest
from jinja2 import UndefinedError

from dataset_tools.page import Card, Cards, Cell, Figure, Figures, Heading, Notes, Page, Table, Text
from tests.page_checks import check_page

EVIL = '<script>alert("1")</script>&amp;\''


def everything(text: str) -> Page:
    """A page that shows a text wherever a page can."""
    parts = [
        Heading(text),
        Heading(text, 3),
        Text(text),
        Notes([text]),
        Table(text, [text, text], [[text, Cell(text, "b", text)], [text, Cell(text, "u")]]),
        Figures([Figure('<svg viewBox="0 0 1 1"></svg>', text)]),
        Cards([Card("", text, text, text), Card("data:image/png;base64,", "", text, text)]),
    ]
    return Page(text, parts, [text])


def test_every_text_is_escaped() -> None:
    page = everything(EVIL).html()
    tags = check_page(page)
    # title, h1, summary, 2 headings, text, note, 2 heads, 4 cells, a mark, caption, 5 of cards
    assert tags.text.count(EVIL) == 20
    assert page.count("<script") == 0 and page.count('aria-label="&lt;script') == 1
    assert tags.seen.count("b") == 3 and tags.seen.count("u") == 1  # 1 cell and 2 titles of cards
    assert "no title" in tags.text and "no picture" in tags.text
    assert tags.images == ["data:image/png;base64,"]


def test_drawings_are_put_in_as_they_are() -> None:
    page = Page("a", [Figures([Figure('<svg viewBox="0 0 9 9"><rect/></svg>', "b")])]).html()
    assert '<figure><svg viewBox="0 0 9 9"><rect/></svg><figcaption>b</figcaption></figure>' in page


def test_a_table_without_a_head_has_none() -> None:
    assert "<thead>" not in Page("a", [Table("t", ["", ""], [["x", "1"]])]).html()
    page = Page("a", [Table("t", ["name", "n"], [["x", "1"]])]).html()
    assert '<tr><th class="text">name</th><th>n</th></tr>' in page
    assert '<tr><td class="text">x</td><td>1</td></tr>' in page


def test_a_part_that_is_none_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        Page("a", ["text"]).html()  # type: ignore[list-item]
