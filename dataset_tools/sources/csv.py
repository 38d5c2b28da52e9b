"""Any table: a shop's own export of its log and its catalogue."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from dataset_tools.errors import UsageError
from dataset_tools.formats.bad_rows import ROUNDED_IDS, Report
from dataset_tools.formats.date_texts import AmbiguousDate
from dataset_tools.formats.dates import check_time_format, read_number, read_stamp
from dataset_tools.formats.decimals import with_point
from dataset_tools.formats.lines import FileLines, can_read_blocks, check_encoding
from dataset_tools.formats.literals import is_exponent, plain_id
from dataset_tools.formats.parquet_table import ParquetTable, is_moment
from dataset_tools.formats.table_files import find_files
from dataset_tools.formats.tables import (
    OpenedTable,
    check_delimiter,
    column_names,
    read_rows,
    table_kind,
)
from dataset_tools.interactions.database import Database
from dataset_tools.interactions.interaction import Interaction
from dataset_tools.interactions.line_scan import (
    LineScan,
    delimited_scan,
    is_whole_record,
    json_scan,
)
from dataset_tools.interactions.parquet_scan import LeftRows
from dataset_tools.sources.base import Source
from dataset_tools.sources.catalogue import (
    CATALOGUE_OPTIONS,
    Catalogue,
    add_catalogue_options,
    add_encoding_option,
    check_columns,
)

# Names of JSON fields that SQL can look for.
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_ .:-]+")
UNREADABLE = "interactions with an unreadable time or rating"


@dataclass
class CSVSource(Source):
    """A log and, where there is one, a catalogue; CSV, TSV, JSON lines or Parquet, gzip too.

    Either is a file, a folder of parts or a pattern, as ``find_files`` has them. ``user``,
    ``item``, ``time``, ``rating`` are column names of the log; without ``time`` the order of the
    files counts. ``decimal`` is the sign before the decimals of a rating, or ``auto``
    for either where it can be meant in one way only. ``catalogue``, ``item_id``, ``columns`` and
    ``image`` are those of ``Catalogue``.

    Raises:
        UsageError: a file is missing, a column is not in it, or an option is none.
        DatasetError: a file is damaged; the message has file and line.
    """

    name: ClassVar[str] = "csv"
    summary: ClassVar[str] = "any table: CSV, TSV, JSON lines or Parquet, columns given by name"
    reads: ClassVar[Literal["file", "folder", "either", "files"]] = "files"
    # What all files of the log are; else each one's name tells.
    kind: ClassVar[str | None] = None
    option_names: ClassVar[tuple[str, ...]] = (
        *("user", "item", "time", "rating", "time_format", "decimal", "delimiter"),
        *CATALOGUE_OPTIONS,
    )

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
    decimal: str = "auto"
    keeps_cold_items: bool = True
    skips_bad_rows: bool = False
    # Whether this is all of the log, and not one of its parts.
    alone: bool = True
    # Whether this is what the user has named, a catalogue included.
    whole: bool = True
    item_columns: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        check_time_format(self.time_format)
        self._how = (check_delimiter(self.delimiter), check_encoding(self.encoding))
        named = {"user": self.user, "item": self.item, "time": self.time, "rating": self.rating}
        self._columns = {what: name for what, name in named.items() if name}
        self._table: ParquetTable | None = None
        files = find_files(self.log, self._kind_of)
        self._parts: list[CSVSource] = []
        if files == [self.log]:
            self._open_log()
        else:
            alone = len(files) == 1
            self._parts = [
                replace(self, log=file, catalogue=None, alone=alone, whole=False) for file in files
            ]
        self._items: Catalogue | None = None
        if self.catalogue is not None:
            key = self.item_id or self.item
            self._items = Catalogue(self.catalogue, key, self.columns, self.image, *self._how)
        if self.whole:
            self._check_text_options(files)
        texts = self._items.texts if self._items else {}
        self.item_columns = tuple(f"{name}:token_seq" for name in texts)

    def _kind_of(self, file: Path) -> str:
        return self.kind or table_kind(file)

    def _open_log(self) -> None:
        """Check that the columns are there, and can hold what they are said to."""
        needed = list(self._columns.values())
        if self._kind_of(self.log) != "parquet":
            check_columns(self.log, column_names(self.log, *self._how), needed)
            return
        self._table = ParquetTable(self.log)
        check_columns(self.log, (list(self._table.types), []), needed)
        self._table.check_plain(needed)

    def _check_text_options(self, files: Iterable[Path]) -> None:
        """Refuse what says how a text is written where no text is read."""
        said = {"--delimiter": self.delimiter is not None, "--encoding": self._how[1] != "utf-8"}
        given = [option for option, is_given in said.items() if is_given]
        tables = {*map(self._kind_of, files), *(self._items.kinds if self._items else ())}
        if given and tables == {"parquet"}:
            raise UsageError(
                f"{' and '.join(given)}: {self.log} is Parquet, which has its own types and no "
                "delimiters; leave the option out"
            )

    def _note_types(self, report: Report) -> None:
        """Say which options do not hold for a Parquet file, whose types know better."""
        assert self._table is not None
        types = {what: self._table.types[name] for what, name in self._columns.items()}
        if self.time_format != "auto" and is_moment(types.get("time", "")):
            reason = f"files whose {self.time} holds times by its type: --time-format is not needed"
            report.add(reason, 1, self.log.name)
        if self.decimal != "auto" and types.get("rating", "BLOB") not in ("VARCHAR", "BLOB"):
            reason = f"files whose {self.rating} holds numbers by its type: --decimal is not needed"
            report.add(reason, 1, self.log.name)

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """Add the columns of the log, and those of the catalogue."""
        group = parser.add_argument_group("columns of the log")
        group.add_argument("--user", default="user_id", metavar="COLUMN", help="default: user_id")
        group.add_argument("--item", default="item_id", metavar="COLUMN", help="default: item_id")
        group.add_argument("--time", metavar="COLUMN", help="number or date (default: file order)")
        group.add_argument("--rating", metavar="COLUMN")
        group.add_argument(
            "--time-format", default="auto", metavar="PATTERN", help="such as %%d.%%m.%%Y %%H:%%M"
        )
        group.add_argument(
            "--decimal",
            choices=(".", ",", "auto"),
            default="auto",
            metavar="SIGN",
            help="before the decimals of a rating: . or , or auto (default: auto, either where "
            "only one can be meant)",
        )
        group.add_argument(
            "--delimiter",
            help="one character, \\t for a tab (default: by the name, or guessed from the header)",
        )
        add_encoding_option(group)
        add_catalogue_options(parser, "its id (default: as --item)")

    @property
    def interactions_path(self) -> Path:
        """The log."""
        return self.log

    @property
    def unit(self) -> str:
        """Parquet has rows, all others lines."""
        return "line" if self._table is None else "row"

    def parts(self) -> Iterator[Source]:
        """The files of the log."""
        yield from self._parts or [self]

    def scanned(
        self, database: Database, report: Report, start: int
    ) -> Iterator[Interaction] | None:
        """Parquet is read by its types, unless a text must be read as an option says."""
        if self._table is None:
            return super().scanned(database, report, start)
        types = {what: self._table.types[name] for what, name in self._columns.items()}
        if self.time_format != "auto" and not is_moment(types.get("time", "DATE")):
            return None
        if self.decimal == "," and types.get("rating") in ("VARCHAR", "BLOB"):
            return None
        left = LeftRows(self._table, self._columns, database, start)
        return self._read(left, report, left)

    def line_scan(self) -> LineScan | None:
        """CSV, TSV and JSON lines are read by SQL, unless ``strptime`` must read their times."""
        kind = self._kind_of(self.log)
        delimiter, encoding = self._how
        columns = self._columns
        special = (self.time and self.time_format != "auto") or (
            self.rating and self.decimal == ","
        )
        if special or not can_read_blocks(self.log, encoding):
            return None
        if kind == "jsonl":
            if not all(map(_PLAIN_NAME.fullmatch, columns.values())):
                return None
            return json_scan(self.log, columns, dates=True, encoding=encoding)
        opened = OpenedTable(self.log, Report(), delimiter, encoding)
        number, header = opened.header_line
        if not is_whole_record(header, opened.delimiter):
            return None
        places = {name: at for at, name in opened.columns}
        return delimited_scan(
            self.log,
            opened.delimiter,
            {what: places[name] for what, name in columns.items()},
            opened.width,
            quotes=True,
            dates=True,
            encoding=encoding,
            first_line=number + 1,
        )

    def interactions(self, report: Report) -> Iterator[Interaction]:
        """Yield the rows of the log; one with a time or rating that is none is a bad row."""
        for part in self._parts or [self]:
            yield from part.left_interactions(report)

    def left_interactions(
        self, report: Report, lines: FileLines | None = None
    ) -> Iterator[Interaction]:
        """As ``interactions``, of ``lines`` alone where they are given."""
        if self._table is not None:
            return self._read(self._table.rows(self._columns.values()), report)
        if self._kind_of(self.log) == "jsonl":
            lines = lines or FileLines(self.log, self._how[1], report.undecodable)
            lines.others = not self.alone
        return self._read(read_rows(self.log, report, *self._how, lines), report, lines)

    def _read(
        self,
        rows: Iterable[tuple[int, Mapping[str, Any]]],
        report: Report,
        read: FileLines | LeftRows | None = None,
    ) -> Iterator[Interaction]:
        """The interactions of rows; ``read`` knows how many others have been read elsewhere."""
        good, problem = 0, ""
        if self._table is not None:
            self._note_types(report)
        for line, row in rows:
            place = f"{report.unit} {line}"
            try:
                stamp, dated = self._stamp(row, place)
                rating = self._rating(row)
            except ValueError as error:
                problem = problem or f"{place}: {error}"
                report.bad(UNREADABLE, self.log, line, str(error))
                continue
            good += 1
            if is_exponent(row.get(self.user)) or is_exponent(row.get(self.item)):
                report.skip(ROUNDED_IDS, self.log, line)
            user, item = plain_id(row.get(self.user)), plain_id(row.get(self.item))
            yield Interaction(user, item, stamp, rating, dated=dated, line=line)
        if problem and not good and self.alone and not (read and read.taken):
            raise UsageError(f"{self.log}: no row has a time and rating that fit ({problem})")

    def _stamp(self, row: Mapping[str, Any], place: str) -> tuple[int | float | None, bool]:
        if not self.time:
            return None, False
        value = row.get(self.time)
        try:
            return read_stamp("" if value is None else value, self.time_format)
        except AmbiguousDate as error:
            raise UsageError(f"{self.log}, {place}: {self.time} {error}") from None
        except ValueError as error:
            if self.time_format == "auto" or value is None or not str(value).strip():
                hint = ""
                if value is not None and str(value).strip():
                    hint = "; --time-format says how dates are written"
                raise ValueError(f"{self.time} {error}{hint}") from None
            raise ValueError(
                f"{self.time} {value!r} is not written as --time-format {self.time_format!r} says"
            ) from None

    def _rating(self, row: Mapping[str, Any]) -> float | None:
        if not self.rating:
            return None
        value = row.get(self.rating)
        try:
            return read_number(with_point("" if value is None else value, self.decimal))
        except ValueError as error:
            raise ValueError(f"{self.rating} {error}") from None

    def items(self, report: Report) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield the rows of the catalogue."""
        return iter(()) if self._items is None else self._items.items(report)
