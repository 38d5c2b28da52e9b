"""Attributes of items, as a model of side information reads them: columns of tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from recbole.utils import FeatureType
from torch import Tensor

from recbole_fmrlrec.config.side_columns import AUTO, attribute_columns
from recbole_fmrlrec.console import say
from recbole_fmrlrec.errors import UsageError

_TOKENS = (FeatureType.TOKEN, FeatureType.TOKEN_SEQ)


@dataclass(frozen=True)
class SideInformation:
    """Columns of the items, in the order of RecBole's item ids.

    Attributes:
        tokens: ``(N+1, w)`` token numbers by column; 0 where there is none.
        counts: how many different tokens a column has, 0 included.
        missing: how many items have no token in a column.
        kinds: ``(N+1,)`` the same number for items with the same tokens in all columns; 0 for those
            without any.
    """

    tokens: dict[str, Tensor]
    counts: dict[str, int]
    missing: dict[str, int]
    kinds: Tensor


def load_side_information(config: Any, dataset: Any) -> SideInformation:
    """Read the columns that ``selected_features`` names; for ``auto`` those of `attribute_columns`.

    An empty list is a model of ids alone. What is read, and how many items lack it, is said.

    Args:
        config: settings of the model.
        dataset: a built dataset of RecBole.

    Raises:
        UsageError: a column is not there or not of tokens, or ``auto`` finds none.
    """
    names = _chosen(config["selected_features"], dataset)
    for name in names:
        if dataset.field2type.get(name) not in _TOKENS or name not in dataset.item_feat:
            raise UsageError(
                f"selected_features names {name!r}, which is not a token or token_seq column "
                f"of the items of {dataset.dataset_name}"
            )
    items = len(dataset.item_feat) if names else dataset.item_num
    tokens = {name: dataset.item_feat[name].view(items, -1) for name in names}
    counts = {name: int(dataset.num(name)) for name in names}
    missing = {name: int((rows[1:] == 0).all(1).sum()) for name, rows in tokens.items()}
    found = SideInformation(tokens, counts, missing, _kinds(tokens, items))
    _tell(found, items - 1)
    return found


def _chosen(asked: Any, dataset: Any) -> list[str]:
    if asked != AUTO:
        return list(asked or [])
    columns = [] if dataset.item_feat is None else list(dataset.item_feat.columns)
    typed = [(name, dataset.field2type[name]) for name in columns]
    found = attribute_columns(typed, dataset.iid_field)
    if not found:
        raise UsageError(
            f"selected_features: auto: the items of {dataset.dataset_name} have no attributes, "
            f"which are columns of type token or token_seq of {dataset.dataset_name}.item beside "
            "ids and titles; name columns, or set selected_features: [] for a model of ids alone"
        )
    return found


def _kinds(tokens: dict[str, Tensor], items: int) -> Tensor:
    if not tokens:
        return torch.zeros(items, dtype=torch.long)
    rows = torch.cat([rows.sort(dim=1).values for rows in tokens.values()], dim=1)
    kinds = rows.unique(dim=0, return_inverse=True)[1] + 1
    return kinds * (rows != 0).any(1)


def _tell(found: SideInformation, items: int) -> None:
    if not found.tokens:
        say("side information: none (selected_features: []), items by their ids alone")
        return
    parts = [
        f"{name} ({found.counts[name] - 1:,} tokens; {found.missing[name]:,} of {items:,} items "
        "have none)"
        for name in found.tokens
    ]
    say(f"side information: {', '.join(parts)}")
