"""Rows of user windows: kept as places in all interactions, cut out a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_fmrlrec.data.prefix_rows import gather_rows

TARGETS = "target_id_list"
START_TARGET = "start_target"
#: Windows whose rows are made at a time where something is counted over all of them.
BLOCK = 1 << 16


class Fields(NamedTuple):
    """Names of the columns of a window that other settings give."""

    user: str
    item: str
    item_list: str
    length: str


class Places(NamedTuple):
    """Where windows lie in all interactions, (W,) each.

    ``start`` is the place of a window's first input, ``length`` how many it has, ``fresh`` the
    first position whose target is trained in it, ``begins`` whether it begins a history.
    """

    start: Tensor
    length: Tensor
    fresh: Tensor
    begins: Tensor


class WindowRows(Interaction):
    """RecBole's Interaction of windows, whose columns are made when they are asked for.

    A window holds 25 bytes in place of two lists of L items, 16 L bytes. The interactions may be in
    memory or mapped from a file.

    Args:
        users: of all interactions by user and time, (M,).
        items: of the same, (M,).
        places: of the windows.
        width: L, to which lists are padded.
        fields: names of the columns.
    """

    def __init__(
        self, users: Tensor, items: Tensor, places: Places, width: int, fields: Fields
    ) -> None:
        self._users, self._items, self._places = users, items, places
        self._width, self._fields = width, fields
        self._set: dict[str, Tensor] = {}
        self.length = len(places.start)

    @property
    def interaction(self) -> Mapping[str, Tensor]:
        """All columns: they are made here and now."""
        return {name: self[name] for name in self}

    def __iter__(self) -> Iterator[str]:
        made = (self._fields.user, self._fields.item, self._fields.length, self._fields.item_list)
        return iter(dict.fromkeys([*made, TARGETS, START_TARGET, *self._set]))

    def __contains__(self, name: object) -> bool:
        return name in list(self)

    def __getitem__(self, index: Any) -> Any:
        if not isinstance(index, str):
            return self.cut(index, self._width)
        if index in self._set:
            return self._set[index]
        return self._column(index, self._places, self._width)

    def __setitem__(self, name: str, column: Tensor) -> None:
        self._set[name] = column

    def cut(self, index: Any, width: int | None = None) -> Interaction:
        """Some rows as an ordinary Interaction.

        Args:
            width: of the lists; the length of the longest of these windows when None.
        """
        rows = index if isinstance(index, slice) else torch.as_tensor(index)
        places = Places(*(column[rows] for column in self._places))
        wide = int(places.length.max()) if width is None else width
        own = {name: column[rows] for name, column in self._set.items()}
        return Interaction({n: self._column(n, places, wide) for n in self if n not in own} | own)

    def counts(self, names: Sequence[str], number: int) -> Tensor:
        """How often each item id below ``number`` occurs in some columns of items, (number,).

        Padding counts as 0 times.
        """
        found = torch.zeros(number, dtype=torch.int64)
        for low in range(0, self.length, BLOCK):
            places = Places(*(column[low : low + BLOCK] for column in self._places))
            for name in names:
                items = self._column(name, places, int(places.length.max()))
                found += torch.bincount(items.flatten(), minlength=number)
        found[0] = 0
        return found

    def _column(self, name: str, places: Places, width: int) -> Tensor:
        start, length, fresh, begins = places
        names = self._fields
        if name == names.length:
            return length
        if name == names.user:
            return self._users[start].long()
        if name == names.item:
            return self._items[start + length].long()
        if name == names.item_list:
            return gather_rows(self._items, start, length, width).long()
        if name == TARGETS:
            targets = gather_rows(self._items, start + 1, length, width).long()
            return targets.masked_fill_(torch.arange(width) < fresh[:, None], 0)
        if name == START_TARGET:
            return torch.where(begins, self._items[start].long(), 0)
        raise KeyError(name)


class Trained:
    """The interactions of a training part, by user and time, whatever the windows.

    Args:
        feat: all interactions by user and time.
        first: the place of each user's first, (U,).
        number: how many of a user's are of the training part, the first included, (U,).
    """

    def __init__(self, feat: Interaction, first: Tensor, number: Tensor) -> None:
        self._feat, self._first, self._number = feat, first, number

    def __len__(self) -> int:
        """The interactions that are predicted: all but the first of each user."""
        return int((self._number - 1).sum())

    def targets(self) -> Interaction:
        """The interactions that are predicted."""
        return take(self._feat, _ranges(self._first + 1, self._number - 1))

    def firsts(self) -> Interaction:
        """The first interaction of each user."""
        return take(self._feat, self._first)

    def counts(self, field: str, number: int) -> np.ndarray:
        """How often each id of a field is among those that are predicted, (number,)."""
        found = np.zeros(number, dtype=np.int64)
        for low in range(0, len(self._first), BLOCK):
            part = slice(low, low + BLOCK)
            rows = _ranges(self._first[part] + 1, self._number[part] - 1)
            found += np.bincount(self._feat[field][rows].numpy(), minlength=number)
        return found


def take(feat: Interaction, rows: Tensor) -> Interaction:
    """Some interactions; ids that are kept as int32 become int64, as everywhere else."""
    return Interaction({field: _wide(feat[field][rows]) for field in feat})


def _wide(column: Tensor) -> Tensor:
    return column.long() if column.dtype == torch.int32 else column


def _ranges(start: Tensor, length: Tensor) -> Tensor:
    """``start[n], start[n] + 1, ...``, ``length[n]`` of each, one after the other."""
    offset = torch.arange(int(length.sum()))
    offset -= torch.repeat_interleave(length.cumsum(0) - length, length)
    return torch.repeat_interleave(start, length) + offset
