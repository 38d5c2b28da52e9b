"""Items and users of two trainings, matched by their ids."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

#: What a model can have rows of, with the word for one more than one.
KINDS = {"items": "items", "users": "users"}


def vocabulary_of(dataset: Any) -> dict[str, list[str]]:
    """The ids of a dataset's items and users in RecBole's order, the padding left out."""
    fields = {"items": dataset.iid_field, "users": dataset.uid_field}
    tokens = dataset.field2id_token
    return {kind: [str(one) for one in tokens[field][1:]] for kind, field in fields.items()}


def columns_of(dataset: Any) -> dict[str, str]:
    """A hash of the values of every other column of tokens, in the order of their numbers."""
    tables = dataset.field2id_token
    ids = [tables[dataset.iid_field], tables[dataset.uid_field]]
    return {
        str(field): hashlib.sha256("\n".join(map(str, values)).encode()).hexdigest()
        for field, values in tables.items()
        if not any(values is known for known in ids)
    }


def same_columns(stored: Any, dataset: Any) -> bool:
    """Whether the values of columns have the numbers that they had; unknown ones may have others.

    Args:
        stored: `columns_of` of a checkpoint.
    """
    now = columns_of(dataset)
    return isinstance(stored, dict) and all(now.get(k, stored[k]) == stored[k] for k in stored)


def to_text(vocabulary: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """For a checkpoint: one text a kind, for a million small texts are slow to read."""
    return {kind: "\n".join(ids) for kind, ids in vocabulary.items()}


def from_text(stored: Any) -> dict[str, list[str]] | None:
    """The inverse of `to_text`; None where a checkpoint holds none."""
    if not isinstance(stored, dict) or not all(isinstance(stored.get(k), str) for k in KINDS):
        return None
    return {kind: stored[kind].split("\n") for kind in KINDS}


def match(
    before: Mapping[str, Sequence[str]], now: Mapping[str, Sequence[str]]
) -> dict[str, Match]:
    """The ids of each kind matched."""
    return {kind: Match.of(before[kind], ids) for kind, ids in now.items()}


@dataclass(frozen=True)
class Match:
    """Ids of one kind before and now; row 0 is the padding in both.

    Attributes:
        before: how many rows there were, the padding included.
        rows: for each row now its row before, -1 for a new one, ``(n,)``.
        gone: ids that are not there any more.
    """

    before: int
    rows: np.ndarray
    gone: list[str]

    @classmethod
    def of(cls, before: Sequence[str], now: Sequence[str]) -> Match:
        """Match two lists of ids."""
        place = {name: row for row, name in enumerate(before, 1)}
        rows = np.array([0, *(place.get(name, -1) for name in now)], dtype=np.int64)
        there = set(now)
        return cls(len(before) + 1, rows, [name for name in before if name not in there])

    @property
    def now(self) -> int:
        """How many rows there are, the padding included."""
        return len(self.rows)

    @property
    def new(self) -> int:
        """How many ids were not there before."""
        return int((self.rows < 0).sum())

    @property
    def kept(self) -> int:
        """How many ids are in both."""
        return self.now - 1 - self.new

    @property
    def has_changed(self) -> bool:
        """Whether an id is new or gone."""
        return bool(self.new or self.gone)

    @property
    def is_same(self) -> bool:
        """Whether nothing has changed, not even a place."""
        return self.before == self.now and bool((self.rows == np.arange(self.now)).all())

    def shifted(self, extra: int) -> np.ndarray:
        """`rows` for a tensor with ``extra`` rows more than ids and padding.

        -1: it has no row for the padding. 1: a row behind the others, of RecBole's mask token.
        """
        if extra < 0:
            return np.where(self.rows[1:] < 0, -1, self.rows[1:] - 1)
        return np.concatenate([self.rows, np.arange(self.before, self.before + extra)])
