"""The nested cross-entropy against its definition."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_fmrlrec.nn.loss import (
    BLOCK_BYTES,
    block_rows,
    nested_cross_entropy,
    nested_cross_entropy_reference,
)

nested_sizes = st.lists(st.integers(1, 12), min_size=1, max_size=4, unique=True).map(sorted)


@given(
    sizes=nested_sizes,
    positions=st.integers(1, 9),
    items=st.integers(1, 8),
    soft=st.sampled_from([0.0, 0.3, 1.0]),
    block=st.integers(1, 12),
    biased=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=80, deadline=None)
def test_equals_its_definition_in_value_and_gradient(
    sizes, positions, items, soft, block, biased, seed
):
    torch.manual_seed(seed)
    hidden = torch.randn(positions, sizes[-1], dtype=torch.float64)
    table = torch.randn(items, sizes[-1], dtype=torch.float64)
    targets = torch.randint(items, (positions,))
    bias = 3 * torch.randn(items, dtype=torch.float64) if biased else None
    results = []
    for loss in (nested_cross_entropy, nested_cross_entropy_reference):
        h, e = hidden.clone().requires_grad_(), table.clone().requires_grad_()
        extra = (block,) if loss is nested_cross_entropy else ()
        value = loss(h, e, targets, sizes, soft, *extra, bias=bias)
        (3 * value).backward()
        results.append((value, h.grad, e.grad))
    for ours, plain in zip(*results, strict=True):
        torch.testing.assert_close(ours, plain)


def test_a_table_of_another_width_is_refused():
    with pytest.raises(ValueError, match="must end"):
        nested_cross_entropy(torch.randn(1, 4), torch.randn(5, 2), torch.tensor([0]), [2, 4])


def test_a_batch_without_positions_is_refused():
    with pytest.raises(ValueError, match="no position"):
        nested_cross_entropy(torch.randn(0, 4), torch.randn(5, 4), torch.tensor([]).long(), [2, 4])


def test_twice_through_a_kept_graph_gives_the_same_gradient():
    h, e = torch.randn(3, 4, requires_grad=True), torch.randn(5, 4, requires_grad=True)
    loss = nested_cross_entropy(h, e, torch.tensor([0, 1, 2]), [2, 4])
    once = torch.autograd.grad(loss, (h, e), retain_graph=True)
    kept = [grad.clone() for grad in once]
    for grad, again in zip(kept, torch.autograd.grad(2 * loss, (h, e)), strict=True):
        torch.testing.assert_close(2 * grad, again)


def test_passes_gradcheck():
    torch.manual_seed(0)
    h = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    e = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([0, 4, 2])

    def loss(hidden, items):
        return nested_cross_entropy(hidden, items, targets, [1, 4])

    assert torch.autograd.gradcheck(loss, (h, e))


def test_by_hand():
    # At size 1 both items score 0; at size 2 the target scores log 3 more.
    hidden = torch.tensor([[0.0, 1.0]])
    items = torch.tensor([[5.0, math.log(3)], [7.0, 0.0]])
    loss = nested_cross_entropy(hidden, items, torch.tensor([0]), [1, 2])
    assert loss.item() == pytest.approx((math.log(2) + math.log(4 / 3)) / 2)


def test_a_target_of_vanishing_probability_has_its_exact_finite_loss():
    hidden = torch.tensor([[1.0, 0.0]], requires_grad=True)
    items = torch.tensor([[-500.0, 0.0], [0.0, 0.0]])
    loss = nested_cross_entropy(hidden, items, torch.tensor([0]), [1, 2])
    loss.backward()
    assert loss.item() == pytest.approx(500.0)
    assert torch.isfinite(hidden.grad).all()
    biased = nested_cross_entropy(
        hidden, items, torch.tensor([0]), [1, 2], bias=torch.tensor([9.0, 20.0])
    )
    assert biased.item() == pytest.approx(520.0)


def test_a_bias_reaches_every_item_but_the_target():
    hidden, items = torch.zeros(2, 2), torch.zeros(3, 2)
    bias = torch.tensor([math.log(2), math.log(3), math.log(5)])
    loss = nested_cross_entropy(hidden, items, torch.tensor([0, 2]), [1, 2], bias=bias)
    assert loss.item() == pytest.approx((math.log(1 + 3 + 5) + math.log(1 + 2 + 3)) / 2)


def test_without_gradients_nothing_is_kept_for_them():
    h, e = torch.randn(3, 4), torch.randn(5, 4)
    loss = nested_cross_entropy(h, e, torch.tensor([0, 1, 2]), [2, 4])
    assert not loss.requires_grad
    torch.testing.assert_close(
        loss, nested_cross_entropy_reference(h, e, torch.tensor([0, 1, 2]), [2, 4])
    )


def test_gradients_of_narrow_chunks_are_as_exact_as_the_others():
    torch.manual_seed(0)
    h, e = 0.3 * torch.randn(50, 64), 0.3 * torch.randn(20_000, 64)
    targets, found = torch.randint(len(e), (len(h),)), []
    for dtype in (torch.float32, torch.float64):
        pair = [t.detach().to(dtype).requires_grad_() for t in (h, e)]
        nested_cross_entropy(*pair, targets, [8, 16, 64]).backward()
        found.append([t.grad.double() for t in pair])
    for low, exact in zip(*found, strict=True):
        errors = (low - exact).abs().amax(0) / exact.abs().max()
        assert errors.max() < 2e-6


def test_bfloat16_loss_stays_within_one_percent():
    torch.manual_seed(0)
    h, e = torch.randn(64, 32), 0.3 * torch.randn(500, 32)
    targets = torch.randint(500, (64,))
    exact = nested_cross_entropy(h, e, targets, [8, 32])
    with torch.autocast("cpu", torch.bfloat16):
        low = nested_cross_entropy(h, e, targets, [8, 32])
    assert low.item() == pytest.approx(exact.item(), rel=1e-2)


def test_blocks_cover_the_positions_evenly_and_keep_memory_bounded():
    for positions in (1, 100, 5000):
        rows = block_rows(12_101, 8, positions)
        assert 1 <= rows <= positions
        assert rows * 12_101 * 8 * 4 <= BLOCK_BYTES
    assert block_rows(1_000_000, 8, 640) == 64
