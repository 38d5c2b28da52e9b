"""Rows of sequential datasets, cut out of all interactions at once."""

from __future__ import annotations

from typing import Any

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


def sequence_rows(
    dataset: Any, feat: Interaction, first: torch.Tensor, target: torch.Tensor
) -> Interaction:
    """Make the rows of RecBole's SequentialDataset that predict the given interactions.

    A row holds every field of its target, and for each but the user the list of what came before,
    (R, L): at most the latest L = MAX_ITEM_LIST_LENGTH.

    Args:
        dataset: a SequentialDataset whose list fields are declared (``_aug_presets``).
        feat: interactions sorted by user and time, M of them.
        first: the place in ``feat`` of the first interaction of the target's user, (R,).
        target: the place in ``feat`` of the interaction to predict, (R,), after ``first``.
    """
    width = dataset.max_item_list_len
    start = torch.maximum(first, target - width)
    rows = {field: feat[field][target] for field in feat}
    rows[dataset.item_list_length_field] = target - start
    for field in feat:
        if field != dataset.uid_field:
            name = getattr(dataset, f"{field}_list_field")
            rows[name] = gather_rows(feat[field], start, target - start, width)
    return Interaction(rows)


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
