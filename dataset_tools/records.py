"""Files with a record a line: one at a time, malformed ones counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dataset_tools.errors import DatasetError
from dataset_tools.files import open_lines
from dataset_tools.report import Report

Parser = Callable[[str], dict[str, Any]]


def read_records(
    path: Path, parse: Parser, report: Report, what: str
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield ``(line, record)``; lines that ``parse`` refuses are counted as malformed.

    Raises:
        UsageError: the file does not exist.
        DatasetError: it is damaged, or has lines of which not one is a record.
    """
    good = bad = 0
    problem = ""
    for line, text in open_lines(path):
        if not text.strip():
            continue
        try:
            record = parse(text)
        except ValueError as error:
            bad, problem = bad + 1, problem or f"line {line}: {error}"
            report.skip(f"malformed {what}", path, line)
            continue
        good += 1
        yield line, record
    if bad and not good:
        raise DatasetError(f"{path}: not one readable record of {bad:,} ({problem})")
