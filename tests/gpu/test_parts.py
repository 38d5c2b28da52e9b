"""The parts of the networks on a GPU, against the same by its definition."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from benchmarks.published import doubling_scan
from recbole_fmrlrec.evaluation.best_lists import best
from recbole_fmrlrec.evaluation.ranking import mean_rank, nested_mean_ranks
from recbole_fmrlrec.nn.attention import LengthGroups, causal_attention, causal_attention_reference
from recbole_fmrlrec.nn.dropout import Dropout
from recbole_fmrlrec.nn.left_padding import left_padded
from recbole_fmrlrec.nn.loss import nested_cross_entropy, nested_cross_entropy_reference
from recbole_fmrlrec.nn.negatives import candidate_scores, candidate_scores_reference
from recbole_fmrlrec.nn.packing import Packing
from recbole_fmrlrec.nn.products import ItemTable
from recbole_fmrlrec.nn.recurrence import final_states, packed_scan, packed_scan_reference
from recbole_fmrlrec.nn.tail import TailedItems

pytestmark = pytest.mark.gpu

LENGTHS = torch.tensor([3, 7, 1, 20, 7, 12])


def close(found: Tensor, expected: Tensor, far: float = 1e-5) -> None:
    """Equal on the CPU, to a share of the largest number."""
    largest = float(expected.detach().abs().max())
    torch.testing.assert_close(found.cpu(), expected.cpu(), rtol=far, atol=far * largest)


def test_packing_there_and_back(gpu: torch.device) -> None:
    rows = torch.randn(6, 20, 5) * (torch.arange(20) < LENGTHS[:, None])[..., None]
    packing = Packing.from_lengths(LENGTHS.to(gpu), 20)
    packed = packing.pack(rows.to(gpu))
    assert torch.equal(packing.unpack(packed, (6, 20)).cpu(), rows)
    assert torch.equal(packed[packing.last].cpu(), rows[torch.arange(6), LENGTHS - 1])


def test_left_padded_rows(gpu: torch.device) -> None:
    rows = torch.arange(1, 21).expand(6, -1) * (torch.arange(20) < LENGTHS[:, None])
    expected = left_padded(rows, LENGTHS, 9)
    found = left_padded(rows.to(gpu), LENGTHS.to(gpu), 9)
    assert all(torch.equal(a.cpu(), b) for a, b in zip(found, expected, strict=True))


def test_every_form_of_the_scan(gpu: torch.device) -> None:
    torch.manual_seed(0)
    packing = Packing.from_lengths(LENGTHS.to(gpu), 20)
    sizes, positions = packing.batch_sizes, int(LENGTHS.sum())
    v = torch.randn(positions, 8, dtype=torch.complex64)
    lam = torch.polar(0.1 + 0.9 * torch.rand(8), 6 * torch.rand(8))
    upstream = torch.randn(positions, 8, dtype=torch.complex64)

    def run(scan: object, device: torch.device) -> list[Tensor]:
        leaves = [x.detach().to(device).requires_grad_() for x in (v, lam)]
        states = scan(*leaves, sizes)  # type: ignore[operator]
        return [states, *torch.autograd.grad(states, leaves, upstream.to(device))]

    expected = run(packed_scan_reference, torch.device("cpu"))
    for found, wanted in zip(run(packed_scan, gpu), expected, strict=True):
        close(found, wanted)
    padded = packing.unpack(v.to(gpu), (6, 20))
    padded = torch.nn.functional.pad(padded, (0, 0, 0, 12))
    close(packing.pack(doubling_scan(padded, lam.to(gpu))[:, :20]), expected[0])
    table, ids = v.to(gpu), torch.arange(positions, device=gpu)
    last = final_states(table, ids, lam.to(gpu), sizes)
    close(last[packing.rank], expected[0][packing.last.cpu()])


def test_attention(gpu: torch.device) -> None:
    torch.manual_seed(0)
    packing = Packing.from_lengths(LENGTHS.to(gpu), 20)
    rows = torch.randn(int(LENGTHS.sum()), 24)
    mine = causal_attention_reference(rows, 2, LENGTHS.tolist())
    padded = torch.zeros(6, 20, 24)
    wanted = torch.zeros(6, 20, 8)
    for row, part, result in zip(range(6), rows.split(LENGTHS.tolist()), mine.split(LENGTHS.tolist()), strict=True):  # fmt: skip  # noqa: E501
        padded[row, : len(part)], wanted[row, : len(part)] = part, result
    qkv = packing.pack(padded.to(gpu))
    found = causal_attention(qkv, 2, LengthGroups.of(packing))
    close(packing.unpack(found, (6, 20)), wanted)


@pytest.mark.parametrize("tailed", [False, True])
@pytest.mark.parametrize("distillation", [0.0, 0.3])
@pytest.mark.parametrize("block", [None, 5])
def test_the_nested_loss(
    gpu: torch.device, tailed: bool, distillation: float, block: int | None
) -> None:
    torch.manual_seed(0)
    sizes, positions, items = (2, 16, 48), 23, 1000
    hidden, targets = torch.randn(positions, 48), torch.randint(items, (positions,))
    table, weight, features = torch.randn(items, 16), torch.randn(32, 6), torch.randn(items, 6)
    whole = torch.randn(items, 48)

    def run(device: torch.device) -> list[Tensor]:
        learned = [hidden, table, weight] if tailed else [hidden, whole]
        leaves = [x.detach().to(device).requires_grad_() for x in learned]
        ranked = TailedItems(*leaves[1:], features.to(device)) if tailed else ItemTable(leaves[1])
        at = targets.to(device)
        if device.type == "cpu":
            full = ranked.full() if isinstance(ranked, TailedItems) else leaves[1]
            loss = nested_cross_entropy_reference(leaves[0], full, at, sizes, distillation)
        else:
            loss = nested_cross_entropy(leaves[0], ranked, at, sizes, distillation, block)
        return [loss, *torch.autograd.grad(2 * loss, leaves)]

    for found, wanted in zip(run(gpu), run(torch.device("cpu")), strict=True):
        close(found, wanted, 1e-4)


def test_scores_of_negatives(gpu: torch.device) -> None:
    torch.manual_seed(0)
    leaves = [torch.randn(30, 12), torch.randn(50, 12)]
    rows, upstream = torch.randint(50, (30, 9)), torch.randn(30, 9)

    def run(scores: object, device: torch.device) -> list[Tensor]:
        there = [x.detach().to(device).requires_grad_() for x in leaves]
        found = scores(*there, rows.to(device))  # type: ignore[operator]
        return [found, *torch.autograd.grad(found, there, upstream.to(device))]

    expected = run(candidate_scores_reference, torch.device("cpu"))
    for found, wanted in zip(run(candidate_scores, gpu), expected, strict=True):
        close(found, wanted)


def test_dropout(gpu: torch.device) -> None:
    dropout, x = Dropout(0.3).train(), torch.ones(200_000, device=gpu)
    torch.manual_seed(5)
    first = dropout(x)
    torch.manual_seed(5)
    assert torch.equal(dropout(x), first) and not torch.equal(dropout(x), first)
    kept = first[first > 0]
    close(kept, torch.full_like(kept, 1 / 0.7))
    # Four standard deviations of a share of 200,000.
    assert abs(len(kept) / len(x) - 0.7) < 4 * (0.3 * 0.7 / len(x)) ** 0.5
    assert dropout.eval()(x) is x


@pytest.mark.parametrize("items", [1000, 120_000])
def test_ranks_of_whole_numbers_are_exact(gpu: torch.device, items: int) -> None:
    """Products of small whole numbers have no rounding: ties are ties on any device."""
    torch.manual_seed(0)
    hidden = torch.randint(-2, 3, (40, 12)).float()
    table = torch.randint(-2, 3, (items, 12)).float()
    targets, sizes = torch.randint(items, (40,)), (4, 12)
    found = nested_mean_ranks(hidden.to(gpu), table.to(gpu), targets.to(gpu), sizes)
    for k, size in enumerate(sizes):
        wanted = mean_rank(hidden[:, :size] @ table[:, :size].t(), targets)
        assert torch.equal(found[k].cpu(), wanted)


def test_best_lists_with_ties(gpu: torch.device) -> None:
    scores = torch.tensor([[1.0, 3, 3, 2, 3], [5, 5, 5, 5, 5], [0, 1, 2, 3, 4]])
    values, columns = best(scores.to(gpu), 2)
    assert columns.tolist() == [[1, 2], [0, 1], [4, 3]]
    assert values.tolist() == [[3, 3], [5, 5], [4, 3]]
