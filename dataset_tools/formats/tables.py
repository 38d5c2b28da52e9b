"""Tables of any kind (CSV, TSV, JSON lines, Parquet; gzip too) as one mapping a row."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dataset_tools.errors import UsageError
from dataset_tools.formats.bad_rows import Report
from dataset_tools.formats.delimited import read_delimited
from dataset_tools.formats.lines import FileLines, read_lines
from dataset_tools.formats.literals import parse_json
from dataset_tools.formats.parquet_table import ParquetTable
from dataset_tools.formats.records import read_records

KINDS = ("csv", "tsv", "jsonl", "parquet")
_SUFFIXES = {
    ".csv": "csv",
    ".txt": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".json": "jsonl",
    ".ndjson": "jsonl",
    **dict.fromkeys((".parquet", ".parq", ".pq"), "parquet"),
}
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\r?\n?', re.IGNORECASE)
Row = tuple[int, dict[str, Any]]


def table_kind(path: Path) -> str:
    """One of ``KINDS`` by the file's name; raises ``UsageError`` for another name."""
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    if not suffixes or suffixes[-1] not in _SUFFIXES:
        hint = "; save the sheet as CSV" if suffixes[-1:] in ([".xlsx"], [".xls"], [".ods"]) else ""
        raise UsageError(
            f"{path}: its name ends in none of {', '.join(_SUFFIXES)} (or these with .gz){hint}"
        )
    return _SUFFIXES[suffixes[-1]]


def check_delimiter(delimiter: str | None) -> str | None:
    """The one character that is meant; raises ``UsageError`` for what cannot separate fields."""
    if delimiter is None:
        return None
    meant = {"\\t": "\t", "tab": "\t"}.get(delimiter.lower(), delimiter)
    if len(meant) != 1 or meant in '"\r\n\0':
        raise UsageError(
            f"--delimiter {delimiter!r}: one character is needed, such as ; or , or | (and \\t for "
            "a tab)"
        )
    return meant


def read_rows(
    path: Path,
    report: Report,
    delimiter: str | None = None,
    encoding: str = "utf-8",
    lines: FileLines | None = None,
) -> Iterator[Row]:
    """Yield ``(line, row)``; for Parquet the line is the row number from 1.

    Columns whose name stands twice in the header, or that have none, are left out. ``lines`` are
    those below the header that are to be read, where that is not all of them.

    Raises:
        UsageError: the file is missing, of an unknown kind, damaged Parquet, or a bad row (see
            ``Report.bad``) is not skipped.
        DatasetError: it is damaged.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    kind = table_kind(path)
    if kind == "jsonl":
        return read_records(path, parse_json, report, "rows", encoding, lines)
    if kind == "parquet":
        return ParquetTable(path).rows()
    opened = OpenedTable(path, report, delimiter, encoding)
    if lines is not None:
        opened.records = read_delimited(path, lines, opened.delimiter, report)
    return _csv_rows(path, opened, report)


def column_names(
    path: Path, delimiter: str | None = None, encoding: str = "utf-8"
) -> tuple[list[str], list[str]]:
    """The column names of a table, and those that stand twice in its header.

    In JSON lines one row may lack some: the names of the first 1,000 rows.
    """
    if path.is_file() and table_kind(path) in ("csv", "tsv"):
        opened = OpenedTable(path, Report(), delimiter, encoding)
        return [name for _, name in opened.columns], opened.repeated
    if path.is_file() and table_kind(path) == "parquet":
        return list(ParquetTable(path).types), []
    rows = itertools.islice(read_rows(path, Report(), delimiter, encoding), 1000)
    return list(dict.fromkeys(name for _, row in rows for name in row)), []


class OpenedTable:
    """A CSV or TSV file whose header has been read; ``header_line`` holds it, all or a part."""

    def __init__(self, path: Path, report: Report, delimiter: str | None, encoding: str) -> None:
        lines = read_lines(path, encoding, report.undecodable)
        first = next(lines, (1, ""))
        told = _SEPARATOR_LINE.fullmatch(first[1])
        if told:  # Excel's own note of what separates the fields
            delimiter, first = delimiter or told[1], next(lines, (2, ""))
        if delimiter is None:
            delimiter = "\t" if table_kind(path) == "tsv" else _guess_delimiter(first[1])
        self.delimiter, self.header_line = delimiter, first
        everything = itertools.chain([first], lines)
        self.records = read_delimited(path, everything, delimiter, report)
        _, header = next(self.records, (first[0], []))
        names = [name.strip() for name in header]
        if not any(names):
            raise UsageError(f"{path}, line {first[0]}: no header")
        self.width = len(names)
        self.repeated = [name for name in dict.fromkeys(names) if name and names.count(name) > 1]
        left_out = {"", *self.repeated}
        self.columns = [(at, name) for at, name in enumerate(names) if name not in left_out]


def _csv_rows(path: Path, opened: OpenedTable, report: Report) -> Iterator[Row]:
    width = opened.width
    for line, values in opened.records:
        found = len(values)
        if not any(values):
            continue
        if found < width or (found > width and any(values[width:])):
            kind = "rows with fewer fields" if found < width else "rows with more fields"
            detail = f"{found} fields, the header has {width}"
            report.bad(f"{kind} than the header", path, line, detail)
            continue
        yield line, {name: values[at] for at, name in opened.columns}


def _guess_delimiter(header: str) -> str:
    return max(",;\t|", key=header.count)
