"""Where RecBole 1.2.1 samples until it has a negative, and never ends if there is none.

A part of :mod:`recbole_fmrlrec.compat`. Samples are those of RecBole wherever its loops end;
:mod:`recbole_fmrlrec.data.negatives` refuses a run before its training if nothing can be sampled.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from recbole_fmrlrec.compat.imports import when_imported

#: After this many rounds without an allowed draw one is drawn among the allowed alone.
ROUNDS = 1000


def samplers_end() -> None:
    """Negative sampling never ends for a user, an item or an entity without any negative.

    ``sample_by_key_ids`` and ``sample_neg_sequence`` draw from all items and reject used ones. With
    ``popularity`` they draw from items that occur, and a rare one may come once in 1e30 draws. Here
    the draws are the same; after `ROUNDS` of them the rest is drawn from the allowed items, and it
    is an error if there are none. Obsolete when RecBole draws from the allowed items.
    """
    from recbole.sampler.sampler import AbstractSampler, SeqSampler

    AbstractSampler.sample_by_key_ids = _sample_by_key_ids
    SeqSampler.sample_neg_sequence = _sample_neg_sequence


def users_of_all_items() -> None:
    """A model that is evaluated by full ranking is refused if a user has all items.

    ``Sampler`` and ``KGSampler`` raise a ValueError when they are made, whether anything will be
    drawn from them or not, and name no user; with ``popularity`` they miss some cases. The check of
    `negatives.check_negatives` replaces theirs. Obsolete when RecBole checks what will be drawn.
    """
    from recbole.sampler.sampler import KGSampler, Sampler

    def used_items(self: Any) -> Any:
        used: dict[str, Any] = {}
        last: Any = [set() for _ in range(self.user_num)]
        for phase, dataset in zip(self.phases, self.datasets, strict=True):
            last = used[phase] = np.array([set(items) for items in last])
            columns = dataset.inter_feat[self.uid_field], dataset.inter_feat[self.iid_field]
            for user, item in zip(*(column.numpy() for column in columns), strict=True):
                last[user].add(item)
        return used

    def used_tails(self: Any) -> Any:
        used = np.array([set() for _ in range(self.entity_num)])
        for head, tail in zip(self.hid_list, self.tid_list, strict=True):
            used[head].add(tail)
        return used

    Sampler.get_used_ids, KGSampler.get_used_ids = used_items, used_tails


def popularity_without_alias() -> None:
    """Sampling by popularity can draw item -1, which does not exist.

    Entries left in Walker's alias table when one of its queues is empty have a probability of 1 up
    to rounding and no alias: -1 stays there. Obsolete when RecBole makes them their own alias.
    """
    from recbole.sampler.sampler import AbstractSampler

    original = AbstractSampler._build_alias_table

    @functools.wraps(original)
    def _build_alias_table(self: Any) -> None:
        original(self)
        self.alias = {item: item if other == -1 else other for item, other in self.alias.items()}

    AbstractSampler._build_alias_table = _build_alias_table


def masks_end() -> None:
    """BERT4Rec never ends if a window holds every item: each mask gets a negative item.

    Only its BPR loss reads these; the softmax does not. A window without negatives gets padding
    here, and `negatives.check_negatives` refuses BPR training with such windows. Obsolete when
    RecBole samples negatives only for the loss that reads them.
    """
    from recbole.data.transform import MaskItemSequence

    original = MaskItemSequence._neg_sample

    @functools.wraps(original)
    def _neg_sample(self: Any, item_set: list[int], n_items: int) -> int:
        return 0 if holds_all(item_set, n_items) else int(original(self, item_set, n_items))

    MaskItemSequence._neg_sample = _neg_sample


def holds_all(items: Any, n_items: int) -> bool:
    """Whether items of a row, padding 0 among them, are all of 1..n_items - 1."""
    return len(items) >= n_items - 1 and len({*items} - {0}) >= n_items - 1


def line_ends() -> None:
    """LINE never ends if every user has an item: it draws users that do not have it.

    Patched when LINE is imported, as all general models come with it. Obsolete when RecBole refuses
    such data.
    """
    when_imported("recbole.model.general_recommender.line", _line_refuses)


def _line_refuses(module: Any) -> None:
    original = module.LINE.__init__

    @functools.wraps(original)
    def __init__(self: Any, config: Any, dataset: Any) -> None:
        original(self, config, dataset)
        for item, users in enumerate(self.used_ids):
            if len(users) >= self.n_users - 1:
                raise _error(
                    "LINE draws users that do not have an item, and every user has item "
                    f"{dataset.id2token(dataset.iid_field, item)}; leave such items out "
                    f'(item_inter_num_interval: "[0,{self.n_users - 2}]")'
                )

    module.LINE.__init__ = __init__


def drawn_from(sampler: Any) -> set[int]:
    """What a sampler of RecBole can draw at all."""
    if sampler.distribution == "popularity":
        return {int(value) for value in sampler.prob}
    return set(range(1, getattr(sampler, "item_num", getattr(sampler, "entity_num", 1))))


def _sample_by_key_ids(self: Any, key_ids: Any, num: int) -> Any:
    import torch

    keys = np.tile(np.array(key_ids), num)
    alone = (keys == keys[0]).all()  # an IndexError for no keys, as in RecBole
    used = np.array(list(self.used_ids[keys[0]])) if alone else None

    def is_used(at: Any, drawn: Any) -> Any:
        if used is not None:
            return np.isin(drawn, used)
        pairs = zip(self.used_ids[keys[at]], drawn, strict=True)
        return np.fromiter((value in taken for taken, value in pairs), bool, len(drawn))

    values, left = _draw(self, len(keys), is_used)
    for key in np.unique(keys[left]):
        at = left[keys[left] == key]
        values[at] = _draw_allowed(self, {*self.used_ids[key]}, len(at))
    return torch.tensor(values, dtype=torch.long)


def _sample_neg_sequence(self: Any, pos_sequence: Any) -> Any:
    import torch

    taken = np.asarray(pos_sequence)
    values, left = _draw(self, len(taken), lambda at, drawn: drawn == taken[at])
    for place in left:
        values[place] = _draw_allowed(self, {int(taken[place])}, 1)[0]
    return torch.tensor(values)


def _draw(sampler: Any, count: int, is_used: Callable[[Any, Any], Any]) -> tuple[Any, Any]:
    """Draw as RecBole does; returns the values, and the places that are still without one."""
    values, left = np.zeros(count, dtype=np.int64), np.arange(count)
    for _ in range(ROUNDS):
        if not len(left):
            break
        values[left] = drawn = sampler.sampling(len(left))
        left = left[is_used(left, drawn)]
    return values, left


def _draw_allowed(sampler: Any, used: set[int], count: int) -> Any:
    allowed = sorted(drawn_from(sampler) - used)
    if not allowed:
        raise _error(
            "no negative can be drawn: what may be drawn is all among the positives (a user with "
            "every item, or one item in all the data)"
        )
    if sampler.distribution != "popularity":
        return np.random.choice(allowed, count)
    times = Counter(sampler._get_candidates_list())
    logs = sampler.alpha * np.log([times[value] for value in allowed])  # large alphas underflow
    weights = np.exp(logs - logs.max())
    return np.random.choice(allowed, count, p=weights / weights.sum())


def _error(text: str) -> Exception:
    from recbole_fmrlrec.errors import DataError

    return DataError(text)
