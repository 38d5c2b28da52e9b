"""What every HTML page of the package keeps to."""

from __future__ import annotations

import re
from html.parser import HTMLParser

_VOID = {"meta", "img", "br"}
#: Elements of our own drawings that close themselves.
_DRAWN = {"use", "path", "rect", "circle", "line", "polyline", "stop", "image"}


class Tags(HTMLParser):
    """Collects tags, ids and text, and notes tags that are closed in the wrong order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.ids: list[str] = []
        self.images: list[str] = []
        self.tables_outside: int = 0
        self.text = ""
        self._open: list[tuple[str, str]] = []
        self.feed(page)
        assert not self._open

    def handle_startendtag(self, tag: str, attributes: list) -> None:
        assert tag in _DRAWN | _VOID
        self._note(tag, dict(attributes))

    def handle_starttag(self, tag: str, attributes: list) -> None:
        values = dict(attributes)
        self._note(tag, values)
        if tag == "table" and not any(name == "wide" for _, name in self._open):
            self.tables_outside += 1
        if tag not in _VOID:
            self._open.append((tag, values.get("class", "")))

    def _note(self, tag: str, values: dict) -> None:
        self.seen.append(tag)
        if "id" in values:
            self.ids.append(values["id"])
        if tag == "img":
            self.images.append(values["src"])

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def check_page(page: str) -> Tags:
    """One style, nothing from elsewhere, tables in boxes that scroll, drawings that scale."""
    assert page.startswith("<!doctype html>\n")
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in page
    assert "@media (prefers-color-scheme: dark)" in page
    assert not re.search(r"https?:|@import|url\((?!#)|<script|<link|<iframe", page)
    assert not re.search(r'(?:src|href)="(?!data:image/|#)', page)
    tags = Tags(page)
    assert tags.tables_outside == 0
    assert len(set(tags.ids)) == len(tags.ids)
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', page))
    assert used <= set(tags.ids)
    assert page.count("<svg") == len(re.findall(r"<svg [^>]*viewBox=", page))
    return tags
