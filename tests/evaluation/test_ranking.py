"""Ranks by counting against ranks by sorting, and metrics against RecBole's own Evaluator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from recbole_fmrlrec.errors import RunError
from recbole_fmrlrec.evaluation import ranking as evaluation
from recbole_fmrlrec.evaluation.ranking import (
    can_rank,
    mean_rank,
    nested_mean_ranks,
    rank_metrics,
    score_ranks,
    whole_ranks,
)
from tests.conftest import make_config

NAMES = ["Recall", "NDCG", "MRR", "Hit", "Precision", "MAP", "GAUC"]


def test_rank_by_hand_with_ties():
    scores = torch.tensor([[3.0, 1.0, 2.0, 2.0, 2.0, 2.0], [0.0] * 6])
    # Row 0: one item is better than 2.0 and three tie: places 2 to 5, 3.5 in the mean.
    # Row 1: all six tie: places 1 to 6.
    ranks = mean_rank(scores, torch.tensor([2, 0]))
    assert ranks.tolist() == [3.5, 3.5] and whole_ranks(ranks).tolist() == [3, 3]
    assert mean_rank(scores[:1], torch.tensor([0])).tolist() == [1]
    assert mean_rank(scores[:1], torch.tensor([1])).tolist() == [6]


@pytest.mark.parametrize("rows_in_block", [1, 3, 100])
def test_nested_ranks_are_those_of_sorting_at_every_size(monkeypatch, rows_in_block):
    torch.manual_seed(0)
    monkeypatch.setattr(evaluation, "BLOCK_BYTES", 4 * 50 * rows_in_block)
    hidden, items = torch.randn(20, 8), torch.randn(50, 8)
    targets = torch.randint(50, (20,))
    ranks = nested_mean_ranks(hidden, items, targets, [2, 3, 8])
    for k, size in enumerate([2, 3, 8]):
        order = (hidden[:, :size] @ items[:, :size].T).argsort(dim=1, descending=True)
        by_sorting = (order == targets[:, None]).int().argmax(1) + 1
        assert ranks[k].tolist() == by_sorting.tolist()


@pytest.mark.parametrize("width", [1, 13, 100])
def test_blocks_of_items_give_the_ranks_of_whole_rows(monkeypatch, width):
    torch.manual_seed(0)
    # Whole numbers: sums are exact, and many items tie.
    hidden, items = torch.randint(-2, 3, (20, 8)).float(), torch.randint(-1, 2, (50, 8)).float()
    targets = torch.randint(50, (20,))
    whole = nested_mean_ranks(hidden, items, targets, [2, 3, 8])
    assert (whole != whole.floor()).any()
    monkeypatch.setattr(evaluation, "LARGE", 49)
    monkeypatch.setattr(evaluation, "LARGE_ROWS", 7)
    monkeypatch.setattr(evaluation, "CACHED_BYTES", 4 * 7 * width)
    assert torch.equal(nested_mean_ranks(hidden, items, targets, [2, 3, 8]), whole)


def test_a_diverged_model_is_an_error_and_no_perfect_rank():
    hidden = torch.full((2, 4), float("nan"))
    with pytest.raises(RunError, match="NaN or infinite"):
        nested_mean_ranks(hidden, torch.randn(3, 4), torch.tensor([0, 1]), [4])
    scores = torch.zeros(40, 5)
    scores[39, 4] = float("nan")
    with pytest.raises(RunError, match="scores hold NaN"):
        score_ranks(scores, torch.ones(40, dtype=torch.int64))


@pytest.mark.parametrize("large", [False, True], ids=["rows", "blocks of items"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_outputs_have_exact_ranks(monkeypatch, dtype, large):
    # Item i scores -(i // 2): two items a score. bfloat16 holds no whole number above 256 that is
    # odd, float16 none above 2048.
    if large:
        monkeypatch.setattr(evaluation, "LARGE", 10)
    items = torch.zeros(5000, 2)
    items[:, 0], items[:, 1] = -(torch.arange(5000) // 100), -(torch.arange(5000) % 100 // 2)
    hidden = torch.tensor([[64.0, 1.0]]).repeat(3, 1)
    targets = torch.tensor([0, 2477, 4999])
    ranks = nested_mean_ranks(hidden.to(dtype), items.to(dtype), targets, [1, 2])
    assert ranks.dtype == torch.float32
    assert ranks[1].tolist() == [1.5, 2477.5, 4999.5]
    assert ranks[0].tolist() == [50.5, 2450.5, 4950.5]  # a hundred a score


@pytest.mark.parametrize("large", [False, True], ids=["rows", "blocks of items"])
def test_scores_that_overflow_are_refused(monkeypatch, large):
    if large:
        monkeypatch.setattr(evaluation, "LARGE", 2)
    hidden, items = torch.full((1, 2), 1e20), torch.full((3, 2), 1e20)
    with pytest.raises(RunError, match=r"scores would be infinite.*try a smaller learning_rate"):
        nested_mean_ranks(hidden, items, torch.tensor([1]), [2])
    ranks = nested_mean_ranks(hidden.double(), items.double(), torch.tensor([1]), [2])
    assert ranks.tolist() == [[2.0]] and ranks.dtype == torch.float64


def test_ranks_of_more_items_than_float32_counts(monkeypatch):
    monkeypatch.setattr(evaluation, "LARGE", 10)
    monkeypatch.setattr(evaluation, "CACHED_BYTES", 2**24)
    count = 2**23 + 2  # the worst two tie: 2^23 + 1.5 is no float32
    items = torch.ones(count, 1)
    items[-2:] = 0
    ranks = nested_mean_ranks(torch.ones(1, 1), items, torch.tensor([count - 1]), [1])
    assert ranks.tolist() == [[2**23 + 1.5]]


def test_metrics_by_hand():
    ranks = torch.tensor([1.0, 3.5, 11.0])
    metrics = rank_metrics(ranks, 11, ["Recall", "NDCG", "MRR", "Precision", "GAUC"], [2, 10], 4)
    assert metrics == {
        "recall@2": 0.3333,
        "recall@10": 0.6667,
        "ndcg@2": 0.3333,
        "ndcg@10": 0.5,
        "mrr@2": 0.3333,
        "mrr@10": 0.4444,
        "precision@2": 0.1667,
        "precision@10": 0.0667,
        "gauc": 0.5833,  # of 10 other items 10, 7.5 and 0 stand below the target
    }


def test_which_metrics_follow_from_ranks():
    assert can_rank(["NDCG", "recall", "Hit", "MAP", "GAUC"])
    assert not can_rank(["NDCG", "ItemCoverage"])


@pytest.fixture(scope="module")
def recbole(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Metrics of scores (B, N+1) by RecBole's own Collector and Evaluator, in batches of 16."""
    root = tmp_path_factory.mktemp("recbole")

    def evaluate(scores: torch.Tensor, targets: torch.Tensor, topk: list[int]) -> dict[str, float]:
        from recbole.evaluator import Collector, Evaluator

        keys = {"metrics": NAMES, "topk": topk, "metric_decimal_place": 6}
        config = make_config(root, valid_metric="GAUC", **keys)
        collector = Collector(config)
        for part, wanted in zip(scores.split(16), targets.split(16), strict=True):
            collector.eval_batch_collect(part.clone(), None, torch.arange(len(part)), wanted)
        result = Evaluator(config).evaluate(collector.get_data_struct())
        # GAUC is a float32, whose own six places are meant.
        return {name: round(float(value), 6) for name, value in result.items()}

    return evaluate


def ours(scores: torch.Tensor, targets: torch.Tensor, topk: list[int]) -> dict[str, float]:
    """The same by counting."""
    return rank_metrics(*score_ranks(scores, targets), NAMES, topk, 6)


@st.composite
def score_matrices(draw: Any, tied: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores (B, N+1) with the padding and some items masked, and targets that are not masked."""
    rows, items = draw(st.integers(1, 40)), draw(st.integers(2, 30))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if tied:
        scores = random.integers(0, draw(st.integers(1, 5)), (rows, items + 1)).astype(float)
    else:
        scores = random.permuted(np.tile(np.arange(items + 1.0), (rows, 1)), axis=1)
        scores = scores / 7 - 2
    targets = random.integers(1, items + 1, rows)
    masked = random.random((rows, items + 1)) < draw(st.sampled_from([0.0, 0.3, 0.95]))
    masked[np.arange(rows), targets] = False
    masked[:, 0] = True
    scores[masked] = -np.inf
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    return torch.from_numpy(scores).to(dtype), torch.from_numpy(targets)


@hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(drawn=score_matrices(tied=False), largest=st.integers(1, 3))
def test_without_ties_the_numbers_are_recboles(recbole, drawn, largest):
    scores, targets = drawn
    topk = sorted({1, min(largest, scores.shape[1])})
    if _all_without_negatives(scores):
        return
    assert ours(scores, targets, topk) == recbole(scores, targets, topk)


@hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(drawn=score_matrices(tied=True), largest=st.integers(1, 3))
def test_ties_are_recboles_with_half_of_them_before_the_target(recbole, drawn, largest):
    scores, targets = drawn
    topk = sorted({1, min(largest, scores.shape[1])})
    if _all_without_negatives(scores):
        return
    ordered = scores.clone()  # put half of what ties with the target before it, the others behind
    for row, target in enumerate(targets.tolist()):
        same = torch.nonzero(scores[row] == scores[row, target]).flatten().tolist()
        same.remove(target)
        ordered[row, same[: len(same) // 2]] += 0.5
        ordered[row, same[len(same) // 2 :]] -= 0.5
    expected = recbole(ordered, targets, topk)
    expected["gauc"] = recbole(scores, targets, topk)["gauc"]  # RecBole averages ties there
    assert ours(scores, targets, topk) == expected


def _all_without_negatives(scores: torch.Tensor) -> bool:
    """RecBole's GAUC has no value where no row ranks a second item."""
    return bool(((scores > -torch.inf).sum(1) < 2).all())


def test_where_recbole_would_put_ties_in_the_order_of_items(recbole):
    scores = torch.zeros(9, 10)
    scores[:, 0] = -torch.inf
    targets = torch.arange(1, 10)
    # A stable order gives the nine targets places 1 to 9; the rule gives each place 5.
    stable = scores - torch.arange(10) / 100
    assert recbole(stable, targets, [4])["recall@4"] == round(4 / 9, 6)
    assert ours(scores, targets, [4, 5])["recall@4"] == 0
    assert ours(scores, targets, [4, 5])["recall@5"] == 1


@pytest.mark.parametrize("dtype", [torch.int64, torch.bfloat16, torch.float16])
def test_other_types_of_scores(dtype):
    scores = torch.tensor([[0, 5, 7, 7, 2]] * 40, dtype=dtype)
    ranks, candidates = score_ranks(scores, torch.tensor([1, 2, 3, 4] * 10))
    assert ranks.tolist() == [3, 1.5, 1.5, 4] * 10 and candidates.tolist() == [5] * 40
