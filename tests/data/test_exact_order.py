"""Exact order of interactions, and the same rows for every kind of model."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recbole.data.dataset import Dataset, SequentialDataset

from recbole_fmrlrec.data.exact_order import ExactOrder, in_exact_order
from recbole_fmrlrec.data.loaders import create_dataset, data_preparation, dataset_class
from recbole_fmrlrec.errors import DataError
from tests.conftest import LEAVE_ONE_OUT, MakeConfig, write_inter, write_table

KINDS = {"windows": ("SASRec", "overlap"), "prefixes": ("SASRec", None), "general": ("BPR", None)}
START = 1_388_534_400_000  # 2014 in milliseconds; float32 knows steps of 131 s there


def build(config: Any) -> list[Any]:
    """The three parts of a dataset."""
    return create_dataset(config).build()


def kind(config: MakeConfig, name: str, **keys: Any) -> Any:
    """The configuration of a kind of dataset."""
    model, windows = KINDS[name]
    return config(model, training_windows=windows, **keys)


def targets(part: Any) -> dict[str, list[str]]:
    """The items that a part holds of each user, in its order."""
    found: dict[str, list[str]] = {}
    rows, token = part.inter_feat, part.field2id_token
    for user, item in zip(rows["user_id"], rows["item_id"], strict=True):
        found.setdefault(token["user_id"][user], []).append(str(token["item_id"][item]))
    return found


def contexts(part: Any) -> dict[str, list[str]]:
    """The list of items of each user's one row."""
    rows, token = part.inter_feat, part.field2id_token
    return {
        str(token["user_id"][user]): token["item_id"][items[:length]].tolist()
        for user, items, length in zip(
            rows["user_id"], rows["item_id_list"], rows["item_length"], strict=True
        )
    }


def assert_equal_rows(left: Any, right: Any) -> None:
    """Two parts have the same fields of the same types and the same rows in the same order."""
    a, b = left.inter_feat, right.inter_feat
    assert list(a) == list(b) and len(a) == len(b) > 0
    for field in a:
        assert a[field].dtype == b[field].dtype and torch.equal(a[field], b[field]), field
    assert left.field2type.items() >= right.field2type.items()
    assert left.field2seqlen.items() >= right.field2seqlen.items()


class Reference(ExactOrder, SequentialDataset):
    """RecBole's own loops over interactions in exact order."""


@pytest.fixture
def short(tmp_path: Path) -> Path:
    """Users of 1 to 5 interactions, some at equal times, in a mixed file."""
    rows = [(f"u{n}", f"i{n}{t}", t // 2) for n in range(1, 6) for t in range(n)]
    rows += [(f"w{n}", f"i{5 - n}{t}", 7) for n in range(1, 6) for t in range(n)]
    order = np.random.default_rng(0).permutation(len(rows))
    mixed = [rows[i] for i in order]
    return write_inter(tmp_path, mixed)


@pytest.fixture
def milliseconds(tmp_path: Path) -> Path:
    """Two users of six interactions, three seconds apart, in the file from late to early."""
    rows = [(u, f"{u}{t}", START + 3000 * t + 1) for t in range(6) for u in "uv"]
    return write_inter(tmp_path, rows[::-1])


@pytest.mark.parametrize("width", [1, 2, 50])
def test_rows_are_recboles_on_short_histories(config: MakeConfig, short: Path, width: int) -> None:
    keys = {"MAX_ITEM_LIST_LENGTH": width}
    recbole = SequentialDataset(config(**keys)).build()  # small stamps: float32 loses nothing
    prefixes = build(kind(config, "prefixes", **keys))
    windows = build(kind(config, "windows", **keys))
    for ours, theirs in zip(prefixes, recbole, strict=True):
        assert_equal_rows(ours, theirs)
    for ours, theirs in zip(windows[1:], recbole[1:], strict=True):
        assert_equal_rows(ours, theirs)
    assert windows[0].item_counter == recbole[0].item_counter
    assert windows[0].user_counter == recbole[0].user_counter
    if width > 1:  # there RecBole takes every row for a user's first
        assert (windows[0].inter_matrix() != recbole[0].inter_matrix()).nnz == 0


def test_rows_are_recboles_on_ml_100k(config: MakeConfig) -> None:
    columns = {"inter": ["user_id", "item_id", "timestamp"]}
    keys = {"dataset": "ml-100k", "load_col": columns, "MAX_ITEM_LIST_LENGTH": 20}
    reference = Reference(config(**keys)).build()
    for ours, theirs in zip(build(config(**keys)), reference, strict=True):
        assert_equal_rows(ours, theirs)
    windows = build(config(**keys, training_windows="overlap"))
    assert [len(part) for part in windows[1:]] == [943, 943]
    for ours, theirs in zip(windows[1:], reference[1:], strict=True):
        assert_equal_rows(ours, theirs)
    assert windows[0].item_counter == reference[0].item_counter
    assert (windows[0].inter_matrix() != reference[0].inter_matrix()).nnz == 0


def test_every_field_of_a_row_is_recboles(config: MakeConfig, rich: Path) -> None:
    keys: dict[str, Any] = {"dataset": "rich", "numerical_features": ["rating"]}
    keys["unused_col"] = {"inter": ["timestamp"]}
    reference = Reference(config(**keys)).build()
    for ours, theirs in zip(build(config(**keys)), reference, strict=True):
        assert_equal_rows(ours, theirs)
    windows = build(config(**keys, training_windows="latest"))
    for ours, theirs in zip(windows[1:], reference[1:], strict=True):
        assert_equal_rows(ours, theirs)
    assert windows[1].inter_feat["rating_list"].shape == (30, 5, 2)


@pytest.mark.parametrize("name", KINDS)
def test_users_of_one_to_five_interactions(config: MakeConfig, short: Path, name: str) -> None:
    train, valid, test = build(kind(config, name))
    in_file = [line.split("\t") for line in (short / "toy.inter").read_text().splitlines()[1:]]
    in_file.sort(key=lambda row: float(row[2]))  # stable: the file's order decides equal times
    items: dict[str, list[str]] = {}
    for user, item, _ in in_file:
        items.setdefault(user, []).append(item)
    assert targets(valid) == {u: [x[-2]] for u, x in items.items() if len(x) >= 4}
    assert targets(test) == {u: [x[-1]] for u, x in items.items() if len(x) >= 3}
    if name == "general":
        kept = {u: x[: max(2, len(x) - 2)] for u, x in items.items()}
        assert targets(train) == kept


@pytest.mark.parametrize("mode", ["valid_only", "test_only"])
@pytest.mark.parametrize("name", KINDS)
def test_one_item_left_out(config: MakeConfig, short: Path, name: str, mode: str) -> None:
    arguments = {**LEAVE_ONE_OUT, "split": {"LS": mode}, "mode": "full"}
    parts = build(kind(config, name, eval_args=arguments))
    reference = SequentialDataset(config("SASRec", eval_args=arguments)).build()
    assert [len(part) for part in reference[1:]] == ([6, 0] if mode == "valid_only" else [0, 6])
    assert [targets(part) for part in parts[1:]] == [targets(part) for part in reference[1:]]
    if name != "general":
        assert parts[0].item_counter == reference[0].item_counter


@pytest.mark.parametrize("name", KINDS)
def test_milliseconds_are_in_exact_order(config: MakeConfig, milliseconds: Path, name: str) -> None:
    train, valid, test = build(kind(config, name))
    assert targets(valid) == {"u": ["u4"], "v": ["v4"]}
    assert targets(test) == {"u": ["u5"], "v": ["v5"]}
    if name == "general":
        assert targets(train) == {u: [f"{u}{t}" for t in range(4)] for u in "uv"}
    else:
        assert contexts(test) == {u: [f"{u}{t}" for t in range(5)] for u in "uv"}


def test_recbole_itself_loses_milliseconds(config: MakeConfig, milliseconds: Path) -> None:
    assert targets(SequentialDataset(config()).build()[2]) == {"u": ["u0"], "v": ["v0"]}
    assert targets(Dataset(config("BPR")).build()[2]) == {"u": ["u0"], "v": ["v0"]}


@pytest.mark.parametrize(
    "keys",
    [
        {"normalize_all": True},
        {"normalize_field": ["timestamp"]},
        {"numerical_features": ["timestamp"]},
        {
            "numerical_features": ["timestamp"],
            "discretization": {"timestamp": {"method": "ED", "bucket": 3}},
        },
    ],
)
@pytest.mark.parametrize("model", ["SASRec", "FM"])
def test_rescaled_times_keep_the_order(
    config: MakeConfig, milliseconds: Path, model: str, keys: Any
) -> None:
    parts = build(config(model, **keys))
    assert targets(parts[2]) == {"u": ["u5"], "v": ["v5"]}


def test_ids_stay_recboles(config: MakeConfig, milliseconds: Path) -> None:
    ours, theirs = create_dataset(config()), SequentialDataset(config())
    for field in ("user_id", "item_id"):
        assert ours.field2id_token[field].tolist() == theirs.field2id_token[field].tolist()


@pytest.mark.parametrize(("keep", "expected"), [("first", "abc"), ("last", "bac")])
def test_repeated_pairs(config: MakeConfig, tmp_path: Path, keep: str, expected: str) -> None:
    write_inter(tmp_path, [("u", "c", 9), ("u", "a", 5), ("u", "b", 5), ("u", "a", 5)])
    dataset = create_dataset(config(rm_dup_inter=keep))
    assert "".join(dataset.id2token("item_id", list(dataset.inter_feat["item_id"]))) == expected


def test_missing_times_are_refused(config: MakeConfig, tmp_path: Path) -> None:
    write_inter(tmp_path, [("u", "a", 1), ("u", "b", ""), ("u", "c", "NaN"), ("u", "d", 9)])
    with pytest.raises(DataError, match=r"toy\.inter, line 3, column timestamp:float: .*2 such"):
        create_dataset(config())


def test_random_order_is_left_to_recbole(config: MakeConfig, milliseconds: Path) -> None:
    arguments = {"order": "RO", "split": {"RS": [0.5, 0.25, 0.25]}, "group_by": "user"}
    keys = {"eval_args": {**arguments, "mode": "full"}}
    for part, theirs in zip(
        *(_shuffled(make(config("BPR", **keys))) for make in (create_dataset, Dataset)), strict=True
    ):
        assert torch.equal(part.inter_feat["item_id"], theirs.inter_feat["item_id"])


def _shuffled(dataset: Any) -> list[Any]:
    torch.manual_seed(3)
    return dataset.build()


def test_benchmark_files_stay_as_they_are(config: MakeConfig, tmp_path: Path) -> None:
    for n, name in enumerate(("train", "valid", "test")):
        rows = [("u", f"{name}{t}", 9 - t - n) for t in range(3)]
        write_table(
            tmp_path / "toy" / f"toy.{name}.inter",
            "user_id:token item_id:token timestamp:float",
            rows,
        )
    parts = build(config("BPR", benchmark_filename=["train", "valid", "test"]))
    assert [targets(p)["u"][0] for p in parts] == ["train0", "valid0", "test0"]


def test_datasets_can_be_pickled(config: MakeConfig, milliseconds: Path) -> None:
    for name in KINDS:
        dataset = create_dataset(kind(config, name))
        again = pickle.loads(pickle.dumps(dataset))
        assert type(again) is type(dataset)
        assert again.inter_feat.equals(dataset.inter_feat)


def test_classes_are_recboles_with_the_mixin_before(config: MakeConfig, rich: Path) -> None:
    for model, name in (("DIEN", "DIENDataset"), ("CKE", "KnowledgeBasedDataset")):
        chosen = dataset_class(config(model, "rich"))
        assert chosen.__name__ == f"Exact{name}" and issubclass(chosen, ExactOrder)
    assert in_exact_order(Dataset) is in_exact_order(Dataset)
    dien = dataset_class(config("DIEN", "rich"))
    assert "data_augmentation" not in vars(dien)  # it adds negatives to RecBole's rows
    drawn = {"train_neg_sample_args": {"distribution": "uniform", "sample_num": 1}}
    learns = config("DIEN", "rich", **drawn)  # from labels, which drawn negatives give
    train, *_ = data_preparation(learns, dien(learns))
    assert "neg_item_id_list" in next(iter(train))


def test_a_time_of_tokens_is_refused(config: MakeConfig, tmp_path: Path) -> None:
    header = "user_id:token item_id:token timestamp:token"
    write_table(tmp_path / "toy" / "toy.inter", header, [("u", "a", 1)])
    with pytest.raises(DataError, match="must be timestamp:float"):
        create_dataset(config())


def test_ids_that_read_like_missing_values_are_ids(config, tmp_path):
    rows = [
        (user, item, stamp)
        for user in ("null", "None", "u")
        for stamp, item in enumerate(["NA", "nan", "a", "b", "c"])
    ]
    write_inter(tmp_path, [*rows, ("", "a", 9), ("u", "", 9), ("v", "a", 1)])
    dataset = in_exact_order(SequentialDataset)(config())
    assert dataset.user_num == 5 and dataset.item_num == 6
    assert dataset.inter_num == 16
    assert not (dataset.inter_feat["item_id"] == 0).any()
