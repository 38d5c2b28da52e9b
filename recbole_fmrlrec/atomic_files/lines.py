"""Columns and lines of an atomic file, and the error that names them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from recbole.utils import FeatureType

from dataset_tools.errors import DatasetError
from dataset_tools.formats.atomic_files import numbered_cells
from recbole_fmrlrec.errors import DataError


class Column(NamedTuple):
    """A column of an atomic file: the header ``user_id:token`` is the field user_id, type token.

    ``position`` is its number from the left, from 0.
    """

    field: str
    kind: FeatureType
    header: str
    position: int


class Lines:
    """The rows of an atomic file with their lines; read only when an error is to name one."""

    def __init__(self, filepath: str | Path, separator: str, encoding: str) -> None:
        self.filepath, self.separator, self.encoding = filepath, separator, encoding

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """The line and the cells of every row below the header.

        Raises:
            DataError: a quote that nothing closes; it names the line.
        """
        try:
            rows = numbered_cells(self.filepath, self.separator, self.encoding)
            _, header = next(rows, (1, []))
            for line, cells in rows:
                if len(header) > 1 or cells[0].strip():  # a lone blank cell is no row for pandas
                    yield line, cells
        except DatasetError as error:
            raise DataError(str(error)) from None

    def number(self, row: int) -> int:
        """The line of row ``row``, which counts from 0; lines count from 1, the header's."""
        for at, (line, _) in enumerate(self.rows()):
            if at == row:
                return line
        return 0

    def refuse_short_rows(self, width: int) -> None:
        """Refuse the first row that has fewer cells than the header.

        pandas fills such a row up with missing values, and leaves it out where all it has is one
        blank cell, though it is quoted.

        Raises:
            DataError: it names the line.
        """
        for line, cells in self.rows():
            if len(cells) < width:
                raise DataError(
                    f"{self.filepath}, line {line}: {len(cells)} cells, the header has {width}"
                )
