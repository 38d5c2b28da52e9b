"""Where the whole history of each evaluated row is, however long the model's own input is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from recbole_fmrlrec.data.prefix_rows import PrefixRows
from recbole_fmrlrec.evaluation.history import Histories


def sequence_histories(part: Any, earlier: Sequence[Any]) -> Histories:
    """The histories of a sequential model's rows: all that the user did before the target.

    Args:
        part: the evaluated part of a sequential dataset.
        earlier: the parts before it in time.
    """
    rows = part.inter_feat
    columns = rows.interaction if isinstance(rows, PrefixRows) else None
    if columns is None or columns.before is None:
        return _of_lists(part, earlier)
    return Histories(*columns.before, columns.start + columns.length)


def _of_lists(part: Any, earlier: Sequence[Any]) -> Histories:
    """Of rows with ready lists: of some models of RecBole, benchmark files, and old saved data.

    A list may be cut to its latest items; what was before is in the user's earlier rows.
    """
    user, item = part.uid_field, part.iid_field
    lists = item + part.config["LIST_SUFFIX"]
    pairs = []
    for feat in (other.inter_feat for other in earlier):
        pairs += [(feat[user], feat[item]), _flat(feat[user], feat[lists])]
    rows = part.inter_feat
    before = _of_users(rows[user], pairs, int(part.num(user))).pairs(slice(None))
    number = torch.arange(len(rows))
    return _of_users(number, [before, _flat(number, rows[lists])], len(rows))


def _flat(owner: Tensor, listed: Tensor) -> tuple[Tensor, Tensor]:
    """Owner and item of each place of padded lists (R, L)."""
    return torch.repeat_interleave(owner, listed.shape[1]), listed.flatten()


def user_histories(users: Tensor, earlier: Sequence[Any]) -> Histories:
    """The histories of a general model's rows, one for each user: all of the parts before.

    Args:
        users: user ids in the order of the evaluation, (R,).
        earlier: the parts before the evaluated one.
    """
    pairs = [(part.inter_feat[part.uid_field], part.inter_feat[part.iid_field]) for part in earlier]
    return _of_users(users, pairs, int(earlier[0].num(earlier[0].uid_field)))


def _of_users(users: Tensor, pairs: Sequence[tuple[Tensor, Tensor]], count: int) -> Histories:
    """Histories of users (R,), out of pairs of user and item in any order.

    Args:
        count: above every user id.
    """
    owner = torch.cat([user for user, _ in pairs])
    items = torch.cat([item for _, item in pairs]).int()  # half of the memory
    number = torch.bincount(owner, minlength=count)
    ends = torch.cat([number.new_zeros(1), number.cumsum(0)])
    return Histories(items[owner.argsort(stable=True)], ends[users], ends[users + 1])
