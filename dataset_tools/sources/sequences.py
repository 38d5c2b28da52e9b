"""Plain sequence files, as S3-Rec, BERT4Rec, SASRec and many repositories ship them.

A line is a user with all items in order (``user item item ...``), or one interaction in order
(``user item``), or only the items of a user (``item item ...``).
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from dataset_tools.errors import UsageError
from dataset_tools.formats.bad_rows import Report
from dataset_tools.formats.lines import check_encoding, open_lines
from dataset_tools.formats.literals import plain_id
from dataset_tools.interactions.interaction import Interaction
from dataset_tools.sources.base import Source
from dataset_tools.sources.catalogue import (
    CATALOGUE_OPTIONS,
    Catalogue,
    add_catalogue_options,
    add_encoding_option,
)

LAYOUTS = ("auto", "users", "pairs", "items")
_BETWEEN = re.compile(r"[\s,;]+")
# Signs of another notation: JSON, a list as Python prints it, "user: item item".
_FOREIGN = re.compile(r"""[\[({'"].*|.*[\])}'":]""")
_HEADER = re.compile(
    r"(user|item|session|sequence|uid|iid|sid)s?[ _-]?(id|idx|index)?s?", re.IGNORECASE
)


@dataclass
class Sequences(Source):
    """A text file of sequences, plain or gzip; timestamps are 1, 2, 3, ... for each user.

    ``layout`` is ``users`` (a user and all items a line), ``pairs`` (a user and an item a line),
    ``items`` (items alone; the user is the number of the line) or ``auto``: pairs where every
    line has two fields and a user stands on several of them, else users. The catalogue is as
    ``Catalogue`` has it.

    Raises:
        UsageError: a file is missing, or an option is none.
    """

    name: ClassVar[str] = "sequences"
    summary: ClassVar[str] = (
        "a text file of sequences: 'user item item ...' per line, or 'user item' pairs"
    )
    reads: ClassVar[Literal["file", "folder", "either"]] = "file"
    option_names: ClassVar[tuple[str, ...]] = ("layout", *CATALOGUE_OPTIONS)

    log: Path
    layout: str = "auto"
    encoding: str = "utf-8"
    catalogue: Path | None = None
    item_id: str | None = None
    columns: Mapping[str, str] | None = None
    image: str | None = None
    keeps_cold_items: bool = True
    skips_bad_rows: bool = False
    item_columns: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        check_encoding(self.encoding)
        if self.layout not in LAYOUTS:
            raise UsageError(f"--layout {self.layout}: unknown; known: {', '.join(LAYOUTS)}")
        self._items: Catalogue | None = None
        if self.catalogue is not None:
            key = self.item_id or "item_id"
            self._items = Catalogue(
                self.catalogue, key, self.columns, self.image, encoding=self.encoding
            )
        texts = self._items.texts if self._items else {}
        self.item_columns = tuple(f"{name}:token_seq" for name in texts)

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """Add the layout of a line, and the columns of the catalogue."""
        group = parser.add_argument_group("the file")
        group.add_argument(
            "--layout",
            choices=LAYOUTS,
            default="auto",
            help="what a line is: a user and all items in order (users), a user and one item "
            "(pairs), items alone, the user being the line's number (items); auto: pairs where all "
            "lines have two fields and users occur more than once, else users",
        )
        add_encoding_option(group)
        add_catalogue_options(parser, "its id (default: item_id)")

    @property
    def interactions_path(self) -> Path:
        """The file of sequences."""
        return self.log

    def interactions(self, report: Report) -> Iterator[Interaction]:
        """Yield each line's items in order; a line without an item is a bad row."""
        layout = self.layout if self.layout != "auto" else self._find_layout()
        first_line: dict[str, int] = {}
        for line, fields in self._fields(report):
            user, items = (str(line), fields) if layout == "items" else (fields[0], fields[1:])
            if not items:
                report.bad("users without items", self.log, line)
            if layout == "pairs" and len(items) > 1:
                detail = f"{len(fields)} fields instead of two, a user and an item"
                report.bad("lines that are not a pair", self.log, line, detail)
                continue
            earlier = first_line.setdefault(user, line)
            if layout == "users" and earlier != line:
                raise UsageError(
                    f"{self.log}, line {line}: user {user} is already on line {earlier}; join "
                    "the two lines in time order, or say with --layout what a line is (a table "
                    "with one row per event is read by 'convert csv')"
                )
            yield from (Interaction(user, item, line=line) for item in items)

    def _fields(self, report: Report) -> Iterator[tuple[int, list[str]]]:
        for line, text in open_lines(self.log, self.encoding, report.undecodable):
            fields = [plain_id(part) for part in _BETWEEN.split(text) if part]
            if not fields:
                continue
            if line == 1 and len(fields) > 1 and all(map(_HEADER.fullmatch, fields[:2])):
                report.skip("header", self.log, line)
                continue
            strange = next(filter(_FOREIGN.fullmatch, fields), None)
            if strange:
                raise UsageError(
                    f"{self.log}, line {line}: {strange!r} has a bracket, a quote or a colon; "
                    "write ids alone, with spaces between them ('user item item ...')"
                )
            yield line, fields

    def _find_layout(self) -> str:
        users: set[str] = set()
        again = False
        for _, fields in self._fields(Report(skip_undecodable=True)):
            if len(fields) > 2:
                return "users"
            again = again or fields[0] in users
            users.add(fields[0])
        return "pairs" if again else "users"

    def items(self, report: Report) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield the rows of the catalogue."""
        return iter(()) if self._items is None else self._items.items(report)
