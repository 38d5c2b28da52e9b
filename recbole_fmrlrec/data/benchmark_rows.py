"""Rows of sequential models from ``benchmark_filename``: files that hold plain interactions.

RecBole takes such files only for general models; for sequential ones it wants the lists made
already, in a column ``item_id_list``. A row predicts an interaction of a part from all of the
user's in the parts before it, and from the earlier ones of its own part.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from recbole.data.dataset import SequentialDataset
from recbole.data.interaction import Interaction

from recbole_fmrlrec.data.prefix_rows import sequence_rows


class ByUser(NamedTuple):
    """All interactions by user, then part, then time: M of them.

    ``part`` is 0 in training, 1 in validation and 2 in test, (M,); ``first`` is the place of the
    user's first interaction, (M,).
    """

    feat: Interaction
    part: torch.Tensor
    first: torch.Tensor


def is_plain(dataset: Any) -> bool:
    """Whether a sequential dataset comes from benchmark files without lists."""
    lists = dataset.iid_field + dataset.config["LIST_SUFFIX"]
    sequential = isinstance(dataset, SequentialDataset) and dataset.benchmark_filename_list
    return bool(sequential) and lists not in dataset.inter_feat


def sort_parts(dataset: Any) -> None:
    """Sort each file's interactions by exact time; ties, and files without times, stay."""
    frame = dataset.inter_feat
    if dataset.time_field in frame:
        part = np.repeat(np.arange(len(dataset.file_size_list)), dataset.file_size_list)
        order = np.lexsort((frame[dataset.time_field].to_numpy(), part))
        dataset.inter_feat = frame.iloc[order].reset_index(drop=True)


def by_user(dataset: Any, sizes: Sequence[int]) -> ByUser:
    """The interactions of a dataset whose tables are tensors and whose parts are sorted.

    Args:
        dataset: its interactions stand part by part, each in order of time.
        sizes: how many each part has.
    """
    part = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    order = torch.argsort(dataset.inter_feat[dataset.uid_field], stable=True)
    feat = dataset.inter_feat[order]
    _, total = torch.unique_consecutive(feat[dataset.uid_field], return_counts=True)
    return ByUser(feat, part[order], torch.repeat_interleave(total.cumsum(0) - total, total))


def prefix_parts(dataset: Any, data: ByUser, parts: tuple[int, ...] = (0, 1, 2)) -> list[Any]:
    """A row for each interaction of the given parts that is not its user's first."""
    target = torch.nonzero(torch.arange(len(data.first)) > data.first).flatten()
    target = target[torch.isin(data.part[target], torch.tensor(parts))]
    rows = sequence_rows(dataset, data.feat, data.first[target], target)
    dataset.inter_feat = rows
    dataset._drop_unused_col()
    return [dataset.copy(dataset.inter_feat[data.part[target] == number]) for number in parts]
