"""Metrics of lists beside metrics of ranks, in one pass: RecBole's numbers, at every size."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recbole.evaluator import Evaluator

from dataset_tools.features import write_features
from recbole_fmrlrec.errors import DataError, UsageError
from recbole_fmrlrec.evaluation.collectors import RankCollector
from recbole_fmrlrec.evaluation.list_record import KeepLists
from tests.evaluation.test_best_lists import by_the_rule
from tests.evaluation.test_protocols import ITEMS, evaluated, repeating, without  # noqa: F401
from tests.evaluation.test_trainer_mixin import recboles

#: Metrics that RecBole's evaluator computes from lists of its own; Novelty by our formula.
THEIRS = ["ItemCoverage", "GiniIndex", "ShannonEntropy", "TailPercentage", "AveragePopularity"]
LISTS: dict[str, Any] = {
    "metrics": ["NDCG", *THEIRS, "Novelty"],
    "metric_decimal_place": 6,
    "tail_ratio": 0.3,
}
#: Items of one title would tie, and RecBole's order of ties is any.
IDS: dict[str, dict[str, Any]] = {"fMRLRec": {"use_id_embedding": True}}

Events = dict[str, list[str]]


@pytest.mark.parametrize("part", [1, 2], ids=["validation", "test"])
@pytest.mark.parametrize("model", ["BPR", "SASRec", "fMRLRec"])
def test_recboles_numbers_at_every_size(
    repeating: Events,  # noqa: F811
    tmp_path: Path,
    model: str,
    part: int,
) -> None:
    keys = {**LISTS, **IDS.get(model, {})}
    trainer, loader, found, _ = evaluated(tmp_path, model, part, **keys)
    assert list(found)[:4] == ["ndcg@3", "ndcg@5", "itemcoverage@3", "itemcoverage@5"]
    assert trainer.ranks is not None  # from the same pass
    by_size = trainer.by_size or {0: found}
    assert len(by_size) == (2 if model == "fMRLRec" else 1)
    masking = evaluated(tmp_path, model, part, **keys, history="mask")
    for size, values in by_size.items():
        for prefix, (one, its_loader) in {"": (trainer, loader), "masked_": masking[:2]}.items():
            if size:
                one.model.size = size
            theirs = recboles(one, its_loader)
            mine = {name: round(values[f"{prefix}{name}"], 6) for name in theirs}
            assert mine == theirs and len(theirs) == 14
    assert 0 < found["tailpercentage@5"] < 1 and found["masked_novelty@5"] > 2


def test_the_counts_are_those_of_recboles_training_rows(
    repeating: Events,  # noqa: F811
    tmp_path: Path,
) -> None:
    for model, left_out in (("BPR", 0), ("SASRec", 1), ("fMRLRec", 1)):
        _, loader, _, _ = evaluated(tmp_path, model, 2, **LISTS)
        counts = loader.catalogue.counts
        ids = loader._dataset.field2token_id["item_id"]
        wanted = np.zeros(len(ids), dtype=int)
        for events in repeating.values():
            for item in events[left_out:-2]:  # of a sequence model the first is never a target
                wanted[ids[item]] += 1
        assert counts.tolist() == wanted.tolist()


def test_lists_of_a_constant_model_are_in_order_of_ids(
    repeating: Events,  # noqa: F811
    tmp_path: Path,
) -> None:
    trainer, loader, _, _ = evaluated(tmp_path, "Pop", 2)
    assert trainer.lists is None  # nothing asked for them
    trainer.keep_lists = KeepLists(4)
    trainer.evaluate(loader, load_best_model=False)
    trainer.tot_item_num = loader._dataset.item_num
    at = 0
    for rows, _, users, targets in loader:
        scores = trainer._full_sort_batch_eval((rows, None, users, targets))[1]
        history = trainer_history(loader, repeating, rows)
        here = slice(at, at + len(targets))
        kept, masked = trainer.lists.items[0], trainer.lists.masked_items[0]
        assert kept[here].tolist() == by_the_rule(scores, 4)
        assert masked[here].tolist() == by_the_rule(without(scores, history, targets), 4)
        at += len(targets)
    assert at > 15 and len(np.unique(kept, axis=0)) == 1
    assert trainer.lists.length == 4 and trainer.lists.distances is None


def trainer_history(loader: Any, events: Events, rows: Any) -> list[set[int]]:
    """The ids of what each row's user had before the test."""
    ids = loader._dataset.field2token_id["item_id"]
    users = loader._dataset.id2token("user_id", rows["user_id"].numpy())
    return [{ids[item] for item in events[user][:-1]} for user in users]


def write_axes(folder: Path) -> None:
    """Features of two modalities: item n points along axis n modulo 3 in both; i16 has none."""
    items = [f"i{item}" for item in range(ITEMS)]
    axes = np.eye(3, dtype=np.float32)[np.arange(ITEMS) % 3] * 5
    for name in ("image", "text"):
        about = {"encoder": "axes", "empty_items": ["i16"]}
        write_features(folder / "features", name, axes, items, about)


def test_diversity_is_the_mean_distance_of_all_pairs(
    repeating: Events,  # noqa: F811
    tmp_path: Path,
) -> None:
    write_axes(tmp_path / "repeating")
    keys: dict[str, Any] = {"metrics": ["NDCG", "IntraListDiversity"], "metric_decimal_place": 6}
    trainer, loader, found, _ = evaluated(tmp_path, "SASRec", 2, **keys)
    tokens = loader._dataset.field2id_token["item_id"]
    for prefix in ("", "masked_"):
        shares = []  # of pairs that lie on two axes
        for row in getattr(trainer.lists, f"{prefix}items")[0]:
            on = [int(tokens[item][1:]) % 3 for item in row if tokens[item] != "i16"]
            shares.append(np.mean([a != b for a, b in itertools.combinations(on, 2)]))
        mean = float(np.mean(shares))
        assert found[f"{prefix}intralistdiversity@5"] == pytest.approx(mean, abs=2e-6)
        assert 0.5 < mean < 1


def test_distances_by_hand(
    repeating: Events,  # noqa: F811
    tmp_path: Path,
) -> None:
    write_axes(tmp_path / "repeating")
    loader = evaluated(tmp_path, "SASRec", 2)[1]
    ids = loader._dataset.field2token_id["item_id"]
    rows = [["i0", "i3", "i1", "i16"], ["i0", "i16", "i2", "i2"]]
    lists = torch.tensor([[ids[item] for item in row] for row in rows])
    lists[1, 3] = 0  # the list has ended
    apart = loader.catalogue.distances(lists)
    nan = float("nan")
    assert apart[0].tolist() == pytest.approx([nan, 0, 2 / 3, 2 / 3], nan_ok=True)
    assert apart[1].tolist() == pytest.approx([nan, nan, 1, 1], nan_ok=True)
    again = loader.catalogue.distances(lists[None])
    assert again.dtype == torch.float32
    np.testing.assert_array_equal(again, apart[None])


def test_the_same_items_have_the_same_distance_whatever_their_order(
    repeating: Events,  # noqa: F811
    tmp_path: Path,
) -> None:
    items = [f"i{item}" for item in range(ITEMS)]
    rows = np.random.default_rng(0).normal(size=(ITEMS, 40)).astype(np.float32)
    write_features(tmp_path / "repeating" / "features", "text", rows, items, {"encoder": "random"})
    loader = evaluated(tmp_path, "SASRec", 2)[1]
    ids = torch.tensor([loader._dataset.field2token_id["item_id"][item] for item in items[:8]])
    seed = torch.Generator().manual_seed(0)
    orders = torch.stack([ids[torch.randperm(8, generator=seed)] for _ in range(500)])
    assert len(loader.catalogue.distances(orders)[:, -1].unique()) == 1
    assert loader.catalogue.distances(ids[:1].repeat(8))[1:].tolist() == [0.0] * 7


def test_a_list_of_one_item_chooses_nothing(
    repeating: Events,  # noqa: F811
    tmp_path: Path,
) -> None:
    keys: dict[str, Any] = {"metrics": ["NDCG", "IntraListDiversity"], "topk": [1, 5]}
    with pytest.raises(UsageError, match="IntraListDiversity@1: a list of one item has no pair"):
        evaluated(tmp_path, "SASRec", 2, **keys, valid_metric="IntraListDiversity@1")


def test_diversity_without_features_is_refused_before_any_training(
    repeating: Events,  # noqa: F811
    tmp_path: Path,
) -> None:
    keys: dict[str, Any] = {"metrics": ["NDCG", "IntraListDiversity"]}
    with pytest.raises(DataError, match="repeating has none: `python -m dataset_tools encode-text"):
        evaluated(tmp_path, "SASRec", 2, **keys)
    split = {"order": "TO", "split": {"RS": [2, 1, 1]}, "group_by": "user", "mode": "full"}
    with pytest.raises(DataError, match="each row has one target that is ranked among all"):
        evaluated(tmp_path, "BPR", 2, **keys, eval_args=split)


def test_several_targets_in_a_row_have_novelty_too(
    repeating: Events,  # noqa: F811
    tmp_path: Path,
) -> None:
    split = {"order": "TO", "split": {"RS": [2, 1, 1]}, "group_by": "user", "mode": "full"}
    _, loader, found, _ = evaluated(
        tmp_path, "Pop", 2, metrics=["NDCG", "Novelty"], eval_args=split, topk=[1, 5]
    )
    counts = loader.catalogue.counts
    assert found["novelty@1"] == pytest.approx(np.log2(counts.sum() / counts.max()), abs=1e-4)


@pytest.mark.parametrize(
    ("metric", "bigger"),
    [("GiniIndex", False), ("ItemCoverage", True), ("masked_AveragePopularity", False)],
)
def test_what_stops_training(
    repeating: Events,  # noqa: F811
    tmp_path: Path,
    metric: str,
    bigger: bool,
) -> None:
    plain = metric.removeprefix("masked_")
    keys = {"metrics": [plain, "NDCG"], "valid_metric": f"{metric}@5"}
    trainer, _, found, _ = evaluated(tmp_path, "SASRec", 1, **keys)
    assert trainer.valid_metric_bigger is bigger
    assert trainer.valid_metric in found


def test_lists_need_to_know_the_training(
    repeating: Events,  # noqa: F811
    tmp_path: Path,
) -> None:
    trainer, loader, _, config = evaluated(tmp_path, "SASRec", 2, **LISTS)
    with pytest.raises(UsageError, match=r"itemcoverage, .* does not know the training"):
        RankCollector(config)
    del loader.catalogue  # as a loader of RecBole's own: its evaluator does it
    found = trainer.evaluate(loader, load_best_model=False)
    assert trainer.ranks is None and trainer.lists is None
    assert isinstance(trainer.evaluator, Evaluator) and 0 < found["itemcoverage@5"] < 1
