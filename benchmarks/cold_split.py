"""A dataset without a drawn share of its items, and the cases that test these."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dataset_tools.features import list_modalities, read_items
from dataset_tools.formats.atomic_files import read_table, write_table


class Case(NamedTuple):
    """A history, the oldest item first, and the cold item that came next."""

    history: list[str]
    target: str


@dataclass(frozen=True)
class ColdSplit:
    """Warm and cold items, how often each warm item was interacted with, and the cases.

    Attributes:
        warm: items that still have interactions, with their number.
        cold: items held out.
        cases: users whose last interaction is with a cold item.
        dropped: interactions with cold items.
        features: folder of the feature matrices.
    """

    warm: dict[str, int]
    cold: list[str]
    cases: list[Case]
    dropped: int
    features: Path


def split_dataset(source: Path, work: Path, share: float, seed: int) -> ColdSplit:
    """Write ``work/NAME`` without the cold items, named as the source so that its settings hold.

    Raises:
        FileNotFoundError: the source has no features.
    """
    features = source / "features"
    if not list_modalities(features):
        raise FileNotFoundError(f"no feature matrix in {features.absolute()}")
    events = _events(source / f"{source.name}.inter")
    items = sorted({item for history in events.values() for _, item in history})
    known = set(read_items(features))
    drawable = [item for item in items if item in known]
    count = round(share * len(items))
    drawn = np.random.default_rng(seed).choice(len(drawable), count, replace=False)
    cold = {drawable[at] for at in drawn.tolist()}
    warm: dict[str, int] = defaultdict(int)
    rows: list[tuple[str, str, str]] = []
    for user, history in events.items():
        for stamp, item in history:
            if item not in cold:
                warm[item] += 1
                rows.append((user, item, stamp))
    names = ("user_id:token", "item_id:token", "timestamp:float")
    write_table(work / source.name / f"{source.name}.inter", [*names], rows)
    cases = [_case(history) for history in events.values() if history[-1][1] in cold]
    total = sum(map(len, events.values()))
    usable = [case for case in cases if case.history]
    return ColdSplit(dict(warm), sorted(cold), usable, total - len(rows), features)


def _events(path: Path) -> dict[str, list[tuple[str, str]]]:
    """Events ``(timestamp, item)`` by user, in time order, ties as in the file."""
    _, rows = read_table(path)
    events: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for row in rows:
        events[row["user_id"]].append((row["timestamp"], row["item_id"]))
    for history in events.values():
        history.sort(key=lambda event: float(event[0]))
    return events


def _case(history: list[tuple[str, str]]) -> Case:
    return Case([item for _, item in history[:-1]], history[-1][1])
