"""Tensors of a model of one training, as the same model needs them on other items and users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from recbole_fmrlrec.train.new_rows import FeatureStart
from recbole_fmrlrec.train.row_places import Axis, Misfit
from recbole_fmrlrec.train.vocabulary import Match

#: How rows that were not there before begin.
Start = Literal["zero", "mean", "features"]


class RowMapping:
    """Takes tensors over, row by row of items and users.

    Args:
        matches: of ``items`` and ``users``.
        places: of the new model, as `row_places`; may be left out where nothing has moved.
        start: predicts vectors of new items; None for their mean.

    Attributes:
        explained: by tensor, how much of the rows' variance the features explained.
    """

    def __init__(
        self,
        matches: Mapping[str, Match],
        places: Mapping[str, Sequence[Axis]] | None = None,
        start: FeatureStart | None = None,
    ) -> None:
        self.matches, self.places, self.start = dict(matches), dict(places or {}), start
        self.explained: dict[str, float] = {}

    @property
    def is_same(self) -> bool:
        """Whether all ids stand where they stood."""
        return all(match.is_same for match in self.matches.values())

    def axes(self, name: str, before: Sequence[int], now: Sequence[int]) -> list[Axis]:
        """The dimensions of a tensor in which something has moved.

        Raises:
            Misfit: a length before or now is not that of the ids, or differs for another reason.
        """
        if len(before) != len(now):
            raise Misfit(f"{list(before)} there, {list(now)} here")
        found = [axis for axis in self.places.get(name, ()) if self._has_moved(axis.kind)]
        kinds = {axis.dimension: axis for axis in found}
        for dimension, lengths in enumerate(zip(before, now, strict=True)):
            axis = kinds.get(dimension)
            if axis is not None and (axis.kind not in self.matches or axis.extra < -1):
                raise Misfit(f"how its rows depend on {axis.kind} is not known")
            if lengths != self._lengths(axis, lengths[1]):
                raise Misfit(
                    f"{list(before)} there, {list(now)} here, which is not a number of items or "
                    "users"
                )
        return found

    def _has_moved(self, kind: str) -> bool:
        match = self.matches.get(kind)
        return not (self.is_same if match is None else match.is_same)

    def _lengths(self, axis: Axis | None, now: int) -> tuple[int, int]:
        """What a dimension must be long before and now."""
        if axis is None:
            return now, now
        match = self.matches[axis.kind]
        return match.before + axis.extra, match.now + axis.extra

    def take_all(self, model: nn.Module, old: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A model's state with the values of ``old``; new rows start from their features.

        Raises:
            Misfit: a tensor cannot be taken over; it is named, with the reason.
        """
        learned = {name for name, _ in model.named_parameters(remove_duplicate=False)}
        taken = {}
        for name, now in model.state_dict().items():
            try:
                if name not in learned:
                    self._check_made(name, old[name], now)
                taken[name] = self.take(name, old[name], now.shape, "features")
            except Misfit as why:
                raise Misfit(f"{name} cannot be taken over: {why}") from None
        return taken

    def _check_made(self, name: str, old: Tensor, now: Tensor) -> None:
        """Refuse a buffer that was made for certain items.

        Whole numbers may be those of items, which have others now; a single one is a count.
        """
        axes = self.axes(name, old.shape, now.shape)
        numbers = old.ndim > 0 and not old.is_floating_point() and not self.is_same
        if any(self.matches[axis.kind].has_changed for axis in axes) or (
            numbers and not torch.equal(old.to(now.device), now)
        ):
            raise Misfit("made for the items of that training alone")

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
