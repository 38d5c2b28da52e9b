"""Rows cut a batch at a time: they are RecBole's whatever is done to them, in every model."""

from __future__ import annotations

import copy
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recbole.data.dataset import SequentialDataset
from recbole.data.interaction import Interaction
from recbole.utils import init_seed

from recbole_fmrlrec.config.config import Config
from recbole_fmrlrec.data import exact_order
from recbole_fmrlrec.data.loaders import create_dataset, data_preparation
from recbole_fmrlrec.data.prefix_rows import PrefixRows
from recbole_fmrlrec.data.trimming import TRIMMABLE
from recbole_fmrlrec.errors import DataError
from recbole_fmrlrec.model_api.registry import list_models
from recbole_fmrlrec.train.trainer import trainer_class
from tests.conftest import MakeConfig


@pytest.fixture
def both(config: MakeConfig, rich: Path) -> tuple[PrefixRows, Interaction]:
    """The same rows, cut when asked for and whole; with lists of numbers and of sequences."""
    keys = {"numerical_features": ["rating"], "MAX_ITEM_LIST_LENGTH": 3}
    dataset = create_dataset(config("SASRec", "rich", **keys))
    dataset._change_feat_format()
    rows = dataset.inter_feat
    return rows, Interaction({name: rows.interaction[name].clone() for name in rows})


def assert_same(rows: Any, whole: Any) -> None:
    """Two interactions have the same columns in the same order, to the bit."""
    assert rows.columns == whole.columns and len(rows) == len(whole)
    for name in whole:
        assert rows.interaction[name].dtype == whole.interaction[name].dtype
        assert torch.equal(rows.interaction[name], whole.interaction[name]), name


@pytest.mark.parametrize(
    "index",
    [
        slice(3, 90, 4),
        [5, 0, 5],
        [],
        np.array([7, 2]),
        torch.tensor([1, 140]),
        torch.arange(150) % 7 == 0,
    ],
    ids=["slice", "list", "none", "array", "tensor", "mask"],
)
def test_chosen_rows_are_the_same(both: Any, index: Any) -> None:
    rows, whole = both
    assert isinstance(rows[index], PrefixRows)
    assert_same(rows[index], whole[index])
    assert_same(rows[index].cut(), whole[index])
    assert type(rows[index].cut()) is Interaction


def test_one_row(both: Any) -> None:
    rows, whole = both
    for name in whole:
        assert torch.equal(rows[9][name], whole[9][name])


def test_whatever_recbole_does_to_the_rows(both: Any) -> None:
    rows, whole = both
    for feat in (rows, whole):
        feat.sort(by=["item_id", "timestamp"])
        torch.manual_seed(4)
        feat.shuffle()
        feat.drop("rating_list")
        del feat["timestamp"]
        feat["label"] = torch.arange(len(feat))
        feat["item_id"][3] = 1
        feat.update(Interaction({"user_id": feat["user_id"] + 1}))
        feat.sort(by="item_length")
    assert_same(rows, whole)
    assert_same(rows.repeat(2), whole.repeat(2))
    assert_same(rows.to("cpu"), whole.to("cpu"))
    assert_same(copy.deepcopy(rows), whole)
    assert_same(pickle.loads(pickle.dumps(rows)), whole)
    with pytest.raises(ValueError, match=r"Column \[rating_list\] is not in"):
        rows.drop("rating_list")


def test_a_copy_is_another_one(both: Any) -> None:
    rows, whole = both
    other = copy.deepcopy(rows)
    other["item_id"][:] = 0
    part = rows[:]
    part["item_length"][:] = 0
    part.shuffle()
    assert_same(rows, whole)


def test_rows_hold_no_list_until_one_is_asked_for(both: Any) -> None:
    rows, _ = both
    held = rows.interaction
    assert "item_id_list" not in {k for k, v in held.columns.items() if torch.is_tensor(v)}
    assert held.start.numel() == held.length.numel() == 150  # 30 users of 6: 5 rows each
    rows[[0, 1]]["item_id_list"]
    assert "item_id_list" not in {k for k, v in held.columns.items() if torch.is_tensor(v)}
    assert rows["item_id_list"] is rows["item_id_list"]


def test_trimmed_rows_are_the_longest_of_them_wide(both: Any) -> None:
    rows, whole = both
    short = torch.nonzero(whole["item_length"] <= 2).flatten()
    cut = rows[short].cut(trim=True)
    assert cut["item_id_list"].shape == (len(short), 2) and cut["rating_list"].shape[1:] == (2, 2)
    assert torch.equal(cut["item_id_list"], whole[short]["item_id_list"][:, :2])


#: What a model needs beside RecBole's defaults on so small a dataset.
KEYS: dict[str, dict[str, Any]] = {
    "BERT4Rec": {"mask_ratio": 0.5},
    "GRU4RecCPR": {"reranker_CAN_NUM": "5"},
    "SASRecCPR": {"reranker_CAN_NUM": "5"},
    "GRU4RecF": {"selected_features": ["words"]},
    "SASRecF": {"selected_features": ["words"]},
    "FDSA": {"selected_features": ["words"]},
    "S3Rec": {"item_attribute": "words", "pretrain_epochs": 1, "save_step": 1, "mask_ratio": 0.5},
}
COLUMNS = {
    "inter": ["user_id", "item_id", "rating", "timestamp"],
    "item": ["item_id", "words", "price", "v"],
    "kg": ["head_id", "relation_id", "tail_id"],
    "link": ["item_id", "entity_id"],
}
for name, table in (("KSR", "rel"), ("GRU4RecKG", "")):
    kinds = ["ent", "rel"] if table else ["ent"]
    KEYS[name] = {
        "load_col": COLUMNS | {kind: [f"{kind}_id", f"{kind}_emb"] for kind in kinds},
        "additional_feat_suffix": kinds,
        "preload_weight": {f"{kind}_id": f"{kind}_emb" for kind in kinds},
        "alias_of_entity_id": ["ent_id"],
        "alias_of_relation_id": ["rel_id"] if table else None,
    }


def small(root: Path, model: str, **keys: Any) -> Any:
    """Our Config of a model on the rich dataset."""
    base: dict[str, Any] = {
        "data_path": str(root),
        "checkpoint_dir": str(root / "saved"),
        "use_gpu": False,
        "show_progress": False,
        "epochs": 1,
        "train_batch_size": 16,
        "eval_batch_size": 16,
        "MAX_ITEM_LIST_LENGTH": 4,
        "load_col": None,
    }
    return Config(model, "rich", config_dict=base | KEYS.get(model, {}) | keys)


def one_epoch(config: Any) -> tuple[Any, Any, Any]:
    """Loss, test metrics and parameters after an epoch."""
    init_seed(1, True)
    train, valid, test = data_preparation(config, create_dataset(config))
    model = config.model_class(config, train._dataset)
    trainer = trainer_class(config)(config, model)
    trainer.fit(train, valid, verbose=False, saved=False)
    result = trainer.evaluate(test, load_best_model=False)
    return dict(trainer.train_loss_dict), result, model.state_dict()


def with_recboles_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on datasets hold every padded row, made by RecBole's own loops."""
    exact_order.in_exact_order.cache_clear()
    monkeypatch.setattr(exact_order, "prefix_rows", SequentialDataset.data_augmentation)


@pytest.mark.parametrize(
    "model", [*sorted(TRIMMABLE.keys() - {"fMRLRec"}), "SASRecM", "LRURec", "gSASRec", "eSASRec"]
)
def test_trimmed_batches_give_the_same_scores_losses_and_gradients(
    rich: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(rich.parent)  # RecBole's trainer writes its curves there
    keys: dict[str, Any] = {"use_features": False} if model == "fMRLRecID" else {}
    if model not in list_models()["sequential"]:
        keys["training_windows"] = "prefix"
    found = []
    for trim in (False, True):
        config = small(rich.parent, model, MAX_ITEM_LIST_LENGTH=9, trim_batches=trim, **keys)
        train, _, test = data_preparation(config, create_dataset(config))
        network = config.model_class(config, train._dataset).eval()
        torch.manual_seed(1)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        trainer_class(config)(config, network)
        random.seed(2)  # draws BERT4Rec's masks
        batch, scored = next(iter(train)), next(iter(test))[0]
        assert batch["item_id_list"].shape[1] == (int(batch["item_length"].max()) if trim else 9)
        assert len(set(batch["item_length"].tolist())) > 2  # several groups of rows
        loss = network.calculate_loss(batch)
        loss.backward()
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        with torch.no_grad():
            found.append([loss.detach(), network.full_sort_predict(scored), *gradients])
    # The matrices are of other shapes, and sums of other order: float32, not to the bit.
    torch.testing.assert_close(found[1], found[0], rtol=1e-5, atol=1e-6)


def test_trimming_is_refused_where_it_would_change_results(rich: Path) -> None:
    config = small(rich.parent, "Caser", trim_batches=True)
    with pytest.raises(DataError, match=r"would change the results of Caser; it is for BERT4Rec, "):
        data_preparation(config, create_dataset(config))


@pytest.mark.slow
@pytest.mark.parametrize("model", list_models()["sequential"])
def test_every_model_trains_to_the_bit_as_on_recboles_rows(
    rich: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    monkeypatch.chdir(rich.parent)
    ours = one_epoch(small(rich.parent, model))
    with_recboles_rows(monkeypatch)
    try:
        theirs = one_epoch(small(rich.parent, model))
    finally:
        exact_order.in_exact_order.cache_clear()
    assert ours[:2] == theirs[:2]
    for name, value in theirs[2].items():
        assert torch.equal(ours[2][name], value), name
