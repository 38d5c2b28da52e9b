"""Any table: a shop's own export of its log and its catalogue."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataset_tools.dates import read_time
from dataset_tools.errors import UsageError
from dataset_tools.literals import clean_text
from dataset_tools.log import Interaction
from dataset_tools.report import Report
from dataset_tools.sources.base import Source
from dataset_tools.tables import read_rows


@dataclass
class CSVSource(Source):
    """A log and, where there is one, a catalogue; CSV, TSV, JSON lines or Parquet, gzip too.

    ``user``, ``item``, ``time``, ``rating`` are column names of the log; without ``time`` the
    order of the file counts. ``columns`` maps our names to columns of the catalogue (None: all
    of them under their own names), ``item_id`` and ``image`` are columns of it.

    Raises:
        UsageError: a file is missing, or a column is not in it.
        DatasetError: a file is damaged; the message has file and line.
    """

    log: Path
    user: str = "user_id"
    item: str = "item_id"
    time: str | None = None
    rating: str | None = None
    time_format: str = "auto"
    catalogue: Path | None = None
    item_id: str | None = None
    columns: Mapping[str, str] | None = None
    image: str | None = None
    delimiter: str | None = None
    encoding: str = "utf-8"
    time_unit: str | None = "s"
    keeps_cold_items: bool = True
    item_columns: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        needed = [self.user, self.item, *filter(None, (self.time, self.rating))]
        _check_columns(self.log, self._names(self.log), needed)
        self._texts: dict[str, str] = {}
        if self.catalogue is not None:
            names = self._names(self.catalogue)
            self._id = self.item_id or self.item
            special = [self._id, *filter(None, [self.image])]
            if self.columns is None:
                self._texts = {_plain(name): name for name in names if name not in special}
            else:
                self._texts = {_plain(ours): theirs for ours, theirs in self.columns.items()}
            _check_columns(self.catalogue, names, [*special, *self._texts.values()])
        self.item_columns = tuple(f"{name}:token_seq" for name in self._texts)

    def _rows(self, path: Path, report: Report) -> Iterator[tuple[int, dict[str, Any]]]:
        return read_rows(path, report, self.delimiter, self.encoding)

    def _names(self, path: Path) -> list[str]:
        """Column names of the first rows: in JSON lines one row may lack some."""
        rows = itertools.islice(self._rows(path, Report()), 1000)
        return list(dict.fromkeys(name for _, row in rows for name in row))

    def interactions(self, report: Report) -> Iterator[Interaction]:
        """Yield the rows of the log; rows with a time or rating that is none are counted."""
        for line, row in self._rows(self.log, report):
            try:
                time = read_time(row.get(self.time), self.time_format) if self.time else None
                rating = float(row[self.rating]) if self.rating else None
            except (ValueError, TypeError, KeyError):
                report.skip("interactions with an unreadable time or rating", self.log, line)
                continue
            yield Interaction(_id(row.get(self.user)), _id(row.get(self.item)), time, rating)

    def items(self, report: Report) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield the rows of the catalogue."""
        if self.catalogue is None:
            return
        for _, row in self._rows(self.catalogue, report):
            values = {ours: clean_text(row.get(theirs)) for ours, theirs in self._texts.items()}
            image = clean_text(row.get(self.image)) if self.image else ""
            yield _id(row.get(self._id)), {**values, "image": image}


def _id(value: object) -> str:
    """An id as text; Parquet and JSON may hold a whole number as a float."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if value is None else str(value)


def _plain(name: str) -> str:
    """A column name that RecBole takes: letters, digits and underscores."""
    return re.sub(r"\W+", "_", name.strip()).strip("_").lower() or "column"


def _check_columns(path: Path, names: list[str], needed: list[str]) -> None:
    missing = [name for name in needed if name not in names]
    if missing:
        have = ", ".join(names) or "none"
        raise UsageError(f"{path}: no column {', '.join(map(repr, missing))}; it has {have}")
