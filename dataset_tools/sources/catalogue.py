"""A catalogue of one's own: any table with one row per item."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from dataset_tools.errors import UsageError
from dataset_tools.formats.bad_rows import ROUNDED_IDS, Report
from dataset_tools.formats.literals import clean_text, first_url, is_exponent, plain_id
from dataset_tools.formats.table_files import find_files
from dataset_tools.formats.tables import column_names, read_rows, table_kind

# Arguments of a source that has a catalogue, as `add_catalogue_options` and
# `add_encoding_option` call them.
CATALOGUE_OPTIONS = ("encoding", "catalogue", "item_id", "image", "columns")


class Catalogue:
    """CSV, TSV, JSON lines or Parquet, gzip too: a file, a folder of parts or a pattern.

    ``columns`` maps our names to columns of the table (None: all of them under their own names),
    ``item_id`` and ``image`` are columns of it; ``texts`` holds what is taken.

    Raises:
        UsageError: a file is missing, a column is not in it or occurs twice, or all columns are
            to be taken and the parts do not have the same.
    """

    def __init__(
        self,
        path: Path,
        item_id: str,
        columns: Mapping[str, str] | None = None,
        image: str | None = None,
        delimiter: str | None = None,
        encoding: str = "utf-8",
    ) -> None:
        self._path, self._id, self._image = path, item_id, image
        self._how = (delimiter, encoding)
        self._left_out: list[str] = []
        self._files = find_files(path, table_kind)
        found = [column_names(file, *self._how) for file in self._files]
        self._repeated = found[0][1]
        special = [item_id, *filter(None, [image])]
        if columns is None:
            self.texts = {}
            for name in self._all_columns([names for names, _ in found]):
                self._take(name, special)
        else:
            self._repeated = []  # what is asked for is there once
            self.texts = {plain_name(ours): theirs for ours, theirs in columns.items()}
            if len(self.texts) < len(columns) or "item_id" in self.texts:
                raise UsageError(
                    f"--columns: two of {', '.join(columns)} come to the same name, or one to "
                    "item_id, which is the id's; RecBole takes letters, digits and underscores"
                )
        needed = special if columns is None else [*special, *self.texts.values()]
        for file, has in zip(self._files, found, strict=True):
            check_columns(file, has, needed)

    @property
    def kinds(self) -> set[str]:
        """What its files are, by their names."""
        return set(map(table_kind, self._files))

    def _all_columns(self, found: list[list[str]]) -> list[str]:
        """The columns of all files; but for JSON lines, each must have all of them."""
        every = list(dict.fromkeys(name for names in found for name in names))
        for file, names in zip(self._files, found, strict=True):
            lacking = [name for name in every if name not in names]
            if lacking and table_kind(file) != "jsonl":
                raise UsageError(
                    f"{file}: no column {', '.join(map(repr, lacking))}, which other files of "
                    f"{self._path} have; name the columns to take with --columns"
                )
        return every

    def _take(self, name: str, special: list[str]) -> None:
        """Keep a column under its own name, unless an earlier one or the id has that."""
        ours = plain_name(name)
        if name in special:
            return
        if ours in self.texts or ours == "item_id":
            self._left_out.append(name)
        else:
            self.texts[ours] = name

    def items(self, report: Report) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield the rows as ``(item, values)``."""
        for name in self._repeated:
            report.add(f"column {name!r} that occurs twice in {self._path.name}", 1)
        for name in self._left_out:
            where = f"{name!r} of {self._path.name} (--columns names it)"
            report.add(f"column whose name, {plain_name(name)}, is taken: {where}", 1)
        for file in self._files:
            unit = "row" if table_kind(file) == "parquet" else "line"
            yield from self._rows(file, replace(report, unit=unit))

    def _rows(self, file: Path, report: Report) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for line, row in read_rows(file, report, *self._how):
            if is_exponent(row.get(self._id)):
                report.skip(ROUNDED_IDS, file, line)
            values = {ours: clean_text(row.get(theirs)) for ours, theirs in self.texts.items()}
            image = first_url(row.get(self._image)) if self._image else ""
            yield plain_id(row.get(self._id)), {**values, "image": image}


def plain_name(name: str) -> str:
    """A column name that RecBole takes: letters, digits and underscores."""
    return re.sub(r"\W+", "_", name.strip()).strip("_").lower() or "column"


def check_columns(path: Path, found: tuple[list[str], list[str]], needed: list[str]) -> None:
    """Raise ``UsageError`` for columns that are not in a table (``column_names``), or repeated."""
    names, repeated = found
    twice = [name for name in needed if name in repeated]
    if twice:
        raise UsageError(
            f"{path}: duplicate column names: {', '.join(map(repr, twice))}; rename one"
        )
    missing = [name for name in needed if name not in names]
    if missing:
        have = ", ".join([*names, *repeated]) or "none"
        raise UsageError(f"{path}: no column {', '.join(map(repr, missing))}; it has {have}")


def add_encoding_option(group: argparse._ArgumentGroup) -> None:
    """Add the option for the encoding of a source's files."""
    group.add_argument(
        "--encoding", default="utf-8", help="default: utf-8; a byte order mark decides"
    )


def add_catalogue_options(parser: argparse.ArgumentParser, id_help: str) -> None:
    """Add the options that name a catalogue and its columns."""
    group = parser.add_argument_group("the catalogue")
    group.add_argument(
        "--items",
        dest="catalogue",
        type=Path,
        metavar="FILE",
        help="table with one row per item; also a folder of parts or a pattern in quotes",
    )
    group.add_argument("--item-id", metavar="COLUMN", help=id_help)
    group.add_argument("--image", metavar="COLUMN", help="its picture: a file name or a url")
    group.add_argument(
        "--columns",
        type=parse_columns,
        metavar="OURS=COLUMN,...",
        help="texts to take, such as title=name,brand=vendor (default: all, by their own names)",
    )


def parse_columns(text: str) -> dict[str, str]:
    """``"title=name,brand"`` -> ``{"title": "name", "brand": "brand"}``.

    Raises:
        UsageError: a name is empty or given twice.
    """
    columns: dict[str, str] = {}
    for pair in text.split(","):
        ours, _, theirs = pair.strip().partition("=")
        if not ours or ours in columns:
            raise UsageError(f"--columns {text}: a name is empty or given twice")
        columns[ours] = theirs or ours
    return columns
