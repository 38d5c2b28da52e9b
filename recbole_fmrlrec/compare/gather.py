"""Finished cells put together: the systems of a table, each with the ranks of every user."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from recbole_fmrlrec.compare.cell_files import (
    DamagedError,
    read_cost,
    read_lists,
    read_ranks,
    read_result,
    read_rows,
    together,
)
from recbole_fmrlrec.compare.cells import ROWS, Cell
from recbole_fmrlrec.compare.plan import Plan, Variant
from recbole_fmrlrec.compare.statistics import per_user
from recbole_fmrlrec.errors import RunError
from recbole_fmrlrec.evaluation.list_metric_names import is_of_lists
from recbole_fmrlrec.evaluation.list_metrics import Lists
from recbole_fmrlrec.evaluation.list_record import TEST_LISTS, ListRecord
from recbole_fmrlrec.evaluation.protocol import is_masked
from recbole_fmrlrec.evaluation.rank_record import TEST_RANKS
from recbole_fmrlrec.runs.folder import RESULT


@dataclass(frozen=True)
class Run:
    """One finished cell.

    Attributes:
        result: ``result.json`` of the run.
        sizes: ``(K,)``, 0 for a model without sizes.
        ranks: ``(K, R)`` rank of the target of each test row, rows in the order of `order_rows`.
        masked_ranks: likewise without the user's history; None in cells of earlier versions.
        rows: what is known of each test row (see `measure`), in the same order.
        cost: ``cost.json``.
        lists: those of the test rows, in the same order; None where the comparison needs none, or
            they are missing.
    """

    cell: Cell
    result: dict[str, Any]
    sizes: list[int]
    ranks: np.ndarray
    rows: dict[str, np.ndarray]
    cost: dict[str, Any]
    masked_ranks: np.ndarray | None = None
    lists: ListRecord | None = None


@dataclass(frozen=True)
class System:
    """One line of the table: a variant at one size, over all seeds.

    Attributes:
        size: 0 for a model without sizes.
        alone: whether it was trained for this size alone.
        ranks: ``(S, R)``, a row for each seed.
        masked_ranks: likewise without the user's history; None where a seed has none.
        missing: seeds of the comparison that are not finished.
    """

    variant: Variant
    size: int
    alone: bool
    seeds: list[int]
    ranks: np.ndarray
    runs: list[Run]
    missing: list[int]
    masked_ranks: np.ndarray | None = None

    def values(self, metric: str) -> np.ndarray:
        """Values ``(S, R)`` of ``ndcg@10``, ``masked_novelty@10`` and the like."""
        if is_of_lists(metric):
            k = int(metric.partition("@")[2])
            return np.stack([lists.per_list(metric, k) for lists in self._lists(metric)])
        ranks = self.masked_ranks if is_masked(metric) else self.ranks
        assert ranks is not None  # else `analyse` leaves the metric out
        return per_user(ranks, metric)

    def of_all_lists(self, metric: str, rows: Any = slice(None)) -> np.ndarray:
        """Values ``(S,)`` of ``itemcoverage@10`` and the like over the lists of some rows."""
        k = int(metric.partition("@")[2])
        return np.array([lists.value(metric, k) for lists in self._lists(metric, rows)])

    def _lists(self, metric: str, rows: Any = slice(None)) -> Iterator[Lists]:
        for run in self.runs:
            found = None if run.lists is None else run.lists.lists(self.size, metric, rows)
            assert found is not None  # else `analyse` leaves the metric out
            yield found

    @property
    def complete(self) -> bool:
        """Whether every seed is there: only then it is ranked and tested."""
        return not self.missing

    @property
    def label(self) -> str:
        """``fMRLRec 64``, ``fMRLRec 64 alone``, ``SASRec``."""
        size = f" {self.size}" if self.size else ""
        return f"{self.variant.name}{size}{' alone' if self.alone else ''}"

    @property
    def parameters(self) -> int:
        """Numbers learned."""
        rows = self.runs[0].result["test"]
        return int(next(row["parameters"] for row in rows if (row["size"] or 0) == self.size))

    def cost(self) -> dict[str, float | None]:
        """Seconds, milliseconds and bytes: means over the seeds, memory the largest."""
        runs = self.runs
        measured = [run.cost["by_size"].get(str(self.size), {}) for run in runs]
        return {
            "training_seconds": fmean(run.result["seconds"]["training"] for run in runs),
            "seconds_to_best": _mean([_to_best(run.result) for run in runs]),
            "test_seconds": fmean(run.result["seconds"]["test"] for run in runs),
            "epochs_run": _mean([run.result["epochs_run"] for run in runs]),
            "best_epoch": _mean([run.result["best_epoch"] for run in runs]),
            "latency_ms": _mean([cost.get("latency_ms") for cost in measured]),
            "bytes_per_item": _mean([cost.get("bytes_per_item") for cost in measured]),
            "peak_memory_bytes": max(run.result["peak_memory_bytes"]["process"] for run in runs),
        }


@dataclass(frozen=True)
class DatasetRuns:
    """All systems on one dataset, and what is known of its test rows (see `measure`)."""

    dataset: str
    systems: list[System]
    rows: dict[str, np.ndarray]


def gather(plan: Plan, cells: Sequence[Cell]) -> list[DatasetRuns]:
    """Read the finished cells and check that all of a dataset have the same test rows.

    Raises:
        RunError: no cell is finished, a file of a cell is missing or damaged, or cells of a dataset
            differ in users or targets, or in what came before them.
    """
    runs = read_runs(cells)
    if not runs:
        raise RunError("no cell is finished: there is nothing to put in a table")
    found = []
    for dataset in plan.datasets:
        own = [run for run in runs if run.cell.dataset == dataset]
        for run in own:
            check_same_rows(_rows(own[0]), _rows(run))
            _check_same_past(own[0], run)
        if own:
            rows = max((run.rows for run in own), key=len)  # most modalities known
            read = {id(run.cell) for run in own}  # another machine may finish cells meanwhile
            unfinished = [c for c in cells if c.dataset == dataset and id(c) not in read]
            found.append(DatasetRuns(dataset, list(_systems(plan, own, unfinished)), rows))
    return found


def read_runs(cells: Sequence[Cell]) -> list[Run]:
    """The finished ones of some cells.

    Raises:
        RunError: a file of a cell is missing or damaged; it names all such files and the way out.
    """
    runs, faults = [], []
    for cell in cells:
        try:
            if cell.measured:
                runs.append(_read_run(cell))
        except DamagedError as error:
            faults.append(error)
    if faults:
        raise together(faults)
    return runs


def _ordered(rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What is known of rows, in the order of users and targets."""
    order = order_rows(rows["users"], rows["targets"])
    per_row = [name for name in rows if name != "item_counts"]
    return {**rows, **{name: rows[name][order] for name in per_row}}


def order_rows(users: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The order in which test rows of several runs stand side by side: by user, then target."""
    return np.lexsort((targets, users))


def _read_run(cell: Cell) -> Run:
    stored, result, rows = read_ranks(cell), read_result(cell), _ordered(read_rows(cell))
    order = order_rows(stored.users, stored.targets)
    pairs = (stored.users[order], rows["users"]), (stored.targets[order], rows["targets"])
    if not all(np.array_equal(ranked, known) for ranked, known in pairs):
        raise DamagedError(cell, ROWS, "its rows are not those of the ranks")
    sizes = [int(size) for size in stored.sizes]
    if {row["size"] or 0 for row in result["test"]} != set(sizes):
        raise DamagedError(cell, RESULT, f"its sizes are not those of the ranks, {sizes}")
    if stored.masked_ranks is None and result["config"].get("mask_history"):
        way = "this version says which ranks are without the user's history, and that one did not"
        raise DamagedError(cell, TEST_RANKS, f"written by an earlier version: {way}")
    masked = None if stored.masked_ranks is None else stored.masked_ranks[:, order]
    cost = read_cost(cell)
    return Run(cell, result, sizes, stored.ranks[:, order], rows, cost, masked, _lists(cell, order))


def _lists(cell: Cell, order: np.ndarray) -> ListRecord | None:
    """The lists that a cell has, where it is to have some."""
    if cell.keep_lists is None or (found := read_lists(cell)) is None:
        return None
    if found.items.shape[1] != len(order):
        raise DamagedError(cell, TEST_LISTS, "its rows are not those of the ranks")
    return found.reordered(order)


def _rows(run: Run) -> Rows:
    return run.cell.label, run.rows["users"], run.rows["targets"]


def _check_same_past(first: Run, other: Run) -> None:
    """Refuse runs that a split by time trained on other interactions, or gave other histories.

    Raises:
        RunError: it names both runs and what differs.
    """
    words = {
        "history": "the interactions that a test row is predicted from",
        "item_counts": "the interactions of training",
    }
    for name, what in words.items() if "new_user" in first.rows else ():
        mine, theirs = first.rows[name], other.rows[name]
        if name == "item_counts":  # a run may know items that nobody has interacted with
            mine, theirs = (np.trim_zeros(counts, "b") for counts in (mine, theirs))
        if not np.array_equal(mine, theirs):
            raise RunError(
                f"no table: {first.cell.label} and {other.cell.label} differ in {what}; give all "
                "models the same data settings and eval_args"
            )


Rows = tuple[str, np.ndarray, np.ndarray]


def check_same_rows(first: Rows, other: Rows) -> None:
    """Refuse to compare runs on different test rows.

    Args:
        first, other: label, users and targets, rows in the order of `order_rows`.

    Raises:
        RunError: the rows differ; it names both runs and the first difference.
    """
    if np.array_equal(first[1], other[1]) and np.array_equal(first[2], other[2]):
        return
    pairs = [
        set(zip(users.tolist(), items.tolist(), strict=True)) for _, users, items in (first, other)
    ]
    only = sorted(pairs[0] - pairs[1]), sorted(pairs[1] - pairs[0])
    user, item = (only[0] or only[1] or [("?", "?")])[0]
    raise RunError(
        f"no table: {first[0]} and {other[0]} were tested on different rows ({len(first[1])} and "
        f"{len(other[1])}; {len(only[0])} and {len(only[1])} of them not in the other, such as "
        f"user {user} with item {item}); give all models the same data settings and eval_args"
    )


def _systems(plan: Plan, runs: Sequence[Run], unfinished: Sequence[Cell]) -> Iterable[System]:
    for variant in plan.models:
        own = [run for run in runs if run.cell.variant == variant.name]
        missing: dict[int | None, list[int]] = {}
        for cell in unfinished:
            if cell.variant == variant.name:
                missing.setdefault(cell.alone, []).append(cell.seed)
        nested = [run for run in own if run.cell.alone is None]
        for size in _shown(variant, nested):
            yield _system(variant, size, False, nested, missing.get(None, []))
        for size in dict.fromkeys(run.cell.alone for run in own if run.cell.alone is not None):
            alone = [run for run in own if run.cell.alone == size]
            yield _system(variant, size, True, alone, missing.get(size, []))


def _shown(variant: Variant, runs: Sequence[Run]) -> list[int]:
    sizes = runs[0].sizes if runs else []
    return [size for size in sizes if variant.sizes is None or size in variant.sizes]


def _system(
    variant: Variant, size: int, alone: bool, runs: list[Run], missing: list[int]
) -> System:
    ranks = np.stack([run.ranks[run.sizes.index(size)] for run in runs])
    found = [
        run.masked_ranks[run.sizes.index(size)] for run in runs if run.masked_ranks is not None
    ]
    masked = np.stack(found) if len(found) == len(runs) else None
    seeds = [run.cell.seed for run in runs]
    return System(variant, size, alone, seeds, ranks, runs, missing, masked)


def _to_best(result: dict[str, Any]) -> float | None:
    """Seconds of training until the epoch whose model was kept, validation included."""
    best = result["best_epoch"]
    if best is None:
        return None
    return float(
        sum(
            epoch["train_seconds"] + epoch.get("valid_seconds", 0.0)
            for epoch in result["history"]
            if epoch["epoch"] <= best
        )
    )


def out_of_time(result: dict[str, Any]) -> bool:
    """Whether a training was ended by ``max_minutes``."""
    limit = result["config"].get("max_minutes")
    return limit is not None and result["seconds"]["training"] >= 60 * limit


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
