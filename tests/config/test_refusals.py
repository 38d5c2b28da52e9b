"""Keys that cannot go together, or not with the data: refused before training, by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recbole_fmrlrec import compat
from recbole_fmrlrec.config.config import Config
from recbole_fmrlrec.config.refusals import told_as_usage
from recbole_fmrlrec.data.loaders import create_dataset, data_preparation
from recbole_fmrlrec.errors import DataError, UsageError
from recbole_fmrlrec.train.run import run
from tests.conftest import write_table

compat.apply()

ITEMS, USERS, EVENTS = 9, 12, 6


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A dataset with ratings of 1 to 5, and items of every type of feature; the folder above."""
    rows = [
        (f"u{u}", f"i{(u + t) % ITEMS}", 1 + (u + t) % 5, t)
        for u in range(USERS)
        for t in range(EVENTS)
    ]
    header = "user_id:token item_id:token rating:float timestamp:float"
    write_table(tmp_path / "toy" / "toy.inter", header, rows)
    items = [(f"i{i}", i / 2, f"s{i % 3}", "0.5 1") for i in range(ITEMS)]
    header = "item_id:token price:float shop:token vec:float_seq"
    write_table(tmp_path / "toy" / "toy.item", header, items)
    return tmp_path


def make(root: Path, model: str = "BPR", **keys: Any) -> Config:
    places = {"data_path": str(root), "checkpoint_dir": str(root / "saved"), "use_gpu": False}
    small = {"topk": [5], "valid_metric": "NDCG@5"}
    return Config(model, "toy", config_dict={**places, **small, **keys})


def prepare(root: Path, model: str = "BPR", **keys: Any) -> Any:
    config = make(root, model, **keys)
    dataset = create_dataset(config)
    data_preparation(config, dataset)
    return dataset


LABELED = {"eval_args": {"mode": "labeled", "order": "TO", "split": {"LS": "valid_and_test"}}}
AUC = {"metrics": ["AUC"], "valid_metric": "AUC"}


@pytest.mark.parametrize(
    ("model", "keys", "words"),
    [
        ("BPR", LABELED, ["eval_args.mode", "labeled", "NDCG", "AUC"]),
        ("SASRec", LABELED, ["eval_args.mode", "labeled", "NDCG"]),
        ("BPR", AUC, ["eval_args.mode", "full", "AUC"]),
        ("BPR", {"metrics": ["AUC", "NDCG"]}, ["metrics", "AUC", "NDCG"]),
        ("BERT4Rec", {"MAX_ITEM_LIST_LENGTH": 4}, ["mask_ratio", "MAX_ITEM_LIST_LENGTH"]),
        ("SASRec", {"transform": "crop_itemseq"}, ["transform", "eta"]),
        ("SASRec", {"loss_type": "MSE"}, ["loss_type", "CE or BPR"]),
        ("SASRec", {"hidden_size": 0}, ["hidden_size", "at least 1"]),
        ("SASRec", {"LIST_SUFFIX": ""}, ["LIST_SUFFIX"]),
        ("BPR", {"encoding": "nonsense"}, ["encoding", "utf-8"]),
        ("BPR", {"field_separator": ""}, ["field_separator"]),
        ("BPR", {"user_inter_num_interval": "[9,3]"}, ["user_inter_num_interval", "lower end"]),
        ("BPR", {"train_neg_sample_args": {"dynamic": True}}, ["dynamic", "candidate_num"]),
    ],
)
def test_keys_that_do_not_go_together(
    shop: Path, model: str, keys: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(UsageError) as refused:
        make(shop, model, **keys)
    assert all(word in str(refused.value) for word in words), refused.value


@pytest.mark.parametrize(
    ("model", "keys", "words"),
    [
        ("SASRecF", {"selected_features": ["shop", "price"]}, ["'price'", "float:", "numerical"]),
        ("FDSA", {"selected_features": ["vec"]}, ["'vec'", "float_seq", "numerical_features"]),
        ("SASRecF", {"selected_features": ["nope"]}, ["selected_features", "'nope'", "toy.item"]),
        ("S3Rec", {"item_attribute": "price"}, ["item_attribute", "'price'", "float"]),
        ("BPR", {"load_col": {"inter": ["user_id", "x"]}}, ["load_col", "'x'", "rating"]),
        ("BPR", {"load_col": {"itm": ["x"]}}, ["load_col", "'itm'"]),
        ("BPR", {"unload_col": {"inter": ["x"]}}, ["unload_col", "'x'"]),
        ("BPR", {"unused_col": {"inter": ["item_id"]}}, ["unused_col", "ITEM_ID_FIELD"]),
        ("BPR", {"seq_len": {"x": 3}}, ["seq_len", "'x'"]),
        ("BPR", {"seq_len": {"shop": 3}}, ["seq_len", "'shop'", "token"]),
        ("BPR", {"alias_of_item_id": ["x"]}, ["alias_of_item_id", "'x'"]),
        ("BPR", {"preload_weight": {"item_id": "x"}}, ["preload_weight", "'x'"]),
        ("BPR", {"additional_feat_suffix": ["x"]}, ["additional_feat_suffix", "toy.x"]),
        ("BPR", {"numerical_features": ["shop"]}, ["numerical_features", "'shop'", "token"]),
        ("BPR", {"threshold": {"rating": "high"}}, ["threshold", "number"]),
        ("BPR", {"val_interval": {"rating": "high"}}, ["val_interval.rating", "interval"]),
        ("BPR", {"discretization": {"rating": {"method": "ED"}}}, ["discretization", "bucket"]),
        ("BPR", {"train_neg_sample_args": None}, ["train_neg_sample_args", "BPR"]),
        ("FM", {"train_neg_sample_args": None, **AUC, **LABELED}, ["labeled", "threshold"]),
        ("BPR", {"topk": [50], "valid_metric": "NDCG@50"}, ["topk", "50", "9 items", "full"]),
        ("BPR", {"user_inter_num_interval": "[500,inf)"}, ["user_inter_num_interval", "0 of 72"]),
        ("BPR", {"val_interval": {"rating": "[8,9]"}}, ["val_interval", "0 of 72 interactions"]),
        ("BPR", {"benchmark_filename": ["a", "b"]}, ["benchmark_filename", "three"]),
    ],
)
def test_keys_that_the_data_cannot_serve(
    shop: Path, model: str, keys: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises((UsageError, DataError)) as refused:
        prepare(shop, model, **keys)
    assert all(word in str(refused.value) for word in words), refused.value


def test_a_drawn_candidate_list_limits_k(shop: Path) -> None:
    keys = {"eval_args": {**LABELED["eval_args"], "mode": "uni3"}}
    prepare(shop, topk=[4], valid_metric="NDCG@4", **keys)
    with pytest.raises(DataError, match=r"5 is above the 4 items that .*uni3"):
        prepare(shop, **keys)


@pytest.mark.parametrize(
    ("keys", "kept"),
    [
        ({"threshold": {"rating": 3}}, 72),
        ({"val_interval": {"rating": "[4,5]"}}, 28),  # of 72 ratings 1..5 in turn by user and time
        ({"normalize_field": ["rating"]}, 72),
        ({"discretization": {"rating": {"method": "LD"}}}, 72),
    ],
)
def test_columns_that_keys_name_are_loaded(shop: Path, keys: dict[str, Any], kept: int) -> None:
    dataset = create_dataset(make(shop, **keys))
    assert dataset.inter_num == kept
    if "threshold" in keys:
        low = sum(1 + (u + t) % 5 < 3 for u in range(USERS) for t in range(EVENTS))
        assert int((dataset.inter_feat["label"] == 0).sum()) == low
    if "normalize_field" in keys:
        assert sorted(set(dataset.inter_feat["rating"])) == [0, 0.25, 0.5, 0.75, 1]


def test_a_load_col_of_the_users_own_stands(shop: Path) -> None:
    columns = {"inter": ["user_id", "item_id", "timestamp"]}
    with pytest.raises(DataError, match=r"threshold names 'rating'.*add it to load_col.inter"):
        create_dataset(make(shop, load_col=columns, threshold={"rating": 3}))


def test_what_the_model_refuses_leaves_no_folder(shop: Path) -> None:
    keys = {"data_path": str(shop), "checkpoint_dir": str(shop / "saved"), "use_gpu": False}
    small = {"hidden_size": 16, "n_heads": 3, "topk": [5], "valid_metric": "NDCG@5"}
    with pytest.raises(UsageError, match=r"not a multiple of .*heads \(3\).*n_heads = 3"):
        run("SASRec", "toy", config_dict={**keys, **small})
    assert not list((shop / "saved").iterdir())


def test_a_fault_of_the_program_stays_one(shop: Path) -> None:
    with pytest.raises(KeyError), told_as_usage(make(shop), "trying"):
        raise KeyError("ours")  # no key of the model was set, and RecBole did not raise it
    small = make(shop, embedding_size=3)
    with pytest.raises(UsageError, match="embedding_size = 3"), told_as_usage(small, "trying"):
        raise RuntimeError("shapes")
    with pytest.raises(RuntimeError, match="out of memory"), told_as_usage(small, "trying"):
        raise RuntimeError("CUDA out of memory")


@pytest.mark.parametrize(
    ("model", "keys", "words"),
    [
        (
            "SASRec",
            {"eval_args": {**LABELED["eval_args"], "mode": "uni100"}},
            ["topk", "best 20", "9"],
        ),
        (
            "BPR",
            {"metrics": ["ItemCoverage", "NDCG"], "eval_args": {"split": {"RS": [0.2, 0.4, 0.4]}}},
            ["topk", "best 20", "9"],
        ),
        ("NCL", {"num_clusters": 11}, ["num_clusters", "12 users", "9 items", "at most 10"]),
        ("BPR", {"RATING_FIELD": "stars"}, ["RATING_FIELD", "stars", "price"]),
        ("BPR", {"LABEL_FIELD": "clicked"}, ["LABEL_FIELD", "clicked", "rating"]),
    ],
)
def test_values_that_the_data_do_not_allow(
    shop: Path, model: str, keys: dict[str, Any], words: list[str]
) -> None:
    """Few items under the default topk; clusters without points; columns that no file has."""
    places = {"data_path": str(shop), "checkpoint_dir": str(shop / "saved"), "use_gpu": False}
    config = Config(model, "toy", config_dict={**places, **keys})
    with pytest.raises(DataError) as refused:
        data_preparation(config, create_dataset(config))
    assert all(word in str(refused.value) for word in words), refused.value


def test_columns_of_other_names_that_are_there(shop: Path) -> None:
    assert "rating" in prepare(shop, LABEL_FIELD="rating").inter_feat
    assert "rating" not in prepare(shop, RATING_FIELD="rating").inter_feat
    prepare(shop, "NCL", num_clusters=10)  # nine items and the padding


def test_features_that_a_model_cannot_take(shop: Path) -> None:
    """FwFM of RecBole knows no sequences of numbers; the user has asked for them."""
    keys = {"threshold": {"rating": 3}, "numerical_features": ["vec"], "epochs": 1}
    places = {"data_path": str(shop), "checkpoint_dir": str(shop / "saved"), "use_gpu": False}
    with pytest.raises(UsageError, match=r"FwFM failed.*numerical_features = \['vec'\]"):
        run("FwFM", "toy", config_dict={**places, **keys})
