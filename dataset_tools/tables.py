"""Tables of any kind (CSV, TSV, JSON lines, Parquet; gzip too) as one mapping a row."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from dataset_tools.errors import DatasetError, UsageError
from dataset_tools.literals import parse_json
from dataset_tools.records import read_records
from dataset_tools.report import Report

KINDS = ("csv", "tsv", "jsonl", "parquet")
_SUFFIXES = {
    ".csv": "csv",
    ".txt": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".json": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}


def table_kind(path: Path) -> str:
    """One of ``KINDS`` by the file's name; raises ``UsageError`` for another name."""
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    if not suffixes or suffixes[-1] not in _SUFFIXES:
        raise UsageError(f"{path}: name ends in none of {', '.join(_SUFFIXES)} (or these with .gz)")
    return _SUFFIXES[suffixes[-1]]


def read_rows(
    path: Path, report: Report, delimiter: str | None = None, encoding: str = "utf-8"
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield ``(line, row)``; for Parquet the line is the row number from 1.

    Raises:
        UsageError: the file is missing, of an unknown kind, or Parquet without pyarrow.
        DatasetError: it is damaged, or a row has more fields than the header.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    kind = table_kind(path)
    if kind == "jsonl":
        return read_records(path, parse_json, report, "rows")
    if kind == "parquet":
        return _parquet_rows(path)
    return _csv_rows(path, "\t" if kind == "tsv" and not delimiter else delimiter, encoding)


def _open_text(path: Path, encoding: str) -> IO[str]:
    encoding = "utf-8-sig" if encoding.lower() in ("utf-8", "utf8") else encoding
    with open(path, "rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    if packed:
        return gzip.open(path, "rt", encoding=encoding, newline="")
    return open(path, encoding=encoding, newline="")


def _csv_rows(
    path: Path, delimiter: str | None, encoding: str
) -> Iterator[tuple[int, dict[str, Any]]]:
    line = 0
    try:
        with _open_text(path, encoding) as stream:
            first = stream.readline()
            stream.seek(0)
            reader = csv.reader(stream, delimiter=delimiter or _guess_delimiter(first))
            header = next(reader, [])
            _check_header(header, path)
            for values in reader:
                line = reader.line_num
                if not any(values):
                    continue
                if len(values) > len(header):
                    raise DatasetError(
                        f"{path}, line {line}: {len(values)} fields, the header has {len(header)}"
                    )
                yield line, dict(zip(header, values, strict=False))
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{path}, after line {line}: not {encoding} ({error.reason}); name the right --encoding"
        ) from error
    except (csv.Error, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DatasetError(f"{path}, after line {line}: {error}") from error


def _check_header(header: list[str], path: Path) -> None:
    if not header or len(set(header)) < len(header):
        raise DatasetError(f"{path}, line 1: no header, or a column name twice: {header}")


def _guess_delimiter(header: str) -> str:
    return max(",;\t|", key=header.count)


def _parquet_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UsageError(f"{path}: reading Parquet needs pyarrow; pip install pyarrow") from None
    row = 0
    try:
        for batch in pyarrow.parquet.ParquetFile(path).iter_batches(batch_size=16_384):
            for values in batch.to_pylist():
                row += 1
                yield row, values
    except pyarrow.ArrowException as error:
        raise DatasetError(f"{path}, after row {row}: {error}") from error
