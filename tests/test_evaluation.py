"""Ranks by counting against ranks by sorting, and metrics against RecBole's own Evaluator."""

from __future__ import annotations

import pytest
import torch

from recbole_fmrlrec import compat, evaluation
from recbole_fmrlrec.errors import RunError
from recbole_fmrlrec.evaluation import can_rank, nested_ranks, rank_metrics, rank_of_target


def test_rank_by_hand_with_ties():
    scores = torch.tensor([[3.0, 1.0, 2.0, 2.0, 2.0], [0.0, 0.0, 0.0, 0.0, 0.0]])
    # Row 0: one item is better than 2.0, two others tie and count half: rank 1 + 1 + 1.
    # Row 1: four ties count half: the middle of five.
    assert rank_of_target(scores, torch.tensor([2, 0])).tolist() == [3, 3]
    assert rank_of_target(scores[:1], torch.tensor([0])).tolist() == [1]
    assert rank_of_target(scores[:1], torch.tensor([1])).tolist() == [5]


@pytest.mark.parametrize("rows_in_block", [1, 3, 100])
def test_nested_ranks_are_those_of_sorting_at_every_size(monkeypatch, rows_in_block):
    torch.manual_seed(0)
    monkeypatch.setattr(evaluation, "BLOCK_BYTES", 4 * 50 * rows_in_block)
    hidden, items = torch.randn(20, 8), torch.randn(50, 8)
    targets = torch.randint(50, (20,))
    ranks = nested_ranks(hidden, items, targets, [2, 3, 8])
    for k, size in enumerate([2, 3, 8]):
        order = (hidden[:, :size] @ items[:, :size].T).argsort(dim=1, descending=True)
        by_sorting = (order == targets[:, None]).int().argmax(1) + 1
        assert torch.equal(ranks[k], by_sorting)


def test_a_diverged_model_is_an_error_and_no_perfect_rank():
    hidden = torch.full((2, 4), float("nan"))
    with pytest.raises(RunError, match="NaN or infinite"):
        nested_ranks(hidden, torch.randn(3, 4), torch.tensor([0, 1]), [4])


def test_metrics_by_hand():
    ranks = torch.tensor([1, 3, 11])
    metrics = rank_metrics(ranks, ["Recall", "NDCG", "MRR", "Precision"], [2, 10], 4)
    assert metrics == {
        "recall@2": 0.3333,
        "recall@10": 0.6667,
        "ndcg@2": 0.3333,
        "ndcg@10": 0.5,
        "mrr@2": 0.3333,
        "mrr@10": 0.4444,
        "precision@2": 0.1667,
        "precision@10": 0.0667,
    }


def test_which_metrics_follow_from_ranks():
    assert can_rank(["NDCG", "recall", "Hit", "MAP"])
    assert not can_rank(["NDCG", "ItemCoverage"])


def test_metrics_equal_those_of_recboles_evaluator(config):
    compat.apply()
    from recbole.evaluator import Collector, Evaluator

    names = ["Recall", "NDCG", "MRR", "Hit", "Precision", "MAP"]
    settings = config("SASRec", metrics=names, topk=[1, 5, 10], metric_decimal_place=6)
    torch.manual_seed(0)
    scores = torch.randn(40, 61)
    scores[:, 0] = -torch.inf
    targets = torch.randint(1, 61, (40,))
    collector = Collector(settings)
    collector.eval_batch_collect(scores.clone(), None, torch.arange(40), targets)
    theirs = Evaluator(settings).evaluate(collector.get_data_struct())
    ranks = rank_of_target(scores[:, 1:], targets - 1)
    assert rank_metrics(ranks, names, [1, 5, 10], 6) == pytest.approx(dict(theirs), abs=1e-6)
