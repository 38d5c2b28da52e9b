"""Finished cells without any training: ranks, rows and records as a comparison stores them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recbole_fmrlrec.compare.cells import COST, ROWS, Cell
from recbole_fmrlrec.compare.measure import write_arrays
from recbole_fmrlrec.compare.plan import Plan, Variant
from recbole_fmrlrec.evaluation.rank_record import TEST_RANKS, RankRecord
from recbole_fmrlrec.runs.folder import RESULT

USERS = ["u1", "u2", "u3", "u4"]
TARGETS = ["a", "b", "b", "c"]


def make_plan(root: Path, models: Sequence[Variant], **changes: Any) -> Plan:
    """A plan with few resamples whose output is ``root``."""
    return Plan(
        "trial", {"toy": {}}, tuple(models), root, **{"bootstrap": 200, "topk": (2, 10), **changes}
    )


def write_cell(
    root: Path,
    variant: Variant,
    ranks: Mapping[int, Sequence[int]],
    *,
    seed: int = 2020,
    alone: int | None = None,
    users: Sequence[str] = USERS,
    targets: Sequence[str] = TARGETS,
    order: Sequence[int] | None = None,
    training: float = 10.0,
    dataset: str = "toy",
    masked: Mapping[int, Sequence[int]] | None = None,
) -> Cell:
    """Write one finished cell; ``ranks`` by size (0 for none), ``order`` shuffles the rows.

    ``masked``: ranks without the histories; an earlier version wrote none.
    """
    key = f"{variant.name}{alone or ''}{seed}"
    cell = Cell(dataset, variant.name, variant.model, seed, alone, {"seed": seed}, key, root)
    cell.path.mkdir(parents=True)
    rows = np.array(order if order is not None else range(len(users)))
    RankRecord(
        np.array(users)[rows],
        np.array(targets)[rows],
        np.array(list(ranks), dtype=np.int64),
        _array(ranks)[:, rows],
        None if masked is None else _array(masked)[:, rows],
    ).save(cell.path / TEST_RANKS)
    write_arrays(cell.path / ROWS, _known(users, targets))
    (cell.path / RESULT).write_text(json.dumps(_result(ranks, training)), encoding="utf-8")
    by_size = {
        str(size): {"latency_ms": 1.0 + size, "bytes_per_item": 4.0 * (size or 64)}
        for size in ranks
    }
    cost = {"by_size": by_size, "device": "a CPU", "threads": 1, "note": None}
    (cell.path / COST).write_text(json.dumps(cost), encoding="utf-8")
    return cell


def _array(ranks: Mapping[int, Sequence[int]]) -> np.ndarray:
    return np.array([list(values) for values in ranks.values()], dtype=np.int32)


def _known(users: Sequence[str], targets: Sequence[str]) -> dict[str, np.ndarray]:
    """Histories of 3, 6, 11, ... and training counts a: 9, b: 3, c: 0."""
    counts = {"a": 9, "b": 3, "c": 0}
    return {
        "users": np.array(users),
        "targets": np.array(targets),
        "history": np.array([3, 6, 11, 60][: len(users)], dtype=np.int32),
        "popularity": np.array([counts.get(item, 0) for item in targets], dtype=np.int32),
        "item_counts": np.array([9, 3, 3, 0], dtype=np.int32),
        "without_image": np.array([item == "b" for item in targets]),
    }


def _result(ranks: Mapping[int, Sequence[int]], training: float) -> dict[str, Any]:
    epochs = [
        {"epoch": at, "train_seconds": 3.0, "valid_seconds": 1.0, "valid": {"ndcg@10": value}}
        for at, value in enumerate((0.1, 0.3, 0.2))
    ]
    return {
        "test": [
            {"size": size or None, "parameters": 1000 + size, "metrics": {}} for size in ranks
        ],
        "history": epochs,
        "best_epoch": 1,
        "epochs_run": 3,
        "seconds": {"training": training, "test": 0.5},
        "peak_memory_bytes": {"process": 500_000_000},
        "config": {},
        "machine": {"packages": {"recbole": "1.2.1"}, "threads": 1, "device": "cpu"},
    }
