"""Lists of the best items: their order, ties, and what is left out of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch import Tensor

from recbole_fmrlrec.evaluation import best_lists, ranking
from recbole_fmrlrec.evaluation.best_lists import BestLists, best
from recbole_fmrlrec.evaluation.collected_lists import CountAndList
from recbole_fmrlrec.evaluation.counting import RankCounter, read_scores
from recbole_fmrlrec.evaluation.ranking import nested_scores
from tests.evaluation.test_protocols import as_history, batches, without


def by_the_rule(scores: Tensor, length: int) -> list[list[int]]:
    """Higher scores first, of equal ones the lower id; -inf is no candidate, 0 where none is."""
    rows = []
    for row in scores.tolist():
        order = sorted(range(len(row)), key=lambda item, row=row: (-row[item], item))
        found = [item for item in order if row[item] > -np.inf][:length]
        rows.append(found + [0] * (length - len(found)))
    return rows


def test_by_hand() -> None:
    scores = torch.tensor([[1.0, 3.0, 3.0, 2.0, 3.0, 2.0], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0]])
    values, columns = best(scores, 4)
    assert columns.tolist() == [[1, 2, 4, 3], [0, 1, 2, 3]]
    assert values.tolist() == [[3.0, 3.0, 3.0, 2.0], [0.0] * 4]
    assert best(scores[:, :2], 4)[1].tolist() == [[1, 0], [0, 1]]  # as many as there are


def test_with_and_without_the_history() -> None:
    scores = torch.tensor([[-torch.inf, 9.0, 5.0, 5.0, 7.0]])
    targets = torch.tensor([3])
    # Items 1 and 4 were before; so was the target, which stays. Item 2 is no candidate at all.
    counter = RankCounter(targets, 1, as_history([[1, 4, 3]], targets), torch.tensor([2]))
    lists = BestLists(3, 1, 1, counter.history, counter.unranked)
    read_scores(CountAndList(counter, lists), scores, targets)
    assert lists.lists().tolist() == [[[1, 4, 3]]]
    assert lists.masked_lists().tolist() == [[[3, 0, 0]]]
    assert lists.lists().dtype == torch.int32
    assert scores.tolist() == [[-torch.inf, 9.0, 5.0, 5.0, 7.0]]
    assert counter.mean_ranks().tolist() == [[3.0]]


def test_without_a_history_there_is_one_kind() -> None:
    lists = BestLists(1, 1)
    read_scores(lists, torch.tensor([[-torch.inf, 1.0, 2.0]]), torch.tensor([1]))
    assert lists.lists().tolist() == [[[2]]]
    with pytest.raises(ValueError, match="were not requested"):
        lists.masked_lists()


@hypothesis_settings(max_examples=100, deadline=None)
@given(
    drawn=batches(),
    levels=st.sampled_from([1, 3, 1000]),
    length=st.integers(1, 35),
    searched=st.integers(1, 200),
    whole=st.booleans(),
)
def test_ready_scores(drawn: Any, levels: int, length: int, searched: int, whole: bool) -> None:
    items, events, targets, seed = drawn
    random = np.random.default_rng(seed)
    scores = torch.from_numpy(random.integers(0, levels, (len(targets), items + 1)) / 8.0)
    scores[:, 0] = -torch.inf
    if whole:  # numbers of another type; there is no -inf among them
        scores = torch.from_numpy(random.integers(-levels, 0, scores.shape))
    unranked = torch.tensor(sorted(set(random.integers(1, items + 1, 2).tolist())))
    counter = RankCounter(targets, 1, as_history(events, targets), unranked)
    lists = BestLists(length, len(targets), 1, counter.history, counter.unranked)
    before = scores.clone()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(best_lists, "SEARCHED", searched)
        read_scores(lists, scores, targets)
    assert torch.equal(scores, before)
    wanted = scores.double()
    wanted[:, unranked] = -torch.inf
    masked = without(wanted, [set(row) - {0} for row in events], targets)
    assert lists.lists()[0].tolist() == by_the_rule(wanted, length)
    assert lists.masked_lists()[0].tolist() == by_the_rule(masked, length)


@pytest.mark.parametrize("large", [False, True], ids=["rows", "blocks of items"])
@hypothesis_settings(max_examples=60, deadline=None)
@given(drawn=batches(), rows=st.integers(1, 5), width=st.integers(1, 9), length=st.integers(1, 9))
def test_every_nested_size(large: bool, drawn: Any, rows: int, width: int, length: int) -> None:
    items, events, targets, seed = drawn
    random, sizes = np.random.default_rng(seed), [1, 2, 5]
    hidden, table = (
        torch.from_numpy(random.integers(-1, 2, (n, 5))).float() for n in (len(targets), items)
    )
    counter = RankCounter(targets, len(sizes), as_history(events, targets))
    lists = BestLists(length, len(targets), len(sizes), counter.history)
    with pytest.MonkeyPatch.context() as patch:
        if large:
            patch.setattr(ranking, "LARGE", 0)
            patch.setattr(ranking, "LARGE_ROWS", rows)
            patch.setattr(ranking, "CACHED_BYTES", 4 * rows * width)
        nested_scores(CountAndList(counter, lists), hidden, table, targets - 1, sizes)
    for k, size in enumerate(sizes):
        scores = torch.full((len(targets), items + 1), -torch.inf)
        scores[:, 1:] = hidden[:, :size] @ table[:, :size].T
        masked = without(scores, [set(row) - {0} for row in events], targets)
        assert lists.lists()[k].tolist() == by_the_rule(scores, length)
        assert lists.masked_lists()[k].tolist() == by_the_rule(masked, length)
        assert counter.mean_ranks()[k].tolist() == ranking.mean_rank(scores, targets).tolist()
