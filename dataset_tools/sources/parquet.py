"""Parquet of one's own: a log and, where there is one, a catalogue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dataset_tools.errors import UsageError
from dataset_tools.formats.parquet_table import begins_as_parquet
from dataset_tools.formats.tables import table_kind
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

    def _open_log(self) -> None:
        try:
            named = table_kind(self.log)
        except UsageError:
            named = "parquet"  # whatever it is called
        if named != "parquet" and not begins_as_parquet(self.log):
            raise UsageError(
                f"{self.log}: not a Parquet file (it does not begin with PAR1); `convert csv` with "
                "the same words reads tables of that name: CSV, TSV and JSON lines"
            )
        super()._open_log()
