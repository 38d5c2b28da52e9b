"""A catalogue of one's own: any table with one row per item."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dataset_tools.errors import UsageError
from dataset_tools.literals import clean_text, plain_id
from dataset_tools.report import Report
from dataset_tools.tables import column_names, read_rows


class Catalogue:
    """CSV, TSV, JSON lines or Parquet, gzip too.

    ``columns`` maps our names to columns of the table (None: all of them under their own names),
    ``item_id`` and ``image`` are columns of it; ``texts`` holds what is taken.

    Raises:
        UsageError: the file is missing, or a column is not in it or stands there twice.
    """

    def __init__(
        self,
        path: Path,
        item_id: str,
        columns: Mapping[str, str] | None = None,
        image: str | None = None,
        delimiter: str | None = None,
        encoding: str = "utf-8",
    ) -> None:
        self._path, self._id, self._image = path, item_id, image
        self._how = (delimiter, encoding)
        names, self._repeated = column_names(path, *self._how)
        special = [item_id, *filter(None, [image])]
        if columns is None:
            self.texts = {plain_name(name): name for name in names if name not in special}
        else:
            self._repeated = []  # what is asked for is there once
            self.texts = {plain_name(ours): theirs for ours, theirs in columns.items()}
        check_columns(path, self._how, [*special, *self.texts.values()])

    def items(self, report: Report) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield the rows as ``(item, values)``."""
        for name in self._repeated:
            report.add(f"column {name!r} that occurs twice in {self._path.name}", 1)
        for _, row in read_rows(self._path, report, *self._how):
            values = {ours: clean_text(row.get(theirs)) for ours, theirs in self.texts.items()}
            image = clean_text(row.get(self._image)) if self._image else ""
            yield plain_id(row.get(self._id)), {**values, "image": image}


def plain_name(name: str) -> str:
    """A column name that RecBole takes: letters, digits and underscores."""
    return re.sub(r"\W+", "_", name.strip()).strip("_").lower() or "column"


def check_columns(path: Path, how: tuple[str | None, str], needed: list[str]) -> None:
    """Raise ``UsageError`` for columns that are not in a table, or more than once."""
    names, repeated = column_names(path, *how)
    twice = [name for name in needed if name in repeated]
    if twice:
        raise UsageError(
            f"{path}: duplicate column names: {', '.join(map(repr, twice))}; rename one"
        )
    missing = [name for name in needed if name not in names]
    if missing:
        have = ", ".join([*names, *repeated]) or "none"
        raise UsageError(f"{path}: no column {', '.join(map(repr, missing))}; it has {have}")
