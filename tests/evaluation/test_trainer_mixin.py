"""Evaluation by counting in every trainer: RecBole's numbers, and RecBole's evaluator elsewhere."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from recbole.model.general_recommender import BPR
from recbole.trainer import KGTrainer
from recbole.trainer import Trainer as RecBoleTrainer

from recbole_fmrlrec.data.loaders import create_dataset, data_preparation
from recbole_fmrlrec.evaluation.trainer_mixin import rank_record
from recbole_fmrlrec.model_api.registry import get_model_class
from recbole_fmrlrec.train.trainer import resumable, trainer_class
from tests.conftest import LEAVE_ONE_OUT, MakeConfig
from tests.data.test_loaders import UNIFORM

METRICS = {"metrics": ["Recall", "NDCG", "MRR", "Hit", "Precision", "MAP", "GAUC"], "topk": [1, 5]}


def trained(config: Any) -> tuple[Any, Any]:
    """A trainer whose model has random weights, and the test loader."""
    train, _, test = data_preparation(config, create_dataset(config))
    torch.manual_seed(1)
    model = get_model_class(config["model"])(config, train._dataset)
    trainer = trainer_class(config)(config, model)
    trainer.eval_collector.data_collect(train)
    return trainer, test


def recboles(trainer: Any, loader: Any) -> dict[str, float]:
    """What RecBole's own `evaluate` says of the same model, the loader's history at -inf."""
    trainer._full_sort_batch_eval = functools.partial(RecBoleTrainer._full_sort_batch_eval, trainer)
    try:
        result = RecBoleTrainer.evaluate(trainer, loader, load_best_model=False)
    finally:
        del trainer._full_sort_batch_eval
    return {name: round(float(value), 6) for name, value in result.items()}


@pytest.mark.parametrize(
    ("model", "masked"),
    [(name, masked) for name in ("BPR", "CKE", "NeuMF", "SASRec") for masked in (False, True)],
)
def test_the_numbers_are_recboles(config: MakeConfig, rich: Path, model: str, masked: bool) -> None:
    keys: dict[str, Any] = {} if model == "SASRec" else {"train_neg_sample_args": UNIFORM}
    keys |= METRICS | {"mask_history": masked, "eval_batch_size": 50}
    trainer, test = trained(config(model, "rich", metric_decimal_place=6, **keys))
    wanted = recboles(trainer, test)
    if masked:
        wanted = {f"masked_{name}": value for name, value in wanted.items()}
    assert trainer.evaluate(test, load_best_model=False) == wanted
    assert trainer.ranks.shape == (1, 30) and trainer.ranks.dtype == torch.int32
    record = rank_record(trainer.ranks, (), test)
    assert sorted(record.users) == sorted(f"u{u}" for u in range(30))
    for user, item in zip(record.users, record.targets, strict=True):
        assert item == f"i{(int(user[1:]) * 7 + 5 * 3) % 20}"


@pytest.mark.parametrize(
    "keys",
    [
        {"eval_args": {**LEAVE_ONE_OUT, "mode": "uni5"}},
        {
            "eval_args": {
                "order": "TO",
                "split": {"RS": [1, 1, 1]},
                "group_by": "user",
                "mode": "full",
            }
        },
        {"metrics": ["Recall", "ItemCoverage"]},
    ],
    ids=["sampled", "several positives", "lists"],
)
def test_what_ranks_cannot_say_comes_from_recbole(
    config: MakeConfig, rich: Path, keys: dict[str, Any]
) -> None:
    settings = config("BPR", "rich", train_neg_sample_args=UNIFORM, metric_decimal_place=6, **keys)
    trainer, test = trained(settings)
    trainer.ranks = torch.ones(1, 1)
    found = trainer.evaluate(test, load_best_model=False)
    assert trainer.ranks is None
    if "uni" not in settings["eval_args"]["mode"]["test"]:
        assert found == recboles(trainer, test)
    assert 0 <= found["recall@10"] <= 1


def test_an_evaluation_that_fails_leaves_the_trainer_as_it_was(
    config: MakeConfig, rich: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, test = trained(config("BPR", "rich", train_neg_sample_args=UNIFORM))
    before = trainer.eval_collector, trainer.evaluator
    monkeypatch.setattr(BPR, "full_sort_predict", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        trainer.evaluate(test, load_best_model=False)
    assert (trainer.eval_collector, trainer.evaluator) == before and trainer.ranks is None


def test_one_class_for_each_trainer() -> None:
    assert resumable(KGTrainer) is resumable(KGTrainer)
    assert issubclass(resumable(KGTrainer), KGTrainer)
