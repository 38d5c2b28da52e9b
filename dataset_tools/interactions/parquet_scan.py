"""Parquet files read by SQL as far as their rows are plain, whatever the types of the columns.

What is plain is that of `plain_sql` for text; for numbers and times it is told here. As there, a
plain row gives what ``literals.plain_id``, ``dates.read_stamp`` and ``dates.read_number`` give, and
all other rows are left to these.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dataset_tools.formats.parquet_table import (
    FLOATS,
    INTEGERS,
    ParquetTable,
    epoch_micros,
    file_faults,
    is_moment,
    named_rows,
    quoted_name,
)
from dataset_tools.interactions.database import Database
from dataset_tools.interactions.plain_sql import Plain, plain_id, plain_rating, plain_stamp

_NEVER = "false"
# Floats of whole numbers up to here are exact, and are written without an exponent.
_EXACT = 10**15
_MICRO = 1_000_000
# Microseconds of the years that Python's datetime has.
_FIRST_MOMENT, _LAST_MOMENT = -62_135_596_800_000_000, 253_402_300_799_999_999


class LeftRows:
    """The rows of a Parquet file that SQL does not read, once it has read the others.

    Args:
        columns: user, item, time, rating -> name of the column.
        dates: times that are text may be dates.
        start: what row 1 has as ``seq`` in the table ``raw``, less 1.

    Raises:
        UsageError: the file is damaged.
    """

    def __init__(
        self,
        table: ParquetTable,
        columns: dict[str, str],
        database: Database,
        start: int = 0,
    ) -> None:
        self.taken = 0
        self._table, self._names, self._database = table, columns, database
        self._start = start
        self._plain = list(_plain(table, columns))

    def __iter__(self) -> Iterator[tuple[int, dict[str, Any]]]:
        names = ["seq", *(name for one in self._plain for name in one.values)]
        values = [sql for one in self._plain for sql in one.values.values()]
        number = f"file_row_number + {self._start + 1:d}"
        is_plain = " AND ".join(f"({one.condition})" for one in self._plain)
        cursor = self._database.cursor()
        try:
            with file_faults(self._table.path):
                put = f"INSERT INTO raw ({', '.join(names)}) SELECT {', '.join([number, *values])}"
                self.taken = cursor.execute(
                    f"{put} FROM {self._table.scanned()} WHERE {is_plain}"
                ).fetchall()[0][0]
                if self.taken < self._table.count:
                    yield from self._left(cursor, f"NOT COALESCE({is_plain}, false)")
        finally:
            cursor.close()

    def _left(self, cursor: Any, condition: str) -> Iterator[tuple[int, dict[str, Any]]]:
        names = list(dict.fromkeys(self._names.values()))
        cursor.execute(
            f"SELECT file_row_number, {self._table.selected(names)} FROM {self._table.scanned()} "
            f"WHERE {condition} ORDER BY file_row_number"
        )
        yield from named_rows(cursor, names)


def _plain(table: ParquetTable, columns: dict[str, str]) -> Iterator[Plain]:
    """How the columns are read that there are."""
    read = {"time": _stamp, "rating": _rating}
    for what, name in columns.items():
        column, kind = quoted_name(name), table.types[name]
        is_bytes = kind == "BLOB"  # text of which the writer did not say so
        if is_bytes or kind.startswith("DECIMAL") or kind == "UUID":
            column, kind = f"CAST({column} AS VARCHAR)", "VARCHAR"
        plain = read[what](column, kind) if what in read else _id(f"{what}_id", column, kind)
        if is_bytes:  # what is not ASCII has its numbers behind backslashes
            plain = Plain(plain.values, rf"NOT contains({column}, '\') AND {plain.condition}")
        yield plain


def _id(name: str, column: str, kind: str) -> Plain:
    if kind == "VARCHAR":
        return plain_id(name, column)
    if kind in INTEGERS:
        return Plain({name: f"CAST({column} AS VARCHAR)"}, f"{column} IS NOT NULL")
    if kind in FLOATS:
        whole = f"CAST(TRY_CAST({column} AS BIGINT) AS VARCHAR)"
        return Plain({name: whole}, f"{_is_exact(column)} AND {column} = floor({column})")
    return Plain({name: f"CAST({column} AS VARCHAR)"}, _NEVER)


def _rating(column: str, kind: str) -> Plain:
    if kind == "VARCHAR":
        return plain_rating(column)
    value = f"TRY_CAST(TRY_CAST({column} AS DOUBLE) AS FLOAT)"
    if kind in INTEGERS or kind in FLOATS:
        return Plain({"rating": value}, f"isfinite({value})")
    return Plain({"rating": "NULL"}, _NEVER)


def _stamp(column: str, kind: str) -> Plain:
    if kind == "VARCHAR":
        return plain_stamp(column, dates=True)
    if is_moment(kind):
        return _moment(column)
    if kind in INTEGERS:
        whole = f"TRY_CAST({column} AS BIGINT)"
        inside = f"{whole} > -9223372036854775807 AND {whole} < 9223372036854775807"
        return Plain({"stamp": whole, "moment": "NULL", "dated": "false"}, inside)
    if kind in FLOATS:
        number = f"CAST({column} AS DOUBLE)"
        is_whole = f"{number} = floor({number})"
        values = {
            "stamp": f"CASE WHEN {is_whole} THEN TRY_CAST({number} AS BIGINT) END",
            "moment": f"CASE WHEN {is_whole} THEN NULL ELSE {number} END",
            "dated": "false",
        }
        return Plain(values, _is_exact(number))
    return Plain({"stamp": "NULL", "moment": "NULL", "dated": "false"}, _NEVER)


def _is_exact(number: str) -> str:
    """Whether a float is one whose whole numbers are exact; no NaN.

    The bounds in a Parquet file leave NaN out, and DuckDB drops a comparison that they answer: that
    alone would let NaN pass.
    """
    return f"isfinite({number}) AND abs({number}) < {_EXACT}"


def _moment(column: str) -> Plain:
    """Seconds since 1970, as ``dates.read_stamp`` counts them: whole ones without a fraction."""
    micros = epoch_micros(column)
    part = f"((({micros} % {_MICRO}) + {_MICRO}) % {_MICRO})"
    second = f"(({micros} - {part}) // {_MICRO})"
    values = {
        "stamp": f"CASE WHEN {part} = 0 THEN {second} END",
        "moment": f"CASE WHEN {part} > 0 THEN CAST({second} AS DOUBLE) + {part} / 1e6 END",
        "dated": "true",
    }
    return Plain(values, f"{micros} BETWEEN {_FIRST_MOMENT} AND {_LAST_MOMENT}")
