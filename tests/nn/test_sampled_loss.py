"""Sampled softmax: its definition, its probabilities, and the exact loss as its limit."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_fmrlrec.nn.loss import nested_cross_entropy
from recbole_fmrlrec.nn.sampled_loss import (
    KINDS,
    CandidateSampler,
    sampled_cross_entropy,
    sampled_cross_entropy_reference,
)
from tests.nn.test_loss import nested_sizes

COUNTS = torch.tensor([9, 5, 0, 3, 1, 7, 2, 4, 1, 1, 6, 2])
N = len(COUNTS)


@given(
    sizes=nested_sizes,
    positions=st.integers(1, 9),
    kind=st.sampled_from(KINDS),
    draws=st.integers(1, 14),
    block=st.none() | st.integers(1, 12),
    seed=st.integers(0, 99),
)
@settings(max_examples=80, deadline=None)
def test_equals_its_definition_in_value_and_gradient(sizes, positions, kind, draws, block, seed):
    torch.manual_seed(seed)
    targets = torch.randint(N, (positions,))
    candidates = CandidateSampler(kind, draws, COUNTS).draw(targets)
    hidden = torch.randn(positions, sizes[-1], dtype=torch.float64)
    items = torch.randn(len(candidates.rows), sizes[-1], dtype=torch.float64)
    results = []
    for loss, more in (
        (sampled_cross_entropy, {"block_size": block}),
        (sampled_cross_entropy_reference, {}),
    ):
        h, e = hidden.clone().requires_grad_(), items.clone().requires_grad_()
        value = loss(h, e, candidates, targets, sizes, **more)
        value.backward()
        results.append((value, h.grad, e.grad))
    for ours, plain in zip(*results, strict=True):
        torch.testing.assert_close(ours, plain)


@pytest.mark.parametrize("kind", ["uniform", "popularity"])
def test_with_every_item_a_candidate_it_is_the_exact_loss(kind):
    torch.manual_seed(0)
    hidden, items = torch.randn(20, 8), torch.randn(N, 8)
    targets = torch.randint(N, (20,))
    candidates = CandidateSampler(kind, N, COUNTS).draw(targets)
    ours = sampled_cross_entropy(hidden, items[candidates.rows], candidates, targets, [2, 8], 0.3)
    assert torch.equal(ours, nested_cross_entropy(hidden, items, targets, [2, 8], 0.3))


@pytest.mark.parametrize("kind", KINDS)
def test_candidates_hold_each_target_once_and_no_item_twice(kind):
    torch.manual_seed(0)
    targets = torch.tensor([3, 3, 11, 0])
    candidates = CandidateSampler(kind, 5, COUNTS).draw(targets)
    assert candidates.rows.tolist() == sorted(set(candidates.rows.tolist()))
    assert torch.equal(candidates.rows[candidates.columns(targets)], targets)
    if kind == "in_batch":
        assert candidates.rows.tolist() == [0, 3, 11]


def test_probabilities_by_hand():
    uniform = CandidateSampler("uniform", 2, torch.tensor([1, 1, 2]))
    # Missed by both draws (2/3 each) and by the one other position (3/4 or 1/2).
    expected = torch.tensor([1 - 4 / 9 * 3 / 4, 1 - 4 / 9 * 1 / 2], dtype=torch.float64)
    torch.testing.assert_close(uniform.probability(torch.tensor([0, 2]), 2), expected)
    in_batch = CandidateSampler("in_batch", 2, torch.tensor([1, 1, 2]))
    expected = torch.tensor([1 - (3 / 4) ** 3, 1 - (1 / 2) ** 3], dtype=torch.float64)
    torch.testing.assert_close(in_batch.probability(torch.tensor([0, 2]), 4), expected)


def draw_batches(kind, draws, others, times, counts=COUNTS):
    """Candidates of batches whose first target is item 0 and whose others fall as they may."""
    sampler = CandidateSampler(kind, draws, counts)
    rest = torch.multinomial(sampler.popularity, others * times, replacement=True).view(times, -1)
    first = torch.zeros(1, dtype=torch.int64)
    return [sampler.draw(torch.cat([first, targets])) for targets in rest]


@pytest.mark.parametrize("kind", KINDS)
def test_items_become_candidates_with_the_stated_probability(kind):
    torch.manual_seed(0)
    times = 4000
    batches = draw_batches(kind, 4, 3, times)
    seen = torch.stack([torch.bincount(b.rows, minlength=N) for b in batches]).double().mean(0)
    stated = CandidateSampler(kind, 4, COUNTS).probability(torch.arange(N), 4)
    deviation = (stated * (1 - stated) / times).sqrt()
    assert ((seen - stated).abs() < 4 * deviation)[1:].all()
    assert seen[0] == 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_expected_gradient_approaches_the_exact_one(kind):
    torch.manual_seed(0)
    hidden, items, counts = 0.7 * torch.randn(1, 4), torch.randn(200, 4), COUNTS.repeat(20)[:200]
    target = torch.zeros(1, dtype=torch.int64)

    def gradient(loss):
        h = hidden.clone().requires_grad_()
        loss(h).backward()
        return h.grad

    exact = gradient(lambda h: nested_cross_entropy(h, items, target, [2, 4]))

    def error(number):
        draws, others = (1, number) if kind == "in_batch" else (number, 1)
        mean = torch.stack(
            [
                gradient(lambda h, b=b: sampled_cross_entropy(h, items[b.rows], b, target, [2, 4]))
                for b in draw_batches(kind, draws, others, 400, counts)
            ]
        ).mean(0)
        return float((mean - exact).norm() / exact.norm())

    few, some, many = error(2), error(20), error(199)
    assert many < 0.03 and 2 * many < some and 2 * some < few


def test_other_kinds_and_no_draws_are_refused():
    for kind, draws in (("all", 1), ("uniform", 0)):
        with pytest.raises(ValueError, match="kind is one of uniform, in_batch, popularity"):
            CandidateSampler(kind, draws, COUNTS)
