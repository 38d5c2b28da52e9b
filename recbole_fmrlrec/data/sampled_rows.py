"""Evaluation against sampled negatives where a user has several rows, each with its own history."""

from __future__ import annotations

from logging import getLogger
from typing import Any

import torch
from recbole.data.dataloader import NegSampleEvalDataLoader
from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
from recbole.utils import InputType, ModelType

from recbole_fmrlrec.data.time_loaders import last_items


def has_rows_of_their_own(config: Any, part: Any) -> bool:
    """Whether a user's targets in a part are predicted from different histories.

    They are in a split by time, and where a sequential model has several rows of a user: with files
    of ``benchmark_filename``, and with splits that leave a user more than one target.
    """
    if getattr(part, "past", None) is not None:
        return True
    if config["MODEL_TYPE"] != ModelType.SEQUENTIAL:
        return False
    users = part.inter_feat[part.uid_field]
    return len(users.unique()) < len(users)


class SampledRowsEvalDataLoader(NegSampleEvalDataLoader):
    """A row for each target, ranked among negatives of its own.

    RecBole ranks all targets of a user as one list. Where each has a history of its own, not even a
    model that knows them all could have each on top.

    Attributes:
        ranked_last: ids of items that come behind all others, see `last_items`.
    """

    def __init__(self, config: Any, dataset: Any, sampler: Any, shuffle: bool = False) -> None:
        self.logger = getLogger()
        drawn = config[f"{sampler.phase}_neg_sample_args"]
        self._set_neg_sample_args(config, dataset, InputType.POINTWISE, drawn)
        self.ranked_last = last_items(config, dataset)
        self.sample_size = len(dataset)
        AbstractDataLoader.__init__(self, config, dataset, sampler, shuffle=shuffle)

    def _init_batch_size_and_step(self) -> None:
        self.step = max(1, self.config["eval_batch_size"] // self.times)
        self.set_batch_size(self.step)

    def collate_fn(self, index: Any) -> tuple[Any, ...]:
        """Make a batch: rows with their targets, then with each negative; whose row each is."""
        data = self.transform(self._dataset, self._dataset[torch.as_tensor(index)])
        places, items = torch.arange(len(data)), data[self.iid_field].clone()
        return self._neg_sampling(data), places.repeat(self.times), places, items
