"""Columns of items that a model of side information reads: which, and what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from recbole_fmrlrec import compat
from recbole_fmrlrec.config.config import Config
from recbole_fmrlrec.config.side_columns import attribute_columns
from recbole_fmrlrec.data.loaders import create_dataset, data_preparation
from recbole_fmrlrec.data.side_information import load_side_information
from recbole_fmrlrec.errors import DataError, UsageError
from tests.conftest import write_inter, write_table

compat.apply()

HEADER = "item_id:token title:token_seq brand:token categories:token_seq year:token price:float"
ITEMS = [
    ("i0", "red lamp", "acme", "home light", "2001", 3),
    ("i1", "blue lamp", "acme", "light home", "2001", 4),
    ("i2", "chair", "", "home", "2002", 5),
    ("i3", "table", "", "", "2002", 6),
]


def write(root: Path, header: str = HEADER, rows: list[Any] = ITEMS) -> None:
    """Six users of all items in turn."""
    events = [(f"u{u}", f"i{(u + step) % 4}", step) for u in range(6) for step in range(4)]
    folder = write_inter(root, events)
    write_table(folder / "toy.item", header, rows)


def built(root: Path, **keys: Any) -> tuple[Any, Any]:
    """The configuration and the training dataset of DIFF."""
    places = {"data_path": str(root), "checkpoint_dir": str(root / "saved"), "use_gpu": False}
    config = Config("DIFF", "toy", config_dict={**places, **keys})
    return config, data_preparation(config, create_dataset(config))[0]._dataset


def test_the_published_attributes_are_read_where_there_are_any() -> None:
    columns = [("item_id", "token"), ("brand", "token"), ("year", "token"), ("title", "token_seq")]
    assert attribute_columns([*columns, ("categories", "token_seq")], "item_id") == [
        "categories",
        "brand",
    ]
    assert attribute_columns(columns, "item_id") == ["brand"]
    assert attribute_columns(columns[2:], "item_id") == ["year"]
    films = [("movie_title", "token_seq"), ("class", "token_seq"), ("length", "float")]
    assert attribute_columns(films, "item_id") == ["class"]


def test_tokens_and_what_is_missing_are_counted_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path)
    config, dataset = built(tmp_path)
    assert config["selected_features"] == ["categories", "brand"]
    assert "year" not in dataset.item_feat.columns  # load_col takes what is needed
    with caplog.at_level("INFO"):
        side = load_side_information(config, dataset)
    assert side.counts == {"categories": 3, "brand": 2}
    assert side.missing == {"categories": 1, "brand": 2}
    assert (
        "side information: categories (2 tokens; 1 of 4 items have none), "
        "brand (1 tokens; 2 of 4 items have none)" in caplog.text
    )
    of = {str(dataset.id2token("item_id", n)): int(side.kinds[n]) for n in range(1, 5)}
    # The same words in another order are the same attributes; without any there is no kind.
    assert of["i0"] == of["i1"] != of["i2"] and of["i3"] == 0 == int(side.kinds[0])
    row = int(dataset.token2id("item_id", "i3"))
    assert not side.tokens["categories"][row].any() and not side.tokens["brand"][row].any()


def test_columns_can_be_chosen_or_left_out(tmp_path: Path) -> None:
    write(tmp_path)
    config, dataset = built(tmp_path, selected_features="year")
    assert list(load_side_information(config, dataset).tokens) == ["year"]
    config, dataset = built(tmp_path, selected_features=[])
    side = load_side_information(config, dataset)
    assert side.tokens == {} and torch.equal(side.kinds, torch.zeros(5, dtype=torch.long))
    columns = {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "year", "brand"]}
    config, dataset = built(tmp_path, load_col=columns)
    assert config["selected_features"] == ["brand"]


def test_columns_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(
        DataError, match=r"'price', which is of type float: DIFF takes .*token_seq$"
    ):
        built(tmp_path, selected_features=["price"])
    with pytest.raises(DataError, match="'colour', and no file of"):
        built(tmp_path, selected_features=["colour"])
    with pytest.raises(UsageError, match=r"selected_features = \[5\] .* must be auto, or a list"):
        built(tmp_path, selected_features=5)


@pytest.mark.parametrize("header", ["item_id:token title:token_seq", None])
def test_a_dataset_without_attributes_is_refused_with_the_way_out(
    tmp_path: Path, header: str | None
) -> None:
    write(tmp_path, header or HEADER, [row[:2] for row in ITEMS] if header else ITEMS)
    if header is None:
        (tmp_path / "toy" / "toy.item").unlink()
    config, dataset = built(tmp_path)
    with pytest.raises(UsageError, match=r"toy have no attributes.*set selected_features: \[\]"):
        config.model_class(config, dataset)
    config, dataset = built(tmp_path, selected_features=[])
    model = config.model_class(config, dataset)
    assert model.item_vectors().shape == (5, 256)
