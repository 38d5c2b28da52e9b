"""Parquet files that anybody has written, read by DuckDB: their columns and their rows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dataset_tools.errors import UsageError

INTEGERS = frozenset(
    f"{sign}{size}INT" for sign in ("", "U") for size in ("TINY", "SMALL", "BIG", "HUGE")
) | {"INTEGER", "UINTEGER"}
FLOATS = frozenset({"FLOAT", "DOUBLE"})
_ROWS = 4096


class ParquetTable:
    """One Parquet file; ``types`` holds DuckDB's type of each column, ``count`` the rows.

    Where names differ by their case alone, DuckDB calls the later ones ``time_1``.

    Raises:
        UsageError: it is no Parquet file, or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with connection(path) as con:
            described = con.execute(f"DESCRIBE SELECT * FROM {self.scanned(False)}").fetchall()
            self.types: dict[str, str] = {name: kind for name, kind, *_ in described}
            self.count = int(
                con.execute(f"SELECT count(*) FROM {self.scanned(False)}").fetchall()[0][0]
            )

    def scanned(self, numbered: bool = True) -> str:
        """The file as SQL reads from it, ``numbered`` with ``file_row_number`` from 0."""
        # Signs that stand for others in a pattern stand for themselves in brackets.
        name = re.sub(r"([*?\[])", r"[\1]", str(self.path.absolute()))
        number = ", file_row_number = true" if numbered else ""
        return f"read_parquet({quoted_text(name)}, hive_partitioning = false{number})"

    def check_plain(self, columns: Iterable[str]) -> None:
        """Raise ``UsageError`` for a column of lists or records, where a row needs one value."""
        for name in columns:
            kind = self.types[name]
            if is_nested(kind):
                raise UsageError(
                    f"{self.path}: column {name!r} holds lists or records ({kind}), not one value "
                    "a row; write its values to columns of their own"
                )

    def selected(self, names: Iterable[str]) -> str:
        """The columns as SQL that fetches what `rows` yields."""
        return ", ".join(_fetched(quoted_name(name), self.types[name]) for name in names)

    def rows(self, names: Iterable[str] | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield ``(row number from 1, values by name)``; all columns, or ``names``.

        Times are in UTC without their zone, bytes are read as UTF-8, and numbers of single
        precision are those that their shortest text means.

        Raises:
            UsageError: the file is damaged.
        """
        chosen = list(self.types if names is None else dict.fromkeys(names))
        columns = "".join(f", {self.selected([name])}" for name in chosen)
        with connection(self.path) as con:
            con.execute(f"SELECT file_row_number{columns} FROM {self.scanned()}")
            yield from named_rows(con, chosen)


def named_rows(con: Any, names: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a query whose first column counts from 0."""
    while some := con.fetchmany(_ROWS):
        for number, *values in some:
            yield number + 1, dict(zip(names, map(_text_of_bytes, values), strict=True))


@contextmanager
def connection(path: Path) -> Iterator[Any]:
    """DuckDB for reading one file.

    Raises:
        UsageError: the file cannot be read.
    """
    import duckdb

    offline = ("autoinstall_known_extensions", "autoload_known_extensions")
    config: dict[str, Any] = dict.fromkeys(offline, False)
    con = duckdb.connect(":memory:", config=config)
    try:
        with file_faults(path):
            yield con
    finally:
        con.close()


@contextmanager
def file_faults(path: Path) -> Iterator[None]:
    """What DuckDB says of a file that it cannot read, as a ``UsageError``."""
    import duckdb

    try:
        yield
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:
        said = str(error).partition("\n")[0]
        raise UsageError(
            f"{path}: not a Parquet file, or damaged ({said}); write or fetch it again"
        ) from error


def begins_as_parquet(path: Path) -> bool:
    """Whether the first bytes of a file are those of Parquet, encrypted or not."""
    with open(path, "rb") as stream:
        return stream.read(4) in (b"PAR1", b"PARE")


def is_nested(kind: str) -> bool:
    """Whether a type of DuckDB holds more than one value."""
    return kind.endswith("]") or kind.startswith(("STRUCT", "MAP", "UNION", "VARIANT"))


def is_moment(kind: str) -> bool:
    """Whether a type of DuckDB is a date or a point in time."""
    return kind == "DATE" or kind.startswith("TIMESTAMP")


def epoch_micros(column: str) -> str:
    """Microseconds since 1970 of a point in time, in SQL; NULL of one that is infinite."""
    return f"CASE WHEN isfinite({column}) THEN epoch_us({column}) END"


def quoted_name(name: str) -> str:
    """The name of a column as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def quoted_text(text: object) -> str:
    """A text, or a path, as SQL writes it."""
    return "'" + str(text).replace("'", "''") + "'"


def _fetched(column: str, kind: str) -> str:
    if kind == "FLOAT":
        return f"CAST(CAST({column} AS VARCHAR) AS DOUBLE)"
    if kind.startswith("TIMESTAMP"):
        return f"make_timestamp({epoch_micros(column)})"
    return column


def _text_of_bytes(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
