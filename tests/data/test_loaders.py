"""From a configuration to loaders: batches, history, samplers, saved data and refusals."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from recbole.data.dataloader import FullSortEvalDataLoader, TrainDataLoader
from recbole.utils import KGDataLoaderState

from recbole_fmrlrec.data.loaders import DataError, create_dataset, data_preparation
from recbole_fmrlrec.data.windows import UserWindowDataset
from tests.conftest import LEAVE_ONE_OUT, MakeConfig, write_inter, write_table

UNIFORM = {
    "distribution": "uniform",
    "sample_num": 1,
    "alpha": 1.0,
    "dynamic": False,
    "candidate_num": 0,
}


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """Users of 3 to 9 interactions over 12 items."""
    rows = [(f"u{n}", f"i{(n + 5 * t) % 12}", t) for n in range(3, 10) for t in range(n)]
    return write_inter(tmp_path, rows)


def prepared(config: Any) -> tuple[Any, Any, Any]:
    """The three loaders."""
    return data_preparation(config, create_dataset(config))


def rows_of(loader: Any) -> Counter[tuple[int, ...]]:
    """The rows of all batches as (user, inputs, targets)."""
    found: Counter[tuple[int, ...]] = Counter()
    for batch in loader:
        columns = batch["user_id"], batch["item_id_list"], batch["target_id_list"]
        for user, inputs, targets in zip(*(c.tolist() for c in columns), strict=True):
            length = len([x for x in inputs if x])
            found[(user, *inputs[:length], *targets[:length])] += 1
    return found


def test_batches_of_windows(config: MakeConfig, toy: Path) -> None:
    keys = {"training_windows": "overlap", "MAX_ITEM_LIST_LENGTH": 20, "train_batch_size": 2}
    train, valid, test = prepared(config(**keys))
    assert isinstance(train, TrainDataLoader) and isinstance(train._dataset, UserWindowDataset)
    assert (len(train), len(train._dataset), len(valid._dataset), len(test._dataset)) == (
        4,
        7,
        6,
        7,
    )
    for batch in train:
        longest = int(batch["item_length"].max())
        assert batch["item_id_list"].shape == batch["target_id_list"].shape == (len(batch), longest)
        assert "words" not in batch
    rows = rows_of(train)
    assert set(rows.values()) == {1} and len(rows) == 7
    assert rows_of(train) == rows


def test_batches_are_shuffled_by_the_seed(config: MakeConfig, toy: Path) -> None:
    def order(seed: int, **keys: Any) -> list[list[int]]:
        loader = prepared(config(training_windows="overlap", seed=seed, **keys))[0]
        return [[u for batch in loader for u in batch["user_id"].tolist()] for _ in range(2)]

    assert order(1) == order(1) != order(2)
    assert order(1)[0] != order(1)[1]
    first, second = order(1, shuffle=False)
    assert first == second


def test_the_batch_size_can_be_changed(config: MakeConfig, toy: Path) -> None:
    train = prepared(config(training_windows="overlap"))[0]
    train.set_batch_size(3)
    assert train._batch_size == 3


@pytest.mark.parametrize("model", ["BPR", "Pop", "MultiVAE"])
def test_history_of_general_models(config: MakeConfig, toy: Path, model: str) -> None:
    keys = {"train_neg_sample_args": UNIFORM} if model == "BPR" else {}
    open_loader = prepared(config(model, **keys))[2]
    masked = prepared(config(model, mask_history=True, **keys))[2]
    assert isinstance(open_loader, FullSortEvalDataLoader)
    users, history, row, item = next(iter(open_loader))
    same_users, (history_row, history_item), same_row, same_item = next(iter(masked))
    assert history is None
    assert torch.equal(users["user_id"], same_users["user_id"])
    assert torch.equal(row, same_row) and torch.equal(item, same_item)
    id2token = masked._dataset.field2id_token
    for place, user in enumerate(users["user_id"]):
        n = int(id2token["user_id"][user][1:])
        seen = {str(id2token["item_id"][i]) for i in history_item[history_row == place]}
        assert seen == {f"i{(n + 5 * t) % 12}" for t in range(n - 1)}
        (target,) = item[row == place].tolist()
        assert id2token["item_id"][target] == f"i{(n + 5 * (n - 1)) % 12}"


def test_history_of_sequential_models(config: MakeConfig, toy: Path) -> None:
    assert next(iter(prepared(config("SASRec"))[2]))[1] is None
    masked = prepared(config("SASRec", mask_history=True, MAX_ITEM_LIST_LENGTH=2))[2]
    rows, (history_row, history_item), _, _ = next(iter(masked))
    id2token = masked._dataset.field2id_token
    for place, user in enumerate(rows["user_id"]):  # all of it, not the two items of the input
        n = int(id2token["user_id"][user][1:])
        seen = {str(id2token["item_id"][i]) for i in history_item[history_row == place]}
        assert seen == {f"i{(n + 5 * t) % 12}" for t in range(n - 1)}


def test_training_negatives_of_general_models(config: MakeConfig, toy: Path) -> None:
    train = prepared(config("BPR", train_neg_sample_args=UNIFORM))[0]
    held = {(int(u), int(i)) for u, i in zip(*train._dataset.inter_matrix().nonzero(), strict=True)}
    for batch in train:
        for user, item in zip(
            batch["user_id"].tolist(), batch["neg_item_id"].tolist(), strict=True
        ):
            assert (user, item) not in held


@pytest.mark.parametrize("mode", ["uni5", "pop3"])
def test_sampled_evaluation(config: MakeConfig, toy: Path, mode: str) -> None:
    keys = {"eval_args": {**LEAVE_ONE_OUT, "mode": mode}}
    windows = prepared(config(training_windows="overlap", **keys))[2]
    prefixes = prepared(config(**keys))[2]
    left, right = (
        Counter(loader._sampler._get_candidates_list()) for loader in (windows, prefixes)
    )
    assert left == right  # popularity counts what RecBole counts, not windows
    for rows, _, positive_row, positive in windows:
        assert len(rows) == (1 + int(mode[3:])) * len(positive)
        assert positive_row.tolist() == list(range(7))


def test_negatives_for_windows_are_refused(config: MakeConfig, toy: Path) -> None:
    keys = {"training_windows": "latest", "train_neg_sample_args": UNIFORM, "loss_type": "BPR"}
    with pytest.raises(DataError, match=r"train_neg_sample_args.*training_windows to prefix"):
        prepared(config(**keys))


def test_prefix_means_recboles_rows(config: MakeConfig, toy: Path) -> None:
    dataset = create_dataset(config(training_windows="prefix"))
    assert type(dataset).__name__ == "ExactSequentialDataset"


def test_knowledge_models_get_their_triples(config: MakeConfig, rich: Path) -> None:
    train, *_ = prepared(config("CKE", "rich", train_neg_sample_args=UNIFORM))
    train.set_mode(KGDataLoaderState.RSKG)
    assert {"user_id", "neg_item_id", "head_id", "neg_tail_id"} <= set(next(iter(train)).columns)


@pytest.mark.parametrize(
    ("windows", "kind"), [("overlap", "UserWindowDataset"), ("prefix", "ExactSequentialDataset")]
)
def test_saved_datasets_and_loaders(
    config: MakeConfig, toy: Path, tmp_path: Path, windows: str, kind: str
) -> None:
    keys = {"training_windows": windows}
    first = create_dataset(config(save_dataset=True, **keys))
    path = tmp_path / "saved" / f"toy-{kind}.pth"
    (toy / "toy.inter").unlink()
    again = create_dataset(config(dataset_save_path=str(path), **keys))
    assert again.inter_feat.equals(first.inter_feat)
    loaders = data_preparation(config(save_dataloaders=True, **keys), again)
    saved = tmp_path / "saved" / "toy-for-SASRec-dataloader.pth"
    other = create_dataset(config(dataset_save_path=str(path), **keys))
    loaded = data_preparation(config(dataloaders_save_path=str(saved), **keys), other)
    for left, right in zip(loaders, loaded, strict=True):
        assert torch.equal(
            left._dataset.inter_feat["item_id"], right._dataset.inter_feat["item_id"]
        )
        assert torch.equal(left._dataset[:]["item_id_list"], right._dataset[:]["item_id_list"])


def test_a_saved_dataset_of_other_settings_is_not_taken(
    config: MakeConfig, toy: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    create_dataset(config(save_dataset=True))
    path = str(tmp_path / "saved" / "toy-ExactSequentialDataset.pth")
    for keys in ({"MAX_ITEM_LIST_LENGTH": 3}, {"training_windows": "overlap"}):
        caplog.clear()
        dataset = create_dataset(config(dataset_save_path=path, **keys))
        assert dataset.config["dataset_save_path"] == path
        assert "was saved with other settings" in caplog.text
    with pytest.raises(DataError, match=r"dataset_save_path.*nowhere"):
        create_dataset(config(dataset_save_path="nowhere.pth"))


def test_a_missing_dataset(config: MakeConfig, toy: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        create_dataset(config("BPR", "no-such-data"))
    told = str(error.value)
    for words in (
        f"there is no file {tmp_path / 'no-such-data' / 'no-such-data.inter'}",
        f"Datasets in {tmp_path}: toy ",
        "python -m dataset_tools convert",
        "--data_path",
    ):
        assert words in told


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"TIME_FIELD": "when"}, "no column 'when', which the key TIME_FIELD names"),
        ({"ITEM_ID_FIELD": "product"}, "'product', which the key ITEM_ID_FIELD.* user_id, item_id"),
        ({"load_col": {"inter": ["user_id", "item_id"]}}, "'timestamp'.*or load_col leaves it out"),
    ],
)
def test_a_missing_column(config: MakeConfig, toy: Path, keys: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        create_dataset(config(**keys))


@pytest.mark.parametrize("windows", ["overlap", None])
@pytest.mark.parametrize(("total", "message"), [(1, "two interactions"), (3, "four interactions")])
def test_too_little_data(
    config: MakeConfig, tmp_path: Path, total: int, message: str, windows: str | None
) -> None:
    write_inter(tmp_path, [(u, x, t) for u in "uv" for t, x in enumerate("abc"[:total])])
    with pytest.raises(DataError, match=message):
        prepared(config(training_windows=windows))


def test_only_items_of_interactions_unless_item_is_loaded(config: MakeConfig, toy: Path) -> None:
    items = [(f"i{i}", "a title") for i in range(12)]
    write_table(toy / "toy.item", "item_id:token title:token", [*items, ("new", "unseen")])
    columns = {"inter": ["user_id", "item_id", "timestamp"]}
    assert create_dataset(config(training_windows="overlap", load_col=columns)).item_num == 13
    assert create_dataset(config(training_windows="overlap")).item_num == 14
