"""RecBole's atomic files (``.inter``, ``.item``): write and read, the latter from Parquet too.

RecBole reads them with ``pandas.read_csv(engine="python", delimiter="\\t")``. That makes a
double quote at the start of a field open a quoted one, turns fields such as ``NA`` or ``None``
into missing values, and gives up at a field of more than 131,072 characters. What is written
here comes back from that reader as it was given.
"""

from __future__ import annotations

import codecs
import csv
import functools
import itertools
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from dataset_tools.errors import DatasetError, UsageError
from dataset_tools.files.atomic_write import FULL, disk_full, replacing
from dataset_tools.files.dataset_folder import PARQUET_SUFFIX, stored_form
from dataset_tools.files.unfinished import partial_path
from dataset_tools.formats.parquet_table import ParquetTable
from dataset_tools.formats.words import is_clean

ID_COLUMNS = ("user_id", "item_id")
TYPES = ("token", "token_seq", "float", "float_seq")
MAX_FIELD = 120_000
# pandas takes a field for missing when it equals one of these, quoted or not.
MISSING = frozenset(
    {
        *("#N/A", "#N/A N/A", "#NA", "<NA>", "N/A", "NA", "n/a", "NULL", "null", "None"),
        *("NaN", "-NaN", "nan", "-nan", "-1.#IND", "1.#IND", "-1.#QNAN", "1.#QNAN"),
    }
)
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_SURROGATE = re.compile("[\ud800-\udfff]")


class Column(NamedTuple):
    """A column of an atomic file: its name and RecBole type."""

    name: str
    type: str

    @classmethod
    def parse(cls, text: str) -> Column:
        """Read ``name:type``; raises ``ValueError`` with the reason when it is none."""
        name, separator, kind = text.rpartition(":")
        if not separator or not name or kind not in TYPES or _CONTROL.search(name):
            raise ValueError(f"column {text!r} is not NAME:TYPE with TYPE one of {TYPES}")
        if ":" in name or name.startswith('"'):
            raise ValueError(f"column name {name!r} holds a colon or starts with a quote")
        return cls(name, kind)

    def __str__(self) -> str:
        return f"{self.name}:{self.type}"


def clean_token(value: object) -> str:
    """One token as it will be read back; empty when there is none.

    Tabs, line breaks and other control characters become a space; spaces are kept. A value
    that pandas would read as missing (``NA``, ``null``, ...) is empty.
    """
    if value is None:
        return ""
    text = str(value)
    if not text.isprintable():  # else it holds neither controls nor surrogates
        text = _SURROGATE.sub("\ufffd", _CONTROL.sub(" ", text))
    text = text[:MAX_FIELD]
    return "" if text in MISSING or not text.strip() else text


def clean_sequence(value: object) -> str:
    """A ``token_seq`` as it will be read back: words with single spaces between them."""
    if value is None:
        return ""
    if isinstance(value, str) and len(value) <= MAX_FIELD and is_clean(value):
        return value
    words = value if isinstance(value, (list, tuple)) else [value]
    text = " ".join(" ".join(str(word) for word in words).split())
    text = " ".join(_SURROGATE.sub("\ufffd", _CONTROL.sub(" ", text)).split())
    return text if len(text) <= MAX_FIELD else text[:MAX_FIELD].rsplit(" ", 1)[0]


def _float_text(value: object) -> str:
    if value is None or value == "" or value != value:
        return ""
    if isinstance(value, (bool, str)) or not hasattr(value, "__float__"):
        number = float(value)  # type: ignore[arg-type]
        return "" if number != number else repr(number)
    item = value.item() if hasattr(value, "item") else value  # a numpy scalar prints its type
    return repr(item)


def _field_text(column: Column, value: object) -> str:
    if value is None or (isinstance(value, str) and not value):
        return ""
    if column.type == "token":
        text = clean_token(value)
    elif column.type == "token_seq":
        text = clean_sequence(value)
        # A trailing space saves a one-word title such as "None" from being read as missing.
        text = f"{text} " if text in MISSING else text
    elif column.type == "float":
        text = _float_text(value)
    else:
        text = " ".join(map(_float_text, value or ()))  # type: ignore[call-overload]
    return '"' + text.replace('"', '""') + '"' if text.startswith('"') else text


def write_table(
    path: Path,
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    drop_empty: bool = False,
) -> int:
    """Write rows under typed column names such as ``user_id:token``; returns their number.

    The file appears whole or not at all. Values are cleaned as in ``clean_token`` and
    ``clean_sequence``; ``None`` is an empty field; integers in ``float`` columns stay exact.

    Args:
        drop_empty: leave out columns that are empty in every row; which these are is known at
            the end, and the file is then written a second time.

    Raises:
        UsageError: a column name without a known type, or the same name twice.
        DatasetError: a row with another number of values, or an id that is empty or that
            pandas reads as missing; the message has the line the row would stand on.
        DiskFullError: there is no room; the message has the size of the whole file.
    """
    try:
        parsed = [Column.parse(text) for text in columns]
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from error
    if len({column.name for column in parsed}) != len(parsed):
        raise UsageError(f"{path}: duplicate column name in {list(columns)}")
    empty = {at for at, column in enumerate(parsed) if column.name not in ID_COLUMNS}
    with replacing(path, "wb") as stream:
        count = _write_lines(stream, path, _line_texts(path, parsed, rows, empty))
    if drop_empty and empty:
        _drop_columns(path, parsed, empty)
    return count


def _drop_columns(path: Path, columns: Sequence[Column], dropped: Collection[int]) -> None:
    """Write a table that was just written again, without some columns."""
    kept = [at for at in range(len(columns)) if at not in dropped]
    with open(path, encoding="utf-8", newline="\n") as stream:
        next(stream)
        # No field of a table that is written here holds a tab or a line end.
        rows = (line[:-1].split("\t") for line in stream)
        lines = ("\t".join([fields[at] for at in kept]) + "\n" for fields in rows)
        write_lines(path, [str(columns[at]) for at in kept], lines)


def write_lines(path: Path, columns: Sequence[str], texts: Iterable[str]) -> None:
    """Write lines that are made already, below typed column names; as ``write_table`` does.

    Raises:
        DiskFullError: there is no room; the message has the size of the whole file.
    """
    with replacing(path, "wb") as stream:
        _write_lines(stream, path, itertools.chain(["\t".join(columns) + "\n"], texts))


def _line_texts(
    path: Path, columns: Sequence[Column], rows: Iterable[Sequence[object]], empty: set[int]
) -> Iterator[str]:
    """The header and a line a row; places of columns that have a text go from ``empty``."""
    required = [at for at, column in enumerate(columns) if column.name in ID_COLUMNS]
    yield "\t".join(map(str, columns)) + "\n"
    for line, row in enumerate(rows, start=2):
        if len(row) != len(columns):
            raise DatasetError(f"{path}, line {line}: {len(row)} values, not {len(columns)}")
        fields = [_field_text(*pair) for pair in zip(columns, row, strict=True)]
        for at in required:
            if not fields[at]:
                raise DatasetError(
                    f"{path}, line {line}: {columns[at].name} {row[at]!r} is empty or "
                    "read as missing by pandas; leave the row out or rename the id"
                )
        if empty:
            empty.difference_update([at for at in empty if fields[at]])
        yield "\t".join(fields) + "\n"


def _write_lines(stream: IO[bytes], path: Path, lines: Iterable[str]) -> int:
    """Write the lines; returns how many follow the first. A full disk is told what all need."""
    count, size, full = -1, 0, False
    for line in lines:
        count += 1
        data = line.encode("utf-8")
        size += len(data)
        try:
            if not full:
                stream.write(data)
        except OSError as error:
            full = error.errno in FULL
            if not full:
                raise
    try:
        stream.flush()
    except OSError as error:
        raise disk_full(path, partial_path(path), size) if error.errno in FULL else error from error
    if full:
        raise disk_full(path, partial_path(path), size)
    return count


def read_header(path: Path) -> list[Column]:
    """The columns of an atomic file, by its first line, or of the Parquet form alone.

    Raises:
        UsageError: the file does not exist, or has a header that RecBole could not read.
    """
    stored = stored_form(path)
    if stored is None:
        raise UsageError(f"{path}: no such file")
    if stored.suffix == PARQUET_SUFFIX:
        return _parquet_columns(stored)
    with open(path, "rb") as stream:
        first = stream.readline().decode("utf-8", "replace").removeprefix("\ufeff").rstrip("\r\n")
    try:
        columns = [Column.parse(text) for text in first.split("\t")]
    except ValueError as error:
        raise UsageError(f"{path}, line 1: {error}") from error
    return columns


def _parquet_columns(path: Path) -> list[Column]:
    table = ParquetTable(path)
    table.check_plain(table.types)
    try:
        return [Column.parse(name) for name in table.types]
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from error


def read_table(
    path: Path, needed: str | None = None
) -> tuple[list[Column], Iterator[dict[str, str]]]:
    """Open an atomic file: its columns, and its rows one at a time as ``{name: text}``.

    Columns that share a name are left out, and it is said.

    Args:
        needed: a column that must be there, and not be empty in any row.

    Raises:
        UsageError: the file does not exist, or has a header or a row that RecBole could not read;
            from the iterator too.
    """
    columns = read_header(path)
    names = [column.name for column in columns]
    twice = frozenset(name for name in names if names.count(name) > 1)
    if needed in twice or not twice.isdisjoint(ID_COLUMNS):
        raise UsageError(f"{path}, line 1: more than one column {' and '.join(sorted(twice))}")
    if needed and needed not in names:
        raise UsageError(f"{path}, line 1: no column {needed}:token")
    if twice:
        _say_twice(path, twice)
    kept = [column for column in columns if column.name not in twice]
    return kept, _rows(path, names, twice, needed)


@functools.cache
def _say_twice(path: Path, names: frozenset[str]) -> None:
    """Once a file: which columns nobody can ask for."""
    print(
        f"{path}, line 1: more than one column is named {', '.join(sorted(names))}; none of them "
        "is used",
        file=sys.stderr,
    )


def read_item_table(path: Path) -> tuple[list[Column], Iterator[dict[str, str]]]:
    """``read_table`` for a ``.item`` file, whose rows must have an ``item_id``."""
    return read_table(path, needed="item_id")


def numbered_cells(
    path: str | Path, separator: str = "\t", encoding: str = "utf-8"
) -> Iterator[tuple[int, list[str]]]:
    """Every line of an atomic file that is not blank, the header too: its number and its cells.

    Lines count from 1; a row with quoted line breaks has the number of its first one. As in pandas,
    a line of spaces and tabs alone is blank, and quotes mean nothing beside a separator of several
    characters.

    Raises:
        UsageError: a quote that nothing closes, or bytes that are no text of this encoding; it
            names the line.
    """
    try:
        with open(path, encoding=with_mark(encoding), newline="") as stream:
            if len(separator) == 1:
                yield from _csv_cells(path, stream, separator)
            else:
                for line, text in enumerate(map(str.strip, stream), start=1):
                    if text:
                        yield line, text.split(separator)
    except UnicodeError as error:
        line = undecodable_line(path, encoding)
        raise UsageError(
            f"{path}, line {line}: not {encoding.upper()}; convert the file to UTF-8"
        ) from error


def _csv_cells(
    path: str | Path, stream: IO[str], separator: str
) -> Iterator[tuple[int, list[str]]]:
    """``numbered_cells`` where the separator is one character, and cells may be quoted."""
    _lift_field_limit()
    start, latest = 1, ""

    def lines() -> Iterator[str]:
        nonlocal latest
        for text in stream:
            latest = text
            yield text

    reader = csv.reader(lines(), delimiter=separator, strict=True)
    try:
        for cells in reader:
            line, start = start, reader.line_num + 1
            # A blank cell may be quoted; a quote is on the last line of its row.
            if len(cells) > 1 or latest.strip(" \t\r\n"):
                yield line, cells
    except csv.Error as error:
        raise UsageError(
            f"{path}, line {start}: {error}; a field that starts with a double quote must "
            "be quoted, its own quotes doubled"
        ) from error


def _lift_field_limit() -> None:
    """A text of more than 131,072 characters is a text; the csv module takes it for a mistake."""
    csv.field_size_limit(max(csv.field_size_limit(), 2**31 - 1))


def with_mark(encoding: str) -> str:
    """The encoding that passes over a byte order mark, where this one would read it as text."""
    return "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding


def undecodable_line(path: str | Path, encoding: str) -> int:
    """The number of the first line that is not a text of an encoding; 0 where all are."""
    decoder, line = codecs.getincrementaldecoder(encoding)(), 0
    with open(path, "rb") as stream:
        try:
            for raw in stream:
                line += 1
                decoder.decode(raw)
            decoder.decode(b"", final=True)
        except UnicodeError:
            return line
    return 0


def _rows(
    path: Path, names: list[str], twice: frozenset[str], needed: str | None = None
) -> Iterator[dict[str, str]]:
    stored = stored_form(path) or path
    unit, cells = "line", numbered_cells(path)
    if stored.suffix == PARQUET_SUFFIX:
        path, unit, cells = stored, "row", _parquet_cells(stored)
    else:
        next(cells, None)
    for line, values in cells:
        if len(values) != len(names):
            raise UsageError(
                f"{path}, {unit} {line}: {len(values)} fields, the header has {len(names)}"
            )
        row = dict(zip(names, values, strict=True))
        if needed and not row[needed].strip():
            raise UsageError(f"{path}, {unit} {line}: no {needed}; give it one, or remove the row")
        yield {name: text for name, text in row.items() if name not in twice} if twice else row


def _parquet_cells(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows of a Parquet form, numbered from 1, as an atomic file has them in text."""
    for number, row in ParquetTable(path).rows():
        cells = ["" if value is None or value != value else str(value) for value in row.values()]
        yield number, cells
