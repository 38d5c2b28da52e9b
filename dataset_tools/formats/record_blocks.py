"""Files with a record a line, read in blocks by several processes."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Future
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, Generic, TypeVar

from dataset_tools.errors import MemoryLimitError
from dataset_tools.formats.bad_rows import Report
from dataset_tools.formats.lines import Block, FileBlocks, FileLines, can_read_blocks
from dataset_tools.formats.records import Parser, Tally, records_of

T = TypeVar("T")
Reader = Callable[[int, dict[str, Any], Report], "T | None"]


def map_records(
    path: Path, parse: Parser, read: Reader[T], report: Report, what: str, processes: int = 1
) -> Iterator[T]:
    """What ``read`` makes of each record of a UTF-8 file with its line, in order; None is left out.

    A malformed line is counted, whatever ``report`` does with bad rows.

    Args:
        processes: how many read a file of more than one block, to which ``parse`` and ``read``
            are sent; 1: this one alone.

    Raises:
        UsageError: the file does not exist, or a line is in another encoding.
        DatasetError: it is damaged, or has lines of which not one is a record.
        MemoryLimitError: one of several processes was ended.
    """
    work, tally = _Work(path, parse, read, what, report.skip_undecodable), Tally()
    if can_read_blocks(path):
        for done in _dealt(work, FileBlocks(path), processes):
            report.merge(done.report)
            tally.add(done.tally)
            yield from done.made
    else:
        lines = FileLines(path, fault=report.undecodable)
        yield from work.read_lines(lines, replace(report, skip_bad_rows=True), tally)
    tally.check(path)


@dataclass(frozen=True)
class _Done(Generic[T]):
    """What a block came to."""

    made: list[T]
    report: Report
    tally: Tally


@dataclass(frozen=True)
class _Work(Generic[T]):
    """What is done with each record of a file; goes to other processes."""

    path: Path
    parse: Parser
    read: Reader[T]
    what: str
    skip_undecodable: bool

    def __call__(self, block: Block) -> _Done[T]:
        report, tally = Report(skip_undecodable=self.skip_undecodable), Tally()
        lines = block.lines(report.undecodable)
        return _Done(list(self.read_lines(lines, report, tally)), report, tally)

    def read_lines(
        self, lines: Iterable[tuple[int, str]], report: Report, tally: Tally
    ) -> Iterator[T]:
        for line, record in records_of(lines, self.path, self.parse, report, self.what, tally):
            made = self.read(line, record, report)
            if made is not None:
                yield made


def _dealt(work: _Work[T], blocks: FileBlocks, processes: int) -> Iterator[_Done[T]]:
    """The work done on each block, in order; then a fault of the file is raised."""
    rest = iter(blocks)
    first = list(islice(rest, 2))
    if processes > 1 and len(first) > 1:
        yield from _in_processes(work, chain(first, rest), processes)
    else:
        yield from map(work, chain(first, rest))
    blocks.check()


def _in_processes(work: _Work[T], blocks: Iterator[Block], processes: int) -> Iterator[_Done[T]]:
    from joblib.externals.loky import ProcessPoolExecutor  # does not import the main program again

    pool = ProcessPoolExecutor(processes, initializer=_begin, initargs=(os.getpid(),))
    ahead: deque[Future[_Done[T]]] = deque()
    try:
        while True:
            for block in islice(blocks, processes + 1 - len(ahead)):
                ahead.append(pool.submit(work, replace(block, text=None)))  # half as much to send
            if not ahead:
                break
            yield ahead.popleft().result()
    except BrokenExecutor as error:
        raise MemoryLimitError(
            f"{work.path}: a process that read it was ended, most likely since memory ran out; "
            "lower --threads: with --threads 1 there is one process alone"
        ) from error
    finally:
        for one in ahead:
            one.cancel()
        pool.shutdown()  # what is at work ends its block


def _begin(first: int) -> None:
    """Leave interrupts, which a terminal sends to all, to the first process; end when it has."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(first,), daemon=True).start()


def _end_with(process: int) -> None:
    import psutil

    # On Windows a parent stays the parent; elsewhere an ended one may wait for its own parent.
    while os.getppid() == process and psutil.pid_exists(process):
        time.sleep(0.5)
    os._exit(1)
