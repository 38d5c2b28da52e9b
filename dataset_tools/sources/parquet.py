"""Parquet of one's own: a log and, where there is one, a catalogue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dataset_tools.sources.csv import CSVSource


@dataclass
class ParquetSource(CSVSource):
    """As ``CSVSource``, of a log in Parquet, whatever its files are called.

    Raises:
        UsageError: as there, or a file is no Parquet.
    """

    name: ClassVar[str] = "parquet"
    summary: ClassVar[str] = "Parquet: a file, a folder of parts or a pattern, columns by name"
    kind: ClassVar[str | None] = "parquet"
