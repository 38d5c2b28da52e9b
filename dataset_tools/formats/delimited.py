"""Records of a delimited file, with the line that each begins on, whatever its quotes do."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

from dataset_tools.formats.bad_rows import Report

MAX_FIELD = 16 * 1024 * 1024
_QUOTES = "rows with a quote that is not closed"


def allow_long_fields() -> None:
    """Let Python's csv module read fields of up to 16 Mi characters; it stops at 131,072."""
    csv.field_size_limit(max(MAX_FIELD, csv.field_size_limit()))


class _Feed:
    """Lines for a csv reader; remembers those of the record that it is at."""

    def __init__(self, lines: Iterable[tuple[int, str]]) -> None:
        self._lines, self._waiting = iter(lines), deque[tuple[int, str]]()
        self.taken: list[tuple[int, str]] = []

    def __iter__(self) -> Iterator[str]:
        while True:
            pair = self._waiting.popleft() if self._waiting else next(self._lines, None)
            if pair is None:
                return
            self.taken.append(pair)
            yield pair[1]

    def give_back(self) -> None:
        """Hand out again all lines of this record but the first."""
        self._waiting.extendleft(reversed(self.taken[1:]))


def read_delimited(
    path: Path, lines: Iterable[tuple[int, str]], delimiter: str, report: Report
) -> Iterator[tuple[int, list[str]]]:
    """Yield ``(first line, fields)`` of each record of ``lines`` (number, text with its end).

    A field may go over several lines in quotes, quotes within it doubled. Text after a closing
    quote (``"Mug" big``) is taken as it stands where the record ends on its line. A quote that
    nothing closes is a bad row of its line alone.

    Raises:
        UsageError: a bad row is not skipped.
    """
    allow_long_fields()
    feed = _Feed(lines)
    reader = csv.reader(iter(feed), delimiter=delimiter, strict=True)
    while True:
        feed.taken.clear()
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            number, text = feed.taken[0]
            loose = _loosely(text, delimiter)
            if len(feed.taken) == 1 and loose is not None:
                yield number, loose
                continue
            report.bad(_QUOTES, path, number, _explain(error))
            feed.give_back()
            reader = csv.reader(iter(feed), delimiter=delimiter, strict=True)
            continue
        yield feed.taken[0][0], fields


def _loosely(text: str, delimiter: str) -> list[str] | None:
    """The fields of one line whose quotes are closed but not where they should be."""
    closed = text.count('"') % 2 == 0
    try:
        return next(csv.reader([text], delimiter=delimiter)) if closed else None
    except csv.Error:
        return None


def _explain(error: csv.Error) -> str:
    if "NUL" in str(error):
        return "a NUL character, as in a file of another encoding"
    if "limit" in str(error):
        return f"a field of more than {MAX_FIELD:,} characters, or a quote that is not closed"
    return "a quote that opens on this line is not closed (quotes within a field are doubled)"
