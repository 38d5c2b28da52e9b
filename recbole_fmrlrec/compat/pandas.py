"""RecBole 1.2.1's tables on pandas 3: a part of :mod:`recbole_fmrlrec.compat`.

One function per fault: what breaks, why, and when it is obsolete.
"""

from __future__ import annotations

import builtins
import functools
import importlib
import os
import types
import warnings
from typing import Any

import numpy as np
import pandas as pd
from recbole.data.dataset import Dataset
from recbole.utils import FeatureType

from recbole_fmrlrec.atomic_files.parquet import is_there
from recbole_fmrlrec.atomic_files.reader import load_feat


def missing_values() -> None:
    """Missing values stay missing, silently: ``frame[col].fillna(inplace=True)`` fills a copy.

    pandas 2.2 still fills in place and warns. Obsolete when RecBole assigns the filled column.
    """
    frame = pd.DataFrame({"a": [0.0, None]})
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        frame["a"].fillna(1.0, inplace=True)
    if warned or frame["a"].isna().any():
        Dataset._fill_nan = _fill_nan


def _fill_nan(self: Any) -> None:
    """Tokens get 0, the padding; floats the mean of their column; sequences an empty array."""
    for feat_name in self.feat_name_list:
        feat = getattr(self, feat_name)
        for field in feat:
            kind = self.field2type[field]
            if kind == FeatureType.TOKEN:
                feat[field] = feat[field].fillna(0)
            elif kind == FeatureType.FLOAT:
                feat[field] = feat[field].fillna(feat[field].mean())
            else:
                empty = np.array([], np.int64 if kind == FeatureType.TOKEN_SEQ else np.float64)
                cells = [empty if isinstance(cell, float) else cell for cell in feat[field]]
                feat[field] = pd.Series(cells, index=feat.index, dtype=object)


def table_reader() -> None:
    """Files with an empty ``token_seq`` or ``float_seq`` cell cannot be loaded.

    RecBole's ``_load_feat`` fills these in place. Its replacement has the same result, keeps tokens
    as Python strings instead of pandas 3's string type, reads with pandas' fast engine and names
    the line of an error. Obsolete together with :func:`missing_values`.
    """
    Dataset._load_feat = load_feat


def parquet_alone() -> None:
    """A dataset whose atomic files are Parquet alone is not found: RecBole looks for the text.

    In the modules that load tables, ``os.path.isfile`` of an atomic file is true for its Parquet
    form too. Obsolete when RecBole reads Parquet.
    """
    path = types.SimpleNamespace(**{**vars(os.path), "isfile": is_there})
    from recbole.data.dataset import dataset, kg_dataset

    for module in (dataset, kg_dataset):
        vars(module)["os"] = types.SimpleNamespace(**{**vars(os), "path": path})


def lengths_of_sequences() -> None:
    """Tables with a ``token_seq`` or ``float_seq`` column fail: ``column.agg(len)`` is one number.

    Before pandas 3 it was the length of every cell. In the modules that use it, ``len`` of a column
    has that meaning again; they use it on columns nowhere else. Obsolete when RecBole maps ``len``.
    """
    if not isinstance(pd.Series([[0], [0]]).agg(len), int | np.integer):
        return

    def length(thing: Any) -> Any:
        return thing.map(builtins.len) if isinstance(thing, pd.Series) else builtins.len(thing)

    for name in ("dataset", "kg_dataset", "sequential_dataset"):
        vars(importlib.import_module(f"recbole.data.dataset.{name}"))["len"] = length


def writable_columns() -> None:
    """torch warns of arrays that are not writable: pandas 3 hands out columns as read-only views.

    RecBole makes tensors that share their memory, and writes to some of them. Obsolete when RecBole
    copies the columns.
    """
    if pd.DataFrame({"a": [0]})["a"].values.flags.writeable:
        return
    original = Dataset._dataframe_to_interaction

    @functools.wraps(original)
    def dataframe_to_interaction(self: Any, data: pd.DataFrame) -> Any:
        columns = {k: types.SimpleNamespace(values=np.array(data[k])) for k in data}
        return original(self, columns)

    Dataset._dataframe_to_interaction = dataframe_to_interaction
