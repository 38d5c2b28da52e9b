"""Samplers and evaluation loaders of a split by time, which know nothing of what comes later."""

from __future__ import annotations

from logging import getLogger
from typing import Any

import torch
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
from recbole.data.interaction import Interaction
from recbole.sampler import RepeatableSampler, Sampler
from recbole.utils import ModelType
from torch import Tensor

from recbole_fmrlrec.data.time_split import Past
from recbole_fmrlrec.evaluation.dealing import DealtLoader
from recbole_fmrlrec.evaluation.history import Histories
from recbole_fmrlrec.model_api.protocols import FeatureModel
from recbole_fmrlrec.model_api.registry import is_shipped

PHASES = ["train", "valid", "test"]
#: Scores that are held at once where RecBole would take the users of one `eval_batch_size`.
SCORES = 2**22


#: RecBole's sequential models that read every column of the items, as its context models do.
READ_ITEM_COLUMNS = {"DIN", "DIEN"}


def knows_ids_only(config: Any, dataset: Any) -> bool:
    """Whether all that a model knows of an item is its id, so that it cannot rank a cold one.

    Of a class from outside that does not say that it reads features nobody knows.

    Args:
        dataset: the whole one or a part, for the columns of its items.
    """
    if issubclass(config.model_class, FeatureModel):
        return config["use_features"] is False
    if not is_shipped(config["model"]):
        return False
    kind = config["MODEL_TYPE"]
    if kind == ModelType.CONTEXT or config["model"] in READ_ITEM_COLUMNS:
        items = dataset.item_feat
        return items is None or set(items.columns) <= {dataset.iid_field}
    kinds = (ModelType.GENERAL, ModelType.TRADITIONAL, ModelType.SEQUENTIAL)
    more = ("selected_features", "item_attribute", "preload_weight")
    return kind in kinds and not any(config[key] for key in more)


def last_items(config: Any, part: Any) -> Tensor | None:
    """Ids, ascending, that a part's rows rank behind all others; None for none.

    They are the cold ones of a split by time, where the model knows ids only or ``eval_args.cold``
    drops them.
    """
    past: Past | None = getattr(part, "past", None)
    if past is None or not len(past.cold):
        return None
    return past.cold if past.dropping or knows_ids_only(config, part) else None


class _PastSampler(Sampler):
    """RecBole's sampler, whose popularity is that of training: RecBole counts all parts."""

    def _get_candidates_list(self) -> list[int]:
        items: list[int] = self.datasets[0].inter_feat[self.iid_field].tolist()
        return items


def time_samplers(config: Any, dataset: Any, past: Past) -> list[Any]:
    """The samplers of training, validation and test; None for a phase that draws nothing.

    What a user did in a part and before it is no negative there; what comes later nobody knows.
    Every interaction of a part counts, the ones that are not evaluated too.

    Args:
        dataset: the whole one.
        past: of one of the parts.
    """
    fields = dataset.uid_field, dataset.iid_field
    parts = []
    for number in range(3):
        own = past.part == number
        columns = past.users[own], past.items[own]
        parts.append(dataset.copy(Interaction(dict(zip(fields, columns, strict=True)))))
    alpha = config["train_neg_sample_args"]["alpha"]
    alpha = alpha if isinstance(alpha, int | float) else 1.0
    if config["repeatable"]:
        base = RepeatableSampler(PHASES, parts[0], "uniform", alpha)
    else:
        base = _PastSampler(PHASES, parts, "uniform", alpha)
    samplers: list[Any] = []
    for phase in PHASES:
        distribution = config[f"{phase}_neg_sample_args"]["distribution"]
        sampler = None if distribution == "none" else base.set_phase(phase)
        if sampler is not None:
            sampler.set_distribution(distribution)
        samplers.append(sampler)
    return samplers


class TimeEvalDataLoader(DealtLoader, FullSortEvalDataLoader):
    """Full ranking with a row for each target, for models of every kind.

    RecBole makes one row of all targets of a user where the model is a general one, so that its
    numbers would be others' only where each user has one target.

    Attributes:
        unranked: ids of items that are not ranked, see `last_items`.
        histories: what each row is predicted from.
    """

    def __init__(self, config: Any, dataset: Any, sampler: Any) -> None:
        self.logger = getLogger()
        self.uid_field, self.iid_field = dataset.uid_field, dataset.iid_field
        self.makes_sequences = config["MODEL_TYPE"] == ModelType.SEQUENTIAL
        past: Past = dataset.past
        self.unranked = last_items(config, dataset)
        self.histories = Histories(past.items.int(), past.start, past.end)
        self.sample_size = len(dataset)
        AbstractDataLoader.__init__(self, config, dataset, sampler, shuffle=False)
        self.is_sequential = True  # for RecBole: a row has one target

    def _init_batch_size_and_step(self) -> None:
        step = self.config["eval_batch_size"]
        if not self.makes_sequences:
            step = max(1, min(step, SCORES // self._dataset.item_num))
        self.step = step
        self.set_batch_size(step)

    def collate_fn(self, index: Any) -> tuple[Any, ...]:
        """Make a batch: rows or their users, nothing to mask, positives by place and by item."""
        rows, dataset = torch.as_tensor(index), self._dataset
        if self.makes_sequences:
            made = self.transform(dataset, dataset[rows])
            items = made[self.iid_field]
        else:
            feat = dataset.inter_feat
            made = dataset.join(Interaction({self.uid_field: feat[self.uid_field][rows]}))
            items = feat[self.iid_field][rows]
        return made, None, torch.arange(len(rows)), items
