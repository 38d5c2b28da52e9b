"""Check that there are negatives wherever a training or an evaluation will draw them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from recbole.data.dataloader import KnowledgeBasedDataLoader
from recbole.data.dataloader.abstract_dataloader import NegSampleDataLoader
from recbole.sampler import RepeatableSampler

from recbole_fmrlrec.compat.bert4rec import followed_by
from recbole_fmrlrec.compat.sampling import drawn_from
from recbole_fmrlrec.errors import DataError

if TYPE_CHECKING:
    from recbole_fmrlrec.config.config import Config

_PHASES = ("train", "valid", "test")


def check_negatives(config: Config, loaders: Iterable[Any]) -> None:
    """Refuse loaders that would search for a negative forever.

    Args:
        config: of the run.
        loaders: of training, validation and test.

    Raises:
        DataError: a user has every item that can be drawn, a head has every entity, a window holds
            every item; it names the first, the key, and the ways out.
    """
    for phase, loader in zip(_PHASES, loaders, strict=True):
        if isinstance(loader, KnowledgeBasedDataLoader):
            _check_triples(loader.kg_dataloader)
            loader = loader.general_dataloader
        if isinstance(loader, NegSampleDataLoader) and _draws(loader.neg_sample_args):
            _check_items(phase, loader)
        if phase == "train" and _reads_window_negatives(config):
            _check_windows(config, loader._dataset)


def _draws(arguments: Any) -> bool:
    return bool(arguments["distribution"] != "none" and arguments["sample_num"] != "none")


def _check_items(phase: str, loader: Any) -> None:
    sampler, dataset = loader._sampler, loader._dataset
    possible = drawn_from(sampler)
    asked = f"{phase}_neg_sample_args" if phase == "train" else f"eval_args.mode of {phase}"
    if isinstance(sampler, RepeatableSampler):
        if len(possible) < 2:
            raise DataError(
                f"{asked}: the data have only one item, so there is no other to draw as a negative"
            )
        return
    for user in torch.unique(dataset.inter_feat[dataset.uid_field]).tolist():
        used = sampler.used_ids[user]
        if len(used) >= len(possible) and possible <= used:
            name = dataset.id2token(dataset.uid_field, user)
            raise DataError(
                f"{asked}: user {name} has all {len(possible)} items that can be drawn "
                f"({sampler.distribution}), so that there is no negative for them; leave such "
                f'users out (user_inter_num_interval: "[0,{len(possible) - 1}]"), or take a loss '
                "or evaluation that draws none (train_neg_sample_args: None, eval_args.mode: full)"
            )


def _check_triples(loader: Any) -> None:
    sampler, dataset = loader._sampler, loader._dataset
    possible = drawn_from(sampler)
    for head in sampler.head_entities:
        used = sampler.used_ids[head]
        if len(used) >= len(possible) and possible <= used:
            name = dataset.id2token(dataset.head_entity_field, head)
            raise DataError(
                f"entity {name} of the knowledge graph is the head of triples with all "
                f"{len(possible)} entities that can be drawn ({sampler.distribution}), so that "
                "there is no negative tail for it; take its triples out of the .kg file"
            )


def _reads_window_negatives(config: Config) -> bool:
    """Whether a model is trained against items that are not in the window."""
    return bool(config["transform"] == "mask_itemseq" and config["loss_type"] == "BPR")


def _check_windows(config: Config, dataset: Any) -> None:
    width, items = config["MAX_ITEM_LIST_LENGTH"], dataset.item_num - 1
    if width < items:
        return
    rows = dataset.inter_feat[dataset.iid_field + config["LIST_SUFFIX"]]
    lengths = dataset.inter_feat[config["ITEM_LIST_LENGTH_FIELD"]]
    rows, _ = followed_by(rows, lengths, dataset.inter_feat[dataset.iid_field], width)
    rows = rows.sort(dim=1).values
    different = (rows[:, 1:] != rows[:, :-1]).sum(dim=1) + 1 - (rows[:, 0] == 0).long()
    full = torch.nonzero(different >= items).flatten()
    if len(full):
        user = dataset.inter_feat[dataset.uid_field][full[0]]
        raise DataError(
            f"{config['model']} draws items that are not in a window, and a window of user "
            f"{dataset.id2token(dataset.uid_field, int(user))} holds all {items} items; set "
            f"MAX_ITEM_LIST_LENGTH below {items}, or loss_type: CE, which draws none"
        )
