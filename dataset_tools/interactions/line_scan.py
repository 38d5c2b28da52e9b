"""Files with an interaction a line, read by SQL as far as their lines are plain.

A file is dealt out in blocks of whole lines. In each, SQL puts the plain lines into the table
``raw`` and returns the others, which the source's own reader gets, in order: it alone knows what
to say of them.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from dataset_tools.formats.lines import Block, Fault, FileBlocks, FileLines
from dataset_tools.formats.parquet_table import quoted_text
from dataset_tools.interactions.database import Database
from dataset_tools.interactions.plain_sql import (
    Plain,
    plain_id,
    plain_json_id,
    plain_rating,
    plain_stamp,
)

if TYPE_CHECKING:
    import numpy as np

RAW = (
    "seq BIGINT, user_id VARCHAR, item_id VARCHAR, stamp BIGINT, moment DOUBLE, dated BOOLEAN, "
    "rating FLOAT, part TINYINT"
)
# Column of a source: the text that is read of it.
_TEXTS = {"user": "user_text", "item": "item_text", "time": "time_text", "rating": "rating_text"}
_FIELD = '(?:"(?:[^"]|"")*"|[^"{0}]*)'
# Python's json module knows no NaN but its own, and no comma before a bracket.
_NO_JSON = (
    r":\s*[-+]?(?:[nN][aA][nN]|[iI][nN][fF])",
    r"\[\s*[-+]?(?:[nN][aA][nN]|[iI][nN][fF])",
    r",\s*(?:[}\]]|[-+]?(?:[nN][aA][nN]|[iI][nN][fF]))",
)


@dataclass(frozen=True)
class LineScan:
    """How SQL reads a file: ``split`` makes a list ``f`` of ``line``, ``texts`` are read of that.

    A line is plain where ``condition`` and those of its texts hold. Where ``broken`` holds, a
    record goes over several lines: from there on SQL reads nothing. Lines before ``first_line``
    are not rows.
    """

    path: Path
    split: str
    texts: dict[str, str]
    condition: str
    plain: tuple[Plain, ...]
    broken: str = "false"
    encoding: str = "utf-8"
    first_line: int = 1

    @property
    def quotes(self) -> bool:
        """Whether a record can go over several lines."""
        return self.broken != "false"

    def sql(self, returns: bool) -> str:
        """The statement that makes the table ``block`` of the lines in ``given``.

        Args:
            returns: whether there are carriage returns at the ends of lines.
        """
        values = [f"{sql} AS {name}" for one in self.plain for name, sql in one.values.items()]
        checks = " AND ".join(f"({one})" for one in self._conditions())
        texts = ", ".join(f"{text} AS {name}" for name, text in self.texts.items())
        line = "rtrim(line, chr(13))" if returns else "line"
        return f"""
            CREATE OR REPLACE TEMP TABLE block AS
            WITH lines AS (
                SELECT seq, {line} AS line FROM given WHERE seq >= {self.first_line}),
            fields AS (SELECT seq, line, {self.split} AS f FROM lines),
            texts AS (SELECT seq, line, f, {texts} FROM fields),
            checked AS (SELECT *, COALESCE({checks}, false) AS plain FROM texts)
            SELECT seq, {", ".join(values)}, plain, {self.broken} AS broken,
                CASE WHEN NOT plain THEN line END AS line
            FROM checked"""

    def _conditions(self) -> Iterator[str]:
        yield self.condition
        yield from (one.condition for one in self.plain)

    def columns(self) -> str:
        """The columns that are filled, the line's number first."""
        return ", ".join(["seq", *(name for one in self.plain for name in one.values)])


def is_whole_record(line: str, delimiter: str) -> bool:
    """Whether a line is a record by itself, with quotes only where they belong."""
    sign = f"\\x{ord(delimiter):02x}" if ord(delimiter) < 256 else delimiter
    field = _FIELD.format(sign)
    return re.fullmatch(f"{field}(?:{sign}{field})*", line.rstrip("\r\n")) is not None


def delimited_scan(
    path: Path,
    delimiter: str,
    columns: dict[str, int],
    width: int | None = None,
    *,
    quotes: bool = False,
    dates: bool = False,
    encoding: str = "utf-8",
    first_line: int = 1,
) -> LineScan:
    """A table with a delimiter; ``columns`` (user, item, time, rating) say where each stands.

    Args:
        width: the number of fields; None: as many as are needed, or more.
        quotes: fields may be in quotes; else a line with a quote is not plain.
        dates: times may be dates.
    """
    split = f"string_split(line, {quoted_text(delimiter)})"
    condition = f"len(f) = {width}" if width else f"len(f) > {max(columns.values())}"
    broken = "false"
    if quotes:
        sign = f"\\x{{{ord(delimiter):x}}}"
        field = _FIELD.format(sign)
        parts = f"regexp_extract_all({quoted_text(delimiter)} || line, '{sign}({field})', 1)"
        split = f"CASE WHEN contains(line, '\"') THEN {parts} ELSE {split} END"
        broken = f"""contains(line, '"')
            AND NOT regexp_full_match(line, '{field}(?:{sign}{field})*')"""
    else:
        condition += " AND NOT contains(line, '\"')"

    def text(at: int) -> str:
        field = f"f[{at + 1}]"
        if quotes:
            inside = f"""replace({field}[2:-2], '""', '"')"""
            field = f"""(CASE WHEN left({field}, 1) = '"' THEN {inside} ELSE {field} END)"""
        return field

    texts = {_TEXTS[what]: text(at) for what, at in columns.items()}
    plain = _plain(columns, plain_id, dates)
    return LineScan(path, split, texts, condition, plain, broken, encoding, first_line)


def json_scan(
    path: Path,
    keys: dict[str, str],
    *,
    start: str = "",
    dates: bool = False,
    encoding: str = "utf-8",
) -> LineScan:
    """JSON objects, one a line; ``keys`` (user, item, time, rating) are the names of the fields.

    Args:
        start: how a line begins that is read as JSON.
        dates: times may be dates.
    """
    names = list(dict.fromkeys(keys.values()))
    paths = ", ".join(quoted_text(f'$."{name}"') for name in names)
    fields = f"TRY(json_extract_string(line, [{paths}]))"
    listed = ", ".join(map(quoted_text, names))
    once = f"len(list_filter(json_keys(line), lambda key: key IN ({listed}))) = {len(names)}"
    strict = " AND ".join(f"NOT regexp_matches(line, '{sign}')" for sign in _NO_JSON)
    condition = f"f IS NOT NULL AND {strict} AND CASE WHEN f IS NOT NULL THEN {once} END"
    if start:
        condition = f"starts_with(line, {quoted_text(start)}) AND {condition}"
    texts = {_TEXTS[what]: f"f[{names.index(name) + 1}]" for what, name in keys.items()}
    plain = _plain(keys, plain_json_id, dates)
    return LineScan(path, fields, texts, condition, plain, "false", encoding)


def _plain(
    columns: Iterable[str], read_id: Callable[[str, str], Plain], dates: bool
) -> tuple[Plain, ...]:
    """How the texts are read that there are: ids, time, rating."""
    plain = [read_id("user_id", _TEXTS["user"]), read_id("item_id", _TEXTS["item"])]
    if "time" in columns:
        plain.append(plain_stamp(_TEXTS["time"], dates))
    if "rating" in columns:
        plain.append(plain_rating(_TEXTS["rating"]))
    return tuple(plain)


class LeftLines(FileLines):
    """The lines of a file that SQL does not read; it reads the others meanwhile.

    Args:
        start: what line 1 has as ``seq`` in the table ``raw``, less 1.

    Raises:
        DatasetError: as ``read_lines``, after the lines before the fault.
    """

    def __init__(self, scan: LineScan, database: Database, fault: Fault, start: int = 0) -> None:
        super().__init__(scan.path, scan.encoding, fault)
        self._scan, self._database, self._start = scan, database, start

    def __iter__(self) -> Iterator[tuple[int, str]]:
        file = FileBlocks(self.path, self.encoding)
        blocks = iter(file)
        ahead: deque[tuple[Block, Future[_Taken]]] = deque()
        with self._database.readers() as pool:
            while True:
                for block in islice(blocks, self._database.reader_count + 1 - len(ahead)):
                    ahead.append((block, pool.submit(self._take, block)))
                if not ahead or ahead[0][1].result().broken:
                    break
                block, taken = ahead.popleft()
                self.taken += taken.result().rows
                yield from self._left(block, taken.result().lines)
        yield from self._rest([block for block, _ in ahead], blocks)
        file.check()

    def _take(self, block: Block) -> _Taken:
        """Put what is plain into ``raw``; what is left."""
        if block.text is None:
            # A record may go on in the next block.
            return _Taken(0, None, broken=self._scan.quotes and b'"' in block.data)
        cursor = self._database.cursor()
        try:
            cursor.register("given", _numbered(block.text, block.first))
            cursor.execute(self._scan.sql(returns="\r" in block.text))
            if cursor.execute("SELECT count(*) FROM block WHERE broken").fetchall()[0][0]:
                return _Taken(0, None, broken=True)
            names = self._scan.columns()
            moved = f"{self._start:d} + {names}"  # the line's number is the first of them
            put = f"INSERT INTO raw ({names}) SELECT {moved} FROM block WHERE plain"
            rows = cursor.execute(put).fetchall()[0][0]
            left = "SELECT seq, line FROM block WHERE NOT plain ORDER BY seq"
            return _Taken(rows, cursor.execute(left).fetchall())
        finally:
            cursor.close()

    def _left(self, block: Block, lines: list[tuple[int, str]] | None) -> Iterable[tuple[int, str]]:
        return self._rows_of(block) if lines is None else ((n, f"{text}\n") for n, text in lines)

    def _rows_of(self, block: Block) -> Iterator[tuple[int, str]]:
        lines = block.lines(self.fault)
        return (line for line in lines if line[0] >= self._scan.first_line)

    def _rest(self, ahead: list[Block], blocks: Iterator[Block]) -> Iterator[tuple[int, str]]:
        """All lines from a broken record on; what SQL has read of them is taken back."""
        if ahead:
            self._database.run("DELETE FROM raw WHERE seq >= ?", self._start + ahead[0].first)
        for block in chain(ahead, blocks):
            yield from self._rows_of(block)


def _numbered(text: str, first: int) -> dict[str, np.ndarray]:
    """The lines of a text as columns: DuckDB reads them where they are, a long text it copies."""
    import numpy as np

    lines = text.split("\n")
    if text.endswith("\n"):
        lines.pop()
    return {"seq": np.arange(first, first + len(lines)), "line": np.array(lines, dtype=object)}


@dataclass(frozen=True)
class _Taken:
    """What became of a block; ``lines`` is None where SQL could read none of it."""

    rows: int
    lines: list[tuple[int, str]] | None
    broken: bool = False
