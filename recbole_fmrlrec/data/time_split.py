"""A split by time: training before one moment, validation before another, test from there on.

``eval_args.split: {time: [VALID_FROM, TEST_FROM]}``. An interaction belongs to the part that its
exact time says, so that equal times are never torn apart. Which interactions of the later parts
are evaluated, and what each is predicted from, depends on the data alone and on no model: all
models of a comparison have the same rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dataset_tools.formats.dates import UNITS, read_stamp, show_stamp, unit_of
from recbole_fmrlrec.data.benchmark_rows import ByUser, by_user
from recbole_fmrlrec.data.prefix_rows import sequence_rows
from recbole_fmrlrec.errors import DataError
from recbole_fmrlrec.keys.time_split import protocol

PARTS = ("training", "validation", "test")


class Cuts(NamedTuple):
    """Where interactions in order of time are cut.

    Attributes:
        moments: VALID_FROM and TEST_FROM as values of the time column.
        sizes: how many interactions training, validation and test have.
    """

    moments: tuple[float, float]
    sizes: tuple[int, int, int]


def find_cuts(times: np.ndarray, asked: Sequence[Any], name: str) -> Cuts:
    """Cut interactions at two moments; those at a moment itself are after it.

    Args:
        times: ``(M,)`` float64, ascending.
        asked: each a date, a value of the column, or a share of the interactions between 0 and 1:
            the time of the first interaction beyond that share.
        name: of the dataset, for messages.

    Raises:
        DataError: a date for times that are no dates, moments out of order, or a part that would
            have no interaction.
    """
    valid, test = (_moment(value, times, name) for value in asked)
    low, high = (int(at) for at in np.searchsorted(times, (valid, test), side="left"))
    sizes = low, high - low, len(times) - high
    if valid >= test or min(sizes) <= 0:
        span = f"the times of {name} go from {show_stamp(times[0])} to {show_stamp(times[-1])}"
        where = (
            f"eval_args.split.time = {list(asked)} is {show_stamp(valid)} and {show_stamp(test)}"
        )
        what = "the second must be later than the first"
        if valid < test:
            empty = ", ".join(part for part, size in zip(PARTS, sizes, strict=True) if not size)
            what = f"no interaction is left for {empty}"
        raise DataError(f"{where}: {what}; {span}")
    return Cuts((valid, test), sizes)


def _moment(value: Any, times: np.ndarray, name: str) -> float:
    number, is_date = read_stamp(value)
    if is_date:
        unit = unit_of(float(times[-1]))
        if unit is None:
            raise DataError(
                f"eval_args.split.time: {value} is a date, but the times of {name} are numbers "
                f"from {times[0]:g} to {times[-1]:g}; give such numbers, or shares of the "
                "interactions such as [0.8, 0.9]"
            )
        return float(number * UNITS[unit])
    if 0 < number < 1:  # the small number lets 0.29 of 100 be 29
        return float(times[min(math.floor(number * len(times) + 1e-6), len(times) - 1)])
    return float(number)


@dataclass(frozen=True)
class Past:
    """What was before each row of a validation or test part, of R rows out of M interactions.

    Attributes:
        users, items, part: of all interactions, by user and time, ``(M,)``; the part is 0 in
            training, 1 in validation, 2 in test.
        target: the place of a row's own interaction, ``(R,)``.
        start, end: a row is predicted from the interactions ``start`` to ``end`` - 1, ``(R,)``.
        item_counts: training interactions of each item id, ``(N+1,)``.
        user_counts: those of each user id.
        moments: as in `Cuts`.
        without_past: how many interactions of the part have nothing to be predicted from.
        dropped: how many have, and are left out because their item is cold.
        cold: item ids that no training interaction has.
        dropping: whether cold items are left out for every model.
    """

    users: Tensor
    items: Tensor
    part: Tensor
    target: Tensor
    start: Tensor
    end: Tensor
    item_counts: Tensor
    user_counts: Tensor
    moments: tuple[float, float]
    without_past: int
    dropped: int
    cold: Tensor
    dropping: bool

    @property
    def length(self) -> Tensor:
        """How many interactions each row is predicted from, ``(R,)``."""
        return self.end - self.start

    @property
    def of_cold_items(self) -> Tensor:
        """Which rows have a target that training never saw, ``(R,)``."""
        return self.item_counts[self.items[self.target]] == 0

    @property
    def of_new_users(self) -> Tensor:
        """Which rows are of a user that training never saw, ``(R,)``."""
        return self.user_counts[self.users[self.target]] == 0


def time_rows(dataset: Any) -> tuple[ByUser, list[Past]]:
    """Choose the rows of validation and test.

    Args:
        dataset: with `Cuts` as ``time_cuts``; its tables are tensors in order of time.

    Returns:
        All interactions by user and time, and what was before the rows of the two parts.
    """
    data = by_user(dataset, dataset.time_cuts.sizes)
    how = protocol(dataset.config["eval_args"])
    users, items = (data.feat[field].clone() for field in (dataset.uid_field, dataset.iid_field))
    seen = data.part == 0
    item_counts = torch.bincount(items[seen], minlength=dataset.item_num)
    known: dict[str, Any] = {
        "users": users,
        "items": items,
        "part": data.part,
        "item_counts": item_counts,
        "user_counts": torch.bincount(users[seen], minlength=dataset.user_num),
        "moments": dataset.time_cuts.moments,
        "cold": torch.nonzero(item_counts[1:] == 0).flatten() + 1,
        "dropping": how["cold"] == "drop",
    }
    is_cold = item_counts[items] == 0
    return data, [Past(**known, **_chosen_rows(data, is_cold, part, how)) for part in (1, 2)]


def _chosen_rows(
    data: ByUser, is_cold: Tensor, part: int, how: Mapping[str, str]
) -> dict[str, Any]:
    own = torch.nonzero(data.part == part).flatten()
    first = data.first[own]
    end = own
    if how["context"] == "frozen":
        earlier = torch.zeros_like(data.first).index_add_(0, data.first, (data.part < part).long())
        end = first + earlier[first]
    kept = end > first
    without_past = int((~kept).sum())
    dropped = 0
    if how["cold"] == "drop":
        dropped = int((kept & is_cold[own]).sum())
        kept &= ~is_cold[own]
    target, start, end = (column[kept] for column in (own, first, end))
    chosen = _chosen(start, how["targets"])
    return {
        "target": target[chosen],
        "start": start[chosen],
        "end": end[chosen],
        "without_past": without_past,
        "dropped": dropped,
    }


def plain_parts(dataset: Any) -> list[Any]:
    """The parts of a dataset of plain interactions."""
    data, past = time_rows(dataset)
    trained = torch.nonzero(data.part == 0).flatten()
    dataset.inter_feat = data.feat
    dataset._drop_unused_col()
    feat = dataset.inter_feat
    places = [trained, *(one.target for one in past)]
    return with_past([dataset.copy(feat[at]) for at in places], past)


def prefix_parts(dataset: Any) -> list[Any]:
    """The parts of a sequential dataset that is trained on a row for each prefix."""
    data, past = time_rows(dataset)
    trained = (data.part == 0) & (torch.arange(len(data.first)) > data.first)
    target = torch.nonzero(trained).flatten()
    return with_past(sequence_parts(dataset, data, [target], past), past)


def sequence_parts(
    dataset: Any, data: ByUser, trained: Sequence[Tensor], past: Sequence[Past]
) -> list[Any]:
    """Parts of a sequential dataset that predict training interactions, and those of each past.

    Args:
        dataset: it gets the rows of all these parts.
        trained: by part, the places of interactions that are not their user's first.
    """
    target = torch.cat([*trained, *(one.target for one in past)])
    end = torch.cat([*trained, *(one.end for one in past)])
    apart = None if torch.equal(target, end) else end
    dataset.inter_feat = sequence_rows(dataset, data.feat, data.first[target], target, apart)
    dataset._drop_unused_col()
    sizes = [len(at) for at in trained] + [len(one.target) for one in past]
    ends = np.cumsum(sizes).tolist()
    cuts = zip([0, *ends], ends, strict=False)
    return [dataset.copy(dataset.inter_feat[low:high]) for low, high in cuts]


def check_evaluated(config: Any, parts: Sequence[Any], filters: str = "") -> None:
    """Refuse parts of a split by time that have no rows.

    Args:
        filters: what to add about filters that leave little.

    Raises:
        DataError: it says of which interactions, and why none of them is a row.
    """
    if getattr(parts[1], "past", None) is None:
        return
    asked = f"{config['dataset']}: eval_args.split = {config['eval_args']['split']}"
    if not len(parts[0]):
        raise DataError(f"{asked} leaves no user two interactions to be trained on{filters}")
    for name, part in zip(PARTS[1:], parts[1:], strict=True):
        if not len(part):
            past = part.past
            raise DataError(
                f"{asked} leaves no row of {name}: {past.without_past:,} of its interactions have "
                f"nothing before them that they could be predicted from, {past.dropped:,} are of "
                f"items that training never saw{filters}"
            )


def with_past(parts: Sequence[Any], past: Sequence[Past]) -> list[Any]:
    """Parts of which those of validation and test know what was before their rows.

    The training part knows as ``cold_items`` which items it has no interaction of.
    """
    parts[0].cold_items = past[0].cold
    for part, one in zip(parts[1:], past, strict=True):
        part.past = one
    return list(parts)


def _chosen(user: Tensor, which: str) -> Tensor:
    """All rows, or the first or last of each user; rows of a user stand together, ``(R,)``."""
    if which == "all" or not len(user):
        return torch.arange(len(user))
    _, count = torch.unique_consecutive(user, return_counts=True)
    last = count.cumsum(0) - 1
    return last if which == "last" else last - count + 1
