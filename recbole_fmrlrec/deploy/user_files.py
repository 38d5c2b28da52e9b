"""Files of users and of recommendations: CSV or JSON lines, read and written as a stream."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import IO, Any, NamedTuple

from recbole_fmrlrec.deploy.event_times import EventTimes
from recbole_fmrlrec.deploy.histories import ids_of_list, split_history
from recbole_fmrlrec.deploy.results import Reason, Recommendations
from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.files.atomic import replacing

FORMATS = ("csv", "jsonl")
_JSON_NAMES = (".jsonl", ".ndjson", ".json")
# With the wide forms of the four signs, which spreadsheets take for them.
_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
_HEAD = ["user_id", "rank", "item_id", "title", "score"]
_BECAUSE = ["because_item_id", "because_title", "contribution"]


class User(NamedTuple):
    """A user and what the user did, the oldest first."""

    id: str
    history: list[str]


#: Names of a column, or of an entry of JSON, that says when an event was.
TIMES = ("timestamp", "timestamps", "time", "date", "datetime", "ts", "event_time", "created_at")


def read_users(path: Path, separator: str | None = None) -> Iterator[User]:
    """Users of a CSV or JSON lines file, one at a time.

    CSV has the columns ``user_id,history`` (items with the separator between them, or a JSON list)
    or ``user_id,item_id`` (one event per line, a user's lines together; with a column ``timestamp``
    they are put in its order, else the oldest comes first). JSON lines (``.jsonl``, ``.ndjson``,
    ``.json``) have ``user_id`` and the list ``history``, and may have ``timestamps``, one for each
    item. Columns that say nothing of this are named on standard error.

    Args:
        separator: between the items of a history; None for blanks.

    Raises:
        UsageError: no such file, other columns, times that cannot be put in order, or a line that
            cannot be read; it is named.
    """
    if not path.is_file():
        raise UsageError(f"--users_file: there is no file {path.absolute()}")
    with open(path, encoding="utf-8-sig", newline="") as stream:
        try:
            if path.suffix.lower() in _JSON_NAMES:
                yield from _from_json(path, stream)
            else:
                yield from _from_csv(path, stream, separator)
        except UnicodeDecodeError as error:
            raise UsageError(f"{path}: not UTF-8 ({error.reason})") from None


def _from_json(path: Path, stream: IO[str]) -> Iterator[User]:
    times, noted = EventTimes(path), False
    for number, line in enumerate(stream, start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{path}, line {number}: not JSON ({error})") from None
        history = entry.get("history") if isinstance(entry, dict) else None
        if not isinstance(history, list) or "user_id" not in entry:
            raise UsageError(
                f'{path}, line {number}: not like {{"user_id": "7", "history": ["a", "b"]}}'
            )
        items = ids_of_list(history, f"{path}, line {number}")
        if about_time := [key for key in entry if key.lower() in TIMES]:
            items = _in_order(items, entry, about_time, times, number)
        unused = [key for key in entry if key not in ("user_id", "history", *about_time)]
        if unused and not noted:
            noted = True
            _note_unused(path, unused)
        yield User(str(entry["user_id"]), items)


def _in_order(
    items: list[str], entry: dict[str, Any], keys: list[str], times: EventTimes, line: int
) -> list[str]:
    """The items of an entry of JSON in the order of its times."""
    values = entry[keys[0]]
    if len(keys) > 1 or not isinstance(values, list) or len(values) != len(items):
        raise UsageError(
            f"{times.path}, line {line}: {' and '.join(keys)}: a history is put in order by one "
            "list with a time for each of its items; leave it out if the oldest comes first"
        )
    read = [times.read(str(value), line) for value in values]
    return [items[at] for at in sorted(range(len(items)), key=lambda at: read[at])]


def _from_csv(path: Path, stream: IO[str], separator: str | None) -> Iterator[User]:
    reader = csv.reader(stream, strict=True)
    try:
        head = [name.strip().partition(":")[0] for name in next(reader, [])]
        user, items, time = _columns(path, head)
        rows = _rows(path, reader, head)
        if head[items] == "item_id":
            yield from _grouped(path, rows, user, items, time)
            return
        for line, row in rows:
            where = f"{path}, line {line}"
            yield User(row[user], split_history(row[items], separator, where))
    except csv.Error as error:
        raise UsageError(f"{path}, line {reader.line_num}: {error}") from None


def _columns(path: Path, head: list[str]) -> tuple[int, int, int | None]:
    """The columns of users, items and times; there may be no times."""
    about_items = [name for name in head if name in ("history", "item_id")]
    about_time = [name for name in head if name.lower() in TIMES]
    if "user_id" not in head or not about_items:
        raise UsageError(
            f"{path}, line 1: the columns are {', '.join(head) or 'none'}; there must be "
            "user_id and history, or user_id and item_id"
        )
    for names, says in (
        (["user_id"] * head.count("user_id"), "which one has the users?"),
        (about_items, "which one has the items?"),
        (about_time, "which one is the order of events?"),
    ):
        if len(names) > 1:
            raise UsageError(f"{path}, line 1: the columns {' and '.join(names)}: {says}")
    if about_items == ["history"] and about_time:
        raise UsageError(
            f"{path}, line 1: the column {about_time[0]} together with history: the items of a "
            "history are already in order, the oldest first; leave the column out, or write one "
            f"event per line, user_id,item_id,{about_time[0]}"
        )
    if unused := [n for n in head if n not in ("user_id", *about_items, *about_time)]:
        _note_unused(path, unused)
    time = head.index(about_time[0]) if about_time else None
    return head.index("user_id"), head.index(about_items[0]), time


def _note_unused(path: Path, names: list[str]) -> None:
    print(f"note: {path}: not used: {', '.join(names)}", file=sys.stderr)


def _rows(
    path: Path, reader: Iterator[list[str]], head: list[str]
) -> Iterator[tuple[int, list[str]]]:
    for row in reader:
        line = getattr(reader, "line_num", 0)
        if row and len(row) != len(head):
            raise UsageError(f"{path}, line {line}: {len(row)} fields, the header has {len(head)}")
        if row:
            yield line, row


def _grouped(
    path: Path, rows: Iterator[tuple[int, list[str]]], user_at: int, item_at: int, time: int | None
) -> Iterator[User]:
    done: set[str] = set()
    times = EventTimes(path)
    for user, events in groupby(rows, key=lambda one: one[1][user_at]):
        if user in done:
            raise UsageError(f"{path}: the lines of user {user!r} are not together; sort the file")
        done.add(user)
        found = [(0 if time is None else times.read(row[time], n), row) for n, row in events]
        yield User(user, [row[item_at] for _, row in sorted(found, key=lambda one: one[0])])


Write = Callable[[str, Recommendations], None]


@contextmanager
def writer(
    path: Path | None, form: str | None = None, spreadsheet: bool = False, reasons: bool = False
) -> Iterator[Write]:
    """A function that writes the recommendations of one user.

    CSV: a line for each item, ``user_id,rank,item_id,title,score``. JSON lines: a line for each
    user, with ``items`` and, where there are any, ``unknown``. A file appears when all is written.

    Args:
        path: ``.csv`` or ``.jsonl``; standard output when None.
        form: one of `FORMATS`, where the name does not say; CSV on standard output.
        spreadsheet: in CSV, put ' before an id or a title that a spreadsheet would take for a
            formula, see `as_text`.
        reasons: CSV has the columns ``because_item_id,because_title,contribution`` as well, empty
            where no event of the history added to the score. In JSON lines each item has its
            ``because`` wherever the recommendations have reasons.

    Raises:
        UsageError: the name ends otherwise, or ``spreadsheet`` with another form than CSV.
    """
    known = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
    form = form or (known.get(path.suffix.lower()) if path else "csv")
    if form is None:
        raise UsageError(
            f"--output: {path} ends neither in .csv nor in .jsonl; give --output_format"
        )
    if spreadsheet and form != "csv":
        raise UsageError("--spreadsheet is for CSV; JSON lines hold ids and titles as they are")
    cell = as_text if spreadsheet else str
    if path is None:
        yield _write_to(sys.stdout, form, cell, reasons)
        return
    if path.exists() and not path.is_file():  # /dev/stdout, a named pipe
        if path.is_dir():
            raise UsageError(f"--output: {path} is a folder; give the name of a file in it")
        with open(path, "w", encoding="utf-8", newline="") as stream:
            yield _write_to(stream, form, cell, reasons)
        return
    with replacing(path) as partial, open(partial, "w", encoding="utf-8", newline="") as stream:
        yield _write_to(stream, form, cell, reasons)


def as_text(cell: str) -> str:
    """A cell that spreadsheets show and do not compute: a ' before = + - @, tab or line end.

    They take what begins so for a formula, which can start programs and send data away.
    """
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


class _Lines:
    """Lines that end in \\n, of a writer whose own end quotes cells with \\r in them as well."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, line: str) -> None:
        """Write a line."""
        self._stream.write(line.removesuffix("\r\n") + "\n")


def _write_to(stream: IO[str], form: str, cell: Callable[[str], str], reasons: bool) -> Write:
    if form == "jsonl":

        def write_json(user: str, result: Recommendations) -> None:
            line = {"user_id": user, **result.to_json()}
            stream.write(json.dumps(line, ensure_ascii=False) + "\n")

        return write_json
    rows = csv.writer(_Lines(stream), lineterminator="\r\n")
    rows.writerow(_HEAD + _BECAUSE * reasons)

    def write_csv(user: str, result: Recommendations) -> None:
        for rank, item in enumerate(result, start=1):
            names = cell(item.id), cell(item.title or "")
            because = _because(result.reasons[rank - 1], cell) if reasons else ()
            rows.writerow([cell(user), rank, *names, f"{item.score:.6g}", *because])

    return write_csv


def _because(reason: Reason | None, cell: Callable[[str], str]) -> tuple[str, str, str]:
    if reason is None:
        return "", "", ""
    return cell(reason.id), cell(reason.title or ""), f"{reason.contribution:.6g}"
