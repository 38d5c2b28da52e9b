"""Rows of sequential datasets: kept as places in all interactions, cut out a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, NamedTuple

import torch
from recbole.data.interaction import Interaction


def gather_rows(
    values: torch.Tensor, start: torch.Tensor, length: torch.Tensor, width: int
) -> torch.Tensor:
    """Cut rows out of a long array: (M, ...) -> (R, width, ...), right-padded with zeros.

    Row r is ``values[start[r] : start[r] + length[r]]``; start and length are (R,).
    """
    column = torch.arange(width)
    padding = column >= length[:, None]
    rows = values[(start[:, None] + column).masked_fill_(padding, 0)]
    rows[padding] = 0
    return rows


class Before(NamedTuple):
    """What stands before the targets of R rows, whatever of it the rows' lists have room for.

    Attributes:
        items: the items of all interactions, (M,), as in ``flat``.
        first: the place in ``items`` of each row's user's first interaction, (R,).
    """

    items: torch.Tensor
    first: torch.Tensor


class _From(NamedTuple):
    """Where a column comes from: the target's value of a field, or the list of what was before."""

    field: str
    is_list: bool


class PrefixColumns(MutableMapping[str, torch.Tensor]):
    """Columns of R rows, each made when it is asked for: a target (R, ...) or a list (R, L, ...).

    Args:
        flat: all interactions by field, (M, ...) each; shared between copies, never written to.
        columns: each column's name and source, or the column itself.
        start: the place in ``flat`` of a row's first input, (R,).
        length: the number of its inputs, (R,).
        width: L, to which lists are padded.
        target: the place of its target, (R,); None where that follows the inputs.
        before: the whole history of each row.
    """

    # Files of rows that earlier versions have saved hold neither.
    target: torch.Tensor | None = None
    before: Before | None = None

    def __init__(
        self,
        flat: Mapping[str, torch.Tensor],
        columns: Mapping[str, _From | torch.Tensor],
        start: torch.Tensor,
        length: torch.Tensor,
        width: int,
        target: torch.Tensor | None = None,
        before: Before | None = None,
    ) -> None:
        used = {source.field for source in columns.values() if isinstance(source, _From)}
        self.flat = {field: values for field, values in flat.items() if field in used}
        self.columns = dict(columns)
        self.start, self.length, self.width = start, length, width
        self.target, self.before = target, before

    def __getitem__(self, name: str) -> torch.Tensor:
        source = self.columns[name]
        if isinstance(source, torch.Tensor):
            return source
        values = self.flat[source.field]
        if source.is_list:
            column = gather_rows(values, self.start, self.length, self.width)
        else:
            column = values[self.start + self.length if self.target is None else self.target]
        return column.long() if column.dtype == torch.int32 else column  # ids on disk are int32

    def __setitem__(self, name: str, column: torch.Tensor) -> None:
        self.columns[name] = column

    def __delitem__(self, name: str) -> None:
        del self.columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)

    def __deepcopy__(self, memo: dict[int, Any]) -> PrefixColumns:
        return self.select(slice(None))

    def select(self, index: slice | torch.Tensor) -> PrefixColumns:
        """The same columns of other rows, which are copies."""
        columns = {
            name: source[index].clone() if isinstance(source, torch.Tensor) else source
            for name, source in self.columns.items()
        }
        start, length = self.start[index].clone(), self.length[index].clone()
        target = None if self.target is None else self.target[index].clone()
        before = self.before and self.before._replace(first=self.before.first[index].clone())
        return PrefixColumns(self.flat, columns, start, length, self.width, target, before)


class PrefixRows(Interaction):
    """RecBole's Interaction whose columns are made when they are asked for.

    A row holds two numbers in place of its padded lists, 16 bytes in place of 16 L and more. A
    selection of rows is one of the same kind; `cut` makes an ordinary Interaction of it. A column
    asked for by its name stays in memory from then on, as RecBole's FEARec needs it, which picks
    single rows out of the list of items.
    """

    interaction: PrefixColumns

    def __init__(self, columns: PrefixColumns) -> None:
        self.interaction = columns
        self.length = len(columns.start)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, str):
            column = self.interaction[index]
            self.interaction[index] = column
            return column
        if isinstance(index, int):
            return Interaction({k: v[0] for k, v in self[[index]].cut().interaction.items()})
        return PrefixRows(self.interaction.select(_rows(index)))

    def _reindex(self, index: Any) -> None:
        self.interaction = self.interaction.select(_rows(index))

    def cut(self, trim: bool = False) -> Interaction:
        """The rows with lists (R, L, ...) as an ordinary Interaction.

        Args:
            trim: cut lists to the longest row, where else L is the largest length of all.
        """
        columns = self.interaction.select(slice(None))
        if trim:
            columns.width = int(columns.length.max())
        return Interaction(dict(columns))


def _rows(index: Any) -> slice | torch.Tensor:
    if isinstance(index, slice):
        return index
    places = torch.as_tensor(index)
    return places if places.dtype == torch.bool else places.long()


def sequence_rows(
    dataset: Any,
    feat: Interaction,
    first: torch.Tensor,
    target: torch.Tensor,
    end: torch.Tensor | None = None,
) -> PrefixRows:
    """Make the rows of RecBole's SequentialDataset that predict the given interactions.

    A row holds every field of its target, and for each but the user the list of what came before,
    (R, L): at most the latest L = MAX_ITEM_LIST_LENGTH.

    Args:
        dataset: a SequentialDataset whose list fields are declared (``_aug_presets``).
        feat: interactions sorted by user and time, M of them.
        first: the place in ``feat`` of the first interaction of the target's user, (R,).
        target: the place in ``feat`` of the interaction to predict, (R,), after ``first``.
        end: the place before which the list ends, (R,), at most ``target``; None for ``target``.
    """
    width, apart = dataset.max_item_list_len, None if end is None else target
    end = target if end is None else end
    start = torch.maximum(first, end - width)
    columns: dict[str, Any] = {field: _From(field, is_list=False) for field in feat}
    columns[dataset.item_list_length_field] = end - start
    for field in feat:
        if field != dataset.uid_field:
            columns[getattr(dataset, f"{field}_list_field")] = _From(field, is_list=True)
    flat = {field: feat[field] for field in feat}
    before = Before(feat[dataset.iid_field], first)
    return PrefixRows(PrefixColumns(flat, columns, start, end - start, width, apart, before))


def prefix_rows(dataset: Any) -> None:
    """Do what RecBole's ``SequentialDataset.data_augmentation`` does, without its loops."""
    dataset._aug_presets()
    dataset._check_field("uid_field", "time_field")
    dataset.sort(by=[dataset.uid_field, dataset.time_field])
    feat = dataset.inter_feat
    _, total = torch.unique_consecutive(feat[dataset.uid_field], return_counts=True)
    first = torch.repeat_interleave(total.cumsum(0) - total, total)
    target = torch.nonzero(torch.arange(len(first)) > first).flatten()
    dataset.inter_feat = sequence_rows(dataset, feat, first[target], target)
