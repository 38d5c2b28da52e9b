"""The DuckDB database of a conversion: in memory, and on disk where that does not suffice."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataset_tools.errors import MemoryLimitError, UsageError

if TYPE_CHECKING:
    import duckdb
    import numpy as np

# Readers in threads of their own: more of them would wait for the file, and hold blocks of it.
MAX_READERS = 8
_SIZE = re.compile(r"\d+(\.\d+)?\s*([kmgt]i?b|%)", re.IGNORECASE)


@dataclass(frozen=True)
class Resources:
    """What a conversion may use: memory such as ``4GB`` (default: 80 % of the machine's), threads.

    ``processes`` is how many may read a large catalogue.

    Raises:
        UsageError: the memory is no size.
    """

    memory_limit: str | None = None
    threads: int | None = None
    processes: int = 1

    def __post_init__(self) -> None:
        if self.memory_limit is not None and not _SIZE.fullmatch(self.memory_limit.strip()):
            raise UsageError(f"--memory-limit {self.memory_limit!r}: write a size such as 4GB")

    def settings(self, folder: Path | None) -> dict[str, Any]:
        """The settings of the database; ``folder`` is where it may put what memory cannot hold."""
        given: dict[str, Any] = {
            "temp_directory": "" if folder is None else str(folder),
            "preserve_insertion_order": False,  # every query that needs an order names it
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
        if self.memory_limit is not None:
            given["memory_limit"] = self.memory_limit.strip()
        if self.threads is not None:
            given["threads"] = self.threads
        return given


class Database:
    """One database; every thread that works on it takes a cursor."""

    def __init__(self, folder: Path | None = None, resources: Resources | None = None) -> None:
        import duckdb

        resources = resources or Resources()
        self._connection = duckdb.connect(":memory:", config=resources.settings(folder))
        self._connection.execute("SET enable_progress_bar = false")
        self.threads = int(self.value("SELECT current_setting('threads')"))
        self.reader_count = min(self.threads, MAX_READERS)
        self._readers: list[Executor] = []

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A connection of one thread."""
        return self._connection.cursor()

    def readers(self) -> Executor:
        """Threads that each work with a cursor of its own; `close` waits for them."""
        self._readers.append(ThreadPoolExecutor(self.reader_count))
        return self._readers[-1]

    def run(self, sql: str, *values: object) -> duckdb.DuckDBPyConnection:
        """Execute a statement; ``values`` take the place of its question marks."""
        return self._connection.execute(sql, list(values))

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        return self.run(sql, *values).fetchall()

    def value(self, sql: str, *values: object) -> Any:
        """The first value of a query's first row."""
        return self.rows(sql, *values)[0][0]

    def insert(self, sql: str, batch: Mapping[str, np.ndarray]) -> None:
        """Execute a statement that selects from ``batch``, columns of one length."""
        self._connection.register("batch", dict(batch))
        self._connection.execute(sql)
        self._connection.unregister("batch")

    def interrupt(self) -> None:
        """End the statement that is running, in whichever thread, with an error."""
        self._connection.interrupt()

    def close(self) -> None:
        """Give memory and files back.

        Where a bad row has ended the conversion, readers may be at work on the blocks behind it.
        """
        for readers in self._readers:
            readers.shutdown(cancel_futures=True)
        self._connection.close()


@contextmanager
def open_database(folder: Path, resources: Resources) -> Iterator[Database]:
    """A database that may put what memory cannot hold into ``folder``; gone at the end.

    Raises:
        MemoryLimitError: neither memory nor disk suffice.
    """
    import duckdb

    database = Database(folder, resources)
    try:
        yield database
    except duckdb.OutOfMemoryException as error:
        said = str(error).partition("\n")[0]
        raise MemoryLimitError(
            f"the conversion needs more memory, or more disk for what memory cannot hold ({said}); "
            "raise --memory-limit, lower --threads, or free space where OUTPUT is"
        ) from error
    finally:
        database.close()
