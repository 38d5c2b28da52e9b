"""The learned number for items that were read: the loss, its gradients, and the ranking."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from recbole_fmrlrec.data.batch import Batch
from recbole_fmrlrec.evaluation import ranking
from recbole_fmrlrec.evaluation.counting import RankCounter
from recbole_fmrlrec.nn.history_shift import HistoryShift, first_occurrences
from recbole_fmrlrec.nn.loss import nested_cross_entropy, nested_cross_entropy_reference
from recbole_fmrlrec.nn.sampled_loss import Candidates, sampled_cross_entropy

SIZES = (2, 3, 8)


def a_case(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, HistoryShift]:
    """Outputs, items, targets, and rows that read items twice, their own target among them."""
    torch.manual_seed(5)
    hidden, items = torch.randn(4, 8, dtype=dtype), torch.randn(11, 8, dtype=dtype)
    rows = torch.tensor([[1, 2, 1, 0], [5, 0, 0, 0], [7, 7, 7, 3], [11, 10, 4, 9]])
    targets = torch.tensor([1, 3, 6, 5])
    values = torch.tensor([0.5, -1.25, 2.0], dtype=dtype)
    return hidden, items, targets, HistoryShift.of_rows(rows, values)


def dense(shift: HistoryShift, count: int) -> Tensor:
    """Where the items of each row are, (T, N)."""
    read = torch.zeros(len(shift.columns), count, dtype=torch.float64)
    for row, (columns, counted) in enumerate(zip(shift.columns, shift.counted, strict=True)):
        read[row, columns[counted > 0]] = 1
    return read


def test_each_item_of_a_row_counts_once_and_the_padding_never() -> None:
    rows = torch.tensor([[4, 2, 4, 4, 0], [0, 0, 0, 0, 0], [3, 3, 2, 3, 1]])
    assert first_occurrences(rows).tolist() == [
        [True, True, False, False, False],
        [False] * 5,
        [True, False, True, False, True],
    ]


def test_a_position_has_read_what_stands_up_to_it() -> None:
    rows, lengths = torch.tensor([[4, 2, 4], [3, 0, 0]]), torch.tensor([3, 1])
    targets = torch.tensor([[2, 4, 1], [5, 0, 0]])
    batch = Batch.of_windows(rows, lengths, targets)
    assert batch.packing is not None
    shift = HistoryShift.of_positions(rows, batch.packing, batch.trained, torch.ones(1))
    # Packed: the first positions of both rows, then the others of the first one.
    found = [sorted((row.nonzero().flatten() + 1).tolist()) for row in dense(shift, 5)]
    assert found == [[4], [3], [2, 4], [2, 4]]
    untrained = Batch.of_windows(rows, lengths, torch.tensor([[0, 4, 0], [5, 0, 0]]))
    assert untrained.packing is not None
    kept = HistoryShift.of_positions(rows, untrained.packing, untrained.trained, torch.ones(1))
    assert [sorted((row.nonzero().flatten() + 1).tolist()) for row in dense(kept, 5)] == [
        [3],
        [2, 4],
    ]


def test_what_is_added_to_a_few_items_of_each_position() -> None:
    shift = a_case()[3]  # has read 1 and 2; 5; 7 and 3; 11, 10, 4 and 9: of 0..10 one less
    asked = torch.tensor([[1, 0, 1, 2], [0, 4, 10, 4], [6, 2, 0, 0], [10, 3, 0, 8]])
    assert shift.of(asked, 1).tolist() == [
        [-1.25, -1.25, -1.25, 0],
        [0, -1.25, 0, -1.25],
        [-1.25, -1.25, 0, 0],
        [-1.25, -1.25, 0, -1.25],
    ]
    assert shift.of(asked[:, 0], 2).tolist() == [2, 0, 2, 2]
    nothing = HistoryShift.of_rows(torch.zeros(1, 3, dtype=torch.int64), torch.ones(1))
    assert nothing.of(torch.tensor([[0, 1]]), 0).tolist() == [[0, 0]]


def test_the_loss_by_hand() -> None:
    """Two items of equal vectors, one of them read: its odds are exp(b)."""
    hidden, items = torch.zeros(1, 1), torch.zeros(2, 1)
    shift = HistoryShift.of_rows(torch.tensor([[1]]), torch.tensor([2.0]))
    unread = nested_cross_entropy(hidden, items, torch.tensor([1]), [1], shift=shift)
    again = nested_cross_entropy(hidden, items, torch.tensor([0]), [1], shift=shift)
    assert float(unread) == pytest.approx(2.126928)  # log(1 + e^2)
    assert float(again) == pytest.approx(0.126928)


@pytest.mark.parametrize("block", [None, 1, 3])
@pytest.mark.parametrize("distillation", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("biased", [False, True])
def test_loss_and_gradients_are_those_of_the_definition(
    block: int | None, distillation: float, biased: bool
) -> None:
    hidden, items, targets, shift = a_case()
    bias = torch.linspace(-1, 1, len(items), dtype=torch.float64) if biased else None
    learned = hidden, items, shift.values
    found = []
    for form in (nested_cross_entropy, nested_cross_entropy_reference):
        for tensor in learned:
            tensor.requires_grad_(True).grad = None
        options = {"block_size": block} if form is nested_cross_entropy else {}
        loss = form(hidden, items, targets, SIZES, distillation, bias=bias, shift=shift, **options)
        (3 * loss).backward()
        found.append([loss, *(tensor.grad for tensor in learned)])
    for ours, plain in zip(*found, strict=True):
        torch.testing.assert_close(ours, plain)


def test_a_sampled_loss_over_every_item_is_the_exact_one() -> None:
    hidden, items, targets, shift = a_case()
    every = Candidates(torch.arange(len(items)), torch.zeros(len(items), dtype=torch.float64))
    exact = nested_cross_entropy(hidden, items, targets, SIZES, 0.5, shift=shift)
    sampled = sampled_cross_entropy(hidden, items, every, targets, SIZES, 0.5, shift=shift)
    torch.testing.assert_close(sampled, exact)


def test_a_sampled_loss_shifts_only_candidates() -> None:
    hidden, items, targets, shift = a_case()
    rows = torch.tensor([0, 1, 3, 5, 6, 10])
    few = Candidates(rows, torch.zeros(len(rows), dtype=torch.float64))
    found = sampled_cross_entropy(hidden, items[rows], few, targets, SIZES, shift=shift)
    read, losses = dense(shift, len(items))[:, rows], []
    for size, value in zip(SIZES, shift.values, strict=True):
        logits = hidden[:, :size] @ items[rows, :size].t() + value * read
        losses.append(torch.nn.functional.cross_entropy(logits, torch.searchsorted(rows, targets)))
    torch.testing.assert_close(found, torch.stack(losses).mean())


@pytest.mark.parametrize("large", [False, True])
def test_ranks_are_those_of_the_shifted_scores(
    large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if large:
        monkeypatch.setattr(ranking, "LARGE", 5)
        monkeypatch.setattr(ranking, "LARGE_ROWS", 3)
        monkeypatch.setattr(ranking, "CACHED_BYTES", 4 * 3 * 4)  # blocks of 4 items
    hidden, items, targets, shift = a_case(torch.float32)
    counter = RankCounter(targets + 1, len(SIZES))
    ranking.nested_scores(counter, hidden, items, targets, SIZES, shift)
    read = dense(shift, len(items)).float()
    for k, size in enumerate(SIZES):
        scores = hidden[:, :size] @ items[:, :size].t() + shift.values[k] * read
        assert torch.equal(counter.mean_ranks()[k], ranking.mean_rank(scores, targets))
