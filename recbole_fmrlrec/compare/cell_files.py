"""Reading the files of a finished cell: errors name what is damaged, and the way out."""

from __future__ import annotations

import functools
import json
import operator
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from recbole_fmrlrec.compare.cells import COST, ROWS, Cell
from recbole_fmrlrec.errors import RunError, UsageError
from recbole_fmrlrec.evaluation.list_record import TEST_LISTS, ListRecord
from recbole_fmrlrec.evaluation.rank_record import TEST_RANKS, RankRecord, check_unpacked
from recbole_fmrlrec.runs.folder import RESULT
from recbole_fmrlrec.runs.result import epochs_from_one

_RESULT_KEYS: tuple[str, ...] = (
    "best_epoch",
    "epochs_run",
    "config",
    "seconds.training",
    "seconds.test",
)
_RESULT_KEYS += ("peak_memory_bytes.process", "machine.threads", "machine.device")
_RESULT_KEYS += ("machine.packages.recbole",)


class DamagedError(RunError):
    """A file of a finished cell that cannot be used: which, why, and the way out."""

    def __init__(self, cell: Cell, name: str, reason: object) -> None:
        self.key = cell.key
        self.fault = f"{cell.path / name}: missing or damaged ({reason})"
        super().__init__(f"{self.fault}; `compare` with --redo={cell.key} computes this cell again")


def together(errors: Sequence[DamagedError]) -> RunError:
    """One error for all of them."""
    if len(errors) == 1:
        return errors[0]
    faults = "\n".join(dict.fromkeys(error.fault for error in errors))
    keys = ",".join(dict.fromkeys(error.key for error in errors))
    return RunError(f"{faults}\n`compare` with --redo={keys} computes these cells again")


def read_result(cell: Cell) -> dict[str, Any]:
    """``result.json``, with everything that a table needs of it; epochs count from 1.

    Raises:
        DamagedError: it is missing or damaged, as for all files here.
    """
    with _reading(cell, RESULT) as file:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        _need(content, *_RESULT_KEYS)
        _need(content["test"][-1], "size")  # there is one
        for row in content["test"]:
            _need(row, "size", "parameters", "metrics")
        for epoch in content["history"]:
            _need(epoch, "epoch", "train_seconds")
        return epochs_from_one(content)


def read_cost(cell: Cell) -> dict[str, Any]:
    """``cost.json``: latency and bytes per item by size, and on what they were measured."""
    with _reading(cell, COST) as file:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        for values in content["by_size"].values():
            _need(values, "latency_ms", "bytes_per_item")
        return content


def read_ranks(cell: Cell) -> RankRecord:
    """``test_ranks.npz``."""
    with _reading(cell, TEST_RANKS) as file:
        return RankRecord.load(file)


def read_lists(cell: Cell) -> ListRecord | None:
    """``test_lists.npz``; None where there is none."""
    if not (cell.path / TEST_LISTS).is_file():
        return None
    with _reading(cell, TEST_LISTS) as file:
        return ListRecord.load(file)


def read_rows(cell: Cell) -> dict[str, np.ndarray]:
    """``rows.npz`` (see `measure`): columns (R,), and ``item_counts`` (N,)."""
    with _reading(cell, ROWS) as file:
        check_unpacked(file)
        with np.load(file, allow_pickle=False) as stored:
            rows = dict(stored)
        _need(rows, "users", "targets", "history", "popularity", "item_counts")
        lengths = {len(column) for name, column in rows.items() if name != "item_counts"}
        if len(lengths) != 1:
            raise ValueError(f"its columns have {lengths} rows")
        return rows


@contextmanager
def _reading(cell: Cell, name: str) -> Iterator[Path]:
    try:
        yield cell.path / name
    except Exception as error:  # damaged bytes make a reader raise almost anything
        known = isinstance(error, UsageError | OSError)
        reason = str(error) if known else f"{type(error).__name__}: {error}"
        raise DamagedError(cell, name, reason) from error


def _need(content: Mapping[str, Any], *paths: str) -> None:
    """Raise KeyError or TypeError where an entry is not there; dots go into mappings."""
    for path in paths:
        functools.reduce(operator.getitem, path.split("."), content)
