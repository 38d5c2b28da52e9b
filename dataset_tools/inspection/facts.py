"""What is in a dataset, as numbers: interactions, catalogue, features, items to look at."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dataset_tools.errors import DatasetError
from dataset_tools.features import Features, list_modalities, read_features
from dataset_tools.features.store_files import blocks
from dataset_tools.files.dataset_folder import FEATURES_NAME, dataset_file, stored_form
from dataset_tools.formats.atomic_files import read_item_table, read_table
from dataset_tools.formats.dates import UNIT_NAMES, UNITS, read_number, show_stamp, unit_of
from dataset_tools.progress import progress

TITLE_COLUMNS = ("title", "movie_title", "name")
QUANTILES = (0, 0.25, 0.5, 0.75, 0.95, 1)
PAIRS = 20_000


def inspect_dataset(folder: Path, shown: int = 12, seed: int = 0) -> dict[str, Any]:
    """Counts, lengths, coverage, feature statistics and a few items, ready for JSON.

    Args:
        folder: the data set's folder; a missing ``.item`` file or feature store is no fault.
        shown: how many of the most popular items, and how many at random.

    Raises:
        UsageError: there is no ``.inter`` file.
        DatasetError: a file is damaged.
    """
    path = dataset_file(folder, "inter")
    users, counts, span = _read_interactions(path)
    rows = _read_items(folder, path.stem)
    catalogue = list(dict.fromkeys([*rows, *counts]))
    cold = [item for item in rows if item not in counts]
    total = int(users.sum())
    ranked = sorted(counts, key=lambda item: (-counts[item], item))
    rng = np.random.default_rng(seed)
    sample = rng.choice(len(catalogue), min(shown, len(catalogue)), replace=False).tolist()
    store = folder / FEATURES_NAME
    return {
        "name": path.stem,
        "folder": str(folder),
        "users": len(users),
        "items": len(counts),
        "interactions": total,
        "density": total / (len(users) * len(counts)),
        "user_lengths": _spread(users),
        "item_counts": _spread(np.fromiter(counts.values(), np.int64)),
        "user_histogram": _histogram(users),
        "item_histogram": _histogram(np.fromiter(counts.values(), np.int64)),
        "time": span,
        "catalogue_items": len(rows),
        "cold_items": len(cold),
        "items_without_metadata": sum(1 for item in counts if item not in rows),
        "columns": _column_coverage(rows),
        "features": {
            name: _feature_statistics(read_features(store, name), counts, seed)
            for name in list_modalities(store)
        },
        "most_popular": [_card(item, rows, counts) for item in ranked[:shown]],
        "sample": [_card(catalogue[at], rows, counts) for at in sample],
        "cold_sample": [_card(item, rows, counts) for item in cold[:shown]],
    }


class _Times:
    """First and last stamp, by the rule of ``dates`` for their unit."""

    def __init__(self) -> None:
        self._ends: dict[str | None, tuple[float, float]] = {}

    def add(self, text: str, path: Path, row: int) -> None:
        """Take one field into account; an empty one is none."""
        if not text:
            return
        try:
            stamp = read_number(text)
        except ValueError as error:
            raise DatasetError(f"{path}, interaction {row:,}: timestamp {error}") from None
        unit = unit_of(stamp)
        low, high = self._ends.get(unit, (stamp, stamp))
        self._ends[unit] = (min(low, stamp), max(high, stamp))

    def span(self) -> dict[str, Any] | None:
        """First and last as they stand and as dates, and the unit; None without stamps."""
        if not self._ends:
            return None
        told: list[str | None] = [unit for unit in UNITS if unit in self._ends] or [None]
        factor = {unit: UNITS[unit] for unit in told if unit}
        first = min((self._ends[unit][0] for unit in told), key=lambda at: _seconds(at, factor))
        last = max((self._ends[unit][1] for unit in told), key=lambda at: _seconds(at, factor))
        names = [UNIT_NAMES[unit] for unit in told if unit]
        span: dict[str, Any] = {"first": first, "last": last, "unit": " and ".join(names) or None}
        if names:
            span |= {"first_date": show_stamp(first), "last_date": show_stamp(last)}
        span["others"] = len(told) > 1 or (bool(names) and None in self._ends)
        return span


def _seconds(stamp: float, factor: Mapping[str, int]) -> float:
    unit = unit_of(stamp)
    return stamp / factor[unit] if unit else stamp


def _read_interactions(path: Path) -> tuple[np.ndarray, dict[str, int], dict[str, Any] | None]:
    """Interactions a user (users,), interactions an item, first and last time."""
    columns, rows = read_table(path)
    names = {column.name for column in columns}
    if not {"user_id", "item_id"} <= names:
        raise DatasetError(f"{path}, line 1: no columns user_id:token and item_id:token")
    users: dict[str, int] = {}
    items: dict[str, int] = {}
    times = _Times()
    for number, row in enumerate(progress(rows, path.name, "rows"), start=1):
        users[row["user_id"]] = users.get(row["user_id"], 0) + 1
        items[row["item_id"]] = items.get(row["item_id"], 0) + 1
        if "timestamp" in names:
            times.add(row["timestamp"], path, number)
    if not users:
        raise DatasetError(f"{path}: no interactions")
    return np.fromiter(users.values(), np.int64, len(users)), items, times.span()


def _read_items(folder: Path, name: str) -> dict[str, dict[str, str]]:
    path = folder / f"{name}.item"
    if stored_form(path) is None:
        return {}
    rows: dict[str, dict[str, str]] = {}
    for row in read_item_table(path)[1]:
        rows.setdefault(row.pop("item_id"), row)
    return rows


def _spread(values: np.ndarray) -> dict[str, float]:
    if not len(values):
        return {}
    names = ("min", "25%", "median", "75%", "95%", "max")
    numbers = np.quantile(values, QUANTILES).tolist()
    return {"mean": float(values.mean()), **dict(zip(names, numbers, strict=True))}


def _histogram(values: np.ndarray) -> list[dict[str, int]]:
    """Counts in classes 1, 2, 3-4, 5-8, 9-16, ... up to the largest value."""
    if not len(values):
        return []
    power = np.ceil(np.log2(values)).astype(int)
    counts = np.bincount(power)
    return [
        {"from": 2 ** (p - 1) + 1 if p else 1, "to": 2**p, "count": int(count)}
        for p, count in enumerate(counts)
    ]


def _column_coverage(rows: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, float]]:
    names = next(iter(rows.values()), {})
    coverage = {}
    for name in names:
        lengths = [len(text) for row in rows.values() if (text := row[name].strip())]
        mean = sum(lengths) / len(lengths) if lengths else 0.0
        coverage[name] = {"share": len(lengths) / len(rows), "mean_length": mean}
    return coverage


def _feature_statistics(features: Features, counts: Mapping[str, int], seed: int) -> dict[str, Any]:
    """Coverage of the items with interactions, lengths of rows, how alike random rows are."""
    empty = set(features.manifest["empty_items"])
    full = [row for row, item in enumerate(features.items) if item not in empty]
    have = {features.items[row] for row in full}
    covered = sum(1 for item in counts if item in have)
    statistics: dict[str, Any] = {
        key: features.manifest[key] for key in ("encoder", "revision", "pooling", "normalised")
    }
    statistics |= {
        "width": int(features.matrix.shape[1]),
        "items": len(features.items),
        "empty_items": len(empty),
        "coverage": covered / len(counts),
    }
    if len(full) > 1:
        statistics |= _row_statistics(features.matrix, np.array(full), seed)
    return statistics


def _row_statistics(matrix: np.ndarray, full: np.ndarray, seed: int) -> dict[str, float]:
    norms = np.concatenate(
        [
            np.linalg.norm(matrix[full[block]].astype(np.float32), axis=1)
            for block in blocks(len(full))
        ]
    )
    pairs = np.random.default_rng(seed).integers(0, len(full), (2, PAIRS))
    pairs = pairs[:, pairs[0] != pairs[1]]
    left, right = (matrix[full[side]].astype(np.float32) for side in pairs)
    lengths = np.maximum(norms[pairs[0]] * norms[pairs[1]], 1e-12)
    cosines = (left * right).sum(axis=1) / lengths
    return {
        "norm_min": float(norms.min()),
        "norm_mean": float(norms.mean()),
        "norm_max": float(norms.max()),
        "mean_cosine": float(cosines.mean()),
        "share_of_equal_pairs": float((cosines > 0.9999).mean()),
    }


def _card(
    item: str, rows: Mapping[str, Mapping[str, str]], counts: Mapping[str, int]
) -> dict[str, Any]:
    row = rows.get(item, {})
    return {"item": item, "interactions": counts.get(item, 0), **title_and_rest(row)}


def title_and_rest(row: Mapping[str, str]) -> dict[str, str]:
    """``title`` and a short line of the other texts of a catalogue row."""
    texts = {name: text.strip() for name, text in row.items() if text.strip()}
    title = next((texts.pop(name) for name in TITLE_COLUMNS if name in texts), "")
    texts.pop("description", None)
    return {"title": title, "other": " · ".join(texts.values())[:200]}
