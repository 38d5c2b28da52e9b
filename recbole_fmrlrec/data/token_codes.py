"""Ids of tokens whose column holds codes of categories: RecBole's ids, without Python strings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from recbole.utils import FeatureType

#: A table, the name of a column of tokens in it, and its type.
Place = tuple[pd.DataFrame, str, FeatureType]


def has_codes(places: Sequence[Place]) -> bool:
    """Whether a column holds categories, as the reader of Parquet files makes them."""
    return any(isinstance(frame[field].dtype, pd.CategoricalDtype) for frame, field, _ in places)


def remap_codes(dataset: Any, places: Sequence[Place], dtype: type = np.int64) -> None:
    """Do what RecBole's ``Dataset._remap`` does: number the tokens of columns that share ids.

    Ids count from 1 in the order in which tokens occur first; 0 is where there is none.

    Args:
        places: the columns, in the order that ids go by.
        dtype: of the ids in columns of categories.
    """
    columns = [_distinct(*place) for place in places]
    ids, tokens = pd.factorize(np.concatenate([distinct for distinct, _ in columns]))
    names = np.array(["[PAD]", *tokens])
    numbers = {token: number for number, token in enumerate(names)}
    parts = np.split(ids + 1, np.cumsum([len(distinct) for distinct, _ in columns])[:-1])
    for (frame, field, kind), (_, used), own in zip(places, columns, parts, strict=True):
        dataset.field2id_token.setdefault(field, names)
        dataset.field2token_id.setdefault(field, numbers)
        if kind == FeatureType.TOKEN_SEQ:
            ends = np.cumsum([len(cell) for cell in frame[field]])[:-1]
            frame[field] = pd.Series(np.split(own, ends), index=frame.index, dtype=object)
        elif used is None:
            frame[field] = own
        else:
            cells = frame[field].array
            table: np.ndarray = np.zeros(
                len(cells.categories) + 1, dtype=dtype
            )  # the last: no token
            table[used] = own
            frame[field] = table[cells.codes]


def _distinct(
    frame: pd.DataFrame, field: str, kind: FeatureType
) -> tuple[np.ndarray, np.ndarray | None]:
    """Tokens in the order in which they occur first, repeated or not, and the categories' codes."""
    if kind == FeatureType.TOKEN_SEQ:
        return np.concatenate(list(frame[field])), None
    cells = frame[field].array
    if not isinstance(cells, pd.Categorical):
        return frame[field].to_numpy(), None
    used = pd.unique(cells.codes)
    used = used[used >= 0]
    return cells.categories.to_numpy()[used], used
