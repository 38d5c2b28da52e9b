"""RecBole's tables on pandas 3: what fails as shipped, and that it is mended."""

from __future__ import annotations

import functools
import logging
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from recbole_fmrlrec import compat
from recbole_fmrlrec.compat import pandas as compat_pandas
from recbole_fmrlrec.data.loaders import create_dataset
from tests.conftest import MakeConfig, as_shipped

compat.apply()

pandas3 = pytest.mark.skipif(int(pd.__version__.split(".")[0]) < 3, reason="a fault on pandas 3")


@pandas3
def test_tables_with_empty_cells_cannot_be_read_as_shipped(config: MakeConfig, rich: Path) -> None:
    shipped = as_shipped("recbole.data.dataset.dataset")
    with warnings.catch_warnings(), pytest.raises(AttributeError, match="split"):
        warnings.simplefilter("ignore")
        shipped.Dataset(config("BPR", "rich"))


@pandas3
def test_missing_values_stay_missing_as_shipped() -> None:
    shipped = as_shipped("recbole.data.dataset.dataset")
    dataset = SimpleNamespace(feat_name_list=["item_feat"], logger=logging.getLogger())
    dataset.item_feat = pd.DataFrame({"price": [1.0, np.nan]})
    dataset.field2type = {"price": shipped.FeatureType.FLOAT}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shipped.Dataset._fill_nan(dataset)
    assert dataset.item_feat["price"].isna().tolist() == [False, True]
    compat_pandas._fill_nan(dataset)
    assert dataset.item_feat["price"].tolist() == [1.0, 1.0]


@pandas3
def test_lengths_of_sequences_as_shipped(config: MakeConfig, rich: Path) -> None:
    shipped = as_shipped("recbole.data.dataset.dataset").Dataset
    remap = type("Shipped", (create_dataset(config("BPR", "rich")).__class__,), {})
    remap._remap = shipped._remap
    with pytest.raises(ValueError, match="Length of values"):
        remap(config("BPR", "rich"))


def test_missing_values_are_filled_as_recbole_means_to(config: MakeConfig, rich: Path) -> None:
    dataset = create_dataset(config("BPR", "rich"))
    items, users = dataset.item_feat.set_index("item_id"), dataset.user_feat.set_index("user_id")
    known = [i / 2 for i in range(20) if i % 4]
    for i in range(20):
        row = items.loc[dataset.token2id("item_id", f"i{i}")]
        assert row["price"] == pytest.approx(i / 2 if i % 4 else np.mean(known))
        tokens = dataset.field2id_token["words"][row["words"]].tolist()
        assert tokens == ([f"w{i % 3}", f"w{i % 4}"] if i % 5 else [])
        assert row["v"].tolist() == ([1.0, 2.0] if i % 3 else [])
    for u in range(30):
        age = int(users.loc[dataset.token2id("user_id", f"u{u}")]["age"])
        assert dataset.field2id_token["age"][age] == (str(20 + u % 4) if u % 6 else "[PAD]")


def test_normalised_sequences(config: MakeConfig, rich: Path) -> None:
    dataset = create_dataset(config("BPR", "rich", normalize_field=["v", "price"]))
    values = {tuple(cell) for cell in dataset.item_feat["v"]}
    assert values == {(), (0.0, 1.0)}
    assert (dataset.item_feat["price"].min(), dataset.item_feat["price"].max()) == (0.0, 1.0)


@pandas3
def test_tensors_are_made_of_writable_arrays(
    config: MakeConfig, rich: Path, request: pytest.FixtureRequest
) -> None:
    request.addfinalizer(functools.partial(torch.set_warn_always, torch.is_warn_always_enabled()))
    torch.set_warn_always(True)
    dataset = create_dataset(config("BPR", "rich"))
    convert = type(dataset)._dataframe_to_interaction
    with pytest.warns(UserWarning, match="not writable"):
        convert.__wrapped__(dataset, dataset.inter_feat)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        interactions = convert(dataset, dataset.inter_feat)
    interactions["item_id"][0] = 99
    assert dataset.inter_feat["item_id"].max() == 20
