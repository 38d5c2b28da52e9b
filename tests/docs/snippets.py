"""The code blocks of the documentation, each with the comment above it that says how it is tested.

CONTRIBUTING.md lists the comments. A block of ``sh``, ``python`` or ``yaml`` without one is an
error, so that no command gets into the pages untested.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TESTED = ("sh", "python", "yaml")
MODES = ("run", "slow", "skip", "file")
NEEDS = ("after", "checkpoint")

_FENCE = re.compile(r"^```(\w*)\s*$")
_MARK = re.compile(r"^<!-- test: (\w+)(?: (.*?))? -->$")
_HEREDOC = re.compile(r"<<'?(\w+)'?(.*)\n(?:.*\n)*?\1\n")
_COMMENT = re.compile(r"(?:^|(?<=\s))# .*$", re.MULTILINE)


@dataclass(frozen=True)
class Snippet:
    """One code block.

    Attributes:
        page, line: where it begins.
        mode: how it is tested, one of `MODES`; empty where nothing says so.
        detail: the reason of ``skip``, the name of ``file``.
    """

    page: Path
    line: int
    language: str
    text: str
    mode: str = ""
    detail: str = ""

    @property
    def place(self) -> str:
        """``docs/tune.md, line 7``."""
        return f"{self.page.relative_to(ROOT)}, line {self.line}"


@dataclass(frozen=True)
class Page:
    """A page: its blocks, and what they need before the first of them runs."""

    path: Path
    snippets: list[Snippet]
    needs: dict[str, str]


def read_page(path: Path, text: str | None = None) -> Page:
    """The blocks of a page in their order.

    Raises:
        ValueError: a comment that is not known, or that belongs to no block; a ``skip`` without a
            reason; a block that is not closed.
    """
    lines = iter(enumerate((path.read_text("utf-8") if text is None else text).split("\n"), 1))
    snippets: list[Snippet] = []
    needs: dict[str, str] = {}
    mark: tuple[str, str] | None = None
    for number, line in lines:
        if found := _MARK.match(line):
            word, detail = found.group(1), found.group(2) or ""
            if word in NEEDS:
                needs[word] = detail
            elif word not in MODES or (word in ("skip", "file")) != bool(detail):
                raise ValueError(f"{path}, line {number}: not a comment for the tests: {line}")
            else:
                mark = (word, detail)
        elif found := _FENCE.match(line):
            body = _body(path, number, lines)
            snippets.append(Snippet(path, number, found.group(1), body, *(mark or ())))
            mark = None
        elif mark is not None:
            raise ValueError(f"{path}, line {number}: the comment above belongs to no code block")
        elif line.startswith("```"):
            raise ValueError(f"{path}, line {number}: a fence with more than a language")
    return Page(path, snippets, needs)


def _body(path: Path, start: int, lines: Iterator[tuple[int, str]]) -> str:
    body: list[str] = []
    for _, line in lines:
        if line == "```":
            return "\n".join(body) + "\n"
        body.append(line)
    raise ValueError(f"{path}, line {start}: the code block is not closed")


def commands(script: str) -> list[list[str]]:
    """The words of each command of a shell script, without comments and here-documents.

    Commands joined by ``&&``, ``;`` or ``|`` count one by one.
    """
    text = _COMMENT.sub("", _HEREDOC.sub(r"\2\n", script.replace("\\\n", " ")))
    lexer = shlex.shlex(text, posix=True, punctuation_chars="&;|<>\n")
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t", True, ""
    found: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= set("&;|\n"):
            found.append([])
        else:
            found[-1].append(word)
    return [words for words in found if words]
