"""Files with a record a line: one at a time, malformed ones counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dataset_tools.errors import DatasetError
from dataset_tools.formats.bad_rows import Report
from dataset_tools.formats.lines import FileLines

Parser = Callable[[str], dict[str, Any]]


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
    good = bad = 0
    problem = ""
    lines = lines or FileLines(path, encoding, report.undecodable)
    for line, whole in lines:
        text = whole.rstrip("\r\n")
        if not text.strip():
            continue
        try:
            record = parse(text)
        except ValueError as error:
            bad, problem = bad + 1, problem or f"line {line}: {error}"
            report.bad(f"malformed {what}", path, line, f"malformed: {error}")
            continue
        good += 1
        yield line, record
    if bad and not good and not lines.taken and not lines.others:
        raise DatasetError(f"{path}: no readable record among {bad:,} ({problem})")
