"""Files of users and of recommendations: CSV or JSON lines, read and written as a stream."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import IO, NamedTuple

from recbole_fmrlrec.deploy.results import Recommendations
from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.whole_files import replacing

FORMATS = ("csv", "jsonl")
_JSON_NAMES = (".jsonl", ".ndjson", ".json")
# With the wide forms of the four signs, which spreadsheets take for them.
_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
_HEAD = ["user_id", "rank", "item_id", "title", "score"]


class User(NamedTuple):
    """A user and what the user did, the oldest first."""

    id: str
    history: list[str]


def read_users(path: Path) -> Iterator[User]:
    """Users of a CSV or JSON lines file, one at a time.

    CSV has the columns ``user_id,history`` (items with spaces between them) or ``user_id,item_id``
    (one event a line, a user's lines together). JSON lines (``.jsonl``, ``.ndjson``, ``.json``)
    have ``user_id`` and the list ``history``.

    Raises:
        UsageError: no such file, other columns, or a line that cannot be read; it is named.
    """
    if not path.is_file():
        raise UsageError(f"--users_file: there is no file {path.absolute()}")
    read = _from_json if path.suffix.lower() in _JSON_NAMES else _from_csv
    with open(path, encoding="utf-8-sig", newline="") as stream:
        try:
            yield from read(path, stream)
        except UnicodeDecodeError as error:
            raise UsageError(f"{path}: not UTF-8 ({error.reason})") from None


def _from_json(path: Path, stream: IO[str]) -> Iterator[User]:
    for number, line in enumerate(stream, start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise UsageError(f"{path}, line {number}: not JSON ({error})") from None
        history = entry.get("history") if isinstance(entry, dict) else None
        if not isinstance(history, list) or "user_id" not in entry:
            raise UsageError(
                f'{path}, line {number}: not like {{"user_id": "7", "history": ["a", "b"]}}'
            )
        yield User(str(entry["user_id"]), [str(item) for item in history])


def _from_csv(path: Path, stream: IO[str]) -> Iterator[User]:
    reader = csv.reader(stream, strict=True)
    try:
        head = [name.strip() for name in next(reader, [])]
        if "user_id" not in head or not {"history", "item_id"} & set(head):
            raise UsageError(
                f"{path}, line 1: the columns are {', '.join(head) or 'none'}; there must be "
                "user_id and history, or user_id and item_id"
            )
        user_at = head.index("user_id")
        if "history" in head:
            at = head.index("history")
            yield from (User(row[user_at], row[at].split()) for row in _rows(path, reader, head))
        else:
            yield from _grouped(path, _rows(path, reader, head), user_at, head.index("item_id"))
    except csv.Error as error:
        raise UsageError(f"{path}, line {reader.line_num}: {error}") from None


def _rows(path: Path, reader: Iterator[list[str]], head: list[str]) -> Iterator[list[str]]:
    for row in reader:
        if row and len(row) != len(head):
            line = getattr(reader, "line_num", 0)
            raise UsageError(f"{path}, line {line}: {len(row)} fields, the head has {len(head)}")
        if row:
            yield row


def _grouped(path: Path, rows: Iterator[list[str]], user_at: int, item_at: int) -> Iterator[User]:
    done: set[str] = set()
    for user, events in groupby(rows, key=lambda row: row[user_at]):
        if user in done:
            raise UsageError(f"{path}: the lines of user {user!r} are not together; sort the file")
        done.add(user)
        yield User(user, [row[item_at] for row in events])


Write = Callable[[str, Recommendations], None]


@contextmanager
def writer(
    path: Path | None, form: str | None = None, spreadsheet: bool = False
) -> Iterator[Write]:
    """A function that writes the recommendations of one user.

    CSV: a line for each item, ``user_id,rank,item_id,title,score``. JSON lines: a line for each
    user, with ``items`` and, where there are any, ``unknown``. A file appears when all is written.

    Args:
        path: ``.csv`` or ``.jsonl``; standard output when None.
        form: one of `FORMATS`, where the name does not say; CSV on standard output.
        spreadsheet: in CSV, put ' before an id or a title that a spreadsheet would take for a
            formula, see `as_text`.

    Raises:
        UsageError: the name ends otherwise, or ``spreadsheet`` with another form than CSV.
    """
    known = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
    form = form or (known.get(path.suffix.lower()) if path else "csv")
    if form is None:
        raise UsageError(f"--output: {path} ends neither in .csv nor in .jsonl; --output_format?")
    if spreadsheet and form != "csv":
        raise UsageError("--spreadsheet is for CSV; JSON lines hold ids and titles as they are")
    cell = as_text if spreadsheet else str
    if path is None:
        yield _write_to(sys.stdout, form, cell)
        return
    with replacing(path) as partial, open(partial, "w", encoding="utf-8", newline="") as stream:
        yield _write_to(stream, form, cell)


def as_text(cell: str) -> str:
    """A cell that spreadsheets show and do not compute: ' stands before = + - @, tab or line end.

    They take what begins so for a formula, which can start programs and send data away.
    """
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def _write_to(stream: IO[str], form: str, cell: Callable[[str], str]) -> Write:
    if form == "jsonl":

        def write_json(user: str, result: Recommendations) -> None:
            line = {"user_id": user, **result.to_json()}
            stream.write(json.dumps(line, ensure_ascii=False) + "\n")

        return write_json
    rows = csv.writer(stream, lineterminator="\n")
    rows.writerow(_HEAD)

    def write_csv(user: str, result: Recommendations) -> None:
        for rank, item in enumerate(result, start=1):
            names = cell(item.id), cell(item.title or "")
            rows.writerow([cell(user), rank, *names, f"{item.score:.6g}"])

    return write_csv
