"""Files with a record a line: one at a time, malformed ones counted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataset_tools.errors import DatasetError
from dataset_tools.formats.bad_rows import Report
from dataset_tools.formats.lines import FileLines

Parser = Callable[[str], dict[str, Any]]


@dataclass
class Tally:
    """How many lines were records, how many were not, and what was wrong with the first."""

    good: int = 0
    bad: int = 0
    problem: str = ""

    def add(self, later: Tally) -> None:
        """Count what a later part of the file has."""
        self.good, self.bad = self.good + later.good, self.bad + later.bad
        self.problem = self.problem or later.problem

    def check(self, path: Path) -> None:
        """Raise ``DatasetError`` where there are lines of which not one is a record."""
        if self.bad and not self.good:
            raise DatasetError(f"{path}: no readable record among {self.bad:,} ({self.problem})")


def read_records(
    path: Path,
    parse: Parser,
    report: Report,
    what: str,
    encoding: str = "utf-8",
    lines: FileLines | None = None,
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield ``(line, record)``; a line that ``parse`` refuses is a bad row of ``report``.

    ``lines`` are those of the file that are to be read, where that is not all of them.

    Raises:
        UsageError: the file does not exist, or a bad row is not skipped.
        DatasetError: it is damaged, or has lines of which not one is a record.
    """
    tally = Tally()
    lines = lines or FileLines(path, encoding, report.undecodable)
    yield from records_of(lines, path, parse, report, what, tally)
    if not lines.taken and not lines.others:
        tally.check(path)


def records_of(
    lines: Iterable[tuple[int, str]],
    path: Path,
    parse: Parser,
    report: Report,
    what: str,
    tally: Tally,
) -> Iterator[tuple[int, dict[str, Any]]]:
    """As ``read_records``, of some lines of the file, which are counted in ``tally``."""
    for line, whole in lines:
        text = whole.rstrip("\r\n")
        if not text.strip():
            continue
        try:
            record = parse(text)
        except ValueError as error:
            tally.add(Tally(bad=1, problem=f"line {line}: {error}"))
            report.bad(f"malformed {what}", path, line, f"malformed: {error}")
            continue
        tally.good += 1
        yield line, record
