"""The interactions of a data set as a table: each user and item name once, a few bytes a row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dataset_tools.errors import DatasetError
from dataset_tools.formats.atomic_files import clean_token
from dataset_tools.formats.bad_rows import Report
from dataset_tools.formats.dates import (
    END_SECOND,
    FIRST_SECOND,
    MAX_STAMP,
    UNIT_NAMES,
    UNITS,
    show_stamp,
)
from dataset_tools.interactions.database import Database
from dataset_tools.interactions.interaction import Interaction
from dataset_tools.interactions.line_scan import RAW

MAX_RATING = float(np.finfo(np.float32).max)
NO_ID = "interactions without a user or an item (or with one named NA, null)"
BATCH = 65_536
# Lines of one text, and interactions of one query, when they are written.
_TEXT, _PART = 1 << 13, 1 << 21
_NO_STAMP = "stamp IS NULL AND moment IS NULL"


def _no_id(row: Interaction) -> str:
    what, value = ("item", row.item) if clean_token(row.user) else ("user", row.user)
    return f"{what} {value!r} is empty or read as missing by pandas"


@dataclass(frozen=True)
class LogFile:
    """The interactions of one file, as far as Python reads them.

    ``path`` and ``report`` are for faults. Where ``by_line``, SQL has put others of the file into
    ``raw``, or puts them there meanwhile, and these stand in the order of their lines among them;
    else they stand as they come. ``start`` is above the ``seq`` of all files before.
    """

    rows: Iterable[Interaction]
    report: Report
    path: Path = Path("input")
    by_line: bool = False
    start: int = 0


class InteractionLog:
    """Interactions in file order, in the table ``log`` of a database.

    ``user_code`` and ``item_code`` are those of the tables ``users`` and ``items``, by first
    appearance in the files. ``stamp`` is BIGINT where all stamps are whole numbers, else DOUBLE,
    all in ``time_unit`` (None where they are no times); ``rating`` and ``part`` may be NULL.

    Args:
        files: one after the other; what is in ``raw`` is complete when the next is asked for.
        database: where SQL puts the rows that it reads.

    Raises:
        DatasetError: times of units that do not go together.
        UsageError: a bad row is not skipped.
    """

    def __init__(
        self,
        files: Iterable[LogFile],
        report: Report,
        database: Database | None = None,
    ) -> None:
        self.database = database or Database()
        self.database.run(f"CREATE TABLE raw ({RAW})")
        for file in files:
            self._read(file)
        self._make_codes()
        self._make_log()
        self.time_unit = self._one_unit(report)

    def _read(self, file: LogFile) -> None:
        batch: list[tuple[Any, ...]] = []
        for count, row in enumerate(_usable(file)):
            batch.append((file.start + (row.line if file.by_line else count), *row[:6]))
            if len(batch) == BATCH:
                self._insert(batch)
                batch = []
        self._insert(batch)

    def _insert(self, batch: list[tuple[Any, ...]]) -> None:
        if not batch:
            return
        seq, users, items, stamps, ratings, parts, dated = zip(*batch, strict=True)
        fractions = [isinstance(s, float) and not s.is_integer() for s in stamps]
        columns = {
            "seq": np.array(seq, dtype=np.int64),
            "user_id": np.array([clean_token(one) for one in users], dtype=object),
            "item_id": np.array([clean_token(one) for one in items], dtype=object),
            "timed": np.array([s is not None for s in stamps]),
            "fraction": np.array(fractions),
            "whole": np.array(
                [0 if s is None or f else int(s) for s, f in zip(stamps, fractions, strict=True)],
                dtype=np.int64,
            ),
            "moment": np.array([0.0 if s is None else s for s in stamps], dtype=np.float64),
            "rating": np.array([np.nan if r is None else r for r in ratings], dtype=np.float32),
            "part": np.array([-1 if p is None else p for p in parts], dtype=np.int8),
            "dated": np.array(dated, dtype=bool),
        }
        self.database.insert(
            """INSERT INTO raw SELECT seq, user_id, item_id,
                CASE WHEN timed AND NOT fraction THEN whole END,
                CASE WHEN timed AND fraction THEN moment END, dated,
                CASE WHEN NOT isnan(rating) THEN rating END, CASE WHEN part >= 0 THEN part END
            FROM batch""",
            columns,
        )

    def _make_codes(self) -> None:
        for kind in ("user", "item"):
            code = "CAST(row_number() OVER (ORDER BY min(seq)) - 1 AS INTEGER)"
            self.database.run(
                f"CREATE TABLE {kind}s AS "
                f"SELECT {kind}_id AS token, {code} AS code FROM raw GROUP BY {kind}_id"
            )

    def _make_log(self) -> None:
        """``log`` of ``raw``: codes for names; a user's interactions without a time count up."""
        none, fractions = self.database.rows(
            f"SELECT count_if({_NO_STAMP}), count(moment) FROM raw"
        )[0]
        stamp = "COALESCE(moment, CAST(stamp AS DOUBLE))" if fractions else "stamp"
        if none:
            kind = "DOUBLE" if fractions else "BIGINT"
            turn = f"row_number() OVER (PARTITION BY user_id, {_NO_STAMP} ORDER BY seq)"
            stamp = f"CASE WHEN {_NO_STAMP} THEN CAST({turn} AS {kind}) ELSE {stamp} END"
        cases = " ".join(
            f"WHEN stamp >= {FIRST_SECOND * factor} AND stamp < {END_SECOND * factor} THEN {code}"
            for code, factor in enumerate(UNITS.values())
        )
        self.database.run(
            f"""CREATE TABLE log AS
            SELECT seq, users.code AS user_code, items.code AS item_code, stamp, rating, part,
                CAST(CASE WHEN dated THEN 0 {cases} ELSE -1 END AS TINYINT) AS unit
            FROM (SELECT seq, user_id, item_id, {stamp} AS stamp, rating, part, dated FROM raw) raw
            JOIN users ON users.token = user_id JOIN items ON items.token = item_id"""
        )
        self.database.run("DROP TABLE raw")

    def _one_unit(self, report: Report) -> str | None:
        """All stamps in one unit, and which; by the rule of ``dates``.

        Where several units stand together, the coarser ones are turned into the finest. Rows
        written as dates count seconds, whatever their size.
        """
        found = self.database.rows(
            "SELECT unit, count(*), min(stamp), max(stamp), max(abs(stamp)) FROM log "
            "GROUP BY unit ORDER BY unit"
        )
        there = [row for row in found if row[0] >= 0]
        if not there:
            return None
        names, factors = list(UNITS), list(UNITS.values())
        finest = there[-1][0]
        for code, count, first, last, largest in there[:-1]:
            ratio = factors[finest] // factors[code]
            if largest > MAX_STAMP // ratio:
                raise DatasetError(
                    f"dates from {show_stamp(first, names[code])} to "
                    f"{show_stamp(last, names[code])} beside stamps in "
                    f"{UNIT_NAMES[names[finest]]}, which do not reach so far; write all times in "
                    "one unit"
                )
            self.database.run(f"UPDATE log SET stamp = stamp * {ratio} WHERE unit = {code}")
            old, new = UNIT_NAMES[names[code]], UNIT_NAMES[names[finest]]
            report.add(f"timestamps in {old}, turned into {new}", count)
        if self.database.value("SELECT bool_and(stamp = floor(stamp)) FROM log"):
            self.database.run("ALTER TABLE log ALTER stamp TYPE BIGINT")
        loose = f"timestamps that are not times, among {UNIT_NAMES[names[finest]]}; kept unchanged"
        report.add(loose, sum(row[1] for row in found if row[0] < 0))
        return names[finest]

    def __len__(self) -> int:
        return int(self.database.value("SELECT count(*) FROM log"))

    def drop(self, condition: str, *values: object) -> int:
        """Remove the rows for which a condition in SQL holds; returns how many."""
        return int(self.database.value(f"DELETE FROM log WHERE {condition}", *values))

    @property
    def has_ratings(self) -> bool:
        """Whether any interaction has a rating."""
        return bool(self.database.value("SELECT count(*) > 0 FROM log WHERE isfinite(rating)"))

    def span(self) -> tuple[float, float]:
        """The first and the last stamp."""
        first, last = self.database.rows("SELECT min(stamp), max(stamp) FROM log")[0]
        return first, last

    def item_tokens(self) -> dict[str, None]:
        """The items that still have an interaction, in the order they first occurred."""
        query = "SELECT token FROM items WHERE code IN (SELECT item_code FROM log) ORDER BY code"
        return dict.fromkeys(token for (token,) in self.database.rows(query))

    def user_count(self) -> int:
        """Number of users that still have an interaction."""
        return int(self.database.value("SELECT count(DISTINCT user_code) FROM log"))

    def part_size(self, part: int) -> int:
        """Number of interactions of one part of a given split."""
        return int(self.database.value("SELECT count(*) FROM log WHERE part = ?", part))

    def columns(self) -> list[str]:
        """Typed column names of the ``.inter`` file."""
        rated = ["rating:float"] if self.has_ratings else []
        return ["user_id:token", "item_id:token", *rated, "timestamp:float"]

    def texts(self, part: int | None = None) -> Iterator[str]:
        """The lines of the ``.inter`` file below its header, in file order, many at a time.

        Args:
            part: that of a given split; None: all.
        """
        end = self.database.value("SELECT COALESCE(max(seq) + 1, 0) FROM log")
        chosen = "" if part is None else f"AND part = {part:d}"
        query = f"""
            SELECT string_agg(line, '' ORDER BY seq) FROM (
                SELECT seq, {self._line()} AS line
                FROM log JOIN users ON users.code = user_code JOIN items ON items.code = item_code
                WHERE seq >= ? AND seq < ? {chosen})
            GROUP BY seq // {_TEXT} ORDER BY min(seq)"""
        for start in range(0, end, _PART):
            for (text,) in self.database.rows(query, start, start + _PART):
                yield text

    def _line(self) -> str:
        """One line in SQL: RecBole's quotes, numbers as Python's ``repr`` writes them."""
        quoted = """CASE WHEN starts_with({0}, '"') THEN '"' || replace({0}, '"', '""') || '"'
            ELSE {0} END"""
        # FLOAT 4.1 is 4.099999904632568 as DOUBLE; six digits give it back.
        rating = """CASE WHEN abs(rating) < 1000 AND rating * 2 = floor(rating * 2)
            THEN CAST(rating AS VARCHAR)
            ELSE CAST(CAST(format('{:.6g}', CAST(rating AS DOUBLE)) AS DOUBLE) AS VARCHAR) END"""
        fields = [
            quoted.format("users.token"),
            quoted.format("items.token"),
            *([rating] if self.has_ratings else []),
            "CAST(stamp AS VARCHAR)",
        ]
        return f"concat({', chr(9), '.join(fields)}, chr(10))"


def _usable(file: LogFile) -> Iterator[Interaction]:
    """The rows that a table can hold; others are bad rows."""
    report, path = file.report, file.path
    for row in file.rows:
        if not clean_token(row.user) or not clean_token(row.item):
            report.bad(NO_ID, path, row.line, _no_id(row))
        elif row.timestamp is not None and not abs(row.timestamp) < MAX_STAMP:
            report.bad("interactions with an infinite timestamp", path, row.line)
        elif row.rating is not None and abs(row.rating) > MAX_RATING:
            report.bad("interactions with an endless rating", path, row.line)
        else:
            yield row
