"""Tensors of a model of one training, as the same model needs them on other items and users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from recbole_fmrlrec.train.new_rows import FeatureStart
from recbole_fmrlrec.train.vocabulary import Match

#: How rows that were not there before begin.
Start = Literal["zero", "mean", "features"]
# Numbers of rows beside those of the ids with the padding: none for the padding, one for a mask.
_EXTRA = (0, -1, 1)


class Misfit(Exception):
    """A tensor that cannot be taken over; it says why."""


@dataclass(frozen=True)
class Axis:
    """A dimension of a tensor whose places are ids of a kind.

    Attributes:
        extra: places beside those of the ids and the padding, see `Match.shifted`.
    """

    dimension: int
    kind: str
    extra: int


class RowMapping:
    """Takes tensors over, row by row of items and users.

    Args:
        matches: of ``items`` and ``users``.
        start: predicts vectors of new items; None for their mean.

    Attributes:
        explained: by tensor, how much of the rows' variance the features explained.
    """

    def __init__(self, matches: Mapping[str, Match], start: FeatureStart | None = None) -> None:
        self.matches, self.start = dict(matches), start
        self.explained: dict[str, float] = {}

    def axes(self, name: str, before: Sequence[int], now: Sequence[int]) -> list[Axis]:
        """Which dimensions of a tensor are items or users, by their lengths before and now.

        Raises:
            Misfit: a length differs for another reason, or could have two.
        """
        if len(before) != len(now):
            raise Misfit(f"{list(before)} there, {list(now)} here")
        found = []
        for dimension, (old, new) in enumerate(zip(before, now, strict=True)):
            fits = self._fitting(name, old, new)
            if not fits and old != new:
                raise Misfit(
                    f"{list(before)} there, {list(now)} here, which is not a number of items or "
                    "users"
                )
            if len(fits) > 1:
                named = [kind for kind in fits if kind.removesuffix("s") in name]
                if len(named) != 1:
                    raise Misfit("as many items as users: its rows could be either")
                fits = {named[0]: fits[named[0]]}
            found += [Axis(dimension, kind, extra) for kind, extra in fits.items()]
        return found

    def _fitting(self, name: str, old: int, new: int) -> dict[str, int]:
        """By kind, the extra places that a dimension of these lengths would have.

        A kind in which nothing changed leaves nothing to map. A length that stays the same may be
        another number that happens to be near: then only a tensor named after the kind has extras.
        """
        found = {}
        for kind, match in self.matches.items():
            if match.is_same:
                continue
            near = old != new or kind.removesuffix("s") in name
            for extra in _EXTRA if near else (0,):
                if (old, new) == (match.before + extra, match.now + extra):
                    found[kind] = extra
                    break
        exact: dict[str, int] = {kind: extra for kind, extra in found.items() if not extra}
        return exact or found

    def take(self, name: str, old: Tensor, now: Sequence[int], start: Start) -> Tensor:
        """A tensor of the shape ``now`` with the values of ``old`` for all that was there before.

        Raises:
            Misfit: as `axes`; or it has numbers of items that are made for one set of them.
        """
        found = self.axes(name, old.shape, now)
        if found and not old.is_floating_point():
            raise Misfit("numbers that were made for the items of that training alone")
        values = old
        for axis in found:
            rows = torch.from_numpy(self.matches[axis.kind].shifted(axis.extra)).to(old.device)
            fresh = rows < 0
            taken = values.index_select(axis.dimension, rows.clamp(min=0))
            if bool(fresh.any()):
                first = self._first_values(name, values, taken, axis, rows, start)
                taken.index_copy_(axis.dimension, fresh.nonzero().flatten(), first)
            values = taken
        return values.clone() if values is old else values

    def _first_values(
        self, name: str, old: Tensor, taken: Tensor, axis: Axis, rows: Tensor, start: Start
    ) -> Tensor:
        """What the new places of a dimension start with."""
        fresh = int((rows < 0).sum())
        shape = list(taken.shape)
        shape[axis.dimension] = fresh
        if start == "zero":
            return taken.new_zeros(shape)
        match = self.matches[axis.kind]
        kept = rows[:-1] if axis.extra > 0 else rows
        kept = kept[(kept >= 0) if axis.extra < 0 else (kept > 0)]
        if not match.kept:
            raise Misfit(f"none of its {axis.kind} is among those here")
        is_vectors = start == "features" and axis.kind == "items" and axis.dimension == 0
        if self.start is not None and is_vectors and old.ndim <= 2:
            return self._from_features(name, taken, axis).view(shape)
        mean = old.index_select(axis.dimension, kept).mean(axis.dimension, keepdim=True)
        return mean.expand(shape)

    def _from_features(self, name: str, taken: Tensor, axis: Axis) -> Tensor:
        assert self.start is not None
        rows = taken.reshape(len(taken), -1)
        if axis.extra < 0:
            rows = torch.cat([rows[:1], rows])  # a place for the padding
        found, self.explained[name] = self.start.predict(rows.cpu())
        return found.to(taken)
